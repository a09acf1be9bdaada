//! `idempotency_key` over gRPC: the same store and the same rules as the HTTP header.

use std::future::Future;
use std::time::Duration;

use prost::Message;
use serde_json::Value;
use shop_fault::{Fault, FieldError, Kind};
use shop_http::idempotency::{Begin, Fingerprint, Stored};
use tonic::{Code, Response, Status};
use uuid::Uuid;

use super::Api;
use super::detached::detached;

/// Longest key taken, as over HTTP.
const MAX_KEY: usize = 255;

/// A call that may be a repeat.
pub(super) struct Call {
    pub(super) method: &'static str,
    /// From the request or the metadata.
    pub(super) key: Option<String>,
    /// What it asks for.
    pub(super) asked: Value,
    /// What versions of the service before `asked` told it by.
    pub(super) bytes: Vec<u8>,
}

impl Call {
    /// A key belongs to the door it came in by: an answer of the other one could not be given here, so the method
    /// of a call and that of a request over HTTP are never the same.
    fn fingerprint(&self) -> Fingerprint {
        Fingerprint::new(self.method, &self.asked, [self.method.as_bytes(), &self.bytes])
    }
}

/// Runs `work` under the operation id of the call's key, or under a new one without a key; a repeat gets the answer
/// of the first run. Failures that pass are not kept. Goes on to its end when the caller goes away.
pub(super) async fn once<T, F, W>(api: &Api, call: Call, work: W) -> Result<Response<T>, Status>
where
    T: Message + Default + 'static,
    F: Future<Output = Result<T, Status>> + Send + 'static,
    W: FnOnce(Api, Uuid) -> F + Send + 'static,
{
    let ours = api.clone();
    detached(&api.tasks, run(ours, call, work)).await.map_err(shop_rpc::status)?
}

async fn run<T, F, W>(api: Api, call: Call, work: W) -> Result<Response<T>, Status>
where
    T: Message + Default,
    F: Future<Output = Result<T, Status>>,
    W: FnOnce(Api, Uuid) -> F,
{
    let Some(key) = &call.key else {
        let operation = api.clock.new_id();
        return work(api, operation).await.map(Response::new);
    };
    check(key)?;
    let operation = match begin(&api, key, &call).await? {
        Begin::Run { operation } => operation,
        Begin::Replay(stored) => return replay(&stored),
        Begin::InFlight => {
            let detail = "a request with this idempotency key is still running; try again";
            let fault = Fault::new(Kind::Busy, "idempotency_in_flight", detail);
            return Err(shop_rpc::status(fault.with_retry_after(Duration::from_secs(1))));
        }
        Begin::Mismatch => {
            let detail = "this idempotency key was used for another request";
            return Err(shop_rpc::status(Fault::new(Kind::Invalid, "idempotency_key_reused", detail)));
        }
    };
    let keys = api.keys.clone();
    let answer = work(api, operation).await;
    let kept = match stored(&answer) {
        Some(stored) => keys.finish(key, &stored).await,
        None => keys.abandon(key).await,
    };
    if let Err(error) = kept {
        // The effect stands; a repeat runs again under the same operation id and finds it.
        tracing::warn!(error = %error, "the answer to an idempotency key could not be stored");
    }
    answer.map(Response::new)
}

async fn begin(api: &Api, key: &str, call: &Call) -> Result<Begin, Status> {
    api.keys.begin(key, &call.fingerprint()).await.map_err(|cause| {
        let detail = "the store of idempotency keys is not available";
        shop_rpc::status(Fault::new(Kind::Unavailable, "store_unavailable", detail).with_source(cause))
    })
}

fn check(key: &str) -> Result<(), Status> {
    if (1..=MAX_KEY).contains(&key.len()) && key.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ') {
        return Ok(());
    }
    let message = format!("must be 1 to {MAX_KEY} visible ASCII characters");
    Err(shop_rpc::status(Fault::invalid(vec![FieldError::new("idempotency_key", "invalid", message)])))
}

fn stored<T: Message>(answer: &Result<T, Status>) -> Option<Stored> {
    match answer {
        Ok(message) => Some(Stored { status: 200, headers: Vec::new(), body: message.encode_to_vec() }),
        Err(status) if is_passing(status.code()) => None,
        Err(status) => Some(Stored {
            status: 400,
            headers: vec![
                ("grpc-status".to_owned(), i32::from(status.code()).to_string()),
                ("grpc-message".to_owned(), status.message().to_owned()),
            ],
            body: status.details().to_vec(),
        }),
    }
}

/// Failures that a repeat may not meet again: ours, and a payment that the provider is at.
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
    let unreadable = || shop_rpc::status(Fault::internal("a stored answer cannot be read"));
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
    metadata.insert("idempotency-replayed", tonic::metadata::MetadataValue::from_static("true"));
    replayed
}
