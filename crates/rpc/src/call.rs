//! One call to a neighbour: a deadline around it, repeats inside of it, and a fault that names the neighbour.

use std::cell::RefCell;
use std::error::Error;
use std::future::Future;
use std::time::Duration;

use shop_clock::chance;
use shop_config::Neighbour;
use shop_fault::{Fault, Kind};
use shop_idempotency::Repeatable;
use shop_telemetry::{KeyValue, Span, SpanKind};
use tokio::time::{Instant, sleep, timeout_at};
use tonic::{Code, Extensions, GrpcMethod, Response, Status};

use crate::metrics::name;

/// First pause before a repeat; it doubles each time.
const BACKOFF: Duration = Duration::from_millis(25);

/// Longest pause before a repeat.
const BACKOFF_MAX: Duration = Duration::from_millis(400);

tokio::task_local! {
    /// What calls to neighbours have to know of the work at hand.
    static WORK: Work;
}

struct Work {
    /// When it has to be done: set by the server from `grpc-timeout` and by [`call`].
    deadline: Instant,
    /// The call under way; it gets to know its method only when it goes out.
    span: RefCell<Span>,
}

/// Time until the deadline of the work at hand.
pub(crate) fn time_left() -> Option<Duration> {
    WORK.try_with(|work| work.deadline.saturating_duration_since(Instant::now())).ok()
}

/// Runs `work` with a deadline that calls to neighbours inherit; an earlier one that already holds stays.
pub(crate) fn with_deadline<F: Future>(at: Instant, work: F) -> impl Future<Output = F::Output> {
    let deadline = WORK.try_with(|outer| at.min(outer.deadline)).unwrap_or(at);
    WORK.scope(Work { deadline, span: RefCell::default() }, work)
}

/// Begins the span of a call that goes out with `extensions`, and yields what to hand on. Nothing outside of [`call`] or
/// when the trace is not recorded: the trace at hand is handed on then.
pub(crate) fn goes_out(extensions: &Extensions) -> Option<String> {
    let span = Span::child(SpanKind::Client, || {
        let method =
            extensions.get::<GrpcMethod<'_>>().map(|called| format!("{}/{}", called.service(), called.method()));
        let method = method.unwrap_or_else(|| "_OTHER".to_owned());
        let attributes = vec![KeyValue::new("rpc.system.name", "grpc"), KeyValue::new("rpc.method", method.clone())];
        (method.into(), attributes)
    });
    let handed_on = span.trace().map(|trace| trace.to_string());
    // Outside of a call nobody would end it.
    let kept = WORK.try_with(|work| work.span.replace(span)).is_ok();
    handed_on.filter(|_| kept)
}

/// Ends the span of the call to `neighbour` that was answered so.
fn came_back<T>(neighbour: &Neighbour, answer: Option<&Result<Response<T>, Status>>) {
    let mut span = WORK.with(|work| work.span.take());
    if !span.is_recorded() {
        return;
    }
    if let Some((host, port)) =
        neighbour.url.rsplit_once("://").map_or(&*neighbour.url, |(_, rest)| rest).rsplit_once(':')
    {
        span.set("server.address", host.to_owned());
        if let Ok(port) = port.parse::<i64>() {
            span.set("server.port", port);
        }
    }
    let code = match answer {
        Some(Ok(_)) => Code::Ok,
        Some(Err(status)) => status.code(),
        None => Code::DeadlineExceeded,
    };
    span.set("rpc.response.status_code", name(code));
    if code != Code::Ok {
        span.fail(name(code));
    }
}

