//! What all workers share for the life of the process: generations of what settings decide, how one replaces the other and
//! what is kept on disk; what is under way; and the numbers.

mod found;
pub(crate) mod generation;
pub(crate) mod guard;
mod lifecycle;
pub(crate) mod pending_change;
pub(crate) mod reload;
mod settings;
pub(crate) mod state_file;
pub(crate) mod token;

use std::sync::Arc;

use shop_identity::{Identity, IdentitySettings};

use self::lifecycle::Lifecycle;
use self::pending_change::PendingChange;
use self::settings::Settings;
use self::state_file::StateFile;
use crate::metrics::Numbers;
use crate::settings::desired::Desired;

/// Whose tokens are good by these settings.
pub(crate) fn open_identity(settings: &IdentitySettings) -> anyhow::Result<Identity> {
    Identity::open(settings, "gateway")
}

/// What all workers share. Three things that know nothing of each other; together, because a request wants one pointer to
/// them and not three.
pub(crate) struct State {
    pub(crate) settings: Settings,
    pub(crate) lifecycle: Lifecycle,
    pub(crate) numbers: Numbers,
}

impl State {
    /// The state at the start.
    pub(crate) fn new(
        desired: Desired,
        identity: Identity,
        file: Option<StateFile>,
        workers: usize,
        metrics: shop_telemetry::Metrics,
    ) -> Arc<Self> {
        let numbers = Numbers::new(metrics);
        let settings = Settings::new(desired, identity, file, workers, &numbers.metrics);
        Arc::new(Self { settings, lifecycle: Lifecycle::default(), numbers })
    }

    /// Begins to change what is desired. It may wait for a disk: call it where that does not hold up others.
    pub(crate) fn begin_change(&self) -> PendingChange<'_> {
        PendingChange::begin(&self.settings, &self.numbers.metrics)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Config;
    use crate::settings::overrides::Overrides;

    fn overrides(state: &State) -> serde_json::Value {
        serde_json::json!(*state.settings.overrides())
    }

    fn state() -> Arc<State> {
        let desired = Desired::new(Config::default(), Overrides::default());
        let identity = open_identity(&shop_identity::IdentitySettings::off()).expect("opens");
        State::new(desired, identity, None, 1, shop_telemetry::Metrics::new("gateway"))
    }

    #[test]
    fn a_thread_has_the_generation_in_force_whichever_it_had_before() {
        let (one, other) = (state(), state());
        let is_current = |state: &State| Arc::ptr_eq(state.settings.current_here().as_ref(), &state.settings.current());
        assert!(is_current(&one) && is_current(&one) && is_current(&other) && is_current(&one));
        let mut pending = one.begin_change();
        pending.desired.overrides.service("product").enabled = Some(false);
        let validated = pending.validate().unwrap_or_else(|problems| unreachable!("{problems}"));
        assert_eq!(validated.commit().revision, 2);
        assert!(is_current(&one) && is_current(&other));
        assert_eq!(one.settings.current_here().revision, 2);
    }

    #[test]
    fn a_change_in_the_making_holds_up_nobody_who_only_looks() {
        let state = state();
        let mut pending = state.begin_change();
        pending.desired.overrides.service("product").enabled = Some(true);
        let looked = std::thread::scope(|scope| {
            let (tell, told) = std::sync::mpsc::channel();
            let state = Arc::clone(&state);
            scope.spawn(move || tell.send(overrides(&state)));
            let looked = told.recv_timeout(std::time::Duration::from_secs(10));
            // Were the looker waiting, this lets it go.
            let validated = pending.validate().unwrap_or_else(|problems| unreachable!("{problems}"));
            assert_eq!(validated.commit().revision, 1, "it was enabled before");
            looked
        });
        assert_eq!(looked, Ok(serde_json::json!({"rate_limit": {}})));
        let after = overrides(&state);
        assert_eq!(after["services"]["product"]["enabled"], true, "{after}");
    }
}
