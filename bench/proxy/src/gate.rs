//! Who may send when: as fast as answers come, or at a fixed rate whether they come or not.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;

/// A load to make.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plan {
    pub(crate) requests: usize,
    /// Requests a second; none is as fast as answers come.
    pub(crate) rate: Option<f64>,
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
    pub(crate) fn new(plan: Plan) -> Self {
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
