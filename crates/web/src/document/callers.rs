//! Who may call an operation, where callers have to say who they are.

use serde_json::{Value, json};
use shop_identity::{Access, Rule, Who};

/// What a token is called in the document.
const NAME: &str = "bearer";

/// How callers say who they are (RFC 6750).
pub(super) fn scheme() -> Value {
    let description = "A token of an issuer that this shop trusts: `Authorization: Bearer …`";
    json!({NAME: {"type": "http", "scheme": "bearer", "bearerFormat": "JWT", "description": description}})
}

/// Tells what the row of an operation asks of its callers, and how those are refused who do not have it. A token that is not
/// good is refused also where none is asked for.
pub(super) fn tell(rule: Option<&Rule>, operation: &mut Value) {
    let access = rule.map(|rule| rule.access);
    let is_open = access == Some(Access::Open);
    let token = json!({NAME: []});
    operation["security"] = if is_open { json!([{}, token]) } else { json!([token]) };
    let missing = if is_open { "" } else { "`token_missing`, " };
    refusal(operation, 401, &format!("{missing}`token_invalid`, `token_expired`"));
    match access {
        Some(Access::Open) => {}
        Some(Access::Owner(_)) => refusal(operation, 403, "`forbidden`: for guests and people"),
        Some(Access::Only(who)) => refusal(operation, 403, &format!("`forbidden`: for {}", names(who))),
        None => refusal(operation, 403, "`forbidden`"),
    }
    refusal(operation, 503, "`identity_unavailable`");
}

/// Adds a refusal, after what the operation says of the same status itself.
fn refusal(operation: &mut Value, status: u16, text: &str) {
    let response = &mut operation["responses"][status.to_string()];
    let said = response["description"].as_str().map_or_else(String::new, |said| format!("{said}, "));
    response["description"] = format!("{said}{text}").into();
}

fn names(who: &[Who]) -> String {
    let name = |one: &Who| match one {
        Who::Has(role) => format!("the role `{role}`"),
        Who::Service(name) => format!("the service `{name}`"),
    };
    who.iter().map(name).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use shop_identity::Role;

    use super::*;

    #[test]
    fn each_kind_of_row_says_who_may_call() {
        const KEEPERS: &[Who] = &[Who::Has(Role::Catalogue), Who::Service("payment")];
        for (access, security, told) in [
            (Access::Open, json!([{}, {"bearer": []}]), [Value::Null, "`token_invalid`, `token_expired`".into()]),
            (
                Access::Owner(&[]),
                json!([{"bearer": []}]),
                [
                    "not yours, `forbidden`: for guests and people".into(),
                    "`token_missing`, `token_invalid`, `token_expired`".into(),
                ],
            ),
            (
                Access::Only(KEEPERS),
                json!([{"bearer": []}]),
                [
                    "not yours, `forbidden`: for the role `catalogue`, the service `payment`".into(),
                    "`token_missing`, `token_invalid`, `token_expired`".into(),
                ],
            ),
        ] {
            let mut operation = json!({"responses": {}});
            if access != Access::Open {
                operation["responses"]["403"] = json!({"description": "not yours"});
            }
            tell(Some(&Rule::new("GET /x", "", access)), &mut operation);
            let said = |status: &str| operation["responses"][status]["description"].clone();
            assert_eq!((&operation["security"], [said("403"), said("401")]), (&security, told), "{access:?}");
            assert_eq!(said("503"), "`identity_unavailable`");
        }
    }
}
