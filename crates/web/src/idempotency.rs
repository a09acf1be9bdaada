//! `Idempotency-Key`: a repeated POST gets the stored answer instead of a second effect.
//!
//! [`shop_idempotency`] decides what becomes of it; here a key is read, an answer is taken down and given again.

mod asked;

use http::header::{CONTENT_TYPE, ETAG, LOCATION, RETRY_AFTER};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use salvo::http::ResBody;
use salvo::{Depot, FlowCtrl, Handler, Request, Response, async_trait};
use shop_clock::Clock;
use shop_fault::{Fault, Kind};
use shop_idempotency::{Begun, Key, Keys, Run, Stored};
use shop_input::Id;
use std::marker::PhantomData;
use uuid::Uuid;

use crate::problem::{fill_bare, render};
use crate::{Problem, precondition};

pub use asked::{Asked, Canonical};

const KEY: HeaderName = HeaderName::from_static("idempotency-key");
const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");

/// The headers that belong to the answer and are stored with it.
const KEPT: [HeaderName; 3] = [CONTENT_TYPE, LOCATION, ETAG];

/// The operation id of this request: the stored one when a key was sent, else a new one.
pub fn operation(depot: &Depot, clock: &dyn Clock) -> Uuid {
    depot.get_typed::<Operation>().map_or_else(|_| clock.new_id(), |operation| operation.0)
}

/// Keeps the answer of this request out of the store, since it holds a secret. A repeat runs under the same operation id, finds
/// what was done, and makes the answer again.
pub fn made_again(depot: &mut Depot) {
    depot.insert_typed(MadeAgain);
}

struct Operation(Uuid);

struct MadeAgain;

/// The hoop for routes that honour `Idempotency-Key`: of the operation that gRPC calls `method`, or would; `B` is the extractor of
/// their body, `()` when they read none.
pub fn hoop<B: Asked + 'static>(method: &'static str, keys: Keys) -> impl Handler {
    Idempotency::<B> { method, keys, body: PhantomData }
}

struct Idempotency<B> {
    method: &'static str,
    keys: Keys,
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
        depot.insert_typed(Operation(run.operation()));
        run.scope(ctrl.call_next(req, depot, res)).await;
        fill_bare(req, res);
        if depot.get_typed::<MadeAgain>().is_ok() {
            return run.failed().await;
        }
        end(run, res).await;
    }
}

impl<B: Asked> Idempotency<B> {
    /// `None` without a key: the request just goes on.
    async fn begin(&self, req: &mut Request) -> Result<Option<Begun>, Problem> {
        let Some(key) = key(req.headers())? else { return Ok(None) };
        // Read for its errors alone: what cannot be read takes no key, here as in a body.
        precondition::of(req)?;
        let asked = B::asked(req).await?;
        let fingerprint = asked::fingerprint(req, &asked).await?;
        Ok(Some(self.keys.begin(self.method, key, fingerprint).await?))
    }
}

fn key(headers: &HeaderMap) -> Result<Option<Key>, Problem> {
    let mut sent = headers.get_all(KEY).iter();
    let Some(value) = sent.next() else { return Ok(None) };
    let key = Key::read(value.to_str().unwrap_or_default().trim()).filter(|_| sent.next().is_none());
    key.map(Some).ok_or_else(|| {
        let detail = format!("send one Idempotency-Key of {}", Key::FORM);
        Fault::new(Kind::Malformed, "invalid_idempotency_key", detail).into()
    })
}

/// Ends a run with its answer. A failure of ours is none to keep, nor one that asks to come back, nor that the caller expected
/// another state: it reads that again and asks for the same.
async fn end(run: Run, res: &Response) {
    let status = res.status_code.unwrap_or(StatusCode::OK);
    let is_passing = status.is_server_error()
        || status == StatusCode::PRECONDITION_FAILED
        || res.headers().contains_key(RETRY_AFTER);
    match capture(status, res).filter(|_| !is_passing) {
        Some(answer) if status.is_client_error() => run.refused(answer).await,
        Some(answer) => run.done(answer).await,
        None => run.failed().await,
    }
}

/// The answer, unless it is a stream.
fn capture(status: StatusCode, res: &Response) -> Option<Stored> {
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
