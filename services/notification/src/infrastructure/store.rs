//! Notifications in SQL.

use std::collections::BTreeSet;
use std::sync::Arc;

use async_trait::async_trait;
use shop_clock::{from_millis, millis};
use shop_fault::Fault;
use shop_page::Slice;
use shop_sql::{Connection, Engine, Value, filters, inbox, marks, retry_transient};
use sqlx::AssertSqlSafe;
use time::OffsetDateTime;
use uuid::Uuid;

use super::row::{GIVE_UP, INSERT, Kept, NotificationRow, UPDATE, columns, inserted, updated};
use super::seals::Seals;
use super::{Failure, Tried};
use crate::domain::{
    Change, Channel, Claim, Error, Filter, Notification, Notifications, Plan, Recipients, Result, Status, Waiting,
};

const GET: &str = concat!("SELECT ", columns!(), " FROM notifications WHERE id = $1");
/// Counted up to a bound, so that a long outage is not made longer by counting.
const WAITING: &str = "SELECT COUNT(*), MIN(created_at) FROM (SELECT created_at FROM notifications \
                       WHERE channel = $1 AND status IN ('pending', 'sending') ORDER BY due_at LIMIT 10000) AS due";
const TOLD: &str = "SELECT id FROM notifications WHERE event_id = $1 LIMIT 1";
const FORGET: &str = "DELETE FROM notifications WHERE id IN (SELECT id FROM notifications \
                      WHERE status IN ('sent', 'skipped', 'dead') AND updated_at < $1 ORDER BY updated_at LIMIT $2)";

/// Everything the service keeps, on one engine.
pub(super) struct Sql<E> {
    /// The engine.
    pub(super) engine: E,
    /// What secrets are sealed with.
    pub(super) seals: Arc<Seals>,
}

#[async_trait]
impl<E: Engine> Notifications for Sql<E> {
    async fn announce(
        &self,
        event: Uuid,
        user_id: &str,
        plan: Plan<'_>,
        now: OffsetDateTime,
    ) -> Result<Option<BTreeSet<Channel>>> {
        Ok(retry_transient(|| self.try_announce(event, user_id, plan, now)).await?)
    }

    async fn get(&self, id: Uuid) -> Result<Notification> {
        let found = async { self.engine.reader().await?.row(GET, &[Value::Id(id)]).await };
        let row: Option<NotificationRow> = found.await.map_err(Failure::from)?;
        row.ok_or(Error::NotFound(id))?.try_into()
    }

    async fn list(&self, filter: &Filter, after: Option<Uuid>, limit: usize) -> Result<Slice<Notification, Uuid>> {
        Ok(self.page(filter, after, limit).await?)
    }

    async fn change(&self, id: Uuid, change: Change<'_, Notification>) -> Result<Notification> {
        Ok(retry_transient(|| self.try_change(id, change)).await?)
    }

    async fn claim(&self, claim: &Claim<'_>) -> Result<Vec<Notification>> {
        Ok(retry_transient(|| self.try_claim(claim)).await?)
    }

    async fn settle(&self, settled: &Notification, seen: i64) -> Result<bool> {
        let written = retry_transient(|| async {
            let rows = self.engine.writer().await?.run(UPDATE, &updated(settled, seen)).await?;
            Ok::<_, sqlx::Error>(rows == 1)
        });
        Ok(written.await.map_err(Failure::from)?)
    }

    async fn waiting(&self, channel: Channel) -> Result<Waiting> {
        let counted = async { self.engine.reader().await?.row(WAITING, &[Value::Text(channel.as_str())]).await };
        let row: Option<(i64, Option<i64>)> = counted.await.map_err(Failure::from)?;
        Ok(row.map_or_else(Waiting::default, |(count, oldest)| Waiting { count, oldest: oldest.map(from_millis) }))
    }

    async fn forget(&self, before: OffsetDateTime, limit: i64) -> Result<u64> {
        let values = [Value::Int(millis(before)), Value::Int(limit)];
        let gone = retry_transient(|| async {
            let mut tx = self.engine.begin().await?;
            let rows = tx.run(FORGET, &values).await?;
            shop_sql::commit(tx).await?;
            Ok::<_, sqlx::Error>(rows)
        });
        Ok(gone.await.map_err(Failure::from)?)
    }
}

