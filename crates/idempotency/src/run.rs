//! A request that holds its key.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use uuid::Uuid;

use crate::keys::Keys;
use crate::{Claim, Lease, Stored};

tokio::task_local! {
    static CURRENT: Run;
}

/// A request that is not refused.
pub enum Begun {
    /// It has the key and may run.
    Run(Run),
    /// It ran before: this was the answer.
    Replay(Stored),
}

/// A key held by this request and what goes on for it ([`following`]). When all of them are gone and none has ended it (the
/// caller went away, the deadline passed), the key is let go.
#[derive(Clone)]
pub struct Run(Arc<Held>);

struct Held {
    keys: Keys,
    claim: Claim,
    lease: Lease,
    operation: Uuid,
    /// Whether nothing was done under the operation's id before this run.
    fresh: bool,
    began: AtomicBool,
    ended: AtomicBool,
}

/// Notes that what is done here has an effect from now on; the stores say so when they have committed. Does nothing for a
/// request without a key.
pub fn began() {
    CURRENT.try_with(|run| run.0.began.store(true, Ordering::Release)).ok();
}

/// Whether `operation` is that of the run at hand, so that nobody asks for it again once the run's key is forgotten.
pub fn is_keyed(operation: Uuid) -> bool {
    CURRENT.try_with(|run| run.operation() == operation).unwrap_or(false)
}

/// `work` as a part of the run at hand, though on a task of its own: while it goes on, the run's key stays held.
pub fn following<F: Future + Send>(work: F) -> impl Future<Output = F::Output> + Send {
    let current = CURRENT.try_with(Clone::clone).ok();
    async move {
        match current {
            Some(run) => run.scope(work).await,
            None => work.await,
        }
    }
}

impl Run {
    pub(crate) fn new(keys: Keys, claim: Claim, lease: Lease, operation: Uuid, fresh: bool) -> Self {
        let (began, ended) = (AtomicBool::new(false), AtomicBool::new(false));
        Self(Arc::new(Held { keys, claim, lease, operation, fresh, began, ended }))
    }

    /// The id of what the request makes.
    pub fn operation(&self) -> Uuid {
        self.0.operation
    }

    /// Does the request's work.
    pub async fn scope<F: Future>(&self, work: F) -> F::Output {
        CURRENT.scope(self.clone(), work).await
    }

    /// Keeps the answer of a request that was done.
    pub async fn done(self, answer: Stored) {
        self.0.ended.store(true, Ordering::Release);
        self.0.keys.keep(&self.0.claim, self.0.lease.clone(), answer).await;
    }

    /// Ends with a refusal that a repeat would meet again. It is kept if the request had begun; else the key is free for
    /// another request, such as this one without its mistake.
    pub async fn refused(self, answer: Stored) {
        if self.0.began.load(Ordering::Acquire) {
            return self.done(answer).await;
        }
        self.0.ended.store(true, Ordering::Release);
        self.0.keys.let_go(self.0.lease.clone(), self.0.fresh).await;
    }

    /// Ends without an answer to keep: the next request with the key runs, under the same operation id.
    pub async fn failed(self) {
        self.0.ended.store(true, Ordering::Release);
        self.0.keys.let_go(self.0.lease.clone(), false).await;
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if !*self.ended.get_mut() {
            self.keys.dropped(self.lease.clone());
        }
    }
}
