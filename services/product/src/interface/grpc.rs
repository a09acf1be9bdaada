//! The catalogue over gRPC: the same commands, the same codes.

use serde_json::json;
use shop_fault::Fault;
use shop_input::invalid_parameter;
use shop_money::Currency;
use shop_page::Cursor;
use shop_proto::common::v1::Money;
use shop_proto::product::v1 as proto;
use shop_proto::product::v1::product_service_server::ProductService;
use shop_proto::timestamp;
use shop_rpc::idempotency::{Call, key, once};
use shop_rpc::status;
use tonic::{Request, Response, Status};

use super::listing::Asked;
use super::view::canonical;
use super::{Api, movements};
use crate::domain::{
    AdjustmentDraft, Direction, Draft, Entry, EntryKind, EntryPage, Filter, Order, Price, Product, Sort, thousandths,
};

const DEFAULT_LIMIT: usize = 20;
const MAX_LIMIT: usize = 100;

pub(super) type Answer<T> = Result<Response<T>, Status>;

/// The service `shop.product.v1.ProductService`.
#[derive(Clone)]
pub(crate) struct ProductGrpc(Api);

impl ProductGrpc {
    /// For what the handlers over HTTP work with.
    pub(crate) const fn new(api: Api) -> Self {
        Self(api)
    }
}

#[tonic::async_trait]
impl ProductService for ProductGrpc {
    async fn create_product(
        &self,
        request: Request<proto::CreateProductRequest>,
    ) -> Answer<proto::CreateProductResponse> {
        let key = key(&request)?;
        let draft: Draft = request.into_inner().into();
        let call = Call::new("CreateProduct", key, || canonical(draft.clone()).map_err(status))?;
        once(&self.0.keys, call, async |operation| {
            let operation = operation.unwrap_or_else(|| self.0.clock.new_id());
            let product = self.0.commands.create(operation, draft).await.map_err(status)?;
            Ok(proto::CreateProductResponse { product: Some(product.into()) })
        })
        .await
    }

    async fn get_product(&self, request: Request<proto::GetProductRequest>) -> Answer<proto::GetProductResponse> {
        let product = self.0.queries.product(request.into_inner().id).await.map_err(status)?;
        Ok(Response::new(proto::GetProductResponse { product: Some(product.into()) }))
    }

    async fn get_products(&self, request: Request<proto::GetProductsRequest>) -> Answer<proto::GetProductsResponse> {
        let wanted = asked(request.into_inner()).and_then(Asked::check).map_err(status)?;
        let slice = self.0.queries.products(&wanted.listing).await.map_err(status)?;
        let next_cursor = slice.cursor(&wanted.scope).unwrap_or_default();
        let products = slice.items.into_iter().map(Into::into).collect();
        Ok(Response::new(proto::GetProductsResponse { products, next_cursor }))
    }

    async fn update_product(
        &self,
        request: Request<proto::UpdateProductRequest>,
    ) -> Answer<proto::UpdateProductResponse> {
        let request = request.into_inner();
        let (id, expected) = (request.id, request.expected_version.into());
        let product = self.0.commands.update(id, &expected, request.into()).await.map_err(status)?;
        Ok(Response::new(proto::UpdateProductResponse { product: Some(product.into()) }))
    }

    async fn adjust_stock(&self, request: Request<proto::AdjustStockRequest>) -> Answer<proto::AdjustStockResponse> {
        let key = key(&request)?;
        let proto::AdjustStockRequest { id, delta, reason, reference, expected_version } = request.into_inner();
        let draft = AdjustmentDraft { delta: Some(delta), reason, reference };
        let call = Call::new("AdjustStock", key, || {
            let asked = movements::canonical(draft.clone()).map_err(status)?;
            Ok(json!({ "id": id, "adjustment": asked, "expected_version": expected_version }))
        })?;
        once(&self.0.keys, call, async |operation| {
            let operation = operation.unwrap_or_else(|| self.0.clock.new_id());
            let adjusted = self.0.commands.adjust(operation, id, &expected_version.into(), draft).await;
            Ok(proto::AdjustStockResponse { product: Some(adjusted.map_err(status)?.into()) })
        })
        .await
    }

    async fn list_stock_movements(
        &self,
        request: Request<proto::ListStockMovementsRequest>,
    ) -> Answer<proto::ListStockMovementsResponse> {
        let proto::ListStockMovementsRequest { id, limit, cursor } = request.into_inner();
        let limit = match limit as usize {
            0 => DEFAULT_LIMIT,
            limit @ 1..=MAX_LIMIT => limit,
            _ => return Err(status(invalid_parameter("limit", format!("must be 0 to {MAX_LIMIT}")))),
        };
        let scope = movements::scope(id);
        let cursor = Some(cursor).filter(|cursor| !cursor.is_empty());
        let before = cursor.map(|cursor| Cursor::decode(&scope, &cursor)).transpose().map_err(status)?;
        let entries = self.0.queries.entries(id, &EntryPage { before, limit }).await.map_err(status)?;
        let next_cursor = entries.cursor(&scope).unwrap_or_default();
        let movements = entries.items.into_iter().map(Into::into).collect();
        Ok(Response::new(proto::ListStockMovementsResponse { movements, next_cursor }))
    }

