//! The statements on the shared tables, once per engine, behind one trait on the engines' connections.

use std::collections::HashSet;

use async_trait::async_trait;
use shop_idempotency::Lease;
use sqlx::{AssertSqlSafe, MySqlConnection, PgConnection, SqliteConnection};
use uuid::Uuid;

use crate::held::in_time;
use crate::{Step, Value, marks, statement};

/// A row to be added to the outbox.
#[derive(Debug)]
pub struct NewEvent {
    pub(crate) event_id: Uuid,
    pub(crate) topic: String,
    pub(crate) key: String,
    pub(crate) headers: String,
    pub(crate) payload: Vec<u8>,
    pub(crate) created_at: i64,
}

/// A row of the outbox.
#[derive(Debug, crate::FromRow)]
pub struct Pending {
    pub(crate) id: i64,
    pub(crate) topic: String,
    pub(crate) message_key: String,
    pub(crate) headers: String,
    pub(crate) payload: Vec<u8>,
}

/// A row of the idempotency keys.
#[derive(Debug, crate::FromRow)]
pub struct Known {
    pub(crate) method: Option<String>,
    pub(crate) fingerprint: Vec<u8>,
    pub(crate) operation: Uuid,
    pub(crate) created_at: i64,
    pub(crate) leased_until: i64,
    pub(crate) status: Option<i16>,
    pub(crate) headers: Option<String>,
    pub(crate) body: Option<Vec<u8>>,
}

/// A run that wants an idempotency key.
#[derive(Debug)]
pub struct Attempt<'a> {
    pub(crate) key: &'a str,
    pub(crate) method: &'a str,
    pub(crate) fingerprint: &'a [u8],
    pub(crate) operation: Uuid,
    pub(crate) owner: Uuid,
    pub(crate) now: i64,
    pub(crate) leased_until: i64,
}

/// What a finished request answered.
#[derive(Debug)]
pub struct Finished<'a> {
    pub(crate) lease: &'a Lease,
    pub(crate) status: i16,
    pub(crate) headers: String,
    pub(crate) body: &'a [u8],
}

/// How many outbox rows one count looks at: beyond it an exact figure helps nobody and would cost a long scan.
const COUNT_CAP: i64 = 100_000;

/// How many outbox rows one DELETE takes, padded so that its text (and its prepared plan) is always the same.
const DELETE_CHUNK: usize = 32;

/// Events added by one statement: each length is a statement of its own for the connection to keep prepared.
pub(crate) const APPEND_CHUNK: usize = 16;

/// Keys changed by one statement: each number is a statement of its own, too.
const KEYS_CHUNK: usize = 16;

/// Events noted by one statement.
const INBOX_CHUNK: usize = 64;

const APPEND: &str = "INSERT INTO outbox (event_id, topic, message_key, headers, payload, created_at) ";

/// The statement that adds these events, of one at least.
pub(crate) fn append_step(events: &[NewEvent]) -> Step<'_> {
    let values: Vec<_> = events.iter().flat_map(NewEvent::values).collect();
    let width = values.len() / events.len().max(1);
    let places: Vec<_> = (0..events.len()).map(|at| format!("({})", marks(1 + at * width, width))).collect();
    Step::new(AssertSqlSafe(format!("{APPEND}VALUES {}", places.join(", "))), values)
}

impl NewEvent {
    fn values(&self) -> [Value<'_>; 6] {
        [
            Value::Id(self.event_id),
            Value::Text(&self.topic),
            Value::Text(&self.key),
            Value::Text(&self.headers),
            Value::Bytes(&self.payload),
            Value::Int(self.created_at),
        ]
    }
}

const HOLD: &str = "UPDATE idempotency_keys SET leased_until = ";

