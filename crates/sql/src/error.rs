//! What a store's error means: to the caller of the service, and to a transaction that may try again.

use std::future::Future;
use std::time::Duration;

use shop_clock::chance;
use shop_fault::{Fault, Kind};

/// How long a client should stay away while the store cannot be reached.
const RETRY_AFTER: Duration = Duration::from_secs(2);

/// Attempts at one transaction, the first included.
const ATTEMPTS: u32 = 6;

/// The failure to show for a store's error: with Retry-After `store_unavailable` when the store cannot serve now, and
/// `store_busy` when it has not done this one thing in time; otherwise an internal one whose text stays in the log.
pub fn fault(error: sqlx::Error) -> Fault {
    // Before the others: a statement out of time is one of theirs, and what somebody asks for says nothing of the store.
    let (code, detail) = if is_out_of_time(&error) || is_transient(&error) {
        ("store_busy", "the store has not done this in time: it is much, or others change the same; try again")
    } else if is_unavailable(&error) {
        ("store_unavailable", "the store cannot be reached just now")
    } else {
        return Fault::internal(error);
    };
    Fault::new(Kind::Unavailable, code, detail).with_retry_after(RETRY_AFTER).with_source(error)
}

/// Whether the store is away, rather than unwilling.
pub(crate) fn is_unavailable(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(_)
        | sqlx::Error::Tls(_)
        | sqlx::Error::PoolTimedOut
        | sqlx::Error::PoolClosed
        | sqlx::Error::WorkerCrashed
        // A connection cut in the middle of an answer shows as nonsense on the wire.
        | sqlx::Error::Protocol(_) => true,
        sqlx::Error::Database(e) => code(e.as_ref()).is_some_and(|code| {
            // PostgreSQL: class 08 connection, 53 out of resources, 57 shutting down or starting, 25006 a standby, 25P03
            // out of time for a transaction. MariaDB: 1040 too many connections, 1053 shutting down, 1290, 1792 and 1836
            // read only, 1927 killed, 2006 and 2013 gone, 1047 a node outside of its Galera cluster, 1180 one that does not
            // know what became of a commit; 1021, 1030 and 1114 out of room. SQLite: 7 out of memory, 8 read only, 10 input/output, 13 disk full, 14 cannot be opened.
            const AWAY: [&str; 20] = [
                "25006", "25P03", "1021", "1030", "1040", "1047", "1053", "1114", "1180", "1290", "1792", "1836", "1927",
                "2006", "2013", "7", "8", "10", "13", "14",
            ];
            code.starts_with("08")
                || code.starts_with("53")
                || code.starts_with("57")
                || AWAY.contains(&code.as_str())
        }),
        _ => false,
    }
}

/// Whether a statement had no more time: 57014 of PostgreSQL, 1317 and 1969 of MariaDB.
fn is_out_of_time(error: &sqlx::Error) -> bool {
    has_code(error, &["57014", "1317", "1969"])
}

/// Whether the store answers and lets nobody write: a replica, or a disk mounted so.
pub(crate) fn is_read_only(error: &sqlx::Error) -> bool {
    is_misled(error) || has_code(error, &["8"])
}

/// Whether another server writes, if any does: this one became a replica, or left its cluster. Nothing was done.
pub(crate) fn is_misled(error: &sqlx::Error) -> bool {
    has_code(error, &["25006", "1047", "1290", "1792", "1836"])
}

/// Whether the store has no room: PostgreSQL 53100, `MariaDB` 1021 and 1114, SQLite 13.
pub(crate) fn is_full(error: &sqlx::Error) -> bool {
    matches!(error, sqlx::Error::Io(error) if error.kind() == std::io::ErrorKind::StorageFull)
        || has_code(error, &["53100", "1021", "1114", "13"])
}

/// Whether a table is not there: 42P01 of PostgreSQL, 1146 of `MariaDB`.
pub(crate) fn is_missing(error: &sqlx::Error) -> bool {
    has_code(error, &["42P01", "1146"])
}

