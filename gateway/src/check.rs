//! Active health checks: every backend is asked at intervals, by one task away from the threads that serve.

mod probe;
mod record;

pub(crate) use probe::Protocol;
pub(crate) use record::{Record, Verdict};

use std::time::Duration;

use futures_util::future::join_all;

use crate::chance;
use crate::config::HealthCheck;
use crate::live::Live;
use crate::service::{Backend, Group};
use crate::shared::Shared;

/// Why a check failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// The backend itself says that it wants no calls.
    Declines(String),
    /// No answer, or none that makes sense.
    Silent(String),
}

/// Checks until dropped, whatever generation is in force.
pub(crate) async fn run(shared: &Shared) {
    let mut changes = shared.changes();
    loop {
        changes.mark_unchanged();
        let live = shared.live();
        tokio::select! {
            () = watch(&live) => {}
            _ = changes.changed() => {}
        }
    }
}

/// Checks every backend of `live`, all at once the first time, so that none is preferred because it was asked earlier.
async fn watch(live: &Live) {
    let settings = &live.config.health_check;
    if settings.enabled {
        // What the last generation's checks found may have come too late for this one's lists.
        for group in live.groups() {
            group.refresh();
        }
        let services = live.table.services().iter().filter(|service| service.enabled);
        let groups = services.flat_map(|service| service.groups());
        let all =
            groups.flat_map(|group| group.members().iter().map(move |member| attend(group, &member.backend, settings)));
        join_all(all).await;
    }
    // Without backends there is nothing to wait for; the next generation may have some.
    std::future::pending::<()>().await;
}

async fn attend(group: &Group, backend: &Backend, settings: &HealthCheck) {
    let mut waited = backend.checks.age();
    loop {
        if let Some(waited) = waited {
            tokio::time::sleep(chance::around(settings.interval.get()).saturating_sub(waited)).await;
        }
        let asked = tokio::time::timeout(settings.timeout.get(), probe::ask(backend, &settings.path)).await;
        let outcome = asked.unwrap_or_else(|_| Err(Trouble::Silent("no answer within the time allowed".to_owned())));
        group.checked(backend, outcome, settings);
        waited = Some(Duration::ZERO);
    }
}
