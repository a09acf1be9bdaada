//! Tokens that were not seen before.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use shop_identity::{Authenticator, Principal, Refusal as Bad};
use shop_limit::Attempts;

use crate::message::reason::Reason;
use crate::message::refusal::Refusal;

/// Bad tokens that one address may show at once, and how long it takes until it may show one more. Each may cost a signature;
/// a hundred people behind one address whose tokens expired at once are not stopped.
const AT_ONCE: u32 = 100;
const EACH: Duration = Duration::from_millis(100);

/// Counts the bad tokens of clients of services.
pub(crate) fn attempts() -> Attempts {
    Attempts::new(AT_ONCE, EACH)
}

/// Whose token this is. From an address that showed too many bad ones, none is looked at that is not known already.
pub(crate) async fn check(
    authenticator: &Authenticator,
    token: &str,
    address: IpAddr,
    attempts: &Attempts,
) -> Result<Arc<Principal>, Refusal> {
    if let Some(wait) = attempts.wait(address) {
        return Err(Refusal::new(Reason::RateLimited, "too many bad tokens; wait").retry_after(wait));
    }
    authenticator.check(token).await.map_err(|refusal| {
        // Whose keys cannot be had is not known to be bad.
        if !matches!(refusal, Bad::Unavailable(_)) {
            attempts.note(address);
        }
        refusal.into()
    })
}
