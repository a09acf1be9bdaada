//! What everything in the world goes by: one seed, one clock that moves only while all wait, and the weather on every way.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use async_trait::async_trait;
use fastrand::Rng;
use parking_lot::Mutex;
use shop_clock::{Clock, from_millis, millis};
use shop_fault::{Fault, Kind};
use time::OffsetDateTime;
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use crate::domain::Error;
use crate::domain::samples::NOON;
use crate::infrastructure::memory::Weather;

/// Shared by everything.
pub(super) struct Sky {
    chance: Mutex<Rng>,
    began: Instant,
    ids: AtomicU64,
    is_calm: AtomicBool,
    /// How bad it is: one of so many calls of the store fails.
    storm: u64,
    /// What happened, where somebody wants to know.
    told: Option<Mutex<Vec<String>>>,
}

impl Sky {
    /// The sky of that seed.
    pub(super) fn of(seed: u64, is_told: bool) -> Arc<Self> {
        let mut chance = Rng::with_seed(seed);
        let storm = [0, 0, 60, 15][chance.usize(..4)];
        Arc::new(Self {
            chance: Mutex::new(chance),
            began: Instant::now(),
            ids: AtomicU64::new(0),
            is_calm: AtomicBool::new(false),
            storm,
            told: is_told.then(Mutex::default),
        })
    }

    /// From here on nothing fails any more.
    pub(super) fn clear_up(&self) {
        self.is_calm.store(true, Relaxed);
    }

    pub(super) fn is_calm(&self) -> bool {
        self.is_calm.load(Relaxed)
    }

    /// A number under `limit`.
    pub(super) fn below(&self, limit: u64) -> u64 {
        self.chance.lock().u64(..limit)
    }

    /// True once in so many times; never for 0.
    pub(super) fn one_in(&self, times: u64) -> bool {
        times > 0 && self.below(times) == 0
    }

    pub(super) fn one_of<T: Copy>(&self, all: &[T]) -> T {
        all[self.chance.lock().usize(..all.len())]
    }

    /// A time up to `longest`.
    pub(super) fn within(&self, longest: Duration) -> Duration {
        Duration::from_millis(self.below(u64::try_from(longest.as_millis()).expect("not so long") + 1))
    }

    /// Waits up to `longest`.
    pub(super) async fn wait(&self, longest: Duration) {
        sleep(self.within(longest)).await;
    }

    /// A way over the network: mostly short, and sometimes longer than anybody waits.
    pub(super) async fn travel(&self) {
        match self.below(if self.is_calm() { 10 } else { 16 }) {
            0..8 => give_way().await,
            8..14 => self.wait(Duration::from_millis(500)).await,
            14 => self.wait(Duration::from_secs(5)).await,
            _ => self.wait(Duration::from_secs(30)).await,
        }
    }

    /// Notes what happened.
    pub(super) fn tell(&self, what: impl FnOnce() -> String) {
        if let Some(told) = &self.told {
            let passed = self.began.elapsed().as_secs_f64();
            told.lock().push(format!("{passed:>14.3} {}", what()));
        }
    }

    /// All that was noted.
    pub(super) fn story(&self) -> Vec<String> {
        self.told.as_ref().map(|told| told.lock().clone()).unwrap_or_default()
    }
}

/// Lets others have their turn, if the seed wants it so.
async fn give_way() {
    let mut is_over = false;
    std::future::poll_fn(|cx| {
        if std::mem::replace(&mut is_over, true) {
            return std::task::Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        std::task::Poll::Pending
    })
    .await;
}

impl Clock for Sky {
    fn now(&self) -> OffsetDateTime {
        from_millis(millis(NOON + self.began.elapsed()))
    }

    fn new_id(&self) -> Uuid {
        Uuid::from_u128(u128::from(self.ids.fetch_add(1, Relaxed)) + 1)
    }
}

/// The weather on the way to the store and back.
pub(super) struct OverStore(pub(super) Arc<Sky>);

#[async_trait]
impl Weather for OverStore {
    async fn pass(&self) -> Result<(), Error> {
        match self.0.below(12) {
            0 => self.0.wait(Duration::from_millis(300)).await,
            1 if !self.0.is_calm() => self.0.wait(Duration::from_secs(3)).await,
            _ => give_way().await,
        }
        if !self.0.is_calm() && self.0.one_in(self.0.storm) {
            return Err(Fault::new(Kind::Unavailable, "store_unavailable", "the connection broke").into());
        }
        Ok(())
    }
}
