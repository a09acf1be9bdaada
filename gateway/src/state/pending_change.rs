//! A change of what is desired, from the wish to the generation that is made of it.

use std::sync::Arc;

use parking_lot::MutexGuard;
use shop_config::{Change, Problems};
use shop_identity::Identity;

use super::generation::Generation;
use super::settings::Settings;
use crate::metrics::Metrics;
use crate::routing::Site;
use crate::settings::desired::{Desired, Merged};

/// A change in the making. Nobody else changes anything meanwhile; dropped, it leaves everything as it was.
pub(crate) struct PendingChange<'a> {
    settings: &'a Settings,
    metrics: &'a Metrics,
    current: MutexGuard<'a, Desired>,
    /// To be changed at will.
    pub(crate) desired: Desired,
    /// The generation in force.
    pub(crate) before: Arc<Generation>,
}

/// A change that passed every check.
pub(crate) struct Validated<'a> {
    pending: PendingChange<'a>,
    merged: Merged,
    identity: Identity,
    /// What is different from the generation in force.
    pub(crate) changed: Vec<Change>,
}

impl<'a> PendingChange<'a> {
    /// Waits for its turn; changes are quick.
    pub(super) fn begin(settings: &'a Settings, metrics: &'a Metrics) -> Self {
        let current = settings.lock();
        Self { desired: current.clone(), before: settings.current(), settings, metrics, current }
    }

    /// Checks what is desired now as settings are checked at the start.
    pub(crate) fn validate(self) -> Result<Validated<'a>, Problems> {
        let merged = self.desired.merged();
        merged.config.valid()?;
        let changed = shop_config::diff(&*self.before.config, &*merged.config);
        let identity = if merged.config.identity == self.before.config.identity {
            self.before.identity.clone()
        } else {
            let mut problems = Problems::default();
            merged.config.check_identity(&mut problems);
            let opened = super::open_identity(&merged.config.identity);
            match opened.map_err(|error| problems.add("identity", format!("{error:#}"))) {
                Ok(identity) if problems.is_empty() => identity,
                _ => return Err(problems),
            }
        };
        Ok(Validated { pending: self, merged, identity, changed })
    }
}

impl Validated<'_> {
    /// What is desired.
    pub(crate) fn desired(&self) -> &Desired {
        &self.pending.desired
    }

    /// Puts a generation that is made of it into force. Requests that have begun, and streams, stay with theirs. When
    /// nothing is different, nothing happens.
    pub(crate) fn commit(self) -> Arc<Generation> {
        let PendingChange { settings, metrics, mut current, desired, before } = self.pending;
        settings.note_overrides(&desired.overrides);
        *current = desired;
        if self.changed.is_empty() && before.is_made_of(&self.merged) {
            return before;
        }
        let site = Site { merged: &self.merged, workers: settings.workers, metrics };
        let next = Arc::new(Generation::new(Some(&before), &site, self.identity));
        settings.put_into_force(&before, &next, metrics);
        next
    }
}
