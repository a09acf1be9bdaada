//! What all workers share for the life of the process.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::time::Instant;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use shop_clock::{Clock as _, SystemClock};
use tokio::sync::{Notify, watch};

use crate::admin::feed::Feed;
use crate::docs::Docs;
use crate::metrics::recent::Recent;
use crate::metrics::{Metrics, OWN, ServiceMetrics};
use crate::settings::overlay::Overlay;
use crate::settings::wanted::Wanted;
use crate::state::draft::Draft;
use crate::state::guard::Failures;
use crate::state::live::Live;
use crate::state::reload::Reloads;
use crate::state::state_file::StateFile;

/// What all workers share for the life of the process. What settings decide is in [`Live`].
pub(crate) struct Shared {
    live: ArcSwap<Live>,
    /// What the live generation was made of. Locked while the next is made, so that changes come one after the other, and
    /// while the state file is written: never wait for it on a thread that serves.
    wanted: Mutex<Wanted>,
    /// What the admin API changed, for those who only look.
    overlay: ArcSwap<Overlay>,
    /// The revision of the live generation.
    changes: watch::Sender<u64>,
    /// How the latest reload went.
    pub(crate) reloads: Reloads,
    /// Where changes of the admin API are kept, if they are.
    pub(crate) state: Option<StateFile>,
    /// Wrong tokens shown to the admin API.
    pub(crate) admin_failures: Failures,
    /// Tells tags of this process from those of another.
    id: String,
    pub(crate) metrics: Metrics,
    /// Counts what belongs to no service.
    pub(crate) own: Arc<ServiceMetrics>,
    pub(crate) begun: Instant,
    /// The latest refusals.
    pub(crate) recent: Recent,
    /// Tells pages what goes on.
    pub(crate) feed: Feed,
    /// The reference of the API.
    pub(crate) docs: Docs,
    pub(crate) workers: usize,
    /// The signal to stop came: not ready any more.
    draining: AtomicBool,
    /// The delay after it is over: nothing new is begun.
    closed: AtomicBool,
    in_flight: AtomicUsize,
    idle: Notify,
}

impl Shared {
    /// The state at the start.
    pub(crate) fn new(
        wanted: Wanted,
        state: Option<StateFile>,
        workers: usize,
        metrics: shop_telemetry::Metrics,
    ) -> Arc<Self> {
        let metrics = Metrics::new(metrics);
        let begun = Instant::now();
        let live = Live::first(&wanted.merged(), workers, &metrics);
        metrics.revision.set(1);
        Arc::new(Self {
            changes: watch::Sender::new(live.revision),
            reloads: Reloads::new(&metrics),
            state,
            admin_failures: Failures::default(),
            id: SystemClock.new_id().simple().to_string(),
            live: ArcSwap::from_pointee(live),
            overlay: ArcSwap::from_pointee(wanted.overlay.clone()),
            wanted: Mutex::new(wanted),
            own: Arc::new(metrics.service(OWN)),
            begun,
            recent: Recent::new(begun),
            feed: Feed::default(),
            docs: Docs::default(),
            workers,
            draining: AtomicBool::new(false),
            closed: AtomicBool::new(false),
            in_flight: AtomicUsize::new(0),
            idle: Notify::new(),
            metrics,
        })
    }

    /// The generation in force. Whoever answers a request takes it once.
    pub(crate) fn live(&self) -> Arc<Live> {
        self.live.load_full()
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
    pub(crate) fn overlay(&self) -> Arc<Overlay> {
        self.overlay.load_full()
    }

    /// Notes what the admin API changed; as with generations, a [`Draft`] sees to it that nobody else does meanwhile.
    pub(crate) fn note_overlay(&self, overlay: &Overlay) {
        if **self.overlay.load() != *overlay {
            self.overlay.store(Arc::new(overlay.clone()));
        }
    }

    /// Begins to change what is wanted. It may wait for a disk: call it where that does not hold up others.
    pub(crate) fn draft(&self) -> Draft<'_> {
        Draft::begin(self, self.wanted.lock())
    }

    /// Swaps generations; a [`Draft`] sees to it that nobody else does meanwhile.
    pub(crate) fn put_into_force(&self, before: &Live, next: &Arc<Live>) {
        self.live.store(Arc::clone(next));
        before.retire(next, &self.metrics);
        self.metrics.revision.set(i64::try_from(next.revision).unwrap_or(i64::MAX));
        self.changes.send_replace(next.revision);
    }

    /// A request began.
    pub(crate) fn enter(&self) {
        self.in_flight.fetch_add(1, SeqCst);
    }

    /// A request is over.
    pub(crate) fn leave(&self) {
        if self.in_flight.fetch_sub(1, SeqCst) == 1 {
            self.idle.notify_waiters();
        }
    }

    /// Requests that are not over.
    pub(crate) fn in_flight(&self) -> usize {
        self.in_flight.load(SeqCst)
    }

    /// Returns when no request is being served.
    pub(crate) async fn idle(&self) {
        loop {
            let idle = self.idle.notified();
            if self.in_flight() == 0 {
                return;
            }
            idle.await;
        }
    }

    /// From now on not ready.
    pub(crate) fn drain(&self) {
        self.draining.store(true, SeqCst);
    }

    /// Whether the signal to stop came.
    pub(crate) fn is_draining(&self) -> bool {
        self.draining.load(SeqCst)
    }

    /// From now on nothing new for backends.
    pub(crate) fn close(&self) {
        self.closed.store(true, SeqCst);
        self.feed.close();
    }

    /// Whether nothing new is begun.
    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(SeqCst)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::report;
    use crate::settings::Config;

    #[test]
    fn a_change_in_the_making_holds_up_nobody_who_only_looks() {
        let wanted = Wanted::new(Config::default(), Overlay::default());
        let shared = Shared::new(wanted, None, 1, shop_telemetry::Metrics::new("gateway"));
        let mut draft = shared.draft();
        draft.wanted.overlay.service("product").enabled = Some(true);
        let looked = std::thread::scope(|scope| {
            let (tell, told) = std::sync::mpsc::channel();
            let shared = Arc::clone(&shared);
            scope.spawn(move || tell.send(report::changes(&shared)));
            let looked = told.recv_timeout(std::time::Duration::from_secs(10));
            // Were the looker waiting, this lets it go.
            let settled = draft.settle().unwrap_or_else(|problems| unreachable!("{problems}"));
            assert_eq!(settled.commit().revision, 1, "it was enabled before");
            looked
        });
        assert_eq!(looked, Ok(serde_json::json!({"rate_limit": {}})));
        let after = report::changes(&shared);
        assert_eq!(after["services"]["product"]["enabled"], true, "{after}");
    }
}
