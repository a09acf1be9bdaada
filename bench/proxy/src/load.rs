//! Who may send when: as fast as answers come, or at a fixed rate whether they come or not.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use anyhow::ensure;
use tokio::sync::Semaphore;

use crate::scenario::{Scenario, Wire};
use crate::{http1, http2};

/// A load to make.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plan {
    pub(crate) requests: usize,
    /// Requests a second; none is as fast as answers come.
    pub(crate) rate: Option<f64>,
}

/// What a load came to.
pub(crate) struct Load {
    pub(crate) elapsed: Duration,
    /// Nanoseconds of each request, sorted.
    times: Vec<u64>,
}

impl Load {
    pub(crate) fn requests(&self) -> usize {
        self.times.len()
    }

    pub(crate) fn rate(&self) -> f64 {
        self.times.len() as f64 / self.elapsed.as_secs_f64()
    }

    /// The time in microseconds that `share` of the requests stayed under.
    pub(crate) fn quantile(&self, share: f64) -> f64 {
        let index = (self.times.len().saturating_sub(1) as f64 * share).round() as usize;
        self.times.get(index).copied().unwrap_or_default() as f64 / 1e3
    }
}

/// Hands out the right to send.
pub(crate) struct Gate {
    left: Cell<usize>,
    paced: Option<Arc<Paced>>,
}

struct Paced {
    permits: Semaphore,
    /// When each request was due, in nanoseconds since `begun`.
    due: Box<[AtomicU64]>,
    begun: Instant,
}

impl Gate {
    fn new(plan: Plan) -> Self {
        let paced = plan.rate.map(|rate| {
            let paced = Arc::new(Paced {
                permits: Semaphore::new(0),
                due: (0..plan.requests).map(|_| AtomicU64::new(0)).collect(),
                begun: Instant::now(),
            });
            let clock = Arc::clone(&paced);
            std::thread::spawn(move || clock.pace(rate));
            paced
        });
        Self { left: Cell::new(plan.requests), paced }
    }

    /// When the next request was due, once it is; nothing when all are sent.
    async fn next(&self) -> Option<Instant> {
        let left = self.left.get().checked_sub(1)?;
        self.left.set(left);
        let Some(paced) = &self.paced else { return Some(Instant::now()) };
        paced.permits.acquire().await.ok()?.forget();
        let due = paced.due[paced.due.len() - 1 - left].load(Relaxed);
        Some(paced.begun + Duration::from_nanos(due))
    }

    /// Makes one call after the other as they are allowed; the nanoseconds of each since it was due.
    pub(crate) async fn drive(&self, mut call: impl AsyncFnMut() -> anyhow::Result<()>) -> anyhow::Result<Vec<u64>> {
        let mut times = Vec::new();
        while let Some(due) = self.next().await {
            call().await?;
            times.push(Instant::now().saturating_duration_since(due).as_nanos() as u64);
        }
        Ok(times)
    }
}

impl Paced {
    /// Releases what has become due, about every tenth of a millisecond. A request counts from its release: what the
    /// pacer itself is late is nobody's latency, and what a slow answer holds up is.
    fn pace(&self, rate: f64) {
        let mut released = 0;
        while released < self.due.len() {
            std::thread::sleep(Duration::from_micros(50));
            let now = self.begun.elapsed();
            let target = ((now.as_secs_f64() * rate) as usize).min(self.due.len());
            for due in &self.due[released..target] {
                due.store(now.as_nanos() as u64, Relaxed);
            }
            self.permits.add_permits(target - released);
            released = target;
        }
    }
}

/// Connections that stay open between loads.
pub(crate) enum Clients {
    Http1(Vec<http1::Connection>),
    Http2(Vec<http2::Connection>),
}

impl Clients {
    /// Opens the connections of `scenario` to `port`.
    pub(crate) async fn open(scenario: &Scenario, port: u16) -> anyhow::Result<Self> {
        Ok(match scenario.wire {
            Wire::Http1 => Self::Http1(http1::open(scenario, port).await?),
            Wire::Http2 | Wire::Grpc => Self::Http2(http2::open(scenario, port).await?),
        })
    }

    /// Makes the load of `plan`; fails on the first answer that is not the right one.
    pub(crate) async fn run(&mut self, plan: Plan) -> anyhow::Result<Load> {
        let gate = Rc::new(Gate::new(plan));
        let began = Instant::now();
        let times = match self {
            Self::Http1(connections) => http1::run(connections, &gate).await?,
            Self::Http2(connections) => http2::run(connections, &gate).await?,
        };
        let elapsed = began.elapsed();
        let mut times: Vec<_> = times.into_iter().flatten().collect();
        ensure!(times.len() == plan.requests, "{} of {} requests were answered", times.len(), plan.requests);
        times.sort_unstable();
        Ok(Load { elapsed, times })
    }
}
