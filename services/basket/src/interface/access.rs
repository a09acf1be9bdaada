//! Who may do what with baskets. An operation without a row here is for nobody.

use shop_fault::Fault;
use shop_identity::{Access, Role, Rule, Who};
use shop_input::Id as _;

use crate::domain::{Error, UserId};

/// A guest's or a person's own; support may read anybody's.
const READ: Access = Access::Owner(&[Who::Has(Role::Support), Who::Service("payment")]);
const CHANGE: Access = Access::Owner(&[]);

/// Every operation.
pub(crate) const ACCESS: &[Rule] = &[
    Rule::new("POST /guests", "shop.basket.v1.BasketService/CreateGuest", Access::Open),
    Rule::new("POST /baskets", "shop.basket.v1.BasketService/CreateBasket", CHANGE),
    Rule::new("GET /baskets/{user_id}", "shop.basket.v1.BasketService/GetBasket", READ).or_else(missing),
    Rule::new("DELETE /baskets/{user_id}", "shop.basket.v1.BasketService/DeleteBasket", CHANGE).or_else(missing),
    Rule::new("POST /baskets/{user_id}/items", "shop.basket.v1.BasketService/AddItem", CHANGE).or_else(missing),
    Rule::new("DELETE /baskets/{user_id}/items", "shop.basket.v1.BasketService/ClearItems", CHANGE).or_else(missing),
    Rule::new("PUT /baskets/{user_id}/items/{product_id}", "shop.basket.v1.BasketService/UpdateItem", CHANGE)
        .or_else(missing),
    Rule::new("DELETE /baskets/{user_id}/items/{product_id}", "shop.basket.v1.BasketService/RemoveItem", CHANGE)
        .or_else(missing),
    Rule::new("POST /baskets/{user_id}/refresh", "shop.basket.v1.BasketService/RefreshBasket", CHANGE).or_else(missing),
    Rule::new("POST /baskets/{user_id}/merge", "shop.basket.v1.BasketService/MergeBasket", CHANGE).or_else(missing),
];

/// What is heard of the basket of a user who has none; of what is no user, what the operation would say.
fn missing(user: &str) -> Fault {
    match UserId::read(user) {
        Some(user) => Error::NoBasket(user).into(),
        None => shop_input::invalid_parameter("user_id", format!("must be {}", UserId::FORM)),
    }
}
