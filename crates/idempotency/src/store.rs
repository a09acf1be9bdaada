//! Where keys and answers are kept, as whoever asks sees it.

use std::error::Error;
use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::{Fingerprint, Key};

/// How long a stored answer is kept.
pub const KEEP: Duration = Duration::from_hours(24);

/// How long a key stays taken without word of its run. A run that lives renews it (see [`Keys::run`](crate::Keys::run)), so
/// this is how long a repeat waits after a crash. Renewed three times in it: one renewal may be slow.
pub const LEASE: Duration = Duration::from_secs(6);

/// Any error of a store.
pub type BoxError = Box<dyn Error + Send + Sync>;

/// A request that wants a key.
#[derive(Debug, Clone)]
pub struct Claim {
    /// The key, as one of this principal alone.
    pub key: Key,
    /// Whose key it is; empty where nobody asks who calls.
    pub principal: String,
    /// The operation that is asked for, by the name of its gRPC method.
    pub method: &'static str,
    /// Of the request.
    pub fingerprint: Fingerprint,
}

impl Claim {
    /// The claim of `principal` on `key` for `method`.
    pub fn new(principal: String, key: Key, method: &'static str, fingerprint: Fingerprint) -> Self {
        Self { key: key.within(&principal), principal, method, fingerprint }
    }

    /// What the key is kept under: of this principal alone. Whichever operation takes it first has it; for another one the same
    /// text is another key, kept under [`Claim::second_name`]. Versions that knew of no operations know this name, so while they
    /// run beside this one they do nothing a second time.
    pub fn name(&self) -> &str {
        self.key.as_str()
    }

    /// What the key is kept under while another operation has its first name.
    pub fn second_name(&self) -> String {
        let hash = Sha256::new().chain_update(self.method).chain_update([0]).chain_update(self.name()).finalize();
        hash.iter().fold(String::with_capacity(64), |text, byte| text + &format!("{byte:02x}"))
    }
}

/// A key that a run holds, until another one takes it over.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Lease {
    /// What the store keeps it under.
    pub name: String,
    /// Who holds it: another id with every run. Nothing is done with a key for whom it does not belong to any more.
    pub owner: Uuid,
}

/// What a store says about a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Begin {
    /// Nobody is at it: run.
    Run {
        /// What the run holds.
        lease: Lease,
        /// The id of what the request makes: the same again after a crash.
        operation: Uuid,
        /// Whether nothing can have been done under that id yet.
        fresh: bool,
    },
    /// It was done: this is the answer.
    Replay(Stored),
    /// Another request with this key runs now.
    InFlight,
    /// The key was used for another request.
    Mismatch,
}

/// An answer as stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stored {
    /// The HTTP status, below 500.
    pub status: u16,
    /// `content-type`, `location` and `etag`, as far as set.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

/// Where keys and answers are kept, for [`KEEP`]; a run holds its key for [`LEASE`] at a time.
///
/// Whoever lost a lease changes nothing by any of these.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// Takes the key for a run, or says what is known about it. Atomic: of two callers only one gets [`Begin::Run`].
    async fn begin(&self, claim: &Claim) -> Result<Begin, BoxError>;

    /// Holds the keys for another [`LEASE`] from now.
    async fn renew(&self, leases: &[Lease]) -> Result<(), BoxError>;

    /// Keeps the answers, all at once where the store can.
    async fn finish(&self, answers: &[(Lease, Stored)]) -> Result<(), BoxError>;

    /// Lets go of the keys without an answer; requests and operation ids stay with them.
    async fn release(&self, leases: &[Lease]) -> Result<(), BoxError>;

    /// Lets go of a key under which nothing was done, for whichever request its caller has for it.
    async fn forget(&self, lease: &Lease) -> Result<(), BoxError>;
}