/// Calls the neighbour `name` until it answers, at most until its deadline or that of the work at hand.
///
/// `UNAVAILABLE`, and a connection that broke before the answer, is repeated with growing, jittered pauses, so only requests are
/// taken that may be: `f` sends what it is given. No answer at all is
/// 503 `<name>_unavailable`, a deadline passed 504 `<name>_timeout`, nonsense 502 `<name>_failed`; refusals of the
/// neighbour come through as they are.
pub async fn call<Q, T, F, W>(neighbour: &Neighbour, name: &'static str, request: Q, mut f: W) -> Result<T, Fault>
where
    Q: Repeatable,
    F: Future<Output = Result<Response<T>, Status>>,
    W: FnMut(Q) -> F,
{
    let at = Instant::now() + neighbour.timeout.get();
    with_deadline(at, async {
        let at = WORK.with(|work| work.deadline);
        let mut repeats = 0;
        loop {
            let answer = timeout_at(at, f(request.clone())).await;
            came_back(neighbour, answer.as_ref().ok());
            let status = match answer {
                Ok(Ok(response)) => return Ok(response.into_inner()),
                Ok(Err(status)) => status,
                Err(_) => Status::deadline_exceeded("no answer in time"),
            };
            let pause = pause(repeats);
            if !is_passing(&status) || repeats >= neighbour.retries || Instant::now() + pause >= at {
                return Err(named(name, status));
            }
            repeats += 1;
            tracing::debug!(neighbour = name, repeats, "{name} is not available, calling again: {}", status.message());
            sleep(pause).await;
        }
    })
    .await
}

/// Whether another try may find the neighbour: it said so, or nobody answered, as when a connection ends under a call because
/// the neighbour stops. An answer of its own has no source.
fn is_passing(status: &Status) -> bool {
    status.code() == Code::Unavailable || status.source().is_some_and(<dyn Error>::is::<tonic::transport::Error>)
}

/// Between half and all of the doubled pause: callers that failed together must not come back together.
fn pause(repeats: u32) -> Duration {
    let full = BACKOFF.saturating_mul(1 << repeats.min(10)).min(BACKOFF_MAX);
    full.mul_f64(0.5 + chance::fraction() / 2.0)
}

/// A refusal stays what it is; a failure says which neighbour failed.
fn named(name: &str, status: Status) -> Fault {
    let code = status.code();
    let fault = crate::fault(status);
    let (kind, end, detail) = match (fault.kind(), code) {
        (_, Code::DeadlineExceeded | Code::Cancelled) => (Kind::Timeout, "timeout", "did not answer in time"),
        // Not in its own words: `store_unavailable` would be said of our store.
        (Kind::Unavailable, _) => (Kind::Unavailable, "unavailable", "is not available; try again"),
        (Kind::Internal | Kind::BadGateway, _) => (Kind::BadGateway, "failed", "failed"),
        _ => return fault,
    };
    let named = Fault::new(kind, format!("{name}_{end}"), format!("the {name} service {detail}"));
    let named = if kind == Kind::Unavailable {
        named.with_retry_after(fault.retry_after().unwrap_or(Duration::from_secs(1)))
    } else {
        named
    };
    named.with_source(fault)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    fn neighbour() -> Neighbour {
        Neighbour { retries: 2, ..Neighbour::at("localhost:1") }
    }

    #[tokio::test(start_paused = true)]
    async fn a_neighbour_that_comes_back_is_called_again() {
        let calls = AtomicU32::new(0);
        let neighbour = neighbour();
        let answer = call(&neighbour, "product", (), |()| async {
            match calls.fetch_add(1, Ordering::SeqCst) {
                0 | 1 => Err(Status::unavailable("starting")),
                _ => Ok(Response::new(7)),
            }
        });
        assert_eq!(answer.await.expect("the third call works"), 7);
    }

    #[tokio::test(start_paused = true)]
    async fn a_neighbour_that_stays_away_is_named() {
        let calls = AtomicU32::new(0);
        let fault = call::<_, (), _, _>(&neighbour(), "product", (), |()| async {
            calls.fetch_add(1, Ordering::SeqCst);
            Err(Status::unavailable("connection refused"))
        })
        .await
        .expect_err("down");
        assert_eq!((fault.kind(), fault.code()), (Kind::Unavailable, "product_unavailable"));
        assert_eq!(fault.retry_after(), Some(Duration::from_secs(1)));
        assert_eq!(calls.load(Ordering::SeqCst), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn a_neighbour_without_its_store_is_named_and_its_store_is_not() {
        let fault = call::<_, (), _, _>(&neighbour(), "product", (), |()| async {
            let away =
                Fault::new(Kind::Unavailable, "store_unavailable", "away").with_retry_after(Duration::from_secs(2));
            Err(crate::status(away))
        })
        .await
        .expect_err("down");
        assert_eq!((fault.kind(), fault.code()), (Kind::Unavailable, "product_unavailable"));
        assert_eq!((fault.scope(), fault.retry_after()), (shop_fault::Scope::Request, Some(Duration::from_secs(2))));
    }

    #[tokio::test(start_paused = true)]
    async fn a_neighbour_that_hangs_is_given_up_at_the_deadline() {
        let started = Instant::now();
        let hang = |()| std::future::pending::<Result<Response<()>, Status>>();
        let fault = call(&neighbour(), "product", (), hang).await.expect_err("hangs");
        assert_eq!((fault.kind(), fault.code()), (Kind::Timeout, "product_timeout"));
        assert_eq!(started.elapsed(), neighbour().timeout.get());
    }

    #[tokio::test(start_paused = true)]
    async fn the_deadline_of_the_work_at_hand_wins_when_it_is_nearer() {
        let started = Instant::now();
        let hang = |()| std::future::pending::<Result<Response<()>, Status>>();
        let near = started + Duration::from_millis(300);
        with_deadline(near, async { call(&neighbour(), "product", (), hang).await }).await.expect_err("hangs");
        assert_eq!(started.elapsed(), Duration::from_millis(300));
    }

    #[tokio::test(start_paused = true)]
    async fn a_refusal_comes_through_at_once() {
        let calls = AtomicU32::new(0);
        let fault = call::<_, (), _, _>(&neighbour(), "product", (), |()| async {
            calls.fetch_add(1, Ordering::SeqCst);
            Err(crate::status(Fault::new(Kind::NotFound, "product_not_found", "no product 7")))
        })
        .await
        .expect_err("refused");
        assert_eq!((fault.kind(), fault.code(), fault.detail()), (Kind::NotFound, "product_not_found", "no product 7"));
        assert_eq!(calls.load(Ordering::SeqCst), 1);
    }

    #[test]
    fn pauses_grow_and_stay_within_bounds() {
        for repeats in 0..40 {
            let pause = pause(repeats);
            assert!(pause >= BACKOFF / 2 && pause <= BACKOFF_MAX, "{pause:?}");
        }
    }
}
