//! The call itself: one backend after the other until one has answered well, or what there is has to do.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderValue, StatusCode};
use http_body_util::{BodyExt, Limited};
use shop_balance::settings::Retries;
use shop_balance::{Permit, Reservation};
use shop_http1::Headers;
use shop_http1::request_head::Parts;
use shop_http1::response_head::Response;
use tokio::time::Instant;

use crate::message::outcome::{Chance, Outcome, Sign, judge};
use crate::message::reason::Reason;
use crate::message::refusal::Refusal;
use crate::message::{grpc, headers, upgrade};
use crate::record::{RequestRecord, Waited, trace};
use crate::routing::{Backend, Cluster, Full, InFlight, Place, Tried};
use crate::server::ConnectionState;
use crate::upstream::body::{Broken, RequestBody};
use crate::upstream::interim::{Inform, Interim};
use crate::upstream::retry::{self, Attempt, Chances, Replay, Step};
use crate::upstream::{Failed, Received, ResponseBody, Timeouts, timer};

/// An answer nobody wants is read up to here to keep its connection; beyond, a new connection is cheaper.
const WORTH_READING: usize = 16 * 1024;
const WORTH_WAITING: Duration = Duration::from_secs(1);
/// Before a call may be one on trial, its body is read ahead up to here: what fits in is whole then, and tells more.
const SMALL_BODY: usize = 64 * 1024;
const SMALL_WAIT: Duration = Duration::from_secs(1);
/// When this machine may have room again: calls end all the time.
const ROOM_AGAIN: Duration = Duration::from_secs(1);

/// One call on its way to a backend.
pub(super) struct Forward<'a> {
    pub(super) record: &'a mut RequestRecord,
    /// Of the request, as the backend sees it.
    pub(super) head: &'a mut Parts,
    /// Whose connections are used.
    pub(super) worker: usize,
    pub(super) cluster: &'a Cluster,
    pub(super) timeouts: &'a Timeouts,
    pub(super) retries: &'a Retries,
    /// What says which backend it belongs to.
    pub(super) key: Option<u64>,
    pub(super) is_grpc: bool,
    /// Who is told what backends say ahead of their answers.
    pub(super) informed: Option<&'a Arc<ConnectionState>>,
    /// The protocol that the backend may switch to.
    pub(super) upgrade: Option<&'a HeaderValue>,
    /// Its place among the calls of the service, where those are limited.
    pub(super) place: Option<Place>,
    /// How much longer backends may make it wait before it is repeated.
    pub(super) retry_wait_left: Duration,
}

/// A call that a backend took.
pub(super) struct Call {
    pub(super) response: Response<ResponseBody>,
    /// What the head says of the backend; none when a gRPC call's trailers decide, which its permit waits for.
    pub(super) outcome: Option<Outcome>,
    pub(super) permit: Option<Permit>,
    pub(super) in_flight: InFlight,
    /// What it took until here.
    pub(super) waited: Waited,
}

