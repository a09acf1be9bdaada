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

use super::row::{COLUMNS, GIVE_UP, INSERT, Kept, NotificationRow, UPDATE, columns, inserted, updated};
use super::seals::Seals;
use super::{Failure, Tried};
use crate::domain::{
    Change, Channel, Claim, Error, Filter, News, Notification, Notifications, Plan, Preferences, Recipients, Result,
    Status, Waiting,
};

const GET: &str = concat!("SELECT ", columns!(), " FROM notifications WHERE id = $1");
/// Which channels to look at: a probe of the index for each.
const DUE: &str = "WITH channels (name) AS (VALUES ('email'), ('webhook'), ('log')) SELECT name FROM channels \
                   WHERE EXISTS (SELECT 1 FROM notifications WHERE channel = name \
                   AND status IN ('pending', 'sending') AND due_at <= $1)";
/// Counted up to a bound, so that a long outage is not made longer by counting.
const WAITING: &str = "SELECT COUNT(*), MIN(created_at) FROM (SELECT created_at FROM notifications \
                       WHERE channel = $1 AND status IN ('pending', 'sending') ORDER BY due_at LIMIT 10000) AS due";
/// Notifications added by one statement.
const ROWS: usize = 64;
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
    async fn announce(&self, news: &[News<'_>], plan: Plan<'_>, now: OffsetDateTime) -> Result<BTreeSet<Channel>> {
        Ok(retry_transient(|| self.try_announce(news, plan, now)).await?)
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

    async fn due(&self, now: OffsetDateTime) -> Result<BTreeSet<Channel>> {
        let found = async { self.engine.reader().await?.rows(DUE, &[Value::Int(millis(now))]).await };
        let rows: Vec<(String,)> = found.await.map_err(Failure::from)?;
        Ok(rows.iter().filter_map(|(channel,)| Channel::named(channel)).collect())
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
    async fn try_announce(&self, news: &[News<'_>], plan: Plan<'_>, now: OffsetDateTime) -> Tried<BTreeSet<Channel>> {
        let mut tx = self.engine.begin().await?;
        let events: Vec<Uuid> = news.iter().map(|news| news.event.id).collect();
        let mut new = inbox::new_ones(&mut *tx, &events, millis(now)).await?;
        // One that comes twice is taken once.
        let news: Vec<_> = news.iter().filter(|news| new.remove(&news.event.id)).collect();
        if news.is_empty() {
            return Ok(BTreeSet::new());
        }
        let erased = Self::erased_of_all(&mut *tx, news.iter().map(|news| news.user_id)).await?;
        let is_kept = |news: &&&News<'_>| erased.get(news.user_id).is_none_or(|at| *at < millis(news.event.time));
        let news: Vec<_> = news.iter().filter(is_kept).collect();
        let readers = news.iter().filter(|news| news.mails).map(|news| news.user_id);
        let wants = self.preferences_of_all(&mut *tx, readers).await?;
        let mut recipients =
            Recipients { preferences: Preferences::unsaid(""), endpoints: self.all_endpoints(&mut *tx).await? };
        let mut made = Vec::new();
        for News { event, user_id, mails } in news {
            let reader = if *mails { user_id } else { "" };
            // Somebody may be told of several.
            recipients.preferences = wants.get(reader).cloned().unwrap_or_else(|| Preferences::unsaid(reader));
            let planned = plan(event, &recipients);
            if let Some(first) = planned.first() {
                made.push((Kept::new(&first.event)?, planned));
            }
        }
        insert(&mut *tx, &made).await?;
        shop_sql::commit(tx).await?;
        let made = made.iter().flat_map(|(_, planned)| planned);
        Ok(made.filter(|one| one.status == Status::Pending).map(|one| one.channel).collect())
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

/// Adds notifications, each with its event. What was told already, as of an event that is brought back when all else has
/// forgotten it, is not told again.
async fn insert<C: Connection>(conn: &mut C, made: &[(Kept, Vec<Notification>)]) -> sqlx::Result<()> {
    let made: Vec<_> = made.iter().flat_map(|(kept, planned)| planned.iter().map(move |one| (one, kept))).collect();
    for chunk in made.chunks(ROWS) {
        let count = chunk.len().next_power_of_two();
        let row = |n: usize| format!("({})", marks(1 + n * COLUMNS, COLUMNS));
        let rows = (0..count).map(row).collect::<Vec<_>>().join(", ");
        // The last one once more fills the statement up, so that there are few of them to prepare.
        let padded = chunk.iter().chain(std::iter::repeat(&chunk[chunk.len() - 1])).take(count);
        let values: Vec<_> = padded.flat_map(|(one, kept)| inserted(one, kept)).collect();
        conn.run(AssertSqlSafe(format!("{INSERT} {rows} ON CONFLICT DO NOTHING")), &values).await?;
    }
    Ok(())
}

/// The notification in a row; none, said in the log, when a later version of the service wrote it.
pub(super) fn read(row: NotificationRow) -> Option<Notification> {
    let id = row.id;
    match Notification::try_from(row) {
        Ok(notification) => Some(notification),
        Err(error) => {
            tracing::error!(notification.id = %id, cause = ?Fault::from(error), "a notification cannot be read");
            None
        }
    }
}
