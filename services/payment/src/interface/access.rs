//! Who may do what with payments. An operation without a row here is for nobody.

use shop_identity::{Access, Caller, Refusal, Role, Rule, Who};

use crate::domain::{RawOrder, UserId};

/// A guest's or a person's own; support may read anybody's.
const READ: Access = Access::Owner(&[Who::Has(Role::Support)]);
const CHANGE: Access = Access::Owner(&[]);
/// What became of reservations, for whoever keeps them.
const SETTLEMENT: Access = Access::Only(&[Who::Service("product")]);
/// All of a person: told to him, forgotten for him, or by support when he asks.
const PERSONAL: Access = Access::Owner(&[Who::Has(Role::Support)]);
/// Who sends the goods takes the money.
const CAPTURE: Access = Access::Only(&[Who::Has(Role::Support)]);
const REFUND: Access = Access::Only(&[Who::Has(Role::Support)]);

/// Every operation.
pub(crate) const ACCESS: &[Rule] = &[
    Rule::new("POST /payments", "shop.payment.v1.PaymentService/CreatePayment", CHANGE),
    Rule::new("GET /payments", "shop.payment.v1.PaymentService/GetPayments", READ),
    Rule::new("GET /payments/{id}", "shop.payment.v1.PaymentService/GetPayment", READ),
    Rule::new("POST /payments/{id}/process", "shop.payment.v1.PaymentService/ProcessPayment", CHANGE),
    Rule::new("POST /payments/{id}/capture", "shop.payment.v1.PaymentService/CapturePayment", CAPTURE),
    Rule::new("POST /payments/{id}/cancel", "shop.payment.v1.PaymentService/CancelPayment", CHANGE),
    Rule::new("POST /payments/{id}/refund", "shop.payment.v1.PaymentService/RefundPayment", REFUND),
    Rule::new("GET /users/{user_id}/payments", "shop.payment.v1.PaymentService/GetUserPayments", READ),
    Rule::new("GET /users/{user_id}/data", "shop.payment.v1.PaymentService/ExportUserData", PERSONAL),
    Rule::new("DELETE /users/{user_id}/data", "shop.payment.v1.PaymentService/EraseUserData", PERSONAL),
    // Whoever signs it; what it says is not believed.
    Rule::new("POST /webhooks/stripe", "", Access::Open),
    // Nobody signs it, and the gateway does not pass it on; it moves nothing either.
    Rule::new("POST /webhooks/sandbox", "", Access::Open),
    Rule::new("", "shop.payment.v1.SettlementService/GetOutcomes", SETTLEMENT),
];

/// Whose payments alone the caller reaches; everybody's when there is none. Who has no name that payments can belong to
/// reaches none.
pub(super) fn reached() -> Option<UserId> {
    Caller::current().confined_to().map(|user| UserId::stored(user.to_owned()))
}

/// The user that a request names; `me` is the caller himself.
pub(super) fn named(user: &UserId) -> UserId {
    Caller::current().named(Some(user.as_str())).map_or_else(|| user.clone(), |name| UserId::stored(name.to_owned()))
}

/// The order, of the caller's own basket when it names no user; refused when it is of somebody else's.
pub(super) fn own(mut order: RawOrder) -> Result<RawOrder, Refusal> {
    let caller = Caller::current();
    let user = caller.named(Some(order.user_id.trim())).unwrap_or_default().to_owned();
    order.user_id = user;
    caller.reaches(&order.user_id).then_some(order).ok_or(Refusal::Forbidden)
}

/// The person whom a request is about, if the caller may speak for him.
pub(super) fn person(user: &UserId) -> Result<UserId, Refusal> {
    let user = named(user);
    if Caller::current().reaches(user.as_str()) { Ok(user) } else { Err(Refusal::Forbidden) }
}
