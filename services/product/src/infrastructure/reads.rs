//! Reading single products: one round trip to the store, shared by those who ask at the same time.
//!
//! A pool would hand out a connection per request and try it with a ping when it comes back: two round trips. Here a few
//! connections do nothing but read products. Who finds one free reads for everybody that waits, in one statement; who
//! finds none waits for an answer or for a free connection, whichever comes first. So an idle service answers at once,
//! and a busy one needs fewer statements the busier it is.

use parking_lot::Mutex;
use shop_sql::{Connection, Value, marks};
use sqlx::{AssertSqlSafe, Database, Pool};
use tokio::sync::{Semaphore, oneshot};

use super::row::{ProductRow, columns};
use super::select::padded;

const GET: &str = concat!("SELECT ", columns!(), " FROM products WHERE id = $1");

/// Connections that only read products. The second one works while the first waits; more would only make each
/// statement serve fewer requests.
const LANES: usize = 2;

/// Products per statement: beyond it the answer, not the round trip, is what takes time.
const BATCH: usize = 64;

/// Reads single products from one store.
pub(super) struct Reads<Db: Database> {
    pool: Pool<Db>,
    lanes: Semaphore,
    idle: Mutex<Vec<Db::Connection>>,
    waiting: Mutex<Vec<Asked>>,
}

/// Somebody who waits for a product.
struct Asked {
    id: i64,
    answer: oneshot::Sender<Option<ProductRow>>,
}

impl<Db: Database<Connection: Connection>> Reads<Db> {
    /// Reads with connections like those of `pool`, which also helps out when one of them breaks.
    pub(super) fn new(pool: Pool<Db>) -> Self {
        Self { pool, lanes: Semaphore::new(LANES), idle: Mutex::default(), waiting: Mutex::default() }
    }

    /// The product of that id.
    pub(super) async fn product(&self, id: i64) -> sqlx::Result<Option<ProductRow>> {
        let (answer, mut answered) = oneshot::channel();
        self.waiting.lock().push(Asked { id, answer });
        let row = loop {
            tokio::select! {
                biased;
                row = &mut answered => break row,
                lane = self.lanes.acquire() => {
                    let batch = self.batch();
                    if batch.is_empty() {
                        // Another lane took our question before we had this one.
                        drop(lane);
                        break answered.await;
                    }
                    // Others may have been before us in the batch: then we serve again.
                    self.serve(batch).await;
                }
            }
        };
        match row {
            Ok(row) => Ok(row),
            // Whoever read for us failed or went away: the pool tells how the store really is.
            Err(_) => shop_sql::acquire(&self.pool).await?.row(GET, &[Value::Int(id)]).await,
        }
    }

    /// The first of those that still wait. Who went away, as many do while the store is slow, takes nobody's place.
    fn batch(&self) -> Vec<Asked> {
        let mut waiting = self.waiting.lock();
        waiting.retain(|asked| !asked.answer.is_closed());
        let count = waiting.len().min(BATCH);
        waiting.drain(..count).collect()
    }

    /// Answers those in the batch. Nobody else is left behind: who is not in it waits for a lane and serves then.
    async fn serve(&self, batch: Vec<Asked>) {
        match self.read(&batch).await {
            Ok(rows) => {
                for Asked { id, answer } in batch {
                    let _ = answer.send(rows.iter().find(|row| row.id == id).cloned());
                }
            }
            Err(error) => tracing::debug!(error = %error, "reading products together failed, each reads for itself"),
        }
    }

    /// Reads on a free connection, or on a new one when that is gone. It comes back only after a whole answer: a reader
    /// that is dropped half way takes its connection along.
    async fn read(&self, batch: &[Asked]) -> sqlx::Result<Vec<ProductRow>> {
        let free = self.idle.lock().pop();
        if let Some(mut connection) = free
            && let Ok(rows) = select(&mut connection, batch).await
        {
            self.idle.lock().push(connection);
            return Ok(rows);
        }
        let mut connection = shop_sql::connect(&self.pool).await?;
        let rows = select(&mut connection, batch).await?;
        self.idle.lock().push(connection);
        Ok(rows)
    }
}

async fn select<C: Connection>(connection: &mut C, batch: &[Asked]) -> sqlx::Result<Vec<ProductRow>> {
    let count = padded(batch.len());
    let sql = match count {
        1 => return connection.rows(GET, &[Value::Int(batch[0].id)]).await,
        _ => format!(concat!("SELECT ", columns!(), " FROM products WHERE id IN ({})"), marks(1, count)),
    };
    // Product 0 does not exist: it only fills the statement up.
    let ids = batch.iter().map(|asked| asked.id).chain(std::iter::repeat(0)).take(count);
    connection.rows(AssertSqlSafe(sql), &ids.map(Value::Int).collect::<Vec<_>>()).await
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;
    use crate::infrastructure::SQLITE;

    #[tokio::test]
    async fn readers_that_went_away_take_nobodys_place() {
        let folder = tempfile::tempdir().expect("a folder");
        let pools = shop_sql::sqlite(&folder.path().join("products.db")).await.expect("opens");
        shop_sql::migrate(&pools.write, &SQLITE).await.expect("migrates");
        let reads = Reads::new(pools.read.clone());
        // The store is slow: both lanes are taken, and more than a batch of readers gives up.
        let lanes = reads.lanes.acquire_many(u32::try_from(LANES).expect("few")).await.expect("takes both");
        for id in 1..200 {
            assert!(reads.product(id).now_or_never().is_none());
        }
        drop(lanes);
        let patience = std::time::Duration::from_secs(10);
        let found = tokio::time::timeout(patience, reads.product(1)).await.expect("is served at once");
        assert!(found.expect("reads").is_none());
        assert!(reads.waiting.lock().is_empty());
    }
}
