//! A product in JSON: as it is shown, and as it is sent in.

use salvo::oapi::ToSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use shop_http::Problem;
use shop_http::idempotency::Canonical;
use shop_http::page::Listed;
use shop_money::{Amount, Currency, Decimal};
use time::OffsetDateTime;

use crate::domain::{Details, Draft, Price, Product};

/// A product as the catalogue shows it.
#[derive(Debug, Serialize, ToSchema)]
#[salvo(schema(name = "Product"))]
pub(crate) struct ProductView {
    /// Assigned by the catalogue.
    id: i64,
    /// 1 to 200 characters.
    #[salvo(schema(example = "Walnut standing desk"))]
    name: String,
    /// Up to 5000 characters.
    description: String,
    /// Price of one unit, with the currency's decimals.
    #[salvo(schema(value_type = f64, example = 1299.99))]
    price: Amount,
    /// ISO 4217 code.
    #[salvo(schema(value_type = String, example = "USD"))]
    currency: Currency,
    /// Units on hand, reserved ones included.
    stock_quantity: i64,
    /// Units that can still be bought: on hand minus reserved.
    available_quantity: i64,
    /// Units sold in completed payments.
    units_sold: i64,
    /// 1 to 100 characters.
    #[salvo(schema(example = "furniture"))]
    category: String,
    /// An http or https URL.
    image_url: Option<String>,
    /// When it was added.
    #[serde(with = "shop_clock::serde_rfc3339")]
    #[salvo(schema(value_type = String, format = "date-time", example = "2026-01-02T03:04:05.678Z"))]
    created_at: OffsetDateTime,
    /// When it, or its stock on hand, was last changed.
    #[serde(with = "shop_clock::serde_rfc3339")]
    #[salvo(schema(value_type = String, format = "date-time", example = "2026-01-02T03:04:05.678Z"))]
    updated_at: OffsetDateTime,
}

impl Listed for ProductView {
    const PLURAL: &'static str = "products";
}

impl From<Product> for ProductView {
    fn from(product: Product) -> Self {
        let available_quantity = product.available();
        let details = product.details;
        Self {
            id: product.id,
            name: details.name,
            description: details.description,
            price: details.price.amount(),
            currency: details.price.currency,
            stock_quantity: details.stock_quantity,
            available_quantity,
            units_sold: product.units_sold,
            category: details.category,
            image_url: details.image_url,
            created_at: product.created_at,
            updated_at: product.updated_at,
        }
    }
}

/// A product to add, or the new content of one. Fields left out are judged with the others, so that one answer
/// names everything that is missing or wrong.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(default)]
#[salvo(schema(name = "ProductBody"))]
pub(crate) struct ProductBody {
    /// 1 to 200 characters.
    #[salvo(schema(required = true, example = "Walnut standing desk"))]
    name: String,
    /// Up to 5000 characters; line breaks are kept.
    description: String,
    /// Price of one unit, above zero: a number or a string, with no more decimals than the currency has.
    #[salvo(schema(required = true, value_type = f64, example = 1299.99))]
    price: Option<Decimal>,
    /// ISO 4217 code; USD when left out.
    #[salvo(schema(example = "USD"))]
    currency: Option<String>,
    /// Units on hand, zero or more, never below what is reserved.
    #[salvo(schema(required = true, example = 12))]
    stock_quantity: Option<i64>,
    /// 1 to 100 characters.
    #[salvo(schema(required = true, example = "furniture"))]
    category: String,
    /// An http or https URL, or null.
    image_url: Option<String>,
}

impl Canonical for ProductBody {
    fn canonical(self) -> Result<Value, Problem> {
        let Details { name, description, price, stock_quantity, category, image_url } = Details::parse(self.into())?;
        Ok(json!({
            "name": name,
            "description": description,
            "price": price.minor,
            "currency": price.currency.to_string(),
            "stock_quantity": stock_quantity,
            "category": category,
            "image_url": image_url,
        }))
    }
}

impl From<ProductBody> for Draft {
    fn from(body: ProductBody) -> Self {
        Self {
            name: body.name,
            description: body.description,
            price: body.price.map(Price::Written),
            currency: body.currency,
            stock_quantity: body.stock_quantity,
            category: body.category,
            image_url: body.image_url,
        }
    }
}
