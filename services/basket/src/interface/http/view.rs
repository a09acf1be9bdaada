//! Baskets as HTTP clients see them.

use salvo::oapi::ToSchema;
use serde::Serialize;
use shop_web::{describe, schema};

use crate::domain::{Basket, Line, Quantity};

describe! {
    pub(super) UnitsOfLine(u32) = describe::integer(1..=Quantity::MAX.into()).example(2);
    ItemCount(u32) = describe::integer(0..=i64::from(Quantity::MAX) * i64::try_from(Basket::MAX_LINES).unwrap_or(i64::MAX)).example(2);
    ProductName(String) = describe::string(1..=200).example("Walnut standing desk");
    ProductCategory(String) = describe::string(1..=100).example("furniture");
}

/// A user's basket.
#[derive(Debug, Serialize, ToSchema)]
#[salvo(schema(name = "Basket"))]
pub(crate) struct BasketView {
    /// New with every new basket of the user.
    id: describe::Id,
    /// Whose it is.
    user_id: schema::UserId,
    /// Oldest first, each product once.
    #[salvo(schema(max_items = 100))]
    items: Vec<ItemView>,
    /// Units over all lines.
    item_count: ItemCount,
    /// The sum of the subtotals.
    total: describe::Amount,
    /// ISO 4217 code of every amount here.
    currency: describe::CurrencyCode,
    /// When it was made.
    created_at: describe::Time,
    /// When it was last changed.
    updated_at: describe::Time,
    /// When it is gone unless it is changed before.
    expires_at: describe::Time,
}

/// One product in a basket.
#[derive(Debug, Serialize, ToSchema)]
#[salvo(schema(name = "BasketItem"))]
pub(crate) struct ItemView {
    /// The line's own id.
    id: describe::Id,
    /// Which product.
    product_id: describe::ProductId,
    /// Its name when it was last looked up.
    name: ProductName,
    /// How many.
    quantity: UnitsOfLine,
    /// Price of one when it was last looked up.
    price: describe::Amount,
    /// Price times quantity.
    subtotal: describe::Amount,
    /// Its category when it was last looked up.
    category: ProductCategory,
    /// When the product was added.
    created_at: describe::Time,
}

impl From<&Basket> for BasketView {
    fn from(basket: &Basket) -> Self {
        Self {
            id: basket.id.into(),
            user_id: basket.user.to_string().into(),
            items: basket.lines.iter().map(ItemView::from).collect(),
            item_count: basket.item_count().into(),
            total: basket.total().amount().into(),
            currency: basket.currency().into(),
            created_at: basket.created_at.into(),
            updated_at: basket.updated_at.into(),
            expires_at: basket.expires_at.into(),
        }
    }
}

impl From<&Line> for ItemView {
    fn from(line: &Line) -> Self {
        Self {
            id: line.id.into(),
            product_id: line.product.into(),
            name: line.name.clone().into(),
            quantity: line.quantity.get().into(),
            price: line.price.amount().into(),
            subtotal: line.subtotal().amount().into(),
            category: line.category.clone().into(),
            created_at: line.created_at.into(),
        }
    }
}
