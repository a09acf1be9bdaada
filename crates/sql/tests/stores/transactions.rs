//! Transactions that lose against others and begin again.

use std::sync::atomic::{AtomicUsize, Ordering};

use shop_sql::{Store, retry_transient};
use tokio::sync::Barrier;

use crate::open::servers;

/// Takes two rows in the given order; the first time, both transactions hold one row before they ask for the other.
macro_rules! swap {
    ($pool:expr, $first:expr, $second:expr, $barrier:expr, $tries:expr) => {
        retry_transient(|| async {
            let again = $tries.fetch_add(1, Ordering::SeqCst) >= 2;
            let mut tx = $pool.begin().await?;
            sqlx::query($first).execute(&mut *tx).await?;
            if !again {
                $barrier.wait().await;
            }
            sqlx::query($second).execute(&mut *tx).await?;
            tx.commit().await
        })
    };
}

#[tokio::test]
async fn a_deadlock_is_survived() {
    const TABLE: &str = "CREATE TABLE pots (id INTEGER PRIMARY KEY, coins INTEGER NOT NULL)";
    const ROWS: &str = "INSERT INTO pots VALUES (1, 0), (2, 0)";
    const ONE: &str = "UPDATE pots SET coins = coins + 1 WHERE id = 1";
    const TWO: &str = "UPDATE pots SET coins = coins + 1 WHERE id = 2";
    for place in servers().await {
        let (barrier, tries) = (Barrier::new(2), AtomicUsize::new(0));
        let (left, right) = match &place.store {
            Store::Postgres(pool) => {
                sqlx::query(TABLE).execute(pool).await.expect("makes the table");
                sqlx::query(ROWS).execute(pool).await.expect("fills it");
                tokio::join!(swap!(pool, ONE, TWO, barrier, tries), swap!(pool, TWO, ONE, barrier, tries))
            }
            Store::MariaDb(pool) => {
                sqlx::query(TABLE).execute(pool).await.expect("makes the table");
                sqlx::query(ROWS).execute(pool).await.expect("fills it");
                tokio::join!(swap!(pool, ONE, TWO, barrier, tries), swap!(pool, TWO, ONE, barrier, tries))
            }
            Store::Sqlite(_) => continue,
        };
        left.expect("commits");
        right.expect("commits");
        assert_eq!(tries.load(Ordering::SeqCst), 3, "{}: one of them began again", place.engine);
    }
}