    async fn delete_product(
        &self,
        request: Request<proto::DeleteProductRequest>,
    ) -> Answer<proto::DeleteProductResponse> {
        let request = request.into_inner();
        self.0.commands.delete(request.id, &request.expected_version.into()).await.map_err(status)?;
        Ok(Response::new(proto::DeleteProductResponse {}))
    }
}

fn asked(request: proto::GetProductsRequest) -> Result<Asked, Fault> {
    let limit = match request.limit as usize {
        0 if request.ids.is_empty() => DEFAULT_LIMIT,
        0 => MAX_LIMIT,
        limit @ 1..=MAX_LIMIT => limit,
        _ => return Err(invalid_parameter("limit", format!("must be 0 to {MAX_LIMIT}"))),
    };
    if request.ids.len() > MAX_LIMIT {
        return Err(invalid_parameter("ids", format!("must be at most {MAX_LIMIT} ids")));
    }
    let order = order(request.sort)?;
    let (min_price, lowest_in) = bound("min_price", request.min_price)?.unzip();
    let (max_price, highest_in) = bound("max_price", request.max_price)?.unzip();
    if lowest_in.zip(highest_in).is_some_and(|(lowest, highest)| lowest != highest) {
        return Err(invalid_parameter("max_price", "must be of the same currency as min_price".to_owned()));
    }
    let filter = Filter {
        ids: request.ids,
        category: request.category,
        text: request.q,
        currency: lowest_in.or(highest_in),
        min_price,
        max_price,
        in_stock: request.in_stock,
    };
    let cursor = Some(request.cursor).filter(|cursor| !cursor.is_empty());
    Ok(Asked { filter, order, cursor, limit })
}

fn order(sort: i32) -> Result<Order, Fault> {
    use proto::ProductSort as Named;
    let known = Named::try_from(sort).map_err(|_| invalid_parameter("sort", "is not a known order".to_owned()))?;
    Ok(match known {
        Named::Unspecified | Named::IdAsc => Order::new(Sort::Id, Direction::Up),
        Named::IdDesc => Order::new(Sort::Id, Direction::Down),
        Named::PriceAsc => Order::new(Sort::Price, Direction::Up),
        Named::PriceDesc => Order::new(Sort::Price, Direction::Down),
        Named::NameAsc => Order::new(Sort::Name, Direction::Up),
        Named::NameDesc => Order::new(Sort::Name, Direction::Down),
        Named::CreatedAtAsc => Order::new(Sort::CreatedAt, Direction::Up),
        Named::CreatedAtDesc => Order::new(Sort::CreatedAt, Direction::Down),
        Named::UnitsSoldAsc => Order::new(Sort::UnitsSold, Direction::Up),
        Named::UnitsSoldDesc => Order::new(Sort::UnitsSold, Direction::Down),
    })
}

/// A price bound in thousandths, with its currency.
fn bound(name: &str, money: Option<Money>) -> Result<Option<(i64, Currency)>, Fault> {
    let Some(money) = money else { return Ok(None) };
    let currency = match money.currency.as_str() {
        "" => Currency::default(),
        code => code.parse().map_err(|error: shop_money::MoneyError| invalid_parameter(name, error.to_string()))?,
    };
    Ok(Some((thousandths(shop_money::Money::new(money.minor_units, currency)), currency)))
}

/// A price and its currency. Empty is how proto3 leaves a text out.
fn price(money: Option<Money>) -> (Option<Price>, Option<String>) {
    let Some(Money { minor_units, currency }) = money else { return (None, None) };
    (Some(Price::Minor(minor_units)), Some(currency).filter(|code| !code.is_empty()))
}

/// Both requests hold a draft, member by member.
macro_rules! draft {
    ($request:ident) => {
        impl From<proto::$request> for Draft {
            fn from(sent: proto::$request) -> Self {
                let (price, currency) = price(sent.price);
                let stock_quantity = Some(sent.stock_quantity);
                let proto::$request { name, description, category, image_url, .. } = sent;
                Self { name, description, price, currency, stock_quantity, category, image_url }
            }
        }
    };
}
draft!(CreateProductRequest);
draft!(UpdateProductRequest);

impl From<Entry> for proto::StockMovement {
    fn from(entry: Entry) -> Self {
        use proto::StockMovementKind as Named;
        let kind = match entry.kind {
            EntryKind::Adjustment => Named::Adjustment,
            EntryKind::Reservation => Named::Reservation,
            EntryKind::Sale => Named::Sale,
            EntryKind::Release => Named::Release,
            EntryKind::Restock => Named::Restock,
        };
        Self {
            id: entry.id,
            product_id: entry.product,
            kind: kind.into(),
            stock_delta: entry.stock,
            reserved_delta: entry.reserved,
            reason: entry.reason,
            reference: entry.reference,
            created_at: Some(timestamp(entry.at)),
        }
    }
}

impl From<Product> for proto::Product {
    fn from(product: Product) -> Self {
        let available_quantity = product.available();
        let details = product.details;
        Self {
            id: product.id,
            name: details.name,
            description: details.description,
            price: Some(details.price.into()),
            stock_quantity: details.stock_quantity,
            available_quantity,
            category: details.category,
            image_url: details.image_url,
            created_at: Some(timestamp(product.created_at)),
            updated_at: Some(timestamp(product.updated_at)),
            units_sold: product.units_sold,
            version: product.version,
        }
    }
}
