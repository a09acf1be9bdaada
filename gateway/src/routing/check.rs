//! Active health checks: every backend is asked at intervals, by one task away from the threads that serve.

pub(crate) mod probe;

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use shop_balance::Trouble;
use shop_clock::chance;
use tokio::sync::watch;

use crate::routing::cluster::WATCHED;
use crate::routing::routes::Table;
use crate::routing::{Backend, Cluster};

/// Checks until dropped, whatever generation is in force: `current` gives it, and `changes` tells when there is another. A check
/// that runs while generations change goes on: where they change often, a backend that hangs would never be found to.
pub(crate) async fn run(mut changes: watch::Receiver<u64>, current: impl Fn() -> Arc<Table>) {
    let mut attended: Vec<Arc<Backend>> = Vec::new();
    let mut checks = FuturesUnordered::new();
    loop {
        changes.mark_unchanged();
        let table = current();
        // What the last generation's checks found may have come too late for this one's lists.
        for cluster in table.services.iter().flat_map(|service| service.clusters()) {
            cluster.refresh();
        }
        let backends = || table.services.iter().flat_map(|service| service.backends());
        // Checks that ended while they were being switched off may have left word; from here on none will.
        table.services.iter().flat_map(|service| service.clusters()).for_each(|cluster| cluster.forget_checks());
        // All at once the first time, so that none is preferred because it was asked earlier.
        for backend in backends().filter(|backend| cluster_of(&table, backend).is_some()) {
            if !attended.iter().any(|known| Arc::ptr_eq(known, backend)) {
                attended.push(Arc::clone(backend));
                checks.push(attend(changes.clone(), &current, Arc::clone(backend)));
            }
        }
        drop(table);
        tokio::select! {
            Some(done) = checks.next() => attended.retain(|backend| !Arc::ptr_eq(backend, &done)),
            _ = changes.changed() => {}
        }
    }
}

/// Where the checks of `backend` count now; nowhere when it is not to be checked.
fn cluster_of<'a>(table: &'a Table, backend: &Arc<Backend>) -> Option<&'a Arc<Cluster>> {
    let services = table.services.iter().filter(|service| service.enabled);
    let mut clusters = services.flat_map(|service| service.clusters()).filter(|cluster| cluster.health_check().enabled);
    clusters.find(|cluster| cluster.members.iter().any(|member| Arc::ptr_eq(&member.backend, backend)))
}

/// Checks `backend` as long as it is to be.
async fn attend(
    mut changes: watch::Receiver<u64>,
    current: &impl Fn() -> Arc<Table>,
    backend: Arc<Backend>,
) -> Arc<Backend> {
    let a_bit_off = || chance::around(Duration::from_secs(1)).as_secs_f64();
    let mut factor = a_bit_off();
    loop {
        changes.mark_unchanged();
        let table = current();
        let Some(cluster) = cluster_of(&table, &backend) else { return backend };
        let (settings, interval) = (cluster.health_check().clone(), cluster.check_interval(&backend));
        drop(table);
        if let Some(age) = backend.checks.age() {
            let rest = interval.mul_f64(factor).saturating_sub(age);
            tokio::select! {
                // Its breaker may have opened since.
                () = tokio::time::sleep(rest.min(WATCHED)) => if rest > WATCHED { continue },
                // Perhaps it is to be checked sooner, or no more.
                _ = changes.changed() => continue,
            }
        }
        let asked = tokio::time::timeout(settings.timeout.get(), probe::ask(&backend, &settings.path)).await;
        let outcome = asked.unwrap_or_else(|_| Err(Trouble::Silent("no answer within the time allowed".to_owned())));
        let table = current();
        let Some(cluster) = cluster_of(&table, &backend) else { return backend };
        cluster.checked(&backend, outcome);
        factor = a_bit_off();
    }
}
