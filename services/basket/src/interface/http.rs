//! Baskets over HTTP.

mod view;

use std::sync::Arc;

use salvo::http::StatusCode;
use salvo::http::header::LOCATION;
use salvo::oapi::{BasicType, Components, Object, RefOr, Schema, ToSchema};
use salvo::prelude::*;
use serde::Deserialize;
use shop_clock::SharedClock;
use shop_fault::Fault;
use shop_http::{Path, Problem, StrictJson, etag, idempotency};

use self::view::BasketView;
use super::fields::Fields;
use crate::application::{AddItem, Commands, Queries, SetQuantity};
use crate::domain::{Basket, Error, UserId};

/// What the handlers work with.
#[derive(Clone)]
#[expect(unreachable_pub, reason = "the handlers that `craft` makes of the methods are public")]
pub struct Api {
    /// Changes.
    pub(crate) commands: Commands,
    /// Questions.
    pub(crate) queries: Queries,
    /// The answers to repeated requests.
    pub(crate) keys: Arc<dyn idempotency::Store>,
    /// Makes ids for requests without a key.
    pub(crate) clock: SharedClock,
}

/// Every route of the service.
pub(crate) fn routes(api: &Api) -> Router {
    let once = || idempotency::hoop(api.keys.clone());
    let items = Router::with_path("items")
        .delete(api.clear())
        .push(Router::new().hoop(once()).post(api.add_item()))
        .push(Router::with_path("{product_id}").put(api.set_quantity()).delete(api.remove_item()));
    let basket = Router::with_path("{user_id}").get(api.show()).delete(api.delete()).push(items);
    Router::with_path("baskets").push(Router::new().hoop(once()).post(api.create())).push(basket)
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        Fault::from(error).into()
    }
}

/// A basket to make.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewBasket {
    /// Whose: 1 to 128 of `[A-Za-z0-9._@-]`.
    user_id: String,
}

/// Units to put in.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewItem {
    /// Which product.
    product_id: i64,
    /// How many more, 1 to 999.
    quantity: u32,
}

/// A quantity to set.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewQuantity {
    /// How many, 0 to 999; 0 takes the product out.
    quantity: u32,
}

#[craft]
impl Api {
    /// Makes a basket, or answers the one the user has.
    #[craft(endpoint(tags("baskets"), responses(
        (status_code = 201, description = "made", body = BasketView),
        (status_code = 200, description = "the user had it already", body = BasketView))))]
    async fn create(&self, body: StrictJson<NewBasket>, res: &mut Response) -> Result<(), Problem> {
        let mut fields = Fields::default();
        let Some(user) = fields.user(&body.0.user_id) else { return Err(fields.fault().into()) };
        let (basket, made) = self.commands.create(&user).await?;
        if made {
            res.status_code(StatusCode::CREATED);
            res.add_header(LOCATION, format!("/baskets/{user}"), true).ok();
        }
        render(&basket, res);
        Ok(())
    }

    /// A user's basket.
    #[craft(endpoint(tags("baskets"), responses(
        (status_code = 200, description = "the basket", body = BasketView),
        (status_code = 304, description = "it still has the version of If-None-Match"))))]
    async fn show(&self, user_id: Path<UserId>, req: &mut Request, res: &mut Response) -> Result<(), Problem> {
        let basket = self.queries.basket(&user_id.0).await?;
        if !etag::not_modified(req, res, basket.version) {
            render(&basket, res);
        }
        Ok(())
    }

    /// Removes a user's basket.
    #[craft(endpoint(tags("baskets"), responses((status_code = 204, description = "gone"))))]
    async fn delete(&self, user_id: Path<UserId>, req: &mut Request, res: &mut Response) -> Result<(), Problem> {
        self.commands.delete(&user_id.0, etag::if_match(req)?).await?;
        res.status_code(StatusCode::NO_CONTENT);
        Ok(())
    }

    /// Puts units of a product in; the same product adds up, and the basket is made if there is none.
    #[craft(endpoint(tags("items"), responses((status_code = 200, description = "the whole basket", body = BasketView))))]
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
        let basket = self.commands.add(AddItem { user: user_id.0, product, quantity, operation }).await?;
        render(&basket, res);
        Ok(())
    }

    /// Sets how often a product is in the basket; 0 takes it out.
    #[craft(endpoint(tags("items"), responses((status_code = 200, description = "the whole basket", body = BasketView))))]
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
        let expected = etag::if_match(req)?;
        let command = SetQuantity { user: user_id.0, product: product_id.0, target, expected };
        let basket = self.commands.set_quantity(command).await?;
        render(&basket, res);
        Ok(())
    }

    /// Takes a product out.
    #[craft(endpoint(tags("items"), responses((status_code = 200, description = "the whole basket", body = BasketView))))]
    async fn remove_item(
        &self,
        user_id: Path<UserId>,
        product_id: Path<i64>,
        req: &mut Request,
        res: &mut Response,
    ) -> Result<(), Problem> {
        let expected = etag::if_match(req)?;
        let basket = self.commands.remove(&user_id.0, product_id.0, expected).await?;
        render(&basket, res);
        Ok(())
    }

    /// Takes every product out and keeps the basket.
    #[craft(endpoint(tags("items"), responses((status_code = 200, description = "the empty basket", body = BasketView))))]
    async fn clear(&self, user_id: Path<UserId>, req: &mut Request, res: &mut Response) -> Result<(), Problem> {
        let basket = self.commands.clear(&user_id.0, etag::if_match(req)?).await?;
        render(&basket, res);
        Ok(())
    }
}

fn render(basket: &Basket, res: &mut Response) {
    etag::set(res, basket.version);
    res.render(Json(BasketView::from(basket)));
}

impl ToSchema for UserId {
    fn to_schema(_: &mut Components) -> RefOr<Schema> {
        let id = Object::with_type(BasicType::String).pattern("^[A-Za-z0-9._@-]+$").min_length(1).max_length(Self::MAX);
        RefOr::Type(id.into())
    }
}
