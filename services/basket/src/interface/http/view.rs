//! Baskets as HTTP clients see them.

use salvo::oapi::ToSchema;
use serde::Serialize;
use shop_money::{Amount, Currency};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::domain::{Basket, Line};

/// A user's basket.
#[derive(Debug, Serialize, ToSchema)]
#[salvo(schema(name = "Basket"))]
pub(crate) struct BasketView {
    /// New with every new basket of the user.
    id: Uuid,
    /// Whose it is.
    user_id: String,
    /// Oldest first, each product once, at most 100.
    items: Vec<ItemView>,
    /// Units over all lines.
    item_count: u32,
    /// The sum of the subtotals.
    #[salvo(schema(value_type = f64))]
    total: Amount,
    /// ISO 4217 code of every amount here.
    #[salvo(schema(value_type = String, example = "USD"))]
    currency: Currency,
    /// When it was made.
    #[serde(with = "shop_clock::serde_rfc3339")]
    #[salvo(schema(value_type = String, format = "date-time"))]
    created_at: OffsetDateTime,
    /// When it was last changed.
    #[serde(with = "shop_clock::serde_rfc3339")]
    #[salvo(schema(value_type = String, format = "date-time"))]
    updated_at: OffsetDateTime,
    /// When it is gone unless it is changed before.
    #[serde(with = "shop_clock::serde_rfc3339")]
    #[salvo(schema(value_type = String, format = "date-time"))]
    expires_at: OffsetDateTime,
}

/// One product in a basket.
#[derive(Debug, Serialize, ToSchema)]
#[salvo(schema(name = "BasketItem"))]
pub(crate) struct ItemView {
    /// The line's own id.
    id: Uuid,
    /// Which product.
    product_id: i64,
    /// Its name when it was last looked up.
    name: String,
    /// How many, 1 to 999.
    quantity: u32,
    /// Price of one when it was last looked up.
    #[salvo(schema(value_type = f64))]
    price: Amount,
    /// Price times quantity.
    #[salvo(schema(value_type = f64))]
    subtotal: Amount,
    /// Its category when it was last looked up.
    category: String,
    /// When the product was added.
    #[serde(with = "shop_clock::serde_rfc3339")]
    #[salvo(schema(value_type = String, format = "date-time"))]
    created_at: OffsetDateTime,
}

impl From<&Basket> for BasketView {
    fn from(basket: &Basket) -> Self {
        Self {
            id: basket.id,
            user_id: basket.user.to_string(),
            items: basket.lines.iter().map(ItemView::from).collect(),
            item_count: basket.item_count(),
            total: basket.total().amount(),
            currency: basket.currency(),
            created_at: basket.created_at,
            updated_at: basket.updated_at,
            expires_at: basket.expires_at,
        }
    }
}

impl From<&Line> for ItemView {
    fn from(line: &Line) -> Self {
        Self {
            id: line.id,
            product_id: line.product,
            name: line.name.clone(),
            quantity: line.quantity.get(),
            price: line.price.amount(),
            subtotal: line.subtotal().amount(),
            category: line.category.clone(),
            created_at: line.created_at,
        }
    }
}
