//! `idempotency_key` over gRPC: the same store and the same rules as the HTTP header.

use std::future::Future;

use prost::Message;
use serde_json::Value;
use shop_clock::SharedClock;
use shop_fault::{Fault, Kind};
use shop_idempotency::{Begun, Fingerprint, Key, Keys, Stored};
use shop_input::Id;
use shop_runtime::Tasks;
use tonic::metadata::MetadataValue;
use tonic::{Code, Request, Response, Status};
use uuid::Uuid;

use crate::{detached, status};

/// A call that may be a repeat.
pub struct Call {
    /// Its method, as no other of the service is called.
    pub method: &'static str,
    /// From the request or the metadata ([`key`]).
    pub key: Option<String>,
    /// What it asks for.
    pub asked: Value,
    /// What versions of the service before `asked` told it by.
    pub bytes: Vec<u8>,
}

/// The key in the metadata, for callers that set it alike for all calls. Two keys, and what is none, are refused.
pub fn key<T>(request: &Request<T>) -> Result<Option<String>, Status> {
    let mut sent = request.metadata().get_all("idempotency-key").iter();
    let Some(value) = sent.next() else { return Ok(None) };
    let text = value.to_str().ok().filter(|text| Key::read(text).is_some() && sent.next().is_none());
    text.map(|text| Some(text.to_owned())).ok_or_else(|| {
        let detail = format!("send one idempotency-key of {}", Key::FORM);
        status(Fault::new(Kind::Malformed, "invalid_idempotency_key", detail))
    })
}

impl Call {
    /// The call of `method`, with what it asks for if there is a key to compare it by; for methods that took no key before.
    pub fn new(
        method: &'static str,
        key: Option<String>,
        asked: impl FnOnce() -> Result<Value, Status>,
    ) -> Result<Self, Status> {
        let asked = if key.is_some() { asked()? } else { Value::Null };
        Ok(Self { method, key, asked, bytes: Vec::new() })
    }

    /// A key belongs to the door it came in by: an answer of the other one could not be given here, so the fingerprints of a
    /// call and of a request over HTTP are never the same.
    fn fingerprint(&self) -> Fingerprint {
        Fingerprint::new(self.method, &self.asked, [self.method.as_bytes(), &self.bytes])
    }
}

/// Runs the calls of a service, each key once.
#[derive(Clone)]
pub struct Once {
    keys: Keys,
    clock: SharedClock,
    tasks: Tasks,
}

impl Once {
    /// Keys and answers are kept in `keys`, `clock` makes ids for calls without a key, and `tasks` run.
    pub fn new(keys: Keys, clock: SharedClock, tasks: Tasks) -> Self {
        Self { keys, clock, tasks }
    }

    /// Runs `work` under the operation id of the call's key, or under a new one without a key; a repeat gets the answer
    /// of the first run. Failures that pass are not kept, nor refusals of what had not begun. Goes on to its end when the
    /// caller goes away.
    pub async fn run<T, F, W>(&self, call: Call, work: W) -> Result<Response<T>, Status>
    where
        T: Message + Default + 'static,
        F: Future<Output = Result<T, Status>> + Send + 'static,
        W: FnOnce(Uuid) -> F + Send + 'static,
    {
        let Self { keys, clock, tasks } = self.clone();
        let run = async move {
            match &call.key {
                Some(key) => keyed(&keys, key, &call, work).await,
                None => work(clock.new_id()).await.map(Response::new),
            }
        };
        detached(&tasks, run).await.map_err(status)?
    }
}

/// Runs `work` under the operation id of the call's key, or under none without a key; a repeat gets the answer of the first
/// run. Unlike in [`Once`] it ends when its caller goes away, and lets go of the key: for work that may stop anywhere.
pub async fn once<T, F, W>(keys: &Keys, call: Call, work: W) -> Result<Response<T>, Status>
where
    T: Message + Default,
    F: Future<Output = Result<T, Status>>,
    W: FnOnce(Option<Uuid>) -> F,
{
    match &call.key {
        Some(key) => keyed(keys, key, &call, |operation| work(Some(operation))).await,
        None => work(None).await.map(Response::new),
    }
}

async fn keyed<T, F, W>(keys: &Keys, key: &str, call: &Call, work: W) -> Result<Response<T>, Status>
where
    T: Message + Default,
    F: Future<Output = Result<T, Status>>,
    W: FnOnce(Uuid) -> F,
{
    let key: Key = shop_input::read("idempotency_key", key).map_err(|wrong| status(Fault::invalid(vec![wrong])))?;
    let run = match keys.begin(call.method, key, call.fingerprint()).await.map_err(status)? {
        Begun::Run(run) => run,
        Begun::Replay(stored) => return replay(&stored),
    };
    let answer = run.scope(work(run.operation())).await;
    match &answer {
        Ok(message) => run.done(Stored { status: 200, headers: Vec::new(), body: message.encode_to_vec() }).await,
        Err(status) if is_passing(status.code()) => run.failed().await,
        Err(status) => run.refused(stored(status)).await,
    }
    answer.map(Response::new)
}

fn stored(status: &Status) -> Stored {
    let headers = vec![
        ("grpc-status".to_owned(), i32::from(status.code()).to_string()),
        ("grpc-message".to_owned(), status.message().to_owned()),
    ];
    Stored { status: 400, headers, body: status.details().to_vec() }
}

/// Failures that a repeat may not meet again: ours, and what somebody else is at.
const fn is_passing(code: Code) -> bool {
    matches!(
        code,
        Code::Internal
            | Code::Unavailable
            | Code::DeadlineExceeded
            | Code::Unknown
            | Code::Cancelled
            | Code::Aborted
            | Code::ResourceExhausted
    )
}

fn replay<T: Message + Default>(stored: &Stored) -> Result<Response<T>, Status> {
    let header = |name: &str| stored.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
    let unreadable = || status(Fault::internal("a stored answer cannot be read"));
    let mut replayed = match header("grpc-status") {
        None => Ok(Response::new(T::decode(stored.body.as_slice()).map_err(|_| unreadable())?)),
        Some(code) => {
            let code = Code::from_i32(code.parse().map_err(|_| unreadable())?);
            let details = stored.body.clone().into();
            Err(Status::with_details(code, header("grpc-message").unwrap_or_default(), details))
        }
    };
    let metadata = match &mut replayed {
        Ok(response) => response.metadata_mut(),
        Err(status) => status.metadata_mut(),
    };
    metadata.insert("idempotency-replayed", MetadataValue::from_static("true"));
    replayed
}
