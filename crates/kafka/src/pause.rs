//! Waiting before trying again.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

/// First and longest pause before trying again what a broker did not do.
pub(crate) const BACK_OFF: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(5));

/// Waits, unless `stop` comes first.
pub(crate) async fn sleep(pause: Duration, stop: &CancellationToken) {
    tokio::select! {
        () = stop.cancelled() => {}
        () = tokio::time::sleep(pause) => {}
    }
}
