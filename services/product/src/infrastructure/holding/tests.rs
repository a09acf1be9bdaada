//! What becomes of those who wait when something breaks under those before them.

use std::sync::atomic::{AtomicU32, Ordering};

use shop_clock::from_millis;
use shop_config::Database;
use shop_sql::{Sqlite, Tx};
use shop_testing::eventually;
use sqlx::Pool;
use tempfile::TempDir;

use super::*;
use crate::infrastructure::{SQLITE, open as opened};

/// A store whose first transactions break, and whose transactions begin when they are let.
#[derive(Clone)]
struct Breaking {
    store: Sqlite,
    breaks: Arc<AtomicU32>,
    begun: Arc<AtomicU32>,
    gate: Arc<Semaphore>,
}

impl Engine for Breaking {
    type Db = sqlx::Sqlite;

    const LOCK: &'static str = "";
    const LOCK_FREE: &'static str = "";

    fn readers(&self) -> &Pool<sqlx::Sqlite> {
        self.store.readers()
    }

    fn writers(&self) -> &Pool<sqlx::Sqlite> {
        self.store.writers()
    }

    async fn begin(&self) -> sqlx::Result<Tx<sqlx::Sqlite>> {
        // The first to begin, not the first to go on.
        let breaks = self.breaks.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
        self.begun.fetch_add(1, Ordering::SeqCst);
        self.gate.acquire().await.expect("is never closed").forget();
        assert!(breaks.is_err(), "the store breaks");
        Engine::begin(&self.store).await
    }
}

impl Breaking {
    /// An empty store with one product of ten units.
    async fn with_a_desk(folder: &TempDir, breaks: u32) -> Self {
        let path = folder.path().join("product.db");
        let store = shop_sql::sqlite(&path).await.expect("opens");
        shop_sql::migrate(&store.write, &SQLITE).await.expect("is at its schema");
        let desk = crate::infrastructure::contract::details("desk", 10);
        let shop = opened(&Database::at(&format!("sqlite://{}", path.display()))).await.expect("opens").store;
        shop.add(Uuid::new_v4(), &desk, from_millis(1)).await.expect("is added");
        Self {
            store,
            breaks: Arc::new(AtomicU32::new(breaks)),
            begun: Arc::default(),
            gate: Arc::new(Semaphore::new(0)),
        }
    }

    async fn reserved(&self) -> i64 {
        let sql = "SELECT reserved_quantity FROM products";
        let row: Option<(i64,)> = self.reader().await.expect("reads").row(sql, &[]).await.expect("reads");
        row.expect("one product").0
    }
}

fn hold(id: Uuid, replaces: Option<Uuid>) -> Hold {
    Hold::parse(id, replaces, vec![Line { product: 1, quantity: 1 }]).expect("valid lines")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_buyer_behind_those_whose_reservation_broke_is_served() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = Breaking::with_a_desk(&folder, LANES).await;
    let holds = Arc::new(Holds::new(store.clone()));
    let ask = |holds: Arc<Holds<_>>| async move { holds.hold(hold(Uuid::new_v4(), None), from_millis(2)).await };
    let mut first = tokio::task::JoinSet::new();
    for lane in 1..=LANES {
        first.spawn(ask(holds.clone()));
        eventually!(store.begun.load(Ordering::SeqCst) == lane);
    }
    let mut behind = tokio::task::JoinSet::new();
    behind.spawn(ask(holds.clone()));
    eventually!({
        let waiting = holds.0.waiting.lock().len();
        waiting == 1
    });
    store.gate.add_permits(LANES as usize + 1);
    for broken in first.join_all().await {
        broken.expect_err("ended without an answer");
    }
    assert!(behind.join_all().await.remove(0).expect("is served"));
    assert_eq!(store.reserved().await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reservation_that_nobody_speaks_of_stays_whatever_its_id_is() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = Breaking::with_a_desk(&folder, 0).await;
    store.gate.add_permits(10);
    let queue = Holds::new(store.clone()).0;
    let all = |holds: Vec<Hold>| {
        let (queue, holds) = (&queue, holds.into_iter().map(|hold| (hold, from_millis(2))).collect::<Vec<_>>());
        async move { queue.hold_all(&holds).await.expect("is served") }
    };
    let first = [Uuid::nil(), Uuid::new_v4(), Uuid::new_v4(), Uuid::new_v4()];
    all(first.map(|id| hold(id, None)).into()).await;
    // Three, for which the statements have room for four.
    let replaced = first[1..].iter().map(|id| hold(Uuid::new_v4(), Some(*id))).collect();
    assert!(all(replaced).await.iter().all(Result::is_ok));
    assert!(!all(vec![hold(Uuid::nil(), None)]).await.remove(0).expect("stands as it was"));
    assert_eq!(store.reserved().await, 4);
}
