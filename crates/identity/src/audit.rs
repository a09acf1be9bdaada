//! Who did it: a line for each change of money, stock, price, endpoint or setting.

use crate::Caller;

/// Writes the line, under the target `audit`. `operation` is the name of the operation, `object` what it was done to,
/// `outcome` the status or the code of the refusal. No tokens, no bodies.
pub fn audit(caller: &Caller, operation: &str, object: &str, outcome: &str, request_id: &str) {
    let principal = caller.name();
    let issuer = caller.principal().map_or("", |principal| &*principal.issuer);
    tracing::info!(
        target: "audit",
        principal,
        issuer,
        operation,
        object,
        outcome,
        request_id,
        "{principal} {operation} {object}: {outcome}",
    );
}
