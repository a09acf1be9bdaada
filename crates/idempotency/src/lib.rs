//! Idempotency keys: a repeated request gets the stored answer instead of a second effect, whichever door it comes in by.
//!
//! The first request with a key runs under an *operation id* that the store keeps with the key. The handler makes its
//! payment or refund under that id, so a run that died half way is found again by the next one with the same key.
//! Whether it is the same request is told by what it asks for, not by how that is written ([`Fingerprint`]).
//!
//! A key belongs to a caller and an operation. A run holds it by a lease that is renewed while the run lives ([`Keys`]). It has
//! begun as soon as something was committed ([`began`]): a refusal before that leaves the key free, one after it is an answer to
//! keep.

mod fingerprint;
mod key;
mod keys;
mod repeatable;
mod run;
mod store;

pub use fingerprint::Fingerprint;
pub use key::{Key, MAX_KEY};
pub use keys::Keys;
pub use repeatable::Repeatable;
pub use run::{Begun, Run, began, following, is_keyed};
pub use store::{Begin, BoxError, Claim, KEEP, LEASE, Lease, Store, Stored};
