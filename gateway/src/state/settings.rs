//! The store of generations: the one in force, what it was made of, and how the next one replaces it.

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwap;
use parking_lot::{Mutex, MutexGuard};
use shop_clock::{Clock as _, SystemClock};
use shop_identity::Identity;
use tokio::sync::watch;

use super::generation::Generation;
use super::reload::Reloads;
use super::state_file::StateFile;
use crate::metrics::Metrics;
use crate::routing::Site;
use crate::settings::desired::Desired;
use crate::settings::overrides::Overrides;

/// Numbers of generations; those of several gateways in one process differ.
static NUMBERS: AtomicU64 = AtomicU64::new(1);

/// A generation as one thread has it. Who uses it is counted for that thread alone: a count that all threads write to wanders from
/// core to core with each request.
pub(crate) type Local = Arc<Arc<Generation>>;

thread_local! {
    /// The generation that was in force when this thread last asked, and its number.
    static HERE: RefCell<Option<(u64, Local)>> = const { RefCell::new(None) };
}

/// The store of generations.
pub(crate) struct Settings {
    generation: ArcSwap<Generation>,
    /// Of the generation in force.
    number: AtomicU64,
    /// What the generation in force was made of. Locked while the next is made, so that changes come one after the other, and
    /// while the state file is written: never wait for it on a thread that serves.
    desired: Mutex<Desired>,
    /// What the admin API changed, for those who only look.
    overrides: ArcSwap<Overrides>,
    /// The revision of the generation in force.
    changes: watch::Sender<u64>,
    /// How the latest reload went.
    pub(crate) reloads: Reloads,
    /// Where changes of the admin API are kept, if they are.
    pub(crate) file: Option<StateFile>,
    /// Tells tags of this process from those of another.
    id: String,
    pub(crate) workers: usize,
}

impl Settings {
    /// The first generation is in force.
    pub(super) fn new(
        desired: Desired,
        identity: Identity,
        file: Option<StateFile>,
        workers: usize,
        metrics: &Metrics,
    ) -> Self {
        let generation = Generation::new(None, &Site { merged: &desired.merged(), workers, metrics }, identity);
        metrics.revision.set(1);
        Self {
            changes: watch::Sender::new(generation.revision),
            reloads: Reloads::new(metrics),
            file,
            id: SystemClock.new_id().simple().to_string(),
            generation: ArcSwap::from_pointee(generation),
            number: AtomicU64::new(NUMBERS.fetch_add(1, Ordering::Relaxed)),
            overrides: ArcSwap::from_pointee(desired.overrides.clone()),
            desired: Mutex::new(desired),
            workers,
        }
    }

    /// The generation in force.
    pub(crate) fn current(&self) -> Arc<Generation> {
        self.generation.load_full()
    }

    /// The same for whoever answers a request, who takes it once.
    pub(crate) fn current_here(&self) -> Local {
        // Before the generation: one that is newer than its number is asked for again, one that is older would stay.
        let number = self.number.load(Ordering::Acquire);
        let known = HERE.with_borrow(|here| {
            let known = here.as_ref().filter(|(known, _)| *known == number);
            known.map(|(_, generation)| Arc::clone(generation))
        });
        known.unwrap_or_else(|| {
            let generation = Arc::new(self.current());
            // What it replaces is let go of after the cell.
            drop(HERE.replace(Some((number, Arc::clone(&generation)))));
            generation
        })
    }

    /// Tells when another generation comes into force, by its revision.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// The tag of a state of the settings. Those from before a restart fit none.
    pub(crate) fn etag(&self, revision: u64) -> String {
        format!("\"{}-{revision}\"", self.id)
    }

    /// What the admin API changed.
    pub(crate) fn overrides(&self) -> Arc<Overrides> {
        self.overrides.load_full()
    }

    /// What the generation in force was made of, and the right to change it.
    pub(super) fn lock(&self) -> MutexGuard<'_, Desired> {
        self.desired.lock()
    }

    /// Notes what the admin API changed; as with generations, whoever has the [`lock`](Self::lock) alone does.
    pub(super) fn note_overrides(&self, overrides: &Overrides) {
        if **self.overrides.load() != *overrides {
            self.overrides.store(Arc::new(overrides.clone()));
        }
    }

    /// Swaps generations; whoever has the [`lock`](Self::lock) alone does.
    pub(super) fn put_into_force(&self, before: &Generation, next: &Arc<Generation>, metrics: &Metrics) {
        self.generation.store(Arc::clone(next));
        self.number.store(NUMBERS.fetch_add(1, Ordering::Relaxed), Ordering::Release);
        before.retire(next, metrics);
        metrics.revision.set(i64::try_from(next.revision).unwrap_or(i64::MAX));
        self.changes.send_replace(next.revision);
    }
}
