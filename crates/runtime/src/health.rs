//! Whether the process can do its work: named checks of what it depends on, asked together and remembered for a moment.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, join_all};
use serde::Serialize;
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};

use crate::{CancellationToken, Shutdown};

/// How long a report is good for: probes of several kinds every second must not multiply the load on a store.
const FRESH: Duration = Duration::from_secs(1);

/// How long a check may take; a dependency that is slower than this is as good as down.
const DEADLINE: Duration = Duration::from_secs(1);

/// The checks of one service. Clones share them.
#[derive(Clone)]
pub struct Health(Arc<Inner>);

struct Inner {
    stop: CancellationToken,
    checks: RwLock<Vec<Check>>,
    last: Mutex<Option<(Instant, Arc<Report>)>>,
}

#[derive(Clone)]
struct Check {
    name: &'static str,
    /// Whether the service can do no work without it.
    vital: bool,
    ask: Arc<dyn Fn() -> BoxFuture<'static, Result<(), String>> + Send + Sync>,
}

/// What the checks said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// All in all.
    pub status: Status,
    /// Each dependency by name.
    pub checks: BTreeMap<&'static str, State>,
}

/// The state of the whole service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Everything it needs is there.
    Up,
    /// A dependency is down.
    Down,
    /// It is about to stop and takes no new work.
    Draining,
}

/// The state of one dependency.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct State {
    /// `Up` or `Down`.
    pub status: Status,
    /// Why it is down.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

impl Report {
    /// Whether new work may come.
    pub fn is_ready(&self) -> bool {
        self.status == Status::Up
    }
}

impl Health {
    /// No checks yet; draining from the soft stop on.
    pub fn new(shutdown: &Shutdown) -> Self {
        let (checks, last) = (RwLock::default(), Mutex::default());
        Self(Arc::new(Inner { stop: shutdown.soft.clone(), checks, last }))
    }

    /// Adds a dependency. `ask` says whether it answers, and if not why, in words that may be shown.
    pub fn check<F, A>(&self, name: &'static str, ask: A)
    where
        F: Future<Output = Result<(), String>> + Send + 'static,
        A: Fn() -> F + Send + Sync + 'static,
    {
        self.add(Check { name, vital: true, ask: Arc::new(move || ask().boxed()) });
    }

    /// Adds a dependency that the service can do without for a while: its state is shown, but new work may come.
    pub fn check_optional<F, A>(&self, name: &'static str, ask: A)
    where
        F: Future<Output = Result<(), String>> + Send + 'static,
        A: Fn() -> F + Send + Sync + 'static,
    {
        self.add(Check { name, vital: false, ask: Arc::new(move || ask().boxed()) });
    }

    fn add(&self, check: Check) {
        self.0.checks.write().unwrap_or_else(PoisonError::into_inner).push(check);
    }

    /// Whether the process is about to stop.
    pub fn draining(&self) -> bool {
        self.0.stop.is_cancelled()
    }

    /// Asks all checks at once, unless that was done within the last second. Of many callers only one asks.
    pub async fn report(&self) -> Arc<Report> {
        let mut last = self.0.last.lock().await;
        if let Some((at, report)) = &*last
            && at.elapsed() < FRESH
            && (report.status == Status::Draining) == self.draining()
        {
            return report.clone();
        }
        let report = Arc::new(self.ask().await);
        if let Some((_, before)) = &*last {
            log_changes(before, &report);
        }
        *last = Some((Instant::now(), report.clone()));
        report
    }

    /// Waits for `period`, or less when draining begins: what a watcher does between two looks.
    pub async fn pause(&self, period: Duration) {
        // Running into the time limit is the usual end.
        let _ = timeout(period, self.0.stop.cancelled()).await;
    }

    /// Whether new work may come.
    pub async fn ready(&self) -> bool {
        !self.draining() && self.report().await.is_ready()
    }

    async fn ask(&self) -> Report {
        let checks = self.0.checks.read().unwrap_or_else(PoisonError::into_inner).clone();
        let states = join_all(checks.iter().map(Check::state)).await;
        let down = |(check, (_, state)): (&Check, &(_, State))| check.vital && state.status == Status::Down;
        let overall = if self.draining() {
            Status::Draining
        } else if checks.iter().zip(&states).any(down) {
            Status::Down
        } else {
            Status::Up
        };
        Report { status: overall, checks: states.into_iter().collect() }
    }
}

impl Check {
    async fn state(&self) -> (&'static str, State) {
        let answer = timeout(DEADLINE, (self.ask)()).await;
        let error = match answer {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(error),
            Err(_) => Some(format!("no answer within {} s", DEADLINE.as_secs())),
        };
        let status = if error.is_none() { Status::Up } else { Status::Down };
        (self.name, State { status, error })
    }
}

fn log_changes(before: &Report, now: &Report) {
    for (name, state) in &now.checks {
        let was = before.checks.get(name).map_or(Status::Up, |state| state.status);
        match (was, &state.error) {
            (Status::Up, Some(error)) => tracing::warn!(dependency = name, error, "{name} is down: {error}"),
            (Status::Down, None) => tracing::info!(dependency = name, "{name} is up again"),
            _ => {}
        }
    }
}

impl fmt::Debug for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let checks = self.0.checks.read().unwrap_or_else(PoisonError::into_inner);
        f.debug_list().entries(checks.iter().map(|check| check.name)).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_dependency_that_is_down_is_named_and_comes_back() {
        let health = Health::new(&Shutdown::new());
        let up = Arc::new(AtomicBool::new(true));
        let asked = up.clone();
        health.check("store", move || {
            let up = asked.load(Ordering::SeqCst);
            async move { if up { Ok(()) } else { Err("connection refused".to_owned()) } }
        });
        assert!(health.ready().await);
        up.store(false, Ordering::SeqCst);
        tokio::time::advance(FRESH).await;
        let report = health.report().await;
        assert_eq!(report.status, Status::Down);
        assert_eq!(report.checks["store"].error.as_deref(), Some("connection refused"));
        up.store(true, Ordering::SeqCst);
        tokio::time::advance(FRESH).await;
        assert!(health.ready().await);
    }

    #[tokio::test(start_paused = true)]
    async fn a_dependency_one_can_do_without_is_shown_and_does_not_matter() {
        let health = Health::new(&Shutdown::new());
        health.check_optional("bus", || std::future::ready(Err("away".to_owned())));
        let report = health.report().await;
        assert_eq!((report.status, report.checks["bus"].status), (Status::Up, Status::Down));
    }

    #[tokio::test(start_paused = true)]
    async fn many_probes_within_a_second_ask_once() {
        let health = Health::new(&Shutdown::new());
        let asked = Arc::new(AtomicUsize::new(0));
        let count = asked.clone();
        health.check("store", move || {
            count.fetch_add(1, Ordering::SeqCst);
            std::future::ready(Ok(()))
        });
        join_all((0..50).map(|_| health.ready())).await;
        assert_eq!(asked.load(Ordering::SeqCst), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_check_that_hangs_counts_as_down() {
        let health = Health::new(&Shutdown::new());
        health.check("store", std::future::pending);
        assert!(!health.ready().await);
    }

    #[tokio::test(start_paused = true)]
    async fn draining_shows_at_once() {
        let shutdown = Shutdown::new();
        let health = Health::new(&shutdown);
        assert!(health.ready().await);
        shutdown.soft.cancel();
        assert_eq!(health.report().await.status, Status::Draining);
        assert!(!health.ready().await);
    }
}
