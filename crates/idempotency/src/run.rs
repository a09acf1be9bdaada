//! What becomes of a request with a key: it runs, is answered again, or is refused.

use std::sync::Arc;
use std::time::Duration;

use shop_fault::{Fault, Kind};
use shop_identity::Caller;
use uuid::Uuid;

use crate::{Begin, Fingerprint, Key, Store, Stored};

/// A request that is not refused.
pub enum Begun {
    /// It has the key and may run.
    Run(Run),
    /// It ran before: this was the answer.
    Replay(Stored),
}

/// Takes `key`, which is the caller's alone, for the request of that fingerprint. Refused while another request holds it, when it was used for something
/// else, and when the store is away.
pub async fn begin(store: &Arc<dyn Store>, key: Key, fingerprint: &Fingerprint) -> Result<Begun, Fault> {
    let key = key.within(&Caller::current().key_space());
    let begun = store.begin(key.as_str(), fingerprint).await.map_err(|error| {
        Fault::new(Kind::Unavailable, "store_unavailable", "the store of idempotency keys is not available")
            .with_source(error)
    })?;
    match begun {
        Begin::Run { operation } => Ok(Begun::Run(Run { store: store.clone(), key: Some(key), operation })),
        Begin::Replay(answer) => Ok(Begun::Replay(answer)),
        Begin::InFlight => Err(Fault::new(
            Kind::Busy,
            "idempotency_in_flight",
            "a request with this idempotency key is still running; try again",
        )
        .with_retry_after(Duration::from_secs(1))),
        Begin::Mismatch => Err(Fault::new(
            Kind::Invalid,
            "idempotency_key_reused",
            "this idempotency key was used for another request",
        )),
    }
}

/// A key held by this request. Dropped before its end (the caller went away, the deadline passed), it lets the key go.
pub struct Run {
    store: Arc<dyn Store>,
    /// Until the end.
    key: Option<Key>,
    operation: Uuid,
}

impl Run {
    /// The id of what the request makes.
    pub fn operation(&self) -> Uuid {
        self.operation
    }

    /// Keeps the answer; without one that may be kept, lets the key go.
    pub async fn end(mut self, answer: Option<Stored>) {
        let Some(key) = &self.key else { return };
        let kept = match &answer {
            Some(answer) => self.store.finish(key.as_str(), answer).await,
            None => self.store.abandon(key.as_str()).await,
        };
        self.key = None;
        if let Err(error) = kept {
            // The effect stands; a repeat runs again under the same operation id and finds it.
            tracing::warn!(error = %error, "the answer to an idempotency key could not be stored");
        }
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        let Some(key) = self.key.take() else { return };
        let store = self.store.clone();
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        runtime.spawn(async move {
            if let Err(error) = store.abandon(key.as_str()).await {
                tracing::warn!(error = %error, "an idempotency key stays taken until its lease ends");
            }
        });
    }
}
