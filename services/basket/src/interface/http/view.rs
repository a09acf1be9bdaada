//! Baskets as HTTP clients see them.

use salvo::oapi::ToSchema;
use serde::Serialize;
use shop_money::{Amount, Currency};
use shop_web::{describe, schema};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::domain::{Basket, Line, Quantity};

describe! {
    pub(super) UnitsOfLine = describe::integer(1..=Quantity::MAX.into()).example(2);
    ItemCount = describe::integer(0..=i64::from(Quantity::MAX) * i64::try_from(Basket::MAX_LINES).unwrap_or(i64::MAX)).example(2);
    ProductName = describe::string(1..=200).example("Walnut standing desk");
    ProductCategory = describe::string(1..=100).example("furniture");
}

/// A user's basket.
#[derive(Debug, Serialize, ToSchema)]
#[salvo(schema(name = "Basket"))]
pub(crate) struct BasketView {
    /// New with every new basket of the user.
    #[salvo(schema(value_type = describe::Id))]
    id: Uuid,
    /// Whose it is.
    #[salvo(schema(value_type = schema::UserId))]
    user_id: String,
    /// Oldest first, each product once.
    #[salvo(schema(max_items = 100))]
    items: Vec<ItemView>,
    /// Units over all lines.
    #[salvo(schema(value_type = ItemCount))]
    item_count: u32,
    /// The sum of the subtotals.
    #[salvo(schema(value_type = describe::Amount))]
    total: Amount,
    /// ISO 4217 code of every amount here.
    #[salvo(schema(value_type = describe::CurrencyCode))]
    currency: Currency,
    /// When it was made.
    #[serde(with = "shop_clock::serde_rfc3339")]
    #[salvo(schema(value_type = describe::Time))]
    created_at: OffsetDateTime,
    /// When it was last changed.
    #[serde(with = "shop_clock::serde_rfc3339")]
    #[salvo(schema(value_type = describe::Time))]
    updated_at: OffsetDateTime,
    /// When it is gone unless it is changed before.
    #[serde(with = "shop_clock::serde_rfc3339")]
    #[salvo(schema(value_type = describe::Time))]
    expires_at: OffsetDateTime,
}

/// One product in a basket.
#[derive(Debug, Serialize, ToSchema)]
#[salvo(schema(name = "BasketItem"))]
pub(crate) struct ItemView {
    /// The line's own id.
    #[salvo(schema(value_type = describe::Id))]
    id: Uuid,
    /// Which product.
    #[salvo(schema(value_type = describe::ProductId))]
    product_id: i64,
    /// Its name when it was last looked up.
    #[salvo(schema(value_type = ProductName))]
    name: String,
    /// How many.
    #[salvo(schema(value_type = UnitsOfLine))]
    quantity: u32,
    /// Price of one when it was last looked up.
    #[salvo(schema(value_type = describe::Amount))]
    price: Amount,
    /// Price times quantity.
    #[salvo(schema(value_type = describe::Amount))]
    subtotal: Amount,
    /// Its category when it was last looked up.
    #[salvo(schema(value_type = ProductCategory))]
    category: String,
    /// When the product was added.
    #[serde(with = "shop_clock::serde_rfc3339")]
    #[salvo(schema(value_type = describe::Time))]
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
