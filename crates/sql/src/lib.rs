//! SQL stores: pools from settings, migrations, and the three tables every service with a store shares.
//!
//! The shared tables are `outbox` (events decided but not yet on the bus), `inbox` (events whose effect is stored)
//! and `idempotency_keys` (answers to repeat). Each service carries them in its own `migrations/<engine>/`; the
//! canonical text is [`ddl`]. All times are unix milliseconds, so that sorting and equality are the same everywhere.
//!
//! A change and its events are one transaction:
//!
//! ```ignore
//! let mut tx = engine.begin().await?; // any `Engine`: a pool of a server, or `Sqlite`
//! // … the change …
//! shop_sql::outbox::append(&mut *tx, &[envelope]).await?;
//! shop_sql::commit(tx).await?;
//! wake.wake(); // the relay need not wait for its next look
//! ```
//!
//! A change whose statements are known beforehand is one call, and on `MariaDB` one round trip: [`Engine::together`].

mod check;
#[expect(clippy::disallowed_methods, reason = "its trials have a deadline")]
mod condition;
pub mod ddl;
mod engine;
mod error;
mod give_up;
mod held;
mod housekeeping;
mod idempotency;
pub mod inbox;
#[expect(clippy::disallowed_methods, reason = "every step has a deadline")]
mod migrate;
pub mod outbox;
mod pool;
#[expect(clippy::disallowed_methods, reason = "all of it has a deadline")]
mod pooler;
#[expect(clippy::disallowed_methods, reason = "here statements get their deadline")]
mod query;
mod relay;
#[expect(clippy::disallowed_methods, reason = "every step has a deadline")]
mod servers;
mod sqlite;
mod statement;
mod store;
#[expect(clippy::disallowed_methods, reason = "here statements get their deadline")]
mod tables;
mod tls;
mod together;
mod watch;

/// `#[derive(FromRow)]` of sqlx for the types of rows, and its `migrate!`, which takes a folder of migrations into the program.
pub use sqlx_macros::{FromRow, migrate as migrations};

pub use check::check;
pub use engine::Engine;
pub use error::{Failure, Refusal, Transient, fault, is_transient, retry_transient};
pub use held::{Held, Tx, acquire, connect};
pub use housekeeping::{INBOX_KEPT, housekeeping};
pub use idempotency::Idempotency;
pub use migrate::{Migrating, Served, migrate, migrate_server};
pub use pool::{begin, beside, mariadb, postgres};
pub use pooler::check_pooler;
pub use query::{Connection, Row, Value, filters, marks};
pub use relay::{Relay, Wake};
pub use sqlite::{Sqlite, sqlite};
pub use statement::{Statement, commit, statement};
pub use store::Store;
pub use tables::Tables;
pub use together::Step;
pub use watch::watch;
