//! Baskets as HTTP clients see them.

use salvo::oapi::ToSchema;
use serde::Serialize;
use shop_identity::Guest;
use shop_web::{describe, schema};

use crate::application::Refreshed;
use crate::domain::{Basket, Difference, Finding, Line, Quantity};

describe! {
    AccessToken(String) = describe::string(1..=8192).example("eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJndWVzdC0xIn0.c2ln");
    TokenType(&'static str) = describe::names(["Bearer"]);
    Seconds(u64) = describe::integer(1..=i64::MAX).example(86400);
    Version(i64) = describe::integer(1..=i64::MAX).example(1_767_355_200_001_i64);
    Units(i64) = describe::integer(0..=i64::MAX).example(1);
    ChangeName(&'static str) = describe::names(["price", "name", "availability", "gone"])
        .description("What is different") => "BasketChangeKind";
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
    /// Grows with every change: the number in the `ETag`, and what `POST /payments` takes as `basket_version`.
    version: Version,
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

/// A guest, and what proves that it is he.
#[derive(Serialize, ToSchema)]
#[salvo(schema(name = "Guest"))]
pub(crate) struct GuestView {
    /// The user id of the guest, whose basket and payments are his.
    user_id: schema::UserId,
    /// What to send as `Authorization: Bearer …`.
    access_token: AccessToken,
    /// How to send it.
    token_type: TokenType,
    /// Seconds for which it is good.
    expires_in: Seconds,
}

/// A basket after it was refreshed, or a guest's was merged into it.
#[derive(Debug, Serialize, ToSchema)]
#[salvo(schema(name = "ChangedBasket"))]
pub(crate) struct ChangedView {
    /// As it is now.
    basket: BasketView,
    /// What is not as it was before; of a merge, what of the guest's basket was not taken over as it was. Empty when it was done
    /// before.
    #[salvo(schema(max_items = 200))]
    changes: Vec<ChangeView>,
}

/// One thing that is not as it was.
#[derive(Debug, Serialize, ToSchema)]
#[salvo(schema(name = "BasketChange"))]
pub(crate) struct ChangeView {
    /// Which product.
    product_id: describe::ProductId,
    /// Its name.
    name: ProductName,
    /// `price`, `name`: another than before. `availability`: less can be bought than the line asks for; a refresh leaves the line as
    /// it is, a merge cuts it. `gone`: left out, for it is no longer sold or does not fit.
    change: ChangeName,
    /// The price before, of `price`.
    old_price: Option<describe::Amount>,
    /// The price now, of `price`.
    new_price: Option<describe::Amount>,
    /// Units that the line asks for; of a merge, those that both baskets had.
    quantity: Units,
    /// Units that can be bought now.
    available_quantity: Units,
}

impl From<Guest> for GuestView {
    fn from(guest: Guest) -> Self {
        Self {
            user_id: guest.user.into(),
            access_token: guest.token.into(),
            token_type: "Bearer".into(),
            expires_in: guest.lifetime.as_secs().into(),
        }
    }
}

impl From<&Refreshed> for ChangedView {
    fn from(refreshed: &Refreshed) -> Self {
        let changes = refreshed.differences.iter().map(ChangeView::from).collect();
        Self { basket: (&refreshed.basket).into(), changes }
    }
}

impl From<&Difference> for ChangeView {
    fn from(difference: &Difference) -> Self {
        let (change, prices) = match difference.finding {
            Finding::Price { old, new } => ("price", Some((old, new))),
            Finding::Name => ("name", None),
            Finding::Availability => ("availability", None),
            Finding::Gone => ("gone", None),
        };
        Self {
            product_id: difference.product.into(),
            name: difference.name.clone().into(),
            change: change.into(),
            old_price: prices.map(|(old, _)| old.amount().into()),
            new_price: prices.map(|(_, new)| new.amount().into()),
            quantity: i64::from(difference.quantity).into(),
            available_quantity: difference.available.into(),
        }
    }
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
            version: basket.version.into(),
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
