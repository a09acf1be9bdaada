//! The catalogue over HTTP.

use salvo::craft::craft;
use salvo::http::StatusCode;
use salvo::oapi::ToParameters;
use salvo::writing::Json;
use salvo::{Depot, Request, Response, Router, Writer};
use serde::Deserialize;
use shop_fault::Fault;
use shop_input::invalid_parameter;
use shop_page::{Cursor, Limit};
use shop_web::idempotency;
use shop_web::page::{CursorText, Page, PageQuery, PageSize};
use shop_web::{About, Path, Problem, Query, StrictJson, describe, etag, precondition};

use super::Api;
use super::listing::{Asked, BOUND, MAX_CATEGORY, MAX_TEXT, bound};
use super::movements::{AdjustmentBody, MovementView, scope};
use super::view::{ProductBody, ProductView};
use crate::domain::{EntryPage, Filter, Order, Product};

/// What the document says of the service.
pub(crate) const ABOUT: About = About {
    title: "Product service",
    tags: &[("products", "What is sold, at which price, and how much of it is there")],
};

/// Every route of the service.
pub(crate) fn routes(api: &Api) -> Router {
    let making = idempotency::hoop::<StrictJson<ProductBody>>("CreateProduct", api.keys.clone());
    let adjusting = idempotency::hoop::<StrictJson<AdjustmentBody>>("AdjustStock", api.keys.clone());
    let adjustments = Router::with_path("stock-adjustments").hoop(adjusting).post(api.adjust());
    let product = Router::with_path("{id}")
        .get(api.show())
        .put(api.replace())
        .delete(api.remove())
        .push(adjustments)
        .push(Router::with_path("stock-movements").get(api.movements()));
    Router::with_path("products").get(api.list()).push(Router::new().hoop(making).post(api.create())).push(product)
}

describe! {
    SortName = describe::names(Order::ALL.map(|(name, _)| name)).description("What a list is sorted by, `-` for the other way round").example("-price") => "ProductSort";
    CategoryFilter = describe::string(0..=MAX_CATEGORY).pattern(describe::line());
    Words = describe::string(0..=MAX_TEXT).pattern(describe::line()).example("walnut desk");
    PriceBound = describe::string(1..=40).pattern(BOUND).example("12.50");
}

/// What to list.
#[derive(Debug, Deserialize, ToParameters)]
#[salvo(parameters(default_parameter_in = Query))]
struct ListParameters {
    /// Products per page.
    #[serde(default)]
    #[salvo(parameter(value_type = PageSize))]
    limit: Limit,
    /// `next_cursor` of the page before.
    #[salvo(parameter(value_type = Option<CursorText>))]
    cursor: Option<String>,
    /// Exactly this category.
    #[salvo(parameter(value_type = Option<CategoryFilter>))]
    category: Option<String>,
    /// Words to look for in name and description; a piece of the name when no word matches.
    #[salvo(parameter(value_type = Option<Words>))]
    q: Option<String>,
    /// Lowest price, as the number it shows.
    #[salvo(parameter(value_type = Option<PriceBound>))]
    min_price: Option<String>,
    /// Highest price, as the number it shows.
    #[salvo(parameter(value_type = Option<PriceBound>))]
    max_price: Option<String>,
    /// `true`: something is available; `false`: nothing is.
    in_stock: Option<bool>,
    /// `id`, `price`, `name`, `created_at`, `units_sold`, each also with `-` for the other way round.
    #[salvo(parameter(value_type = Option<SortName>))]
    sort: Option<String>,
}

impl TryFrom<ListParameters> for Asked {
    type Error = Fault;

    fn try_from(sent: ListParameters) -> Result<Self, Fault> {
        let filter = Filter {
            category: sent.category,
            text: sent.q,
            min_price: sent.min_price.map(|text| bound("min_price", &text)).transpose()?,
            max_price: sent.max_price.map(|text| bound("max_price", &text)).transpose()?,
            in_stock: sent.in_stock,
            ..Filter::default()
        };
        let order = sent.sort.map_or(Ok(Order::default()), |name| Order::named(&name).ok_or_else(unknown_sort))?;
        Ok(Self { filter, order, cursor: sent.cursor, limit: sent.limit.get() as usize })
    }
}

fn unknown_sort() -> Fault {
    let names: Vec<_> = Order::ALL.iter().map(|(name, _)| *name).collect();
    invalid_parameter("sort", format!("must be one of {}", names.join(", ")))
}

