//! A product in JSON: as it is shown, and as it is sent in.

use salvo::oapi::ToSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use shop_money::Decimal;
use shop_web::idempotency::Canonical;
use shop_web::page::Listed;
use shop_web::{Problem, describe};

use crate::domain::{CATEGORY, DESCRIPTION, Details, Draft, Error, MAX_STOCK, MAX_URL, NAME, Price, Product};

describe! {
    Name(String) = describe::text(NAME).example("Walnut standing desk");
    Description(String) = describe::text(DESCRIPTION).example("Oiled by hand.\nTwo drawers.");
    Category(String) = describe::text(CATEGORY).example("furniture");
    Stock(i64) = describe::integer(0..=MAX_STOCK).example(12);
    Sold(i64) = describe::integer(0..=i64::MAX).example(3);
    ImageUrl(String) = describe::string(1..=MAX_URL).format(describe::format("uri")).pattern(describe::WEB)
        .example("https://img.example/desk.jpg");
}

/// A product as the catalogue shows it.
#[derive(Debug, Serialize, ToSchema)]
#[salvo(schema(name = "Product"))]
pub(crate) struct ProductView {
    /// Assigned by the catalogue.
    id: describe::ProductId,
    /// What it is called.
    name: Name,
    /// What it is like.
    description: Description,
    /// Price of one unit, with the currency's decimals.
    price: describe::Amount,
    /// ISO 4217 code.
    currency: describe::CurrencyCode,
    /// Units on hand, reserved ones included.
    stock_quantity: Stock,
    /// Units that can still be bought: on hand minus reserved.
    available_quantity: Stock,
    /// Units sold in completed payments.
    units_sold: Sold,
    /// Which part of the shop it is in.
    category: Category,
    /// A picture of it, if there is one.
    image_url: Option<ImageUrl>,
    /// When it was added.
    created_at: describe::Time,
    /// When it, or its stock on hand, was last changed.
    updated_at: describe::Time,
}

impl Listed for ProductView {
    const PLURAL: &'static str = "products";
    const PAGE: &'static str = "ProductPage";
}

impl From<Product> for ProductView {
    fn from(product: Product) -> Self {
        let available_quantity = product.available();
        let details = product.details;
        Self {
            id: product.id.into(),
            name: details.name.into(),
            description: details.description.into(),
            price: details.price.amount().into(),
            currency: details.price.currency.into(),
            stock_quantity: details.stock_quantity.into(),
            available_quantity: available_quantity.into(),
            units_sold: product.units_sold.into(),
            category: details.category.into(),
            image_url: details.image_url.map(Into::into),
            created_at: product.created_at.into(),
            updated_at: product.updated_at.into(),
        }
    }
}

/// A product to add, or the new content of one. Fields left out are judged with the others, so that one answer
/// names everything that is missing or wrong.
#[derive(Debug, Deserialize, ToSchema)]
#[salvo(schema(name = "ProductBody"))]
pub(crate) struct ProductBody {
    /// What it is called.
    #[serde(default)]
    #[salvo(schema(required = true, value_type = Name))]
    name: String,
    /// What it is like; line breaks are kept.
    #[serde(default)]
    #[salvo(schema(value_type = Description))]
    description: String,
    /// Price of one unit, with no more decimals than the currency has.
    #[salvo(schema(required = true, value_type = describe::AmountSent))]
    price: Option<Decimal>,
    /// ISO 4217 code; USD when left out.
    #[salvo(schema(value_type = Option<describe::CurrencyCode>))]
    currency: Option<String>,
    /// Units on hand, never below what is reserved.
    #[salvo(schema(required = true, value_type = Stock))]
    stock_quantity: Option<i64>,
    /// Which part of the shop it is in.
    #[serde(default)]
    #[salvo(schema(required = true, value_type = Category))]
    category: String,
    /// A picture of it, if there is one.
    #[salvo(schema(value_type = Option<ImageUrl>))]
    image_url: Option<String>,
}

impl Canonical for ProductBody {
    fn canonical(self) -> Result<Value, Problem> {
        Ok(canonical(self.into())?)
    }
}

/// What a product to add asks for, the same however it was written.
pub(super) fn canonical(draft: Draft) -> Result<Value, Error> {
    let Details { name, description, price, stock_quantity, category, image_url } = Details::parse(draft)?;
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
