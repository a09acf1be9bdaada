//! Active health checks: every backend is asked at intervals, by one task away from the threads that serve.

mod probe;

use std::sync::Arc;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use shop_balance::Trouble;
use shop_clock::chance;

use crate::services::{Backend, Group};
use crate::state::live::Live;
use crate::state::shared::Shared;

/// Checks until dropped, whatever generation is in force. A check that runs while generations change goes on: where they
/// change often, a backend that hangs would never be found to.
pub(crate) async fn run(shared: &Shared) {
    let mut changes = shared.changes();
    let mut attended: Vec<Arc<Backend>> = Vec::new();
    let mut checks = FuturesUnordered::new();
    loop {
        changes.mark_unchanged();
        let live = shared.live();
        // What the last generation's checks found may have come too late for this one's lists.
        for group in live.groups() {
            group.refresh();
        }
        if !live.config.health_check.enabled {
            // Checks that ended while they were being switched off may have left word; from here on none will.
            live.backends().for_each(|backend| backend.checks.forget());
        }
        // All at once the first time, so that none is preferred because it was asked earlier.
        for backend in live.backends().filter(|backend| group_of(&live, backend).is_some()) {
            if !attended.iter().any(|known| Arc::ptr_eq(known, backend)) {
                attended.push(Arc::clone(backend));
                checks.push(attend(shared, Arc::clone(backend)));
            }
        }
        drop(live);
        tokio::select! {
            Some(done) = checks.next() => attended.retain(|backend| !Arc::ptr_eq(backend, &done)),
            _ = changes.changed() => {}
        }
    }
}

/// Where the checks of `backend` count now; nowhere when it is not to be checked.
fn group_of<'a>(live: &'a Live, backend: &Arc<Backend>) -> Option<&'a Arc<Group>> {
    let services = live.table.services().iter().filter(|service| service.enabled && live.config.health_check.enabled);
    let mut groups = services.flat_map(|service| service.groups());
    groups.find(|group| group.members().iter().any(|member| Arc::ptr_eq(&member.backend, backend)))
}

/// Checks `backend` as long as it is to be.
async fn attend(shared: &Shared, backend: Arc<Backend>) -> Arc<Backend> {
    let mut changes = shared.changes();
    loop {
        changes.mark_unchanged();
        let live = shared.live();
        if group_of(&live, &backend).is_none() {
            return backend;
        }
        let settings = live.config.health_check.clone();
        drop(live);
        if let Some(age) = backend.checks.age() {
            let rest = chance::around(settings.interval.get()).saturating_sub(age);
            tokio::select! {
                () = tokio::time::sleep(rest) => {}
                // Perhaps it is to be checked sooner, or no more.
                _ = changes.changed() => continue,
            }
        }
        let asked = tokio::time::timeout(settings.timeout.get(), probe::ask(&backend, &settings.path)).await;
        let outcome = asked.unwrap_or_else(|_| Err(Trouble::Silent("no answer within the time allowed".to_owned())));
        let live = shared.live();
        let Some(group) = group_of(&live, &backend) else { return backend };
        group.checked(&backend, outcome, &live.config.health_check);
    }
}
