//! Baskets over HTTP.

mod view;

use salvo::http::StatusCode;
use salvo::http::header::{CACHE_CONTROL, LOCATION};
use salvo::oapi::ToSchema;
use salvo::prelude::*;
use serde::Deserialize;
use serde_json::{Value, json};
use shop_fault::Fault;
use shop_identity::{Caller, Refusal};
use shop_web::idempotency::Canonical;
use shop_web::{About, Path, Problem, StrictJson, describe, etag, idempotency, precondition, schema};

use self::view::{BasketView, ChangedView, GuestView, UnitsOfLine};
use super::Api;
use super::fields::Fields;
use crate::application::{AddItem, Merge, SetQuantity};
use crate::domain::{Basket, Quantity, UserId};

/// What the document says of the service.
pub(crate) const ABOUT: About = About {
    title: "Basket service",
    tags: &[
        ("guests", "Who buys without signing in"),
        ("baskets", "What a user is about to buy: one basket each"),
        ("items", "The products in a basket"),
    ],
};

/// Every route of the service.
pub(crate) fn routes(api: &Api) -> Router {
    let making = idempotency::hoop::<StrictJson<NewBasket>>("CreateBasket", api.keys.clone());
    let adding = idempotency::hoop::<StrictJson<NewItem>>("AddItem", api.keys.clone());
    let refreshing = idempotency::hoop::<()>("RefreshBasket", api.keys.clone());
    let merging = idempotency::hoop::<StrictJson<GuestToMerge>>("MergeBasket", api.keys.clone());
    let items = Router::with_path("items")
        .delete(api.clear())
        .push(Router::new().hoop(adding).post(api.add_item()))
        .push(Router::with_path("{product_id}").put(api.set_quantity()).delete(api.remove_item()));
    let refresh = Router::with_path("refresh").hoop(refreshing).post(api.refresh());
    let merge = Router::with_path("merge").hoop(merging).post(api.merge());
    let basket =
        Router::with_path("{user_id}").get(api.show()).delete(api.delete()).push(items).push(refresh).push(merge);
    let baskets = Router::with_path("baskets").push(Router::new().hoop(making).post(api.create())).push(basket);
    Router::new().push(Router::with_path("guests").post(api.start_guest())).push(baskets)
}

describe! {
    GuestToken = describe::string(1..=8192).pattern("^[A-Za-z0-9_.-]+$").example("eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJndWVzdC0xIn0.c2ln");
    UnitsToSet = describe::integer(0..=Quantity::MAX.into()).example(3);
}

/// A basket to make.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[salvo(schema(name = "NewBasket"))]
struct NewBasket {
    /// Whose; the caller's own when it is left out.
    #[serde(default)]
    #[salvo(schema(value_type = Option<schema::UserId>))]
    user_id: Option<String>,
}

impl NewBasket {
    /// Whose it is to be, if that is the caller's to say.
    fn user(&self) -> Result<UserId, Problem> {
        let mut fields = Fields::default();
        let Some(user) = fields.user_of_body(self.user_id.as_deref()) else { return Err(fields.fault().into()) };
        let is_own = Caller::current().reaches(user.as_str());
        is_own.then_some(user).ok_or_else(|| Fault::from(Refusal::Forbidden).into())
    }
}

impl Canonical for NewBasket {
    fn canonical(self) -> Result<Value, Problem> {
        Ok(json!({ "user_id": self.user()?.as_str() }))
    }
}

/// Units to put in.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[salvo(schema(name = "NewBasketItem"))]
struct NewItem {
    /// Which product.
    #[salvo(schema(value_type = describe::ProductId))]
    product_id: i64,
    /// How many more.
    #[salvo(schema(value_type = UnitsOfLine))]
    quantity: u32,
}

impl Canonical for NewItem {
    fn canonical(self) -> Result<Value, Problem> {
        let Self { product_id, quantity } = self;
        let mut fields = Fields::default();
        let (Some(product), Some(quantity)) = (fields.product(product_id), fields.quantity(quantity)) else {
            return Err(fields.fault().into());
        };
        Ok(json!({ "product_id": product, "quantity": quantity.get() }))
    }
}

/// Whose basket to merge.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[salvo(schema(name = "GuestToMerge"))]
struct GuestToMerge {
    /// The token that the guest got when he was made.
    #[salvo(schema(value_type = GuestToken))]
    guest_token: String,
}

impl Canonical for GuestToMerge {
    fn canonical(self) -> Result<Value, Problem> {
        Ok(json!({ "guest_token": self.guest_token.trim() }))
    }
}

/// A quantity to set.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[salvo(schema(name = "BasketItemQuantity"))]
struct NewQuantity {
    /// How many; 0 takes the product out.
    #[salvo(schema(value_type = UnitsToSet))]
    quantity: u32,
}

