//! `Idempotency-Key`: a repeated POST gets the stored answer instead of a second effect.
//!
//! The first request with a key runs under an *operation id* that the store keeps with the key. The handler makes its
//! payment or refund under that id, so a run that died half way is found again by the next one with the same key.
//! Whether it is the same request is told by what it asks for, not by how that is written (`fingerprint.rs`).

mod fingerprint;

use http::header::{CONTENT_TYPE, ETAG, LOCATION, RETRY_AFTER};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use salvo::http::ResBody;
use salvo::{Depot, FlowCtrl, Handler, Request, Response, async_trait};
use serde::{Deserialize, Serialize};
use shop_clock::Clock;
use shop_fault::{Fault, Kind};
use std::error::Error;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;
use uuid::Uuid;

use crate::Problem;
use crate::problem::{fill_bare, render};

pub use fingerprint::{Asked, Canonical, Fingerprint};

const KEY: HeaderName = HeaderName::from_static("idempotency-key");
const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");

/// Longest key taken.
pub(crate) const MAX_KEY: usize = 255;

/// The headers that belong to the answer and are stored with it.
const KEPT: [HeaderName; 3] = [CONTENT_TYPE, LOCATION, ETAG];

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

/// The operation id of this request: the stored one when a key was sent, else a new one.
pub fn operation(depot: &Depot, clock: &dyn Clock) -> Uuid {
    depot.get_typed::<Operation>().map_or_else(|_| clock.new_id(), |operation| operation.0)
}

struct Operation(Uuid);

/// The hoop for routes that honour `Idempotency-Key`; `B` is the extractor of their body, `()` when they read none.
pub fn hoop<B: Asked + 'static>(store: Arc<dyn Store>) -> impl Handler {
    Idempotency::<B> { store, body: PhantomData }
}

struct Idempotency<B> {
    store: Arc<dyn Store>,
    body: PhantomData<fn() -> B>,
}

#[async_trait]
impl<B: Asked + 'static> Handler for Idempotency<B> {
    async fn handle(&self, req: &mut Request, depot: &mut Depot, res: &mut Response, ctrl: &mut FlowCtrl) {
        let run = match self.begin(req).await {
            Ok(Some(Begun::Run(run))) => run,
            Ok(Some(Begun::Replay(answer))) => {
                replay(answer, res);
                return ctrl.skip_rest();
            }
            Ok(None) => return,
            Err(problem) => {
                render(&problem.0, req, res);
                return ctrl.skip_rest();
            }
        };
        depot.insert_typed(Operation(run.operation));
        ctrl.call_next(req, depot, res).await;
        fill_bare(req, res);
        run.end(capture(res)).await;
    }
}

/// A request with a key, let in.
enum Begun {
    Run(Run),
    Replay(Stored),
}

impl<B: Asked> Idempotency<B> {
    /// `None` without a key: the request just goes on.
    async fn begin(&self, req: &mut Request) -> Result<Option<Begun>, Problem> {
        let Some(key) = key(req.headers())? else { return Ok(None) };
        let asked = B::asked(req).await?;
        let fingerprint = Fingerprint::of(req, &asked).await?;
        let begun = self.store.begin(&key, &fingerprint).await.map_err(|error| {
            Fault::new(Kind::Unavailable, "store_unavailable", "the store of idempotency keys is not available")
                .with_source(error)
        })?;
        match begun {
            Begin::Run { operation } => {
                Ok(Some(Begun::Run(Run { store: self.store.clone(), key, operation, ended: false })))
            }
            Begin::Replay(answer) => Ok(Some(Begun::Replay(answer))),
            Begin::InFlight => Err(Fault::new(
                Kind::Busy,
                "idempotency_in_flight",
                "a request with this idempotency key is still running; try again",
            )
            .with_retry_after(Duration::from_secs(1))
            .into()),
            Begin::Mismatch => Err(Fault::new(
                Kind::Invalid,
                "idempotency_key_reused",
                "this idempotency key was used for another request",
            )
            .into()),
        }
    }
}

/// A key held by this request. Dropped before its end (the caller went away, the deadline passed), it lets the key go.
struct Run {
    store: Arc<dyn Store>,
    key: String,
    operation: Uuid,
    ended: bool,
}

impl Run {
    async fn end(mut self, answer: Option<Stored>) {
        let kept = match &answer {
            Some(answer) => self.store.finish(&self.key, answer).await,
            None => self.store.abandon(&self.key).await,
        };
        self.ended = true;
        if let Err(error) = kept {
            // The effect stands; a repeat runs again under the same operation id and finds it.
            tracing::warn!(error = %error, "the answer to an idempotency key could not be stored");
        }
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        if self.ended {
            return;
        }
        let (store, key) = (self.store.clone(), std::mem::take(&mut self.key));
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        runtime.spawn(async move {
            if let Err(error) = store.abandon(&key).await {
                tracing::warn!(error = %error, "an idempotency key stays taken until its lease ends");
            }
        });
    }
}

fn key(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let mut sent = headers.get_all(KEY).iter();
    let Some(value) = sent.next() else { return Ok(None) };
    let text = value.to_str().unwrap_or_default().trim();
    let visible = text.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ');
    if sent.next().is_some() || !visible || text.is_empty() || text.len() > MAX_KEY {
        let detail = format!("send one Idempotency-Key of 1 to {MAX_KEY} visible ASCII characters");
        return Err(Fault::new(Kind::Malformed, "invalid_idempotency_key", detail).into());
    }
    Ok(Some(text.to_owned()))
}

/// The answer if it may be stored: not a failure of ours, not one that asks to come back, and not a stream.
fn capture(res: &Response) -> Option<Stored> {
    let status = res.status_code.unwrap_or(StatusCode::OK);
    if status.is_server_error() || res.headers().contains_key(RETRY_AFTER) {
        return None;
    }
    let body = match &res.body {
        ResBody::None => Vec::new(),
        ResBody::Once(bytes) => bytes.to_vec(),
        ResBody::Chunks(chunks) => chunks.iter().flat_map(|chunk| chunk.iter().copied()).collect(),
        _ => return None,
    };
    let text = |name: &HeaderName| Some((name.to_string(), res.headers().get(name)?.to_str().ok()?.to_owned()));
    let headers = KEPT.iter().filter_map(text).collect();
    Some(Stored { status: status.as_u16(), headers, body })
}

fn replay(answer: Stored, res: &mut Response) {
    let headers = res.headers_mut();
    for (name, value) in answer.headers {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
            headers.insert(name, value);
        }
    }
    headers.insert(REPLAYED, HeaderValue::from_static("true"));
    res.status_code(StatusCode::from_u16(answer.status).unwrap_or(StatusCode::OK));
    res.body = if answer.body.is_empty() { ResBody::None } else { ResBody::Once(answer.body.into()) };
}
