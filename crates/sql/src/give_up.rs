//! Giving up: on an answer that takes too long, and on connections that lead where they should not.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use sqlx::{Database, Pool};
use tokio::time::timeout;

/// How often connections had to be given up, all of them: a server was found not to write any more.
static GIVEN_UP: AtomicU64 = AtomicU64::new(0);

/// Closes the connections that are in use now as they come back, of other stores, too: it happens seldom.
pub(crate) fn give_up_all() {
    GIVEN_UP.fetch_add(1, Ordering::Relaxed);
}

/// How often that was. Who has a connection from before is to close it.
pub(crate) fn given_up() -> u64 {
    GIVEN_UP.load(Ordering::Relaxed)
}

/// Closes what lies idle in `pool`: it leads where nobody answers, or where nobody may write.
pub(crate) fn give_up_idle<DB: Database>(pool: &Pool<DB>) {
    #[expect(clippy::disallowed_methods, reason = "it is not used")]
    while let Some(idle) = pool.try_acquire() {
        drop(idle.detach());
    }
}

/// What `work` on a store comes to, if it does within `time`.
pub(crate) async fn within<T>(time: Duration, work: impl Future<Output = sqlx::Result<T>>) -> sqlx::Result<T> {
    timeout(time, work).await.unwrap_or_else(|_| {
        let late = format!("the store did not answer within {time:?}");
        Err(sqlx::Error::Io(io::Error::new(io::ErrorKind::TimedOut, late)))
    })
}
