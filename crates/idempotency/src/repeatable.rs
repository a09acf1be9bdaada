//! Requests that are the same asked twice, without a key.

/// A request that may be sent again after its answer was lost: it reads, or what it does is done once under an id that it
/// carries. What adds up, moves on or takes a turn is none. Whoever describes a request says so of it.
pub trait Repeatable: Clone + Send + Sync {}

/// Nothing is asked.
impl Repeatable for () {}
