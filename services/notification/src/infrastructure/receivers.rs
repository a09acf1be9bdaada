//! Preferences and endpoints in SQL.

use std::collections::{BTreeSet, HashMap};

use async_trait::async_trait;
use shop_clock::millis;
use shop_page::Slice;
use shop_sql::{Connection, Engine, Value, marks, retry_transient};
use sqlx::AssertSqlSafe;
use uuid::Uuid;

use super::Tried;
use super::row::{EndpointRow, PreferencesRow, Written, endpoint_columns, listed};
use super::store::Sql;
use crate::domain::{
    Change, Endpoint, Endpoints, Error, Expected, MAX_ENDPOINTS, PreferenceStore, Preferences, Result,
};

const PREFERENCES: &str =
    "SELECT user_id, email, email_enabled, event_types, version, updated_at FROM preferences WHERE";
/// The first writing waits for a second one of the same user, which then sees the first.
const PUT_PREFERENCES: &str = "INSERT INTO preferences (user_id, email, email_enabled, event_types, version, updated_at) \
     VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (user_id) DO UPDATE SET email = $2, email_enabled = $3, \
     event_types = $4, version = $5, updated_at = $6 WHERE preferences.version = $7";

const GET: &str = concat!("SELECT ", endpoint_columns!(), " FROM webhook_endpoints WHERE id = $1");
const ALL: &str = concat!("SELECT ", endpoint_columns!(), " FROM webhook_endpoints ORDER BY id");
const PAGE: &str = concat!("SELECT ", endpoint_columns!(), " FROM webhook_endpoints ORDER BY id DESC LIMIT $1");
const PAGE_AFTER: &str =
    concat!("SELECT ", endpoint_columns!(), " FROM webhook_endpoints WHERE id < $2 ORDER BY id DESC LIMIT $1");
/// Counting and adding are one statement; two at once may still go over the bound by one, which does no harm.
const ADD: &str = concat!(
    "INSERT INTO webhook_endpoints (",
    endpoint_columns!(),
    ") SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13 \
     WHERE (SELECT COUNT(*) FROM webhook_endpoints) < $14 ON CONFLICT (id) DO NOTHING"
);
const UPDATE: &str = "UPDATE webhook_endpoints SET url = $2, description = $3, event_types = $4, enabled = $5, \
     disabled_reason = $6, secret = $7, old_secret = $8, old_secret_until = $9, version = $10, created_at = $11, \
     updated_at = $12, rotations = $13 WHERE id = $1";
/// What is not sealed by the present key, which begins what it sealed so.
const STALE: &str = "SELECT id FROM webhook_endpoints WHERE secret NOT LIKE $1 OR old_secret NOT LIKE $1";

#[async_trait]
impl<E: Engine> PreferenceStore for Sql<E> {
    async fn preferences(&self, user_id: &str) -> Result<Preferences> {
        let found = async {
            let mut reader = self.engine.reader().await?;
            self.preferences_of(&mut *reader, user_id).await
        };
        Ok(found.await?)
    }

    async fn change_preferences(&self, user_id: &str, change: Change<'_, Preferences>) -> Result<Preferences> {
        loop {
            let changed = retry_transient(|| self.try_change_preferences(user_id, change)).await?;
            // None: another one was first, and the change is made to what that one left.
            if let Some(preferences) = changed {
                return Ok(preferences);
            }
        }
    }
}

#[async_trait]
impl<E: Engine> Endpoints for Sql<E> {
    async fn add_endpoint(&self, endpoint: &Endpoint) -> Result<Endpoint> {
        Ok(retry_transient(|| self.try_add(endpoint)).await?)
    }

    async fn endpoint(&self, id: Uuid) -> Result<Endpoint> {
        let found = async {
            let row: Option<EndpointRow> = self.engine.reader().await?.row(GET, &[Value::Id(id)]).await?;
            Tried::Ok(row)
        };
        found.await?.ok_or(Error::EndpointNotFound(id))?.opened(&self.seals)
    }

    async fn list_endpoints(&self, after: Option<Uuid>, limit: usize) -> Result<Slice<Endpoint, Uuid>> {
        // One more than the page: it tells that there is another one.
        let count = Value::Int(i64::try_from(limit).unwrap_or(i64::MAX - 1) + 1);
        let found = async {
            let mut reader = self.engine.reader().await?;
            let rows: Vec<EndpointRow> = match after {
                Some(after) => reader.rows(PAGE_AFTER, &[count, Value::Id(after)]).await?,
                None => reader.rows(PAGE, &[count]).await?,
            };
            Tried::Ok(rows)
        };
        let Slice { items, next } = Slice::cut(found.await?, limit, |last| last.id);
        Ok(Slice { items: items.into_iter().map(|row| row.opened(&self.seals)).collect::<Result<_>>()?, next })
    }

    async fn change_endpoint(&self, id: Uuid, change: Change<'_, Endpoint>) -> Result<Endpoint> {
        Ok(retry_transient(|| self.try_change_endpoint(id, change)).await?)
    }

    async fn remove_endpoint(&self, id: Uuid, expected: &Expected) -> Result<()> {
        Ok(retry_transient(|| self.try_remove(id, expected)).await?)
    }
}