pub(crate) fn has_code(error: &sqlx::Error, codes: &[&str]) -> bool {
    let sqlx::Error::Database(e) = error else { return false };
    code(e.as_ref()).is_some_and(|code| codes.contains(&code.as_str()))
}

/// Whether the transaction lost against another one and would succeed if it began again: a deadlock, a serialisation
/// failure, a lock that was not had in time.
pub fn is_transient(error: &sqlx::Error) -> bool {
    // PostgreSQL: 40001 serialisation, 40P01 deadlock, 55P03 lock timeout. MariaDB: 1205 lock wait, 1213 deadlock,
    // 1020 changed since read. SQLite: 5 busy, 6 locked.
    has_code(error, &["40001", "40P01", "55P03", "1205", "1213", "1020", "5", "6"])
}

/// The engine's own code: for `MariaDB` its number, since its SQLSTATE says too little; for SQLite the primary one, the
/// low byte of the extended one (778, a failed write, is an input/output error, 10).
fn code(error: &dyn sqlx::error::DatabaseError) -> Option<String> {
    if let Some(e) = error.try_downcast_ref::<sqlx::mysql::MySqlDatabaseError>() {
        return Some(e.number().to_string());
    }
    if error.try_downcast_ref::<sqlx::sqlite::SqliteError>().is_some() {
        return error.code()?.parse::<i32>().ok().map(|extended| (extended & 0xff).to_string());
    }
    error.code().map(std::borrow::Cow::into_owned)
}

/// An error that knows whether its transaction is worth another try.
pub trait Transient {
    /// See [`is_transient`]; also when it was begun at a server that does not write.
    fn transient(&self) -> bool;
}

/// Why a transaction ended without effect.
#[derive(Debug)]
pub enum Failure<E> {
    /// The store failed, or another transaction won.
    Store(sqlx::Error),
    /// A rule of the service said no.
    Refused(E),
}

/// A service's own error, so that `?` tells it from the store's.
pub trait Refusal: From<Fault> {}

impl<E> From<sqlx::Error> for Failure<E> {
    fn from(error: sqlx::Error) -> Self {
        Self::Store(error)
    }
}

impl<E: Refusal> From<E> for Failure<E> {
    fn from(error: E) -> Self {
        Self::Refused(error)
    }
}

impl<E> Transient for Failure<E> {
    fn transient(&self) -> bool {
        matches!(self, Self::Store(error) if error.transient())
    }
}

impl<E: Refusal> Failure<E> {
    /// The failure in the service's words.
    pub fn told(self) -> E {
        match self {
            Self::Store(error) => fault(error).into(),
            Self::Refused(error) => error,
        }
    }
}

impl Transient for sqlx::Error {
    fn transient(&self) -> bool {
        // The next connection may lead to the server that writes.
        is_transient(self) || is_misled(self)
    }
}

/// Runs a transaction again, from its beginning, while it loses against others; a few times, each after a little
/// longer pause. `transaction` must begin and commit by itself.
pub async fn retry_transient<T, E, F, Fut>(mut transaction: F) -> Result<T, E>
where
    E: Transient,
    F: FnMut() -> Fut,
    Fut: Future<Output = Result<T, E>>,
{
    let mut attempt = 1;
    loop {
        match transaction().await {
            Err(e) if e.transient() && attempt < ATTEMPTS => {
                tracing::debug!(attempt, "the transaction lost against another one and begins again");
                tokio::time::sleep(pause(attempt)).await;
                attempt += 1;
            }
            result => return result,
        }
    }
}

/// 5, 10, 20 … ms, each up to half longer, so that two that collided do not collide again.
fn pause(attempt: u32) -> Duration {
    let base = 5_u64 << (attempt - 1).min(8);
    Duration::from_millis(base).mul_f64(1.0 + 0.5 * chance::fraction())
}
