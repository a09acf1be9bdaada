//! Stopping in two steps.

use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::{notify_stopping, tasks};

/// The two steps in which a process ends. Clones share them.
#[derive(Debug, Clone)]
pub struct Shutdown {
    /// Stop accepting, finish what runs.
    pub soft: CancellationToken,
    /// The grace is over: drop everything. Implies `soft`.
    pub hard: CancellationToken,
}

impl Shutdown {
    /// Both steps still to come.
    pub fn new() -> Self {
        let hard = CancellationToken::new();
        Self { soft: hard.child_token(), hard }
    }

    /// The first SIGINT or SIGTERM is `soft`; a second one, or `grace` later, is `hard`. Call it inside the runtime.
    pub fn on_signals(grace: Duration) -> Self {
        let shutdown = Self::new();
        match (signal(SignalKind::interrupt()), signal(SignalKind::terminate())) {
            (Ok(interrupt), Ok(terminate)) => {
                tasks::detached(shutdown.clone().follow(Signals { interrupt, terminate }, grace));
            }
            (Err(error), _) | (_, Err(error)) => {
                tracing::warn!(%error, "signals cannot be caught; the process will end without draining");
            }
        }
        shutdown
    }

    /// Begins the end by ourselves, as a first signal does. Call it inside the runtime.
    pub fn stop(&self, grace: Duration) {
        self.soft.cancel();
        let hard = self.hard.clone();
        tasks::detached(async move {
            if hard.run_until_cancelled(tokio::time::sleep(grace)).await.is_some() {
                hard.cancel();
            }
        });
    }

    async fn follow(self, mut signals: Signals, grace: Duration) {
        tokio::select! {
            name = signals.next() => tracing::info!(signal = name, "stopping: running requests are finished first"),
            () = self.soft.cancelled() => {}
        }
        notify_stopping();
        self.soft.cancel();
        tokio::select! {
            name = signals.next() => tracing::warn!(signal = name, "stopping at once"),
            () = tokio::time::sleep(grace) => tracing::warn!("the grace period is over, stopping at once"),
            () = self.hard.cancelled() => {}
        }
        self.hard.cancel();
    }
}

impl Default for Shutdown {
    fn default() -> Self {
        Self::new()
    }
}

struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.interrupt.recv() => "SIGINT",
            _ = self.terminate.recv() => "SIGTERM",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_hard_stop_follows_the_soft_one_after_the_grace() {
        let shutdown = Shutdown::new();
        let start = tokio::time::Instant::now();
        shutdown.stop(Duration::from_secs(25));
        assert!(shutdown.soft.is_cancelled() && !shutdown.hard.is_cancelled());
        shutdown.hard.cancelled().await;
        assert_eq!(start.elapsed(), Duration::from_secs(25));
    }

    #[test]
    fn a_hard_stop_is_a_soft_stop_too() {
        let shutdown = Shutdown::new();
        shutdown.hard.cancel();
        assert!(shutdown.soft.is_cancelled());
    }

    #[test]
    fn clones_stop_together() {
        let shutdown = Shutdown::new();
        shutdown.clone().soft.cancel();
        assert!(shutdown.soft.is_cancelled() && !shutdown.hard.is_cancelled());
    }
}
