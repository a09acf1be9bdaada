//! Bringing a store to the present schema.

use std::ops::Deref;

use anyhow::Context;
use sqlx::Acquire;
use sqlx::migrate::{Migrate, Migrator};

/// Applies what is missing. Safe when several replicas start at once: the first takes the server's lock and the
/// others wait for it (for SQLite pass the pool that writes).
pub async fn migrate<'a, A>(pool: A, migrator: &Migrator) -> anyhow::Result<()>
where
    A: Acquire<'a>,
    <A::Connection as Deref>::Target: Migrate,
{
    migrator.run(pool).await.context("could not bring the store to the present schema")
}