impl<E: Engine> Sql<E> {
    /// What the user said, read on this connection.
    pub(super) async fn preferences_of<C: Connection>(&self, conn: &mut C, user_id: &str) -> Tried<Preferences> {
        let said = self.preferences_of_all(conn, std::iter::once(user_id)).await?.remove(user_id);
        Ok(said.unwrap_or_else(|| Preferences::unsaid(user_id)))
    }

    /// What these users said, as far as they said anything, read on this connection.
    pub(super) async fn preferences_of_all<C: Connection>(
        &self,
        conn: &mut C,
        users: impl Iterator<Item = &str>,
    ) -> Tried<HashMap<String, Preferences>> {
        let users: BTreeSet<&str> = users.collect();
        let Some(last) = users.last() else { return Ok(HashMap::new()) };
        let count = users.len().next_power_of_two();
        // The last one once more fills the statement up, so that there are few of them to prepare.
        let values: Vec<_> =
            users.iter().chain(std::iter::repeat(last)).take(count).map(|user| Value::Text(user)).collect();
        let sql = format!("{PREFERENCES} user_id IN ({})", marks(1, count));
        let rows: Vec<PreferencesRow> = conn.rows(AssertSqlSafe(sql), &values).await?;
        Ok(rows.into_iter().map(|row| Ok((row.user_id.clone(), row.try_into()?))).collect::<Result<_>>()?)
    }

    /// Every endpoint, read on this connection.
    pub(super) async fn all_endpoints<C: Connection>(&self, conn: &mut C) -> Tried<Vec<Endpoint>> {
        let rows: Vec<EndpointRow> = conn.rows(ALL, &[]).await?;
        let read = |row| {
            let endpoint = EndpointRow::opened(row, &self.seals);
            endpoint.inspect_err(|error| tracing::error!(%error, "a webhook endpoint cannot be read and hears nothing"))
        };
        Ok(rows.into_iter().filter_map(|row| read(row).ok()).collect())
    }

    async fn try_change_preferences(
        &self,
        user_id: &str,
        change: Change<'_, Preferences>,
    ) -> Tried<Option<Preferences>> {
        let mut tx = self.engine.begin().await?;
        let mut preferences = self.preferences_of(&mut *tx, user_id).await?;
        let seen = preferences.version;
        change(&mut preferences)?;
        let types = listed(&preferences.event_types);
        let values = [
            Value::Text(user_id),
            Value::Maybe(preferences.email.as_deref()),
            Value::Int(preferences.email_enabled.into()),
            Value::Text(&types),
            Value::Int(preferences.version),
            Value::Int(preferences.updated_at.map_or(0, millis)),
            Value::Int(seen),
        ];
        if tx.run(PUT_PREFERENCES, &values).await? == 0 {
            return Ok(None);
        }
        shop_sql::commit(tx).await?;
        Ok(Some(preferences))
    }

    async fn try_add(&self, endpoint: &Endpoint) -> Tried<Endpoint> {
        let mut tx = self.engine.begin().await?;
        let written = Written::new(endpoint, &self.seals)?;
        let mut values = written.values(endpoint).to_vec();
        values.push(Value::Int(MAX_ENDPOINTS));
        tx.run(ADD, &values).await?;
        let row: Option<EndpointRow> = tx.row(GET, &[Value::Id(endpoint.id)]).await?;
        let made = row.ok_or(Error::TooManyEndpoints)?.opened(&self.seals)?;
        shop_sql::commit(tx).await?;
        Ok(made)
    }

    async fn try_change_endpoint(&self, id: Uuid, change: Change<'_, Endpoint>) -> Tried<Endpoint> {
        let mut tx = self.engine.begin().await?;
        let mut endpoint = self.locked(&mut *tx, id).await?;
        change(&mut endpoint)?;
        tx.run(UPDATE, &Written::new(&endpoint, &self.seals)?.values(&endpoint)).await?;
        shop_sql::commit(tx).await?;
        Ok(endpoint)
    }

    async fn try_remove(&self, id: Uuid, expected: &Expected) -> Tried<()> {
        let mut tx = self.engine.begin().await?;
        self.locked(&mut *tx, id).await?.expect(expected)?;
        tx.run("DELETE FROM webhook_endpoints WHERE id = $1", &[Value::Id(id)]).await?;
        Ok(shop_sql::commit(tx).await?)
    }

    async fn locked<C: Connection>(&self, conn: &mut C, id: Uuid) -> Tried<Endpoint> {
        let row: Option<EndpointRow> = conn.row(AssertSqlSafe(format!("{GET}{}", E::LOCK)), &[Value::Id(id)]).await?;
        Ok(row.ok_or(Error::EndpointNotFound(id))?.opened(&self.seals)?)
    }

    /// Seals every secret with the present key that is not yet; how many endpoints had one. An error when one cannot be opened.
    pub(super) async fn reseal(&self) -> Result<usize> {
        let Some(begin) = self.seals.begin() else {
            let all = usize::try_from(MAX_ENDPOINTS).unwrap_or(usize::MAX);
            self.list_endpoints(None, all).await?;
            return Ok(0);
        };
        let like = format!("{begin}%");
        let found = async {
            let rows: Vec<(Uuid,)> = self.engine.reader().await?.rows(STALE, &[Value::Text(&like)]).await?;
            Tried::Ok(rows)
        };
        let stale = found.await?;
        for (id,) in &stale {
            match self.change_endpoint(*id, &|_| Ok(())).await {
                // Removed meanwhile.
                Ok(_) | Err(Error::EndpointNotFound(_)) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(stale.len())
    }
}
