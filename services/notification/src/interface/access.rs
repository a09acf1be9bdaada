//! Who may do what with notifications. An operation without a row here is for nobody.

use shop_fault::Fault;
use shop_identity::{Access, Refusal, Role, Rule, Who};
use shop_input::Id as _;

use crate::domain::UserId;

/// A guest's or a person's own; support may read anybody's.
const READ: Access = Access::Owner(&[Who::Has(Role::Support)]);
const SUPPORT: Access = Access::Only(&[Who::Has(Role::Support)]);
/// All that is kept of one person, for whoever tells him.
const PERSONAL: Access = Access::Only(&[Who::Service("payment")]);
const OPERATOR: Access = Access::Only(&[Who::Has(Role::Operator)]);

/// Every operation.
pub(crate) const ACCESS: &[Rule] = &[
    Rule::new("GET /notifications", "", READ),
    Rule::new("GET /notifications/{id}", "", READ),
    Rule::new("POST /notifications/{id}/retry", "", SUPPORT),
    Rule::new("GET /users/{user_id}/notification-preferences", "", READ).or_else(forbidden),
    Rule::new("PUT /users/{user_id}/notification-preferences", "", Access::Owner(&[])).or_else(forbidden),
    Rule::new("GET /webhooks/endpoints", "", OPERATOR),
    Rule::new("POST /webhooks/endpoints", "", OPERATOR),
    Rule::new("GET /webhooks/endpoints/{id}", "", OPERATOR),
    Rule::new("PUT /webhooks/endpoints/{id}", "", OPERATOR),
    Rule::new("DELETE /webhooks/endpoints/{id}", "", OPERATOR),
    Rule::new("POST /webhooks/endpoints/{id}/rotate-secret", "", OPERATOR),
    Rule::new("", "shop.notification.v1.PersonalService/GetUserRecords", PERSONAL),
];

/// Every user has preferences, so there is no answer that only those give who are not there: somebody else's are forbidden,
/// whoever that is.
fn forbidden(user: &str) -> Fault {
    match UserId::read(user) {
        Some(_) => Refusal::Forbidden.into(),
        None => shop_input::invalid_parameter("user_id", format!("must be {}", UserId::FORM)),
    }
}
