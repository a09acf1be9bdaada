//! Idempotency keys: a repeated request gets the stored answer instead of a second effect, whichever door it comes in by.
//!
//! The first request with a key runs under an *operation id* that the store keeps with the key. The handler makes its
//! payment or refund under that id, so a run that died half way is found again by the next one with the same key.
//! Whether it is the same request is told by what it asks for, not by how that is written ([`Fingerprint`]).

mod fingerprint;
mod key;
mod run;
mod store;

pub use fingerprint::Fingerprint;
pub use key::{Key, MAX_KEY};
pub use run::{Begun, Run, begin};
pub use store::{Begin, BoxError, KEEP, LEASE, Store, Stored};
