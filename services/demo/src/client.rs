//! How shoppers call: at a steady pace, with patience for a shop that is busy or ill, and every call counted.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Method, Request, Response, header};
use parking_lot::Mutex;
use serde_json::Value;
use shop_clock::{Clock as _, SystemClock};
use shop_runtime::CancellationToken;

use super::calls::{Http, Silence};
use super::tally::{Outcome, Tally};
use super::tokens::{Pass, Tokens};

/// A person waits no longer for a page.
const PATIENCE: Duration = Duration::from_secs(10);
/// Times that a call is made before the shopper gives up.
const TRIES: u32 = 4;
/// First pause when the answer names none; doubles from there.
const FIRST_PAUSE: Duration = Duration::from_millis(250);

/// Calls the gateway for all shoppers.
#[derive(Clone)]
pub(super) struct Client {
    http: Http,
    base: Arc<str>,
    pace: Arc<Pace>,
    tally: Arc<Tally>,
    tokens: Arc<Tokens>,
    stop: CancellationToken,
}

/// One call.
pub(super) struct Call {
    method: Method,
    path: String,
    body: Option<Value>,
    if_match: Option<String>,
    by: Pass,
}

impl Call {
    /// Reads something.
    pub(super) fn get(path: impl Into<String>) -> Self {
        Self { method: Method::GET, path: path.into(), body: None, if_match: None, by: Pass::default() }
    }

    /// Does something, once however often it is sent.
    pub(super) fn post(path: impl Into<String>, body: Value) -> Self {
        Self { method: Method::POST, path: path.into(), body: Some(body), if_match: None, by: Pass::default() }
    }

    /// Replaces something, unless it was changed since `etag`.
    pub(super) fn put(path: impl Into<String>, body: Value, etag: Option<String>) -> Self {
        Self { method: Method::PUT, path: path.into(), body: Some(body), if_match: etag, by: Pass::default() }
    }

    /// Deletes something.
    pub(super) fn delete(path: impl Into<String>) -> Self {
        Self { method: Method::DELETE, path: path.into(), body: None, if_match: None, by: Pass::default() }
    }

    /// The same by whoever shows this.
    pub(super) fn by(self, by: &Pass) -> Self {
        Self { by: by.clone(), ..self }
    }
}

/// What came back.
#[derive(Debug)]
pub(super) struct Answer {
    /// Its status.
    pub(super) status: u16,
    /// Its body, null when it is no JSON.
    pub(super) body: Value,
    /// The version of what it shows.
    pub(super) etag: Option<String>,
    retry_after: Option<Duration>,
}

impl Answer {
    /// Whether it went well.
    pub(super) fn is_fine(&self) -> bool {
        self.status < 400
    }

    /// Why it did not.
    pub(super) fn code(&self) -> Option<&str> {
        self.body["code"].as_str()
    }
}

impl From<Response<Bytes>> for Answer {
    fn from(response: Response<Bytes>) -> Self {
        let text = |name| response.headers().get(name).and_then(|value| value.to_str().ok());
        let retry_after = text(header::RETRY_AFTER).and_then(|seconds| seconds.parse().ok()).map(Duration::from_secs);
        Self {
            status: response.status().as_u16(),
            body: serde_json::from_slice(response.body()).unwrap_or(Value::Null),
            etag: text(header::ETAG).map(str::to_owned),
            retry_after,
        }
    }
}

impl Client {
    /// A client that makes `rate` calls a second at most, until `stop`.
    pub(super) fn new(base: &str, tokens: Tokens, rate: u32, tally: Arc<Tally>, stop: CancellationToken) -> Self {
        let pace = Arc::new(Pace { step: Duration::from_secs(1) / rate.max(1), next: Mutex::new(Instant::now()) });
        Self { http: Http::new(PATIENCE), base: base.into(), pace, tally, tokens: tokens.into(), stop }
    }

    /// Who shoppers and staff are.
    pub(super) fn tokens(&self) -> &Tokens {
        &self.tokens
    }

    /// What was counted.
    pub(super) fn tally(&self) -> &Tally {
        &self.tally
    }

    /// Whether it is time to go.
    pub(super) fn is_over(&self) -> bool {
        self.stop.is_cancelled()
    }

    /// Makes `call`, again while whoever answers asks for patience, or nobody answers. None when there is no answer that stays, or
    /// it is time to go.
    pub(super) async fn ask(&self, call: Call) -> Option<Answer> {
        let key = SystemClock.new_id().to_string();
        let mut pause = FIRST_PAUSE;
        for _ in 0..TRIES {
            self.stop.run_until_cancelled(self.pace.turn()).await?;
            let answer = self.once(&call, &key).await;
            let asked_for = match answer {
                Some(answer) if !matches!(answer.status, 429 | 503) && answer.retry_after.is_none() => {
                    return Some(answer);
                }
                Some(answer) => answer.retry_after,
                None => None,
            };
            let wait = asked_for.unwrap_or(pause);
            if wait > PATIENCE {
                return None;
            }
            self.stop.run_until_cancelled(tokio::time::sleep(wait)).await?;
            pause *= 2;
        }
        None
    }

    async fn once(&self, call: &Call, key: &str) -> Option<Answer> {
        let mut request = Request::builder().method(&call.method).uri(format!("{}{}", self.base, call.path));
        if call.method == Method::POST {
            request = request.header("idempotency-key", key);
        }
        if let Some(token) = &call.by.0 {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        if let Some(etag) = &call.if_match {
            request = request.header(header::IF_MATCH, etag);
        }
        if call.body.is_some() {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        let body = call.body.as_ref().map(Value::to_string).unwrap_or_default();
        let begun = Instant::now();
        let answer = self.http.send(request, body).await.map(Answer::from);
        let outcome = match &answer {
            Ok(answer) => Outcome::Answer(answer.status, answer.code()),
            Err(Silence(reason)) => Outcome::Silence(reason),
        };
        self.tally.call(outcome, begun.elapsed());
        answer.ok()
    }
}

/// Lets one call through every so often. Who comes late does not make up for it: a shop that was down is not stormed.
struct Pace {
    step: Duration,
    next: Mutex<Instant>,
}

impl Pace {
    async fn turn(&self) {
        let mine = {
            let mut next = self.next.lock();
            let mine = (*next).max(Instant::now());
            *next = mine + self.step;
            mine
        };
        tokio::time::sleep_until(mine.into()).await;
    }
}
