//! A neighbour that does not answer.

use std::time::Duration;

use shop_fault::{Fault, Kind};

/// When a neighbour that is away is worth another try.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Whatever kept the service `name` from answering, the caller can only try again later.
pub fn away(name: &str, cause: Fault) -> Fault {
    let detail = format!("the {name} service cannot be reached just now");
    Fault::new(Kind::Unavailable, format!("{name}_service_unavailable"), detail)
        .with_retry_after(RETRY_AFTER)
        .with_source(cause)
}
