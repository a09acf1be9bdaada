//! The lines that say who changed what, under the target `admin.audit`.

use crate::message::refusal::Refusal;
use crate::state::guard::{Asked, Caller};

/// What was done, for the line.
pub(super) struct Deed<'a> {
    /// Such as `remove backend http://a:1 (http) of product`.
    pub(super) what: &'a str,
    pub(super) dry_run: bool,
    pub(super) before: u64,
    pub(super) after: u64,
    /// Each difference in words.
    pub(super) changed: &'a [String],
}

/// A change was made, or tried out.
pub(super) fn done(caller: &Caller, deed: &Deed<'_>) {
    let words = if deed.dry_run { "tried out" } else { "done" };
    tracing::info!(
        target: "admin.audit",
        peer = %caller.peer,
        client = %caller.client,
        token = caller.token.as_deref().unwrap_or("none"),
        principal = caller.principal.as_deref().unwrap_or("none"),
        request_id = caller.request_id,
        dry_run = deed.dry_run,
        before = deed.before,
        after = deed.after,
        changed = deed.changed.join("; "),
        "{words}: {}",
        deed.what
    );
}

/// A change was not made.
pub(super) fn refused(caller: &Caller, what: &str, revision: u64, refusal: &Refusal) {
    tracing::warn!(
        target: "admin.audit",
        peer = %caller.peer,
        client = %caller.client,
        token = caller.token.as_deref().unwrap_or("none"),
        principal = caller.principal.as_deref().unwrap_or("none"),
        request_id = caller.request_id,
        before = revision,
        reason = refusal.reason.word(),
        "refused: {what}: {}",
        refusal.detail
    );
}

/// Somebody was not let in.
pub(super) fn denied(asked: &Asked<'_>, refusal: &Refusal) {
    tracing::warn!(
        target: "admin.audit",
        peer = %asked.peer,
        client = %asked.client.address,
        request_id = asked.request_id.to_str().unwrap_or_default(),
        reason = refusal.reason.word(),
        "not let in: {}",
        refusal.detail
    );
}
