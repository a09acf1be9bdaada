//! The call itself: one backend after the other until one has answered well, or what there is has to do.

use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;
use http::request::Parts;
use http_body_util::{BodyExt, Limited};
use shop_balance::Permit;
use shop_balance::settings::Retries;
use tokio::time::Instant;

use crate::message::reason::Reason;
use crate::message::refusal::Refusal;
use crate::message::{headers, outcome, upgrade};
use crate::record::{Exchange, trace};
use crate::server::Watch;
use crate::services::{Backend, Group, InFlight, Tried};
use crate::upstream::body::Upload;
use crate::upstream::interim::{Inform, Interim};
use crate::upstream::retry::{self, Replay};
use crate::upstream::{Answer, Arriving, Failed, Patience};

/// An answer nobody wants is read up to here to keep its connection; beyond, a new connection is cheaper.
const WORTH_READING: usize = 16 * 1024;
const WORTH_WAITING: Duration = Duration::from_secs(1);

/// One call on its way to a backend.
pub(super) struct Forward<'a> {
    pub(super) exchange: &'a mut Exchange,
    /// Of the request, as the backend sees it.
    pub(super) head: &'a mut Parts,
    /// Whose connections are used.
    pub(super) worker: usize,
    pub(super) group: &'a Group,
    pub(super) patience: &'a Patience,
    pub(super) retries: &'a Retries,
    pub(super) is_grpc: bool,
    /// Who is told what backends say ahead of their answers.
    pub(super) informed: Option<&'a Arc<Watch>>,
    /// The protocol that the backend may switch to.
    pub(super) upgrade: Option<&'a HeaderValue>,
    /// How much longer backends may make it wait.
    pub(super) leisure: Duration,
}

/// A call that a backend took.
pub(super) struct Call {
    pub(super) answer: Answer,
    pub(super) permit: Option<Permit>,
    pub(super) in_flight: InFlight,
}

/// What to do after an attempt.
enum Next {
    /// That was it.
    Done,
    /// Nothing was sent: another backend can have it, at no cost.
    Elsewhere(Upload),
    /// Once more, if the request can be had again and the budget allows, after this time.
    Again(Duration),
}

