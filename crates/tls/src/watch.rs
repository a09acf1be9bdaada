//! Looking at files now and then.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::time::MissedTickBehavior;

/// Runs `look` every `interval`, and on SIGHUP, until dropped. It may block: files may be on a network.
pub async fn watch(interval: Duration, look: impl Fn() + Send + Sync + 'static) -> Infallible {
    let look = Arc::new(look);
    let mut ticks = tokio::time::interval(interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut hangups = signal(SignalKind::hangup())
        .inspect_err(|error| tracing::warn!(%error, "SIGHUP will not reload certificates"))
        .ok();
    loop {
        let hangup = async {
            match &mut hangups {
                Some(hangups) => drop(hangups.recv().await),
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = ticks.tick() => {}
            () = hangup => {}
        }
        let look = Arc::clone(&look);
        let _ = tokio::task::spawn_blocking(move || look()).await;
    }
}