#[craft]
impl Api {
    /// Lists products, page by page.
    #[craft(endpoint(
        operation_id = "listProducts",
        tags("products"),
        responses((status_code = 200, description = "A page of products", body = Page<ProductView>)),
    ))]
    async fn list(&self, query: Query<ListParameters>) -> Result<Json<Page<ProductView>>, Problem> {
        let wanted = Asked::try_from(query.0)?.check()?;
        let slice = self.queries.products(&wanted.listing).await?;
        Ok(Json(Page::of(slice, &wanted.scope)))
    }

    /// Reads a product.
    ///
    /// Its `ETag` stands for what a PUT replaces; reservations do not change it.
    #[craft(endpoint(
        operation_id = "getProduct",
        tags("products"),
        responses(
            (status_code = 200, description = "The product", body = ProductView),
            (status_code = 404, description = "`product_not_found`")),
    ))]
    async fn show(&self, id: Path<i64>, res: &mut Response) -> Result<Json<ProductView>, Problem> {
        Ok(shown(self.queries.product(id.0).await?, res))
    }

    /// Adds a product.
    #[craft(endpoint(
        operation_id = "createProduct",
        tags("products"),
        responses((status_code = 201, description = "The product that was added", body = ProductView)),
        parameters(("Idempotency-Key" = Option<String>, Header)),
    ))]
    async fn create(
        &self,
        body: StrictJson<ProductBody>,
        req: &mut Request,
        depot: &mut Depot,
        res: &mut Response,
    ) -> Result<(), Problem> {
        precondition::of_list(req)?;
        let operation = idempotency::operation(depot, &*self.clock);
        let product = self.commands.create(operation, body.0.into()).await?;
        res.status_code(StatusCode::CREATED);
        if let Ok(location) = format!("/products/{}", product.id).parse() {
            res.headers_mut().insert(http::header::LOCATION, location);
        }
        let shown = shown(product, res);
        res.render(shown);
        Ok(())
    }

    /// Replaces a product; with `If-Match` only if nobody changed it since. Needed when it changes the stock.
    #[craft(endpoint(
        operation_id = "replaceProduct",
        tags("products"),
        responses(
            (status_code = 200, description = "The product as it is now", body = ProductView),
            (status_code = 404, description = "`product_not_found`"),
            (status_code = 409, description = "`stock_below_reserved`"),
            (status_code = 428, description = "`precondition_required`: another stock, and no `If-Match` with a version")),
    ))]
    async fn replace(
        &self,
        id: Path<i64>,
        body: StrictJson<ProductBody>,
        req: &mut Request,
        res: &mut Response,
    ) -> Result<Json<ProductView>, Problem> {
        let expected = precondition::of(req)?;
        Ok(shown(self.commands.update(id.0, &expected, body.0.into()).await?, res))
    }

    /// Counts units in or out, whatever was sold meanwhile. Answers with the product as it is then.
    #[craft(endpoint(
        operation_id = "adjustStock",
        tags("products"),
        responses(
            (status_code = 200, description = "The product as it is now", body = ProductView),
            (status_code = 404, description = "`product_not_found`"),
            (status_code = 409, description = "`stock_below_reserved`, `stock_above_limit`")),
        parameters(("Idempotency-Key" = Option<String>, Header)),
    ))]
    async fn adjust(
        &self,
        id: Path<i64>,
        body: StrictJson<AdjustmentBody>,
        req: &mut Request,
        depot: &mut Depot,
        res: &mut Response,
    ) -> Result<Json<ProductView>, Problem> {
        let expected = precondition::of(req)?;
        let operation = idempotency::operation(depot, &*self.clock);
        Ok(shown(self.commands.adjust(operation, id.0, &expected, body.0.into()).await?, res))
    }

    /// Every change of a product's units, newest first; of a product that is gone, too.
    #[craft(endpoint(
        operation_id = "listStockMovements",
        tags("products"),
        responses(
            (status_code = 200, description = "A page of movements", body = Page<MovementView>),
            (status_code = 404, description = "`product_not_found`")),
    ))]
    async fn movements(&self, id: Path<i64>, query: Query<PageQuery>) -> Result<Json<Page<MovementView>>, Problem> {
        let PageQuery { limit, cursor } = query.0;
        let scope = scope(id.0);
        let before = cursor.map(|cursor| Cursor::decode(&scope, &cursor)).transpose()?;
        let page = EntryPage { before, limit: limit.get() as usize };
        Ok(Json(Page::of(self.queries.entries(id.0, &page).await?, &scope)))
    }

    /// Removes a product that no reservation holds.
    #[craft(endpoint(
        operation_id = "deleteProduct",
        tags("products"),
        responses(
            (status_code = 204, description = "The product is gone"),
            (status_code = 404, description = "`product_not_found`"),
            (status_code = 409, description = "`product_reserved`")),
    ))]
    async fn remove(&self, id: Path<i64>, req: &mut Request, res: &mut Response) -> Result<(), Problem> {
        self.commands.delete(id.0, &precondition::of(req)?).await?;
        res.status_code(StatusCode::NO_CONTENT);
        Ok(())
    }
}

fn shown(product: Product, res: &mut Response) -> Json<ProductView> {
    etag::set(res, product.version);
    Json(product.into())
}
