//! A connection of a pool while somebody has it, and a transaction on one: the only ways to run a statement.
//!
//! A server that vanishes, as its host does in a power cut, says nothing: neither does the kernel, for a quarter of an hour.
//! So each step has a deadline of ours, here and in [`Statement`](crate::Statement), and a connection that let one pass is
//! closed rather than given back, for the pool would wait for it without end.

use std::ops::{Deref, DerefMut};
use std::time::Duration;

use sqlx::pool::PoolConnection;
use sqlx::{ConnectOptions as _, Database, Pool, SqlStr};
use sqlx_core::transaction::TransactionManager;
use tokio::runtime::Handle;
use tokio::time::timeout;

use crate::error::is_misled;
use crate::give_up::{give_up_all, give_up_idle, given_up, within};
use crate::servers;

/// The longest that a statement may take. More than the server gives it (see `pool.rs`): one that is there says itself that
/// time is up, and its connection lives on.
const STATEMENT: Duration = Duration::from_secs(12);

/// The longest that a connection may take to show, as it is given back, that it works: it ends what a caller that went away
/// left under way.
const RETURN: Duration = Duration::from_secs(5);

/// What `work` on a store comes to, if it does within the time for a statement.
pub(crate) async fn in_time<T>(work: impl Future<Output = sqlx::Result<T>>) -> sqlx::Result<T> {
    let done = within(STATEMENT, work).await;
    if done.as_ref().is_err_and(is_misled) {
        give_up_all();
    }
    done
}

/// A connection that goes back to its pool when it is dropped, if it works.
#[derive(Debug)]
pub struct Held<DB: Database> {
    /// Until it is dropped.
    connection: Option<PoolConnection<DB>>,
    pool: Pool<DB>,
    /// Whether it may go back.
    sound: bool,
    /// Since when it is held: see [`give_up_all`].
    since: u64,
}

/// Takes a connection from `pool`, within the time that its settings give.
#[expect(clippy::disallowed_methods, reason = "the one place")]
pub async fn acquire<DB: Database>(pool: &Pool<DB>) -> sqlx::Result<Held<DB>> {
    let since = given_up();
    let connection = match servers::of(pool) {
        Some(servers) => servers.acquire(pool).await?,
        None => pool.acquire().await?,
    };
    Ok(Held { connection: Some(connection), pool: pool.clone(), sound: true, since })
}

/// Makes a connection like those of `pool`, beside it and within the same time.
#[expect(clippy::disallowed_methods, reason = "the one place")]
pub async fn connect<DB: Database>(pool: &Pool<DB>) -> sqlx::Result<DB::Connection> {
    within(pool.options().get_acquire_timeout(), pool.connect_options().connect()).await
}

impl<DB: Database> Held<DB> {
    /// Whether it must not go back as it is: what runs on it may be left half way.
    pub(crate) fn doubt(&mut self, doubted: bool) {
        self.sound = !doubted;
    }
}

const TAKEN: &str = "is there until it is dropped";

impl<DB: Database> Deref for Held<DB> {
    type Target = DB::Connection;

    fn deref(&self) -> &DB::Connection {
        self.connection.as_ref().expect(TAKEN)
    }
}

impl<DB: Database> DerefMut for Held<DB> {
    fn deref_mut(&mut self) -> &mut DB::Connection {
        self.connection.as_mut().expect(TAKEN)
    }
}

impl<DB: Database> Drop for Held<DB> {
    fn drop(&mut self) {
        let Some(mut connection) = self.connection.take() else { return };
        let since = self.since;
        if given_up() != since {
            // After a failover the address may lead elsewhere by now: the pool must not stay with a server that became a
            // replica until its connections are old.
            drop(connection.detach());
            give_up_idle(&self.pool);
            return;
        }
        let runtime = Handle::try_current().ok().filter(|_| self.sound);
        let Some(runtime) = runtime else {
            drop(connection.detach());
            return;
        };
        // What its own `drop` does, but for the deadline.
        let returned = connection.return_to_pool();
        let pool = self.pool.clone();
        runtime.spawn(async move {
            let late = timeout(RETURN, returned).await.is_err();
            if late {
                tracing::warn!("the store does not answer: connections to it are closed");
            }
            if late || given_up() != since {
                give_up_idle(&pool);
            }
        });
    }
}

/// A transaction, rolled back when it is dropped without [`commit`](crate::commit).
#[derive(Debug)]
pub struct Tx<DB: Database> {
    held: Held<DB>,
    open: bool,
}

impl<DB: Database> Tx<DB> {
    /// Begins one on a server, by a statement of its own if there is one.
    ///
    /// The driver forgets a BEGIN whose caller goes away before the answer, as a handler does when its client hangs up: the
    /// connection would go back to the pool within a transaction that nobody ends, and what others write on it would be
    /// lost. So it is not given back until the answer is there.
    pub(crate) async fn begin(mut held: Held<DB>, statement: impl Into<Option<SqlStr>>) -> sqlx::Result<Self> {
        held.sound = false;
        in_time(DB::TransactionManager::begin(&mut held, statement.into())).await?;
        held.sound = true;
        Ok(Self { held, open: true })
    }

    /// Begins one by a statement of its own, where the driver rolls back a BEGIN whose caller went away.
    pub(crate) async fn begin_with(held: Held<DB>, statement: impl Into<Option<SqlStr>>) -> sqlx::Result<Self> {
        // Before it begins, for what it began is rolled back with it.
        let mut tx = Self { held, open: true };
        in_time(DB::TransactionManager::begin(&mut tx.held, statement.into())).await?;
        Ok(tx)
    }

    /// Commits it. An error without an answer of the store leaves open whether it was.
    pub async fn commit(mut self) -> sqlx::Result<()> {
        in_time(DB::TransactionManager::commit(&mut self.held)).await?;
        self.open = false;
        Ok(())
    }

    /// Rolls it back.
    pub async fn rollback(mut self) -> sqlx::Result<()> {
        in_time(DB::TransactionManager::rollback(&mut self.held)).await?;
        self.open = false;
        Ok(())
    }
}

impl<DB: Database> Deref for Tx<DB> {
    type Target = DB::Connection;

    fn deref(&self) -> &DB::Connection {
        &self.held
    }
}

impl<DB: Database> DerefMut for Tx<DB> {
    fn deref_mut(&mut self) -> &mut DB::Connection {
        &mut self.held
    }
}

impl<DB: Database> Drop for Tx<DB> {
    fn drop(&mut self) {
        if self.open {
            // Sent with whatever comes next, which is the trial as it is given back.
            DB::TransactionManager::start_rollback(&mut self.held);
        }
    }
}
