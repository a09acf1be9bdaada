//! A letter that is tried again weeks later tells nobody a second time.

use std::sync::Arc;
use std::time::Duration;

use shop_clock::{Clock as _, ManualClock};
use shop_runtime::Shutdown;

use super::{all, announce, at, event, opened};
use crate::domain::Filter;
use crate::infrastructure::Opened;

#[tokio::test(flavor = "multi_thread")]
async fn on_sqlite_ada_is_told_once_by_a_replay_on_day_nine_and_on_any_later_day() {
    let folder = tempfile::tempdir().expect("a folder");
    told_once(opened(&format!("sqlite://{}", folder.path().join("notification.db").display())).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn on_postgres_ada_is_told_once_by_a_replay_on_day_nine_and_on_any_later_day() {
    let Some(database) = shop_testing::backend::postgres().await else { return };
    told_once(opened(&database.url()).await).await;
}

async fn told_once(opened: Opened) {
    let (clock, event) = (Arc::new(ManualClock::at(at(0))), event("ada@shop.example"));
    let day = Duration::from_hours(24);
    assert!(!announce(opened.store.as_ref(), &event, "ada@shop.example", clock.now()).await.is_empty());
    let told = all(opened.store.as_ref(), &Filter::default()).await.len();
    // Day 9, the last on which a replay can come, and one on which the event is forgotten and what was told is not.
    let last = u32::try_from(shop_events::REPLAY_WITHIN.as_secs() / day.as_secs()).expect("some weeks") + 7;
    for days in [9, last - 9, 20] {
        clock.advance(days * day);
        let shutdown = Shutdown::new();
        shutdown.soft.cancel();
        shop_sql::housekeeping(opened.shared.clone(), clock.clone(), shutdown.soft).await;
        let again = announce(opened.store.as_ref(), &event, "ada@shop.example", clock.now()).await;
        assert_eq!(again, [].into(), "{}", clock.now());
        assert_eq!(all(opened.store.as_ref(), &Filter::default()).await.len(), told);
    }
}
