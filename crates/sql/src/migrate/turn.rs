//! Whose turn it is to migrate a `MariaDB`, alone or as the nodes of a Galera cluster.
//!
//! On one server a lock of the session says it, and ends with its connection. It says nothing to the other nodes of a cluster,
//! as locks of rows do not before they are committed. So whoever has the lock writes a row as well, again and again, and its
//! statements run only while the row is as he left it. No clocks are compared: who waits looks whether the row still changes.

use std::convert::Infallible;
use std::time::Duration;

use anyhow::ensure;
use sqlx::{Executor, MySqlConnection, MySqlPool};
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use super::TURN;
use crate::error::{has_code, is_missing};
use crate::give_up::within;
use crate::{connect, is_transient};

/// How long the row of another node's may stay as it is before the turn is taken away. A cluster that loses a node stands
/// still for five seconds.
const LEASE: Duration = Duration::from_secs(10);

/// The pause between two signs of life.
const BEAT: Duration = Duration::from_secs(2);

/// The pause between two looks at another's row.
const LOOK: Duration = Duration::from_millis(200);

/// `ProxySQL` and `MaxScale` keep a connection that holds such a lock for its client. Earlier releases have only this.
const LOCK: &str = "SELECT GET_LOCK(LEFT(CONCAT('migrate ', DATABASE()), 64), ?)";
const UNLOCK: &str = "SELECT RELEASE_LOCK(LEFT(CONCAT('migrate ', DATABASE()), 64))";

const TABLE: &str = "CREATE TABLE IF NOT EXISTS _migration_turn (id INT NOT NULL PRIMARY KEY CHECK (id = 1), \
    holder VARCHAR(36) NOT NULL, server VARCHAR(300) NOT NULL, beat BIGINT NOT NULL) \
    ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin";
const ROW: &str = "INSERT IGNORE INTO _migration_turn (id, holder, server, beat) VALUES (1, '', '', 0)";

/// The row, and which server says so: of a cluster's nodes, which may share a host's name, by the name that each has there.
const SEEN: &str = "SELECT holder, beat, server, CONCAT_WS(':', @@hostname, @@port, (SELECT variable_value \
    FROM information_schema.global_status WHERE variable_name = 'wsrep_gcomm_uuid')) AS here \
    FROM _migration_turn WHERE id = 1";

const TAKE: &str =
    "UPDATE _migration_turn SET holder = ?, server = ?, beat = beat + 1 WHERE id = 1 AND holder = ? AND beat = ?";

const LIVES: &str = "UPDATE _migration_turn SET beat = beat + 1 WHERE id = 1 AND holder = ?";

const END: &str = "UPDATE _migration_turn SET holder = '', beat = beat + 1 WHERE id = 1 AND holder = ?";

/// What the server says when a statement is not run since the turn is another's.
const LOST: &str = "31001";

/// The row, as somebody who waits sees it.
#[derive(Debug, PartialEq, Eq, crate::FromRow)]
struct Seen {
    /// Nobody when empty.
    holder: String,
    beat: i64,
    /// Where he has a lock, if he lives.
    server: String,
    /// Where the lock is ours.
    here: String,
}

/// The turn of one that migrates.
#[derive(Debug)]
pub(super) struct Turn {
    holder: String,
}

impl Turn {
    /// Waits for it.
    pub(super) async fn take(conn: &mut MySqlConnection) -> anyhow::Result<Self> {
        let until = Instant::now() + TURN;
        let late = || format!("another process has been migrating the store for {TURN:?}");
        let locked: Option<i64> = sqlx::query_scalar(LOCK).bind(TURN.as_secs()).fetch_one(&mut *conn).await?;
        ensure!(locked == Some(1), late());
        let holder = Uuid::new_v4().to_string();
        let mut before: Option<(Seen, Instant)> = None;
        loop {
            let seen = seen(conn).await?;
            let since = match before {
                Some((known, since)) if known == seen => since,
                _ => Instant::now(),
            };
            let free = seen.holder.is_empty() || seen.server == seen.here;
            if free || since.elapsed() >= LEASE {
                let take = sqlx::query(TAKE).bind(&holder).bind(&seen.here).bind(&seen.holder).bind(seen.beat);
                match take.execute(&mut *conn).await {
                    Ok(done) if done.rows_affected() == 1 => {
                        if !free {
                            tracing::warn!("who was migrating the store has given no sign of life for {LEASE:?}");
                        }
                        return Ok(Self { holder });
                    }
                    // Another node's was faster.
                    Err(error) if !is_transient(&error) => return Err(error.into()),
                    _ => {}
                }
            }
            ensure!(Instant::now() < until, late());
            before = Some((seen, since));
            sleep(LOOK).await;
        }
    }

    /// Does `work`, and lets others see that it is under way.
    pub(super) async fn hold<T>(&self, pool: &MySqlPool, work: impl Future<Output = T>) -> T {
        tokio::select! {
            biased;
            done = work => done,
            never = self.live(pool) => match never {},
        }
    }

    async fn live(&self, pool: &MySqlPool) -> Infallible {
        loop {
            sleep(BEAT).await;
            if let Err(error) = self.beat(pool).await {
                tracing::warn!(%error, "could not show that a migration is under way, trying again");
            }
        }
    }

    /// On a connection beside, since that of the work may wait for a table being rebuilt. A cluster makes this one wait, too,
    /// but then all who want the turn.
    async fn beat(&self, pool: &MySqlPool) -> sqlx::Result<()> {
        let mut conn = connect(pool).await?;
        loop {
            // A connection that is silent is not waited for: another may show it in time.
            within(BEAT, sqlx::query(LIVES).bind(&self.holder).execute(&mut conn)).await?;
            sleep(BEAT).await;
        }
    }

    /// The statement in a form that the server runs only if the turn is this one still. To write the row is to ask all nodes.
    pub(super) fn guarded(&self, statement: &str) -> String {
        format!(
            "BEGIN NOT ATOMIC UPDATE _migration_turn SET beat = beat + 1 WHERE id = 1 AND holder = '{}'; \
             IF ROW_COUNT() < 1 THEN SIGNAL SQLSTATE 'HY000' SET MYSQL_ERRNO = {LOST}, MESSAGE_TEXT = 'another migrates'; \
             END IF; END; {statement}",
            self.holder
        )
    }

    /// Gives it back. A row that is not given back is free on this server with the lock, and on others a little later.
    pub(super) async fn end(self, conn: &mut MySqlConnection) -> sqlx::Result<()> {
        drop(sqlx::query(END).bind(&self.holder).execute(&mut *conn).await);
        conn.execute(UNLOCK).await.map(drop)
    }
}

/// Whether a statement was not run, since the turn is another's.
pub(super) fn is_lost(error: &sqlx::Error) -> bool {
    has_code(error, &[LOST])
}

/// The row, which is made when it is not there.
async fn seen(conn: &mut MySqlConnection) -> sqlx::Result<Seen> {
    loop {
        match sqlx::query_as(SEEN).fetch_optional(&mut *conn).await {
            Ok(Some(seen)) => return Ok(seen),
            Ok(None) => {}
            Err(error) if is_missing(&error) => {
                conn.execute(TABLE).await?;
            }
            Err(error) => return Err(error),
        }
        match conn.execute(ROW).await {
            Err(error) if !is_transient(&error) => return Err(error),
            _ => {}
        }
        sleep(LOOK).await;
    }
}
