//! Where keys and answers are kept, as whoever asks sees it.

use std::error::Error;
use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::Fingerprint;

/// How long a stored answer is kept.
pub const KEEP: Duration = Duration::from_hours(24);

/// How long a run holds its key; after that its process is taken for dead and the next request runs again.
pub const LEASE: Duration = Duration::from_mins(1);

/// Any error of a store.
pub type BoxError = Box<dyn Error + Send + Sync>;

/// What a store says about a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Begin {
    /// Nobody is at it: run, under this id. The same key gets the same id again after a crash.
    Run {
        /// The id of what the request makes.
        operation: Uuid,
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

/// Where keys and answers are kept, for [`KEEP`]; a run holds its key for [`LEASE`] or what the store was told.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// Takes the key for a run, or says what is known about it. Atomic: of two callers only one gets [`Begin::Run`].
    async fn begin(&self, key: &str, fingerprint: &Fingerprint) -> Result<Begin, BoxError>;

    /// Keeps the answer.
    async fn finish(&self, key: &str, answer: &Stored) -> Result<(), BoxError>;

    /// Lets go of the key without an answer; the operation id stays with it. Does nothing when an answer is stored.
    async fn abandon(&self, key: &str) -> Result<(), BoxError>;
}
