//! Forgetting persons in SQL.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;

use async_trait::async_trait;
use ring::digest;
use shop_clock::millis;
use shop_sql::{Connection, Engine, INBOX_KEPT, Value, inbox, marks, retry_transient};
use sqlx::AssertSqlSafe;
use time::OffsetDateTime;
use uuid::Uuid;

use super::row::{NotificationRow, columns};
use super::store::{Sql, read};
use super::{Failure, Tried};
use crate::domain::{Persons, Result};

/// Rows looked at in one statement.
const CHUNK: i64 = 200;

/// Who announces writes to the inbox before it looks for erasures. So whoever is at it is waited for, and the next one sees this.
const ALONE: &str = "LOCK TABLE inbox IN EXCLUSIVE MODE";
const OF_PERSON: &str =
    concat!("SELECT ", columns!(), " FROM notifications WHERE user_id = $1 AND id > $2 ORDER BY id LIMIT $3");
const PREFERENCES: &str = "DELETE FROM preferences WHERE user_id = $1 AND updated_at <= $2";
const NOTE: &str = "INSERT INTO erasures (person, erased_at) VALUES ($1, $2) \
     ON CONFLICT (person) DO UPDATE SET erased_at = $2 WHERE erasures.erased_at < $2";
const NOTED: &str = "SELECT person, erased_at FROM erasures WHERE person IN";
const OLD: &str = "DELETE FROM erasures WHERE erased_at < $1";

#[async_trait]
impl<E: Engine> Persons for Sql<E> {
    async fn erase(&self, event: Uuid, user_id: &str, at: OffsetDateTime, now: OffsetDateTime) -> Result<()> {
        Ok(retry_transient(|| self.try_erase(event, user_id, at, now)).await?)
    }

    async fn forget_erasures(&self, now: OffsetDateTime) -> Result<u64> {
        let before = [Value::Int(millis(now - INBOX_KEPT))];
        let gone = retry_transient(|| async { self.engine.writer().await?.run(OLD, &before).await });
        Ok(gone.await.map_err(Failure::from)?)
    }
}

impl<E: Engine> Sql<E> {
    /// Who of these was erased, and what happened before when, in milliseconds, is to be told nobody.
    pub(super) async fn erased_of_all<'u, C: Connection>(
        conn: &mut C,
        users: impl Iterator<Item = &'u str>,
    ) -> Tried<HashMap<&'u str, i64>> {
        let users: BTreeMap<String, &str> = users.map(|user| (fingerprint(user), user)).collect();
        let Some((last, _)) = users.last_key_value() else { return Ok(HashMap::new()) };
        let count = users.len().next_power_of_two();
        // The last one once more fills the statement up, so that there are few of them to prepare.
        let values: Vec<_> =
            users.keys().chain(std::iter::repeat(last)).take(count).map(|person| Value::Text(person)).collect();
        let rows: Vec<(String, i64)> =
            conn.rows(AssertSqlSafe(format!("{NOTED} ({})", marks(1, count))), &values).await?;
        Ok(rows.into_iter().filter_map(|(person, at)| Some((*users.get(&person)?, at))).collect())
    }

    async fn try_erase(&self, event: Uuid, user_id: &str, at: OffsetDateTime, now: OffsetDateTime) -> Tried<()> {
        let mut tx = self.engine.begin().await?;
        // A store without row locks has one writer at a time anyway.
        if !E::LOCK.is_empty() {
            tx.run(ALONE, &[]).await?;
        }
        if !inbox::first_time(&mut *tx, event, millis(now)).await? {
            // Lets others go on at once, not when the connection is next used.
            return Ok(tx.rollback().await?);
        }
        let mut after = Uuid::nil();
        loop {
            let values = [Value::Text(user_id), Value::Id(after), Value::Int(CHUNK)];
            let rows: Vec<NotificationRow> = tx.rows(OF_PERSON, &values).await?;
            let Some(last) = rows.last() else { break };
            after = last.id;
            // What cannot be read may be anything of his.
            let of_before = |row: NotificationRow| {
                let id = row.id;
                read(row).is_none_or(|kept| millis(kept.event.time) <= millis(at)).then_some(Value::Id(id))
            };
            let ids: Vec<_> = rows.into_iter().filter_map(of_before).collect();
            if !ids.is_empty() {
                let sql = format!("DELETE FROM notifications WHERE id IN ({})", marks(1, ids.len()));
                tx.run(AssertSqlSafe(sql), &ids).await?;
            }
        }
        tx.run(PREFERENCES, &[Value::Text(user_id), Value::Int(millis(at))]).await?;
        tx.run(NOTE, &[Value::Text(&fingerprint(user_id)), Value::Int(millis(at))]).await?;
        Ok(shop_sql::commit(tx).await?)
    }
}

/// What a user is known by who is to be known no more.
fn fingerprint(user_id: &str) -> String {
    let hash = digest::digest(&digest::SHA256, user_id.as_bytes());
    hash.as_ref().iter().fold(String::with_capacity(64), |mut text, byte| {
        write!(text, "{byte:02x}").ok();
        text
    })
}
