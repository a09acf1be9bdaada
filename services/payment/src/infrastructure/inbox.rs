//! Calls of providers that were listened to, in the table in which events are noted.

use async_trait::async_trait;
use shop_clock::millis;
use shop_sql::{Connection, Engine, Value, retry_transient};
use time::OffsetDateTime;
use uuid::Uuid;

use super::Failure;
use super::store::Sql;
use crate::domain::{Error, Inbox};

const HAS: &str = "SELECT event_id FROM inbox WHERE event_id = $1";

#[async_trait]
impl<E: Engine> Inbox for Sql<E> {
    async fn has(&self, ring: Uuid) -> Result<bool, Error> {
        Ok(retry_transient(|| self.find_ring(ring)).await?)
    }

    async fn note(&self, ring: Uuid, now: OffsetDateTime) -> Result<(), Error> {
        Ok(retry_transient(|| self.note_ring(ring, now)).await?)
    }
}

impl<E: Engine> Sql<E> {
    async fn find_ring(&self, ring: Uuid) -> Result<bool, Failure> {
        let mut conn = self.engine.reader().await?;
        let found: Option<(Uuid,)> = conn.row(HAS, &[Value::Id(ring)]).await?;
        Ok(found.is_some())
    }

    async fn note_ring(&self, ring: Uuid, now: OffsetDateTime) -> Result<(), Failure> {
        let mut conn = self.engine.writer().await?;
        shop_sql::inbox::first_time(&mut *conn, ring, millis(now)).await?;
        Ok(())
    }
}