/// A connection that knows the shared tables. Implemented for the connections of all three engines; what a service
/// calls are the functions of [`crate::outbox`] and [`crate::inbox`].
#[async_trait]
pub trait Tables: Send {
    /// Adds events to the outbox, in their order.
    async fn outbox_append(&mut self, events: &[NewEvent]) -> sqlx::Result<()>;
    /// The first `limit` rows of the outbox in the order they were added.
    async fn outbox_head(&mut self, limit: i64) -> sqlx::Result<Vec<Pending>>;
    /// Removes rows by id.
    async fn outbox_delete(&mut self, ids: &[i64]) -> sqlx::Result<()>;
    /// When the first row was added; none when the outbox is empty.
    async fn outbox_oldest(&mut self) -> sqlx::Result<Option<i64>>;
    /// How many rows wait, counted up to 100 000.
    async fn outbox_count(&mut self) -> sqlx::Result<i64>;
    /// Takes the relay's lock for the current transaction; false when another process has it.
    async fn relay_lock(&mut self) -> sqlx::Result<bool>;
    /// Notes an event as seen; false when it had been before.
    async fn inbox_insert(&mut self, event_id: Uuid, now: i64) -> sqlx::Result<bool>;
    /// Notes events as seen; those that had not been before.
    async fn inbox_insert_all(&mut self, event_ids: &[Uuid], now: i64) -> sqlx::Result<HashSet<Uuid>>;
    /// Forgets up to `limit` events seen before `before`; how many.
    async fn inbox_purge(&mut self, before: i64, limit: i64) -> sqlx::Result<u64>;
    /// Claims a key; false when it is there already.
    async fn key_insert(&mut self, attempt: &Attempt<'_>) -> sqlx::Result<bool>;
    /// What is known under a key.
    async fn key_get(&mut self, key: &str) -> sqlx::Result<Option<Known>>;
    /// Takes over a key that is still as it was read, its request and the end of its lease; false when somebody else was
    /// faster.
    async fn key_take(&mut self, attempt: &Attempt<'_>, was: (&[u8], i64)) -> sqlx::Result<bool>;
    /// Lets a key live as long as one that is made now; false when it is gone.
    async fn key_touch(&mut self, key: &str, now: i64) -> sqlx::Result<bool>;
    /// Stores the answers of requests that still hold their keys.
    async fn key_finish(&mut self, finished: &[Finished<'_>]) -> sqlx::Result<()>;
    /// Sets the end of leases that are still held; 0, so that the next attempt runs at once (and under the same operation).
    async fn key_hold(&mut self, leases: &[Lease], until: i64) -> sqlx::Result<()>;
    /// Gives up a lease that is still held, and puts `fingerprint` in the place of the request's.
    async fn key_vacate(&mut self, lease: &Lease, fingerprint: &[u8]) -> sqlx::Result<()>;
    /// Forgets one key if it is still the one created at `created_at`.
    async fn key_delete(&mut self, key: &str, created_at: i64) -> sqlx::Result<()>;
    /// Forgets up to `limit` keys created before `before`; how many.
    async fn key_purge(&mut self, before: i64, limit: i64) -> sqlx::Result<u64>;
}

/// The texts that differ between the engines; the bodies are the same.
struct Text {
    head: &'static str,
    count: &'static str,
    relay_lock: Option<&'static str>,
    inbox_insert: &'static str,
    /// Before and after the rows.
    inbox_insert_all: [&'static str; 2],
    inbox_purge: &'static str,
    key_insert: &'static str,
    key_get: &'static str,
    key_take: &'static str,
    key_touch: &'static str,
    /// Before and after the answers, which are a table `given`.
    key_finish: [&'static str; 2],
    key_vacate: &'static str,
    key_delete: &'static str,
    key_purge: &'static str,
}

const POSTGRES: Text = Text {
    head: "SELECT id, topic, message_key, headers, payload FROM outbox ORDER BY id LIMIT $1",
    count: "SELECT COUNT(*) FROM (SELECT 1 FROM outbox LIMIT $1) AS waiting",
    relay_lock: Some("SELECT id FROM outbox_relay WHERE id = 1 FOR UPDATE SKIP LOCKED"),
    inbox_insert: "INSERT INTO inbox (event_id, received_at) VALUES ($1, $2) ON CONFLICT (event_id) DO NOTHING",
    inbox_insert_all: [
        "INSERT INTO inbox (event_id, received_at) ",
        " ON CONFLICT (event_id) DO NOTHING RETURNING event_id",
    ],
    inbox_purge: "DELETE FROM inbox WHERE event_id IN \
                  (SELECT event_id FROM inbox WHERE received_at < $1 ORDER BY received_at LIMIT $2)",
    key_insert: "INSERT INTO idempotency_keys \
                 (idempotency_key, method, fingerprint, operation, owner, created_at, leased_until) \
                 VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (idempotency_key) DO NOTHING",
    key_get: "SELECT method, fingerprint, operation, created_at, leased_until, status, headers, body \
              FROM idempotency_keys WHERE idempotency_key = $1",
    key_take: "UPDATE idempotency_keys SET method = $1, fingerprint = $2, owner = $3, leased_until = $4 \
               WHERE idempotency_key = $5 AND fingerprint = $6 AND leased_until = $7 AND status IS NULL",
    key_touch: "UPDATE idempotency_keys SET created_at = $1 WHERE idempotency_key = $2",
    key_finish: [
        "UPDATE idempotency_keys SET status = given.status, headers = given.headers, body = given.body FROM (",
        ") AS given WHERE idempotency_keys.idempotency_key = given.name AND idempotency_keys.owner = given.owner \
         AND idempotency_keys.status IS NULL",
    ],
    key_vacate: "UPDATE idempotency_keys SET fingerprint = $1, leased_until = 0 \
                 WHERE idempotency_key = $2 AND owner = $3 AND status IS NULL",
    key_delete: "DELETE FROM idempotency_keys WHERE idempotency_key = $1 AND created_at = $2",
    key_purge: "DELETE FROM idempotency_keys WHERE idempotency_key IN (SELECT idempotency_key FROM idempotency_keys \
                WHERE created_at < $1 ORDER BY created_at LIMIT $2)",
};

/// SQLite reads numbered parameters like PostgreSQL and needs no lock row: the file has one relay, in this process.
const SQLITE: Text = Text { relay_lock: None, ..POSTGRES };

const MARIADB: Text = Text {
    head: "SELECT id, topic, message_key, headers, payload FROM outbox ORDER BY id LIMIT ?",
    count: "SELECT COUNT(*) FROM (SELECT 1 FROM outbox LIMIT ?) AS waiting",
    relay_lock: Some("SELECT id FROM outbox_relay WHERE id = 1 FOR UPDATE SKIP LOCKED"),
    // IGNORE, since the driver counts found rows and an upsert could not be told from an insert.
    inbox_insert: "INSERT IGNORE INTO inbox (event_id, received_at) VALUES (?, ?)",
    inbox_insert_all: ["INSERT IGNORE INTO inbox (event_id, received_at) ", " RETURNING event_id"],
    inbox_purge: "DELETE FROM inbox WHERE received_at < ? ORDER BY received_at LIMIT ?",
    key_insert: "INSERT IGNORE INTO idempotency_keys \
                 (idempotency_key, method, fingerprint, operation, owner, created_at, leased_until) \
                 VALUES (?, ?, ?, ?, ?, ?, ?)",
    key_get: "SELECT method, fingerprint, operation, created_at, leased_until, status, headers, body \
              FROM idempotency_keys WHERE idempotency_key = ?",
    key_take: "UPDATE idempotency_keys SET method = ?, fingerprint = ?, owner = ?, leased_until = ? \
               WHERE idempotency_key = ? AND fingerprint = ? AND leased_until = ? AND status IS NULL",
    key_touch: "UPDATE idempotency_keys SET created_at = ? WHERE idempotency_key = ?",
    key_finish: [
        "UPDATE idempotency_keys JOIN (",
        ") AS given ON idempotency_keys.idempotency_key = given.name AND idempotency_keys.owner = given.owner \
         SET idempotency_keys.status = given.status, idempotency_keys.headers = given.headers, \
         idempotency_keys.body = given.body WHERE idempotency_keys.status IS NULL",
    ],
    key_vacate: "UPDATE idempotency_keys SET fingerprint = ?, leased_until = 0 \
                 WHERE idempotency_key = ? AND owner = ? AND status IS NULL",
    key_delete: "DELETE FROM idempotency_keys WHERE idempotency_key = ? AND created_at = ?",
    key_purge: "DELETE FROM idempotency_keys WHERE created_at < ? ORDER BY created_at LIMIT ?",
};

macro_rules! tables {
    ($connection:ty, $text:expr, $placeholder:expr) => {
        #[async_trait]
        impl Tables for $connection {
            async fn outbox_append(&mut self, events: &[NewEvent]) -> sqlx::Result<()> {
                for chunk in events.chunks(APPEND_CHUNK) {
                    let mut query = sqlx::QueryBuilder::new(APPEND);
                    query.push_values(chunk, |mut row, event| {
                        row.push_bind(event.event_id)
                            .push_bind(event.topic.as_str())
                            .push_bind(event.key.as_str())
                            .push_bind(event.headers.as_str())
                            .push_bind(event.payload.as_slice())
                            .push_bind(event.created_at);
                    });
                    statement::<Self>(APPEND).run(query.build().execute(&mut *self)).await?;
                }
                Ok(())
            }

            async fn outbox_head(&mut self, limit: i64) -> sqlx::Result<Vec<Pending>> {
                in_time(sqlx::query_as($text.head).bind(limit).fetch_all(self)).await
            }

            async fn outbox_delete(&mut self, ids: &[i64]) -> sqlx::Result<()> {
                let marks = (1..=DELETE_CHUNK).map($placeholder).collect::<Vec<_>>().join(", ");
                for chunk in ids.chunks(DELETE_CHUNK) {
                    let sql = format!("DELETE FROM outbox WHERE id IN ({marks})");
                    let padding = std::iter::repeat(&chunk[chunk.len() - 1]);
                    let mut query = sqlx::query(AssertSqlSafe(sql));
                    for id in chunk.iter().chain(padding).take(DELETE_CHUNK) {
                        query = query.bind(*id);
                    }
                    in_time(query.execute(&mut *self)).await?;
                }
                Ok(())
            }

            async fn outbox_oldest(&mut self) -> sqlx::Result<Option<i64>> {
                in_time(sqlx::query_scalar("SELECT created_at FROM outbox ORDER BY id LIMIT 1").fetch_optional(self))
                    .await
            }

            async fn outbox_count(&mut self) -> sqlx::Result<i64> {
                in_time(sqlx::query_scalar($text.count).bind(COUNT_CAP).fetch_one(self)).await
            }

            async fn relay_lock(&mut self) -> sqlx::Result<bool> {
                match $text.relay_lock {
                    Some(sql) => in_time(sqlx::query(sql).fetch_optional(self)).await.map(|row| row.is_some()),
                    None => Ok(true),
                }
            }

            async fn inbox_insert(&mut self, event_id: Uuid, now: i64) -> sqlx::Result<bool> {
                let query = sqlx::query($text.inbox_insert).bind(event_id).bind(now);
                let done = statement::<Self>($text.inbox_insert).run(query.execute(self)).await?;
                Ok(done.rows_affected() == 1)
            }

            async fn inbox_insert_all(&mut self, event_ids: &[Uuid], now: i64) -> sqlx::Result<HashSet<Uuid>> {
                // In the order of ids, so that two that were given the same do not wait for each other.
                let mut event_ids = event_ids.to_vec();
                event_ids.sort_unstable();
                let [head, tail] = $text.inbox_insert_all;
                let mut new = HashSet::with_capacity(event_ids.len());
                for chunk in event_ids.chunks(INBOX_CHUNK) {
                    // The last one once more fills the statement up, so that there are few of them to prepare.
                    let padding = std::iter::repeat(&chunk[chunk.len() - 1]);
                    let padded = chunk.iter().chain(padding).take(chunk.len().next_power_of_two());
                    let mut query = sqlx::QueryBuilder::new(head);
                    query.push_values(padded, |mut row, id| {
                        row.push_bind(*id).push_bind(now);
                    });
                    query.push(tail);
                    let query = query.build_query_scalar::<Uuid>();
                    new.extend(statement::<Self>(head).run(query.fetch_all(&mut *self)).await?);
                }
                Ok(new)
            }

            async fn inbox_purge(&mut self, before: i64, limit: i64) -> sqlx::Result<u64> {
                let done = in_time(sqlx::query($text.inbox_purge).bind(before).bind(limit).execute(self)).await?;
                Ok(done.rows_affected())
            }

            async fn key_insert(&mut self, attempt: &Attempt<'_>) -> sqlx::Result<bool> {
                let query = sqlx::query($text.key_insert)
                    .bind(attempt.key)
                    .bind(attempt.method)
                    .bind(attempt.fingerprint)
                    .bind(attempt.operation)
                    .bind(attempt.owner)
                    .bind(attempt.now)
                    .bind(attempt.leased_until);
                let done = statement::<Self>($text.key_insert).run(query.execute(self)).await?;
                Ok(done.rows_affected() == 1)
            }

            async fn key_get(&mut self, key: &str) -> sqlx::Result<Option<Known>> {
                let query = sqlx::query_as($text.key_get).bind(key);
                statement::<Self>($text.key_get).run(query.fetch_optional(self)).await
            }

            async fn key_take(&mut self, attempt: &Attempt<'_>, was: (&[u8], i64)) -> sqlx::Result<bool> {
                let query = sqlx::query($text.key_take)
                    .bind(attempt.method)
                    .bind(attempt.fingerprint)
                    .bind(attempt.owner)
                    .bind(attempt.leased_until)
                    .bind(attempt.key)
                    .bind(was.0)
                    .bind(was.1);
                let done = statement::<Self>($text.key_take).run(query.execute(self)).await?;
                Ok(done.rows_affected() == 1)
            }

            async fn key_touch(&mut self, key: &str, now: i64) -> sqlx::Result<bool> {
                let query = sqlx::query($text.key_touch).bind(now).bind(key);
                let done = statement::<Self>($text.key_touch).run(query.execute(self)).await?;
                Ok(done.rows_affected() == 1)
            }

            async fn key_finish(&mut self, finished: &[Finished<'_>]) -> sqlx::Result<()> {
                let [head, tail] = $text.key_finish;
                for chunk in finished.chunks(KEYS_CHUNK) {
                    let mut query = sqlx::QueryBuilder::new(head);
                    for (position, one) in chunk.iter().enumerate() {
                        query.push(if position == 0 { "SELECT " } else { " UNION ALL SELECT " });
                        query.push_bind(one.lease.name.as_str()).push(" AS name, ");
                        query.push_bind(one.lease.owner).push(" AS owner, ");
                        query.push_bind(one.status).push(" AS status, ");
                        query.push_bind(one.headers.as_str()).push(" AS headers, ");
                        query.push_bind(one.body).push(" AS body");
                    }
                    query.push(tail);
                    statement::<Self>(head).run(query.build().execute(&mut *self)).await?;
                }
                Ok(())
            }

            async fn key_hold(&mut self, leases: &[Lease], until: i64) -> sqlx::Result<()> {
                for chunk in leases.chunks(KEYS_CHUNK) {
                    let mut query = sqlx::QueryBuilder::new(HOLD);
                    query.push_bind(until).push(" WHERE status IS NULL AND (");
                    for (position, lease) in chunk.iter().enumerate() {
                        query.push(if position == 0 { "" } else { " OR " });
                        query.push("(idempotency_key = ").push_bind(lease.name.as_str());
                        query.push(" AND owner = ").push_bind(lease.owner).push(")");
                    }
                    query.push(")");
                    statement::<Self>(HOLD).run(query.build().execute(&mut *self)).await?;
                }
                Ok(())
            }

            async fn key_vacate(&mut self, lease: &Lease, fingerprint: &[u8]) -> sqlx::Result<()> {
                let query = sqlx::query($text.key_vacate).bind(fingerprint).bind(lease.name.as_str()).bind(lease.owner);
                statement::<Self>($text.key_vacate).run(query.execute(self)).await.map(drop)
            }

            async fn key_delete(&mut self, key: &str, created_at: i64) -> sqlx::Result<()> {
                let query = sqlx::query($text.key_delete).bind(key).bind(created_at);
                statement::<Self>($text.key_delete).run(query.execute(self)).await.map(drop)
            }

            async fn key_purge(&mut self, before: i64, limit: i64) -> sqlx::Result<u64> {
                let done = in_time(sqlx::query($text.key_purge).bind(before).bind(limit).execute(self)).await?;
                Ok(done.rows_affected())
            }
        }
    };
}

tables!(PgConnection, POSTGRES, |n| format!("${n}"));
tables!(SqliteConnection, SQLITE, |n| format!("${n}"));
tables!(MySqlConnection, MARIADB, |_| String::from("?"));