impl<E: Engine> Sql<E> {
    async fn try_announce(
        &self,
        event: Uuid,
        user_id: &str,
        plan: Plan<'_>,
        now: OffsetDateTime,
    ) -> Tried<Option<BTreeSet<Channel>>> {
        let mut tx = self.engine.begin().await?;
        if !inbox::first_time(&mut *tx, event, millis(now)).await? {
            return Ok(None);
        }
        // The inbox forgets sooner than this is deleted.
        let told: Option<(Uuid,)> = tx.row(TOLD, &[Value::Id(event)]).await?;
        if told.is_some() {
            return Ok(None);
        }
        let preferences = self.preferences_of(&mut *tx, user_id).await?;
        let endpoints = self.all_endpoints(&mut *tx).await?;
        let plan = plan(&Recipients { preferences, endpoints });
        if let Some(first) = plan.first() {
            let kept = Kept::new(&first.event)?;
            for notification in &plan {
                tx.run(INSERT, &inserted(notification, &kept)).await?;
            }
        }
        shop_sql::commit(tx).await?;
        let to_send = plan.iter().filter(|notification| notification.status == Status::Pending);
        Ok(Some(to_send.map(|notification| notification.channel).collect()))
    }

    async fn try_change(&self, id: Uuid, change: Change<'_, Notification>) -> Tried<Notification> {
        let mut tx = self.engine.begin().await?;
        let row: Option<NotificationRow> = tx.row(AssertSqlSafe(format!("{GET}{}", E::LOCK)), &[Value::Id(id)]).await?;
        let mut notification = Notification::try_from(row.ok_or(Error::NotFound(id))?)?;
        let seen = notification.version;
        change(&mut notification)?;
        tx.run(UPDATE, &updated(&notification, seen)).await?;
        shop_sql::commit(tx).await?;
        Ok(notification)
    }

    async fn try_claim(&self, claim: &Claim<'_>) -> Tried<Vec<Notification>> {
        let mut values = vec![
            Value::Int(millis(claim.until)),
            Value::Int(millis(claim.now)),
            Value::Text(claim.channel.as_str()),
            Value::Int(i64::try_from(claim.limit).unwrap_or(i64::MAX)),
        ];
        let others = match claim.except.len() {
            0 => String::new(),
            count => format!(" AND target NOT IN ({})", marks(values.len() + 1, count)),
        };
        values.extend(claim.except.iter().map(|target| Value::Text(target)));
        let sql = format!(
            "WITH due AS MATERIALIZED (SELECT id AS due_id FROM notifications \
             WHERE channel = $3 AND status IN ('pending', 'sending') AND due_at <= $2{others} \
             ORDER BY due_at, id LIMIT $4{}) \
             UPDATE notifications SET status = 'sending', attempts = attempts + 1, due_at = $1, \
             version = version + 1, updated_at = $2 FROM due WHERE id = due_id RETURNING {}",
            E::LOCK_FREE,
            columns!(),
        );
        let mut writer = self.engine.writer().await?;
        let rows: Vec<NotificationRow> = writer.rows(AssertSqlSafe(sql), &values).await?;
        let mut claimed = Vec::with_capacity(rows.len());
        for row in rows {
            let seen = [Value::Id(row.id), Value::Int(row.version)];
            match read(row) {
                Some(notification) => claimed.push(notification),
                // The others must not wait for it.
                None => drop(writer.run(GIVE_UP, &seen).await?),
            }
        }
        Ok(claimed)
    }

    async fn page(&self, filter: &Filter, after: Option<Uuid>, limit: usize) -> Tried<Slice<Notification, Uuid>> {
        let texts = [
            ("user_id", filter.owner.as_deref()),
            ("user_id", filter.user_id.as_deref()),
            ("status", filter.status.map(Status::as_str)),
            ("channel", filter.channel.map(Channel::as_str)),
        ];
        let (filters, mut values) = filters(&texts, after);
        // One more than the page: it tells that there is another one.
        values.push(Value::Int(i64::try_from(limit).unwrap_or(i64::MAX - 1) + 1));
        let sql = format!("SELECT {} FROM notifications{filters} ORDER BY id DESC LIMIT ${}", columns!(), values.len());
        let rows: Vec<NotificationRow> = self.engine.reader().await?.rows(AssertSqlSafe(sql), &values).await?;
        let Slice { items, next } = Slice::cut(rows, limit, |last| last.id);
        Ok(Slice { items: items.into_iter().filter_map(read).collect(), next })
    }
}

/// The notification in a row; none, said in the log, when a later version of the service wrote it.
fn read(row: NotificationRow) -> Option<Notification> {
    let id = row.id;
    match Notification::try_from(row) {
        Ok(notification) => Some(notification),
        Err(error) => {
            tracing::error!(notification.id = %id, cause = ?Fault::from(error), "a notification cannot be read");
            None
        }
    }
}