impl Forward<'_> {
    /// Calls until it is settled.
    pub(super) async fn call(mut self, mut body: Upload) -> Result<Call, Refusal> {
        let replay = self.replay(&mut body);
        if let Some(budget) = &self.group.budget {
            budget.call();
        }
        let mut tried = Tried::default();
        let mut repeats = 0;
        let mut best: Option<Result<Call, Refusal>> = None;
        loop {
            let (backend, permit) = match self.group.pick(&mut tried) {
                Ok(picked) => picked,
                // What went wrong says more than that nothing is left to try.
                Err(refusal) => return self.settle(best, Err(refusal), true),
            };
            if best.is_some() {
                self.exchange.retried();
            }
            self.exchange.goes_to(&backend);
            let (result, next) = self.attempt(&backend, permit, body, replay.as_ref()).await;
            let again = match next {
                Next::Done => None,
                Next::Elsewhere(unsent) => Some(unsent),
                Next::Again(wait) => {
                    let again = self.again(replay.as_ref(), &mut tried, repeats, wait).await;
                    repeats += 1;
                    again
                }
            };
            let Some(again) = again else { return self.settle(best, result, false) };
            body = again;
            best = Some(self.settle(best, result, false));
        }
    }

    /// What is needed to send `body` again, unless that is never done.
    fn replay(&self, body: &mut Upload) -> Option<Replay> {
        let repeats = self.retries.enabled && retry::is_idempotent(&self.head.method, &self.head.headers);
        let wanted = self.is_grpc || (repeats || Replay::is_unnoticed(&self.head.method, body));
        wanted.then(|| Replay::of(body, self.retries.body_limit)).flatten()
    }

    /// The better of what there was and what there is: a backend's words before the gateway's, then the latest; or the
    /// earliest, when the latest only says that nobody is left.
    fn settle(
        &mut self,
        before: Option<Result<Call, Refusal>>,
        now: Result<Call, Refusal>,
        nobody_left: bool,
    ) -> Result<Call, Refusal> {
        match (before, now) {
            (Some(Ok(call)), Err(_)) => {
                self.exchange.goes_to(call.in_flight.backend());
                Ok(call)
            }
            (Some(Err(before)), Err(_)) if nobody_left => Err(before),
            (before, now) => {
                if let Some(Ok(call)) = before {
                    call.discard();
                }
                now
            }
        }
    }

    async fn attempt(
        &mut self,
        backend: &Arc<Backend>,
        permit: Option<Permit>,
        body: Upload,
        replay: Option<&Replay>,
    ) -> (Result<Call, Refusal>, Next) {
        let span = self.exchange.calls(backend, self.head.uri.path());
        trace::hand_on(&span, &mut self.head.headers);
        let in_flight = backend.begin();
        let begun = Instant::now();
        let outcome = if self.is_grpc {
            backend.connections.http2(self.worker, self.head, body, replay, self.patience).await
        } else {
            self.http1(backend, body).await
        };
        trace::answered(span, outcome.as_ref().map(|answer| &answer.response).map_err(|failed| failed.reason));
        let failed = match outcome {
            Ok(mut answer) => match fault(&mut answer, self.upgrade) {
                Some(fault) => Failed::sent(Reason::UpstreamInvalid, fault),
                None => return self.answered(answer, begun, backend, permit, in_flight),
            },
            Err(failed) => failed,
        };
        let refusal = self.judge(&failed, backend, permit, begun.elapsed());
        let next = match failed.unsent {
            Some(unsent) if self.has_time(Duration::ZERO) => Next::Elsewhere(unsent),
            // Not after a time-out: the backend may still be at it, and the client has waited long enough.
            None if failed.reason == Reason::UpstreamReset && !self.is_grpc => Next::Again(Duration::ZERO),
            _ => Next::Done,
        };
        (Err(refusal), next)
    }

    /// What an answer that is valid leads to.
    fn answered(
        &mut self,
        answer: Answer,
        begun: Instant,
        backend: &Backend,
        mut permit: Option<Permit>,
        in_flight: InFlight,
    ) -> (Result<Call, Refusal>, Next) {
        let status = answer.response.status();
        backend.answered();
        if self.group.wants_latency() {
            let outcome = outcome::of_http(status, answer.response.headers());
            backend.latency.observe(begun.elapsed(), !outcome.is_ill());
        }
        if answer.resent {
            self.exchange.retried();
        }
        let wait = retry::wait_after(status, answer.response.headers(), self.leisure);
        let next = wait.filter(|_| !self.is_grpc).map_or(Next::Done, Next::Again);
        if matches!(next, Next::Again(_))
            && let Some(permit) = permit.take()
        {
            permit.done(false);
        }
        (Ok(Call { answer, permit, in_flight }), next)
    }

    /// A call over HTTP/1.1, with its informational answers.
    async fn http1(&self, backend: &Arc<Backend>, body: Upload) -> Result<Answer, Failed> {
        let mut interim = Interim::new(self.informed.map(|client| Arc::clone(client) as Arc<dyn Inform>));
        backend.connections.http1(self.worker, self.head, body, &mut interim, self.patience).await
    }

    /// The request's body once more, when it is time for it. None when it cannot be had, or costs too much.
    async fn again(
        &mut self,
        replay: Option<&Replay>,
        tried: &mut Tried,
        repeats: u32,
        wait: Duration,
    ) -> Option<Upload> {
        if repeats >= self.retries.attempts {
            return None;
        }
        let budget = self.group.budget.as_ref()?;
        let is_alone = !self.group.has_other(*tried);
        self.leisure = self.leisure.saturating_sub(wait);
        let wait = if is_alone { wait.max(retry::pause(repeats)) } else { wait };
        let body = replay?.body().filter(|_| self.has_time(wait))?;
        if !budget.take() {
            self.exchange.unaffordable();
            return None;
        }
        if is_alone {
            *tried = Tried::default();
        }
        if !wait.is_zero() {
            tokio::time::sleep(wait).await;
        }
        Some(body)
    }

    /// Whether there is time left after `wait`.
    fn has_time(&self, wait: Duration) -> bool {
        self.patience.end.is_none_or(|end| end > Instant::now() + wait)
    }

    /// Tells backend and breaker about a failure, and words it for the client, who learns nothing of addresses.
    fn judge(&self, failed: &Failed, backend: &Backend, permit: Option<Permit>, took: Duration) -> Refusal {
        let detail = match failed.reason {
            Reason::ConnectFailed => "the service cannot be reached",
            Reason::UpstreamReset => "the service broke off before it answered",
            Reason::UpstreamInvalid => "the service's answer is not valid",
            Reason::UpstreamTimeout => "the service did not answer in time",
            Reason::BodyTooLarge => "the body is larger than allowed",
            Reason::BodyTimeout => "the body did not arrive in time",
            Reason::BadRequest => "the body's framing is not valid",
            _ => "the request was broken off",
        };
        // A gRPC client sets its deadline itself: a short one says nothing about the backend.
        let by_deadline = self.is_grpc && failed.reason == Reason::UpstreamTimeout;
        let is_backends = matches!(
            failed.reason,
            Reason::ConnectFailed | Reason::UpstreamReset | Reason::UpstreamInvalid | Reason::UpstreamTimeout
        );
        if is_backends && !by_deadline {
            backend.failed(failed.reason, &failed.detail);
            backend.latency.observe(took, false);
            if let Some(permit) = permit {
                permit.done(false);
            }
        }
        tracing::debug!(backend = backend.label(), reason = failed.reason.word(), error = failed.detail, "call failed");
        Refusal::new(failed.reason, detail)
    }
}

/// What is wrong with an answer that a proxy may not hand on.
fn fault(answer: &mut Answer, upgrade: Option<&HeaderValue>) -> Option<String> {
    let status = answer.response.status();
    if status.is_informational() && !upgrade::agrees(&answer.response, upgrade) {
        return Some(format!("the backend answered {status}"));
    }
    // HTTP/1.1 has to know before it keeps the connection, and does it itself.
    if matches!(answer.response.body(), Arriving::Http1(_)) {
        return None;
    }
    headers::settle_length(answer.response.headers_mut()).err().map(str::to_owned)
}

impl Call {
    /// Another answer is better. What this one still sends is read if it is little, so that its connection can be used
    /// again: to close connections in an outage makes it worse.
    fn discard(self) {
        let Self { answer, in_flight, .. } = self;
        let whole = match answer.response.into_body() {
            body @ Arriving::Http1(_) => Limited::new(body, WORTH_READING).collect(),
            Arriving::Http2(_) => return,
        };
        shop_runtime::spawn_here(async move {
            // What comes of it does not matter: read to its end, it frees the connection.
            let _ = tokio::time::timeout(WORTH_WAITING, whole).await;
            drop(in_flight);
        });
    }
}