#[craft]
impl Api {
    /// Makes a guest, with a token that proves it.
    ///
    /// He has a basket and payments of his own as long as the token is good. Nothing is kept of him before he fills a basket.
    #[craft(endpoint(
        operation_id = "createGuest",
        tags("guests"),
        responses(
            (status_code = 201, description = "The guest", body = GuestView),
            (status_code = 503, description = "`guests_unavailable`")),
    ))]
    async fn start_guest(&self, req: &mut Request, res: &mut Response) -> Result<(), Problem> {
        precondition::of_list(req)?;
        let guest = self.new_guest()?;
        res.status_code(StatusCode::CREATED);
        // Where his basket will be.
        res.add_header(LOCATION, format!("/baskets/{}", guest.user), true).ok();
        // RFC 6749, section 5.1.
        res.add_header(CACHE_CONTROL, "no-store", true).ok();
        res.render(Json(GuestView::from(guest)));
        Ok(())
    }

    /// Makes a basket, or answers the one the user has.
    #[craft(endpoint(
        operation_id = "createBasket",
        tags("baskets"),
        responses(
            (status_code = 201, description = "The new basket", body = BasketView),
            (status_code = 200, description = "The basket that the user had already", body = BasketView)),
        parameters(("Idempotency-Key" = Option<String>, Header)),
    ))]
    async fn create(&self, body: StrictJson<NewBasket>, req: &mut Request, res: &mut Response) -> Result<(), Problem> {
        let user = body.0.user()?;
        precondition::of_list(req)?;
        let (basket, made) = self.commands.create(&user).await?;
        if made {
            res.status_code(StatusCode::CREATED);
            res.add_header(LOCATION, format!("/baskets/{}", user.segment()), true).ok();
        }
        render(&basket, res);
        Ok(())
    }

    /// A user's basket.
    #[craft(endpoint(
        operation_id = "getBasket",
        tags("baskets"),
        responses(
            (status_code = 200, description = "The basket", body = BasketView),
            (status_code = 404, description = "`basket_not_found`")),
    ))]
    async fn show(&self, user_id: Path<UserId>, res: &mut Response) -> Result<(), Problem> {
        render(&self.queries.basket(&user_id.0).await?, res);
        Ok(())
    }

    /// Removes a user's basket.
    #[craft(endpoint(
        operation_id = "deleteBasket",
        tags("baskets"),
        responses(
            (status_code = 204, description = "The basket is gone"),
            (status_code = 404, description = "`basket_not_found`")),
    ))]
    async fn delete(&self, user_id: Path<UserId>, req: &mut Request, res: &mut Response) -> Result<(), Problem> {
        self.commands.delete(&user_id.0, &precondition::of(req)?).await?;
        res.status_code(StatusCode::NO_CONTENT);
        Ok(())
    }

    /// Takes over what the catalogue says now, and lists it.
    ///
    /// Prices and names move, what is no longer sold goes; a line that asks for more than there is stays as it is. A checkout charges
    /// what the basket says: it answers `basket_changed` until the basket was refreshed.
    #[craft(endpoint(
        operation_id = "refreshBasket",
        tags("baskets"),
        responses(
            (status_code = 200, description = "The basket, and what was not as it is now", body = ChangedView),
            (status_code = 404, description = "`basket_not_found`"),
            (status_code = 409, description = "`total_out_of_range`"),
            (status_code = 503, description = "`product_service_unavailable`, `basket_contended`")),
        parameters(("Idempotency-Key" = Option<String>, Header)),
    ))]
    async fn refresh(&self, user_id: Path<UserId>, req: &mut Request, res: &mut Response) -> Result<(), Problem> {
        let refreshed = self.commands.refresh(&user_id.0, &precondition::of(req)?).await?;
        etag::set(res, refreshed.basket.version);
        res.render(Json(ChangedView::from(&refreshed)));
        Ok(())
    }

    /// Puts what a guest has into the basket of who he turned out to be; the guest's is gone then.
    ///
    /// Takes the token of each: the guest's is in the body. The same product adds up, to what is available and a line holds;
    /// the basket is made if there is none. A repeat changes nothing, and finishes what was left half done.
    #[craft(endpoint(
        operation_id = "mergeBasket",
        tags("baskets"),
        responses(
            (status_code = 200, description = "The basket, and what was not taken over as it was", body = ChangedView),
            (status_code = 403, description = "`forbidden`: the basket is a guest's"),
            (status_code = 404, description = "`basket_not_found`: of somebody else's"),
            (status_code = 409, description = "`currency_mismatch`, `basket_full`, `total_out_of_range`"),
            (status_code = 503, description = "`product_service_unavailable`, `basket_contended`")),
        parameters(("Idempotency-Key" = Option<String>, Header)),
    ))]
    async fn merge(
        &self,
        user_id: Path<UserId>,
        body: StrictJson<GuestToMerge>,
        req: &mut Request,
        res: &mut Response,
    ) -> Result<(), Problem> {
        let (user, expected) = (user_id.0, precondition::of(req)?);
        let guest = self.guest(&body.0.guest_token, &user).await?;
        let merged = self.commands.merge(Merge { user, guest, expected }).await?;
        etag::set(res, merged.basket.version);
        res.render(Json(ChangedView::from(&merged)));
        Ok(())
    }

    /// Puts units of a product in; the same product adds up, and the basket is made if there is none.
    #[craft(endpoint(
        operation_id = "addBasketItem",
        tags("items"),
        responses(
            (status_code = 200, description = "The whole basket", body = BasketView),
            (status_code = 404, description = "`product_not_found`"),
            (
                status_code = 409,
                description = "`insufficient_stock`, `currency_mismatch`, `basket_full`, `quantity_limit`, `total_out_of_range`"
            ),
            (status_code = 503, description = "`product_service_unavailable`, `basket_contended`")),
        parameters(("Idempotency-Key" = Option<String>, Header)),
    ))]
    async fn add_item(
        &self,
        user_id: Path<UserId>,
        body: StrictJson<NewItem>,
        req: &mut Request,
        depot: &mut Depot,
        res: &mut Response,
    ) -> Result<(), Problem> {
        let mut fields = Fields::default();
        let (product, quantity) = (fields.product(body.0.product_id), fields.quantity(body.0.quantity));
        let (Some(product), Some(quantity)) = (product, quantity) else { return Err(fields.fault().into()) };
        let operation =
            req.headers().contains_key("idempotency-key").then(|| idempotency::operation(depot, &*self.clock));
        let expected = precondition::of(req)?;
        let basket = self.commands.add(AddItem { user: user_id.0, product, quantity, operation, expected }).await?;
        render(&basket, res);
        Ok(())
    }

    /// Sets how often a product is in the basket; 0 takes it out.
    #[craft(endpoint(
        operation_id = "setBasketItemQuantity",
        tags("items"),
        responses(
            (status_code = 200, description = "The whole basket", body = BasketView),
            (status_code = 404, description = "`basket_not_found`, `item_not_found`, `product_not_found`"),
            (
                status_code = 409,
                description = "`insufficient_stock`, `currency_mismatch`, `total_out_of_range`"
            ),
            (status_code = 503, description = "`product_service_unavailable`, `basket_contended`")),
    ))]
    async fn set_quantity(
        &self,
        user_id: Path<UserId>,
        product_id: Path<i64>,
        body: StrictJson<NewQuantity>,
        req: &mut Request,
        res: &mut Response,
    ) -> Result<(), Problem> {
        let mut fields = Fields::default();
        let Some(target) = fields.target(body.0.quantity) else { return Err(fields.fault().into()) };
        let expected = precondition::of(req)?;
        let command = SetQuantity { user: user_id.0, product: product_id.0, target, expected };
        let basket = self.commands.set_quantity(command).await?;
        render(&basket, res);
        Ok(())
    }

    /// Takes a product out.
    #[craft(endpoint(
        operation_id = "removeBasketItem",
        tags("items"),
        responses(
            (status_code = 200, description = "The whole basket", body = BasketView),
            (status_code = 404, description = "`basket_not_found`, `item_not_found`")),
    ))]
    async fn remove_item(
        &self,
        user_id: Path<UserId>,
        product_id: Path<i64>,
        req: &mut Request,
        res: &mut Response,
    ) -> Result<(), Problem> {
        let expected = precondition::of(req)?;
        let basket = self.commands.remove(&user_id.0, product_id.0, &expected).await?;
        render(&basket, res);
        Ok(())
    }

    /// Takes every product out and keeps the basket.
    #[craft(endpoint(
        operation_id = "clearBasketItems",
        tags("items"),
        responses(
            (status_code = 200, description = "The empty basket", body = BasketView),
            (status_code = 404, description = "`basket_not_found`")),
    ))]
    async fn clear(&self, user_id: Path<UserId>, req: &mut Request, res: &mut Response) -> Result<(), Problem> {
        let basket = self.commands.clear(&user_id.0, &precondition::of(req)?).await?;
        render(&basket, res);
        Ok(())
    }
}

fn render(basket: &Basket, res: &mut Response) {
    etag::set(res, basket.version);
    res.render(Json(BasketView::from(basket)));
}
