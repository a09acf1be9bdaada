//! Active health checks: every backend is asked at intervals, by one task away from the threads that serve.

mod probe;
mod record;

pub(crate) use probe::Protocol;
pub(crate) use record::{Record, Verdict};

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;

use crate::chance;
use crate::config::HealthCheck;
use crate::routes::Table;
use crate::service::{Backend, Group};
use crate::shared::Shared;

/// How often a change of the routes is looked for.
const NOTICE: Duration = Duration::from_secs(1);

/// Why a check failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// The backend itself says that it wants no calls.
    Declines(String),
    /// No answer, or none that makes sense.
    Silent(String),
}

/// Checks until dropped.
pub(crate) async fn run(shared: &Shared) {
    let settings = &shared.config.health_check;
    if !settings.enabled {
        return std::future::pending().await;
    }
    loop {
        let table = shared.table.load_full();
        tokio::select! {
            () = watch(&table, settings) => {}
            () = replaced(shared, &table) => {}
        }
    }
}

async fn replaced(shared: &Shared, table: &Arc<Table>) {
    while Arc::ptr_eq(table, &shared.table.load()) {
        tokio::time::sleep(NOTICE).await;
    }
}

/// Checks every backend of `table`, all at once the first time, so that none is preferred because it was asked earlier.
async fn watch(table: &Table, settings: &HealthCheck) {
    let services = table.services().iter().filter(|service| service.enabled);
    let groups = services.flat_map(|service| [&service.http, &service.grpc]);
    let all = groups.flat_map(|group| group.backends().iter().map(move |backend| attend(group, backend, settings)));
    join_all(all).await;
    // Without backends there is nothing to wait for; the next table may have some.
    std::future::pending::<()>().await;
}

async fn attend(group: &Group, backend: &Backend, settings: &HealthCheck) {
    loop {
        let asked = tokio::time::timeout(settings.timeout.get(), probe::ask(backend, &settings.path)).await;
        let outcome = asked.unwrap_or_else(|_| Err(Trouble::Silent("no answer within the time allowed".to_owned())));
        group.checked(backend, outcome, settings);
        tokio::time::sleep(chance::around(settings.interval.get())).await;
    }
}