impl Forward<'_> {
    /// Calls until there is an answer, or what there is has to do.
    pub(super) async fn call(mut self, mut body: RequestBody) -> Result<Call, Refusal> {
        let cluster = self.cluster;
        if let Some(room) = &cluster.room {
            let left = self.timeouts.end.map_or(Duration::MAX, |end| end.saturating_duration_since(Instant::now()));
            // Boxed: where there is no limit, calls shall not carry the room for it.
            let place = Box::pin(room.place(self.timeouts.connect.min(left))).await;
            self.place = Some(place.map_err(|Full| refusal(Reason::UpstreamBusy))?);
        }
        if !body.is_whole() && cluster.may_try() {
            // Boxed: it is rare, and calls shall not carry the room for it.
            let gathered = Box::pin(body.gather(SMALL_BODY, SMALL_WAIT)).await;
            gathered.map_err(|Broken(reason)| refusal(reason))?;
        }
        // Before the first byte goes out: what was not kept from the beginning cannot go out again.
        let replay = self.replay(&mut body);
        if let Some(budget) = &cluster.budget {
            budget.call();
        }
        let mut tried = Tried::default();
        let mut repeats = 0;
        let mut best: Option<Result<Call, Refusal>> = None;
        let mut cost: Option<Reservation<'_>> = None;
        loop {
            let (backend, permit) = match cluster.pick(&mut tried, body.is_whole(), self.key) {
                Ok(picked) => picked,
                // What went wrong says more than that nothing is left to try.
                Err(refusal) => return self.better(best, Err(refusal), true),
            };
            // Now it goes out. What was reserved for it is given back, not spent, when nobody was left to take it.
            if let Some(cost) = cost.take() {
                cost.spend();
            }
            if best.is_some() {
                self.record.retried();
            }
            self.record.goes_to(&backend);
            let (result, after, unsent) = self.attempt(&backend, permit, body, replay.as_ref()).await;
            let result = match best {
                None => result,
                before => self.better(before, result, false),
            };
            let Some(after) = after else { return result };
            // A backend may have read some of a failed request, so the kept copy goes out next; of one that was never sent the
            // body itself is still there, kept or not.
            let again =
                if matches!(after, Attempt::Failed(_)) { replay.as_ref().and_then(Replay::body) } else { unsent };
            let chances = Chances {
                repeats,
                most: self.retries.attempts,
                is_replayable: again.is_some(),
                time_left: self.timeouts.end.map(|end| end.saturating_duration_since(Instant::now())),
                has_other: cluster.has_other(&tried),
                budget: cluster.budget.as_deref(),
            };
            match retry::next_step(after, &chances) {
                Step::Stop => return result,
                Step::Unaffordable => {
                    self.record.unaffordable();
                    return result;
                }
                Step::Elsewhere => {}
                Step::Repeat { wait, anew, cost: reserved } => {
                    if let Attempt::Failed(asked) = after {
                        self.retry_wait_left = self.retry_wait_left.saturating_sub(asked);
                    }
                    // Everybody has failed once: after the wait each may be asked again.
                    if anew {
                        tried = Tried::default();
                    }
                    if !wait.is_zero() {
                        tokio::time::sleep(wait).await;
                    }
                    cost = Some(reserved);
                    repeats += 1;
                }
            }
            let Some(again) = again else { return result };
            body = again;
            // Kept for the case that nobody else can be asked: then it is what the client gets.
            best = Some(result);
        }
    }

    /// What is needed to send `body` again, unless that is never done.
    fn replay(&self, body: &mut RequestBody) -> Option<Replay> {
        let repeats = self.cluster.budget.is_some() && retry::is_idempotent(&self.head.method, &self.head.headers);
        let wanted = self.is_grpc || (repeats || Replay::is_unnoticed(&self.head.method, body));
        wanted.then(|| Replay::of(body, self.retries.body_limit)).flatten()
    }

    /// The better of what there was and what there is: a backend's words before the gateway's, then the latest; or the
    /// earliest, when the latest only says that nobody is left.
    fn better(
        &mut self,
        before: Option<Result<Call, Refusal>>,
        now: Result<Call, Refusal>,
        nobody_left: bool,
    ) -> Result<Call, Refusal> {
        match (before, now) {
            (Some(Ok(call)), Err(_)) => {
                self.record.goes_to(call.in_flight.backend());
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

    /// One attempt at one backend: what came of it, whether there may be another, and the body if nothing was sent.
    async fn attempt(
        &mut self,
        backend: &Arc<Backend>,
        mut permit: Option<Permit>,
        body: RequestBody,
        replay: Option<&Replay>,
    ) -> (Result<Call, Refusal>, Option<Attempt>, Option<RequestBody>) {
        let span = self.record.begin_call(backend, self.head.uri.path());
        trace::hand_on(&span, &mut self.head.headers);
        // Before the call: whoever picks meanwhile has to see it as load.
        let in_flight = backend.begin(self.place.clone());
        let begun = Instant::now();
        let outcome = {
            let mut call = pin!(self.send(backend, body, replay));
            let mut first = None;
            if let Some(permit) = permit.as_mut().filter(|permit| permit.is_trial()) {
                first = timer::until(begun + self.timeouts.sign, call.as_mut()).await;
                if first.is_none() {
                    permit.give_way();
                }
            }
            match first {
                Some(outcome) => outcome,
                None => call.await,
            }
        };
        trace::answered(span, outcome.as_ref().map(|received| &received.response.head).map_err(|failed| failed.reason));
        let failed = match outcome {
            Ok(mut received) => {
                let Some(fault) = fault(&mut received.response, self.upgrade) else {
                    let (call, after) = self.answered(received, permit, in_flight, begun);
                    return (Ok(call), after, None);
                };
                Failed::sent(Reason::UpstreamInvalid, fault)
            }
            Err(failed) => failed,
        };
        let refusal = self.failed(&failed, backend, permit, begun);
        let after = match &failed.unsent {
            // Another backend would want a descriptor, or these files, too, and so would each after that.
            Some(_) if matches!(failed.reason, Reason::GatewayExhausted | Reason::TlsUnusable) => None,
            Some(_) => Some(Attempt::Unsent),
            // Not after a time-out: the backend may still be at it, and the client has waited long enough.
            None if is_repeatable(failed.reason) && !self.is_grpc => Some(Attempt::Failed(Duration::ZERO)),
            None => None,
        };
        (Err(refusal), after, failed.unsent)
    }

    /// What an answer that is valid leads to. Its breaker is told here, unless the trailers decide.
    fn answered(
        &mut self,
        received: Received,
        mut permit: Option<Permit>,
        in_flight: InFlight,
        begun: Instant,
    ) -> (Call, Option<Attempt>) {
        let Received { response, resent, connected_in } = received;
        let waited = Waited { connect: connected_in, first_byte: begun.elapsed() };
        let (status, headers) = (response.head.status, &response.head.headers);
        let backend = in_flight.backend();
        backend.answered();
        if resent {
            self.record.retried();
        }
        let is_whole = self.timeouts.is_whole();
        let outcome = self.outcome(status, headers, is_whole);
        if is_whole && self.cluster.wants_latency() {
            self.observe(backend, outcome.unwrap_or(Outcome::Well), begun);
        }
        // A permit that is still here afterwards goes with the body, and is judged by the trailers.
        if let Some(outcome) = outcome {
            if let Some(permit) = permit.take() {
                permit.judge(outcome);
            }
        } else if let Some(permit) = &mut permit {
            permit.alive();
        }
        let wait = outcome.and_then(|outcome| retry::wait_after(outcome, headers, self.retry_wait_left));
        let after = wait.filter(|_| !self.is_grpc).map(Attempt::Failed);
        (Call { response, outcome, permit, in_flight, waited }, after)
    }

    /// What a head says of the backend, if it does.
    fn outcome(&self, status: StatusCode, headers: &Headers, is_whole: bool) -> Option<Outcome> {
        let sign = if !self.is_grpc || status != StatusCode::OK {
            Sign::Http(status, headers)
        } else {
            // Trailers decide, unless the head is all there is.
            Sign::Grpc(Some(grpc::status(headers)?), headers)
        };
        Some(judge(sign, Chance { is_whole, is_time_ours: self.timeouts.end.is_none() }))
    }

    /// How long the backend took, from when all of the request was there.
    fn observe(&self, backend: &Backend, outcome: Outcome, begun: Instant) {
        if outcome != Outcome::Silent {
            let took = self.timeouts.since(begun).elapsed();
            backend.latency.observe(took, !outcome.is_ill());
            self.cluster.observed(backend, took, outcome.is_ill());
        }
    }

    /// The call at one backend, over what that speaks.
    async fn send(
        &self,
        backend: &Arc<Backend>,
        body: RequestBody,
        replay: Option<&Replay>,
    ) -> Result<Received, Failed> {
        if self.is_grpc {
            let caller = self.record.caller();
            return backend.endpoint.http2(self.worker, self.head, body, replay, self.timeouts, &caller).await;
        }
        let mut interim = Interim::new(self.informed.map(|client| Arc::clone(client) as Arc<dyn Inform>));
        backend.endpoint.http1(self.worker, self.head, body, &mut interim, self.timeouts).await
    }

    /// Tells backend and breaker about a failure, and words it for the client.
    fn failed(&self, failed: &Failed, backend: &Backend, permit: Option<Permit>, begun: Instant) -> Refusal {
        // A gRPC client sets its deadline itself.
        let is_time_ours = !self.is_grpc && self.timeouts.was_enough(self.timeouts.since(begun));
        let chance = Chance { is_whole: self.timeouts.is_whole(), is_time_ours };
        let outcome = judge(Sign::Failure(failed.reason), chance);
        if outcome.is_ill() {
            backend.failed(failed.reason, &failed.detail);
        }
        self.observe(backend, outcome, begun);
        if let Some(permit) = permit {
            permit.judge(outcome);
        }
        tracing::debug!(backend = backend.label(), reason = failed.reason.word(), error = failed.detail, "call failed");
        refusal(failed.reason)
    }
}

/// Whether the backend broke off: what it did of the call is over.
const fn is_repeatable(reason: Reason) -> bool {
    matches!(reason, Reason::UpstreamReset | Reason::UpstreamTlsFailed)
}

/// A failure in words for the client, who learns nothing of addresses.
pub(super) fn refusal(reason: Reason) -> Refusal {
    let detail = match reason {
        Reason::ConnectFailed => "the service cannot be reached",
        Reason::TlsUnusable => "the gateway cannot call the service over TLS just now",
        Reason::UpstreamTlsFailed => "the service cannot be reached over TLS",
        Reason::GatewayExhausted => "the gateway has no room for another call",
        Reason::UpstreamBusy => "the service has too many calls already",
        Reason::TooManyUnfinished => "calls that this client took back are not over yet",
        Reason::UpstreamReset => "the service broke off before it answered",
        Reason::UpstreamInvalid => "the service's answer is not valid",
        Reason::UpstreamTimeout => "the service did not answer in time",
        Reason::BodyTooLarge => "the body is larger than allowed",
        Reason::BodyTimeout => "the body did not arrive in time",
        Reason::BadRequest => "the body's framing is not valid",
        _ => "the request was broken off",
    };
    let refusal = Refusal::new(reason, detail);
    if matches!(reason, Reason::GatewayExhausted | Reason::UpstreamBusy | Reason::TooManyUnfinished) {
        refusal.retry_after(ROOM_AGAIN)
    } else {
        refusal
    }
}

/// What is wrong with an answer that a proxy may not hand on.
fn fault(response: &mut Response<ResponseBody>, upgrade: Option<&HeaderValue>) -> Option<String> {
    let status = response.head.status;
    if status.is_informational() && !upgrade::agrees(&response.head, upgrade) {
        return Some(format!("the backend answered {status}"));
    }
    // HTTP/1.1 has to know before it keeps the connection, and does it itself.
    if matches!(response.body, ResponseBody::Left(_)) {
        return None;
    }
    headers::settle_length(&mut response.head.headers).err().map(str::to_owned)
}

impl Call {
    /// Another answer is better. What this one still sends is read if it is little, so that its connection can be used
    /// again: to close connections in an outage makes it worse.
    fn discard(self) {
        let Self { response, in_flight, .. } = self;
        let whole = match response.body {
            body @ ResponseBody::Left(_) => Limited::new(body, WORTH_READING).collect(),
            ResponseBody::Right(_) => return,
        };
        shop_runtime::spawn_here(async move {
            // What comes of it does not matter: read to its end, it frees the connection.
            let _ = tokio::time::timeout(WORTH_WAITING, whole).await;
            drop(in_flight);
        });
    }
}
