//! Stopping in two steps.

use std::io::IsTerminal as _;
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

    /// The first SIGINT or SIGTERM is `soft`; a second one, or `grace` later, is `hard`. SIGHUP is like them when it says that
    /// the terminal is gone. Otherwise it ends nothing, nor do SIGUSR1 and SIGUSR2, with which others' logs are rotated: ours
    /// go to standard output, which nobody has to open again. Call it inside the runtime.
    pub fn on_signals(grace: Duration) -> Self {
        let shutdown = Self::new();
        match Signals::caught() {
            Ok(signals) => tasks::detached(shutdown.clone().follow(signals, grace)),
            Err(error) => tracing::warn!(%error, "signals cannot be caught; the process will end without draining"),
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
    hangup: Signal,
    user1: Signal,
    user2: Signal,
    had_terminal: bool,
}

impl Signals {
    fn caught() -> std::io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup: signal(SignalKind::hangup())?,
            user1: signal(SignalKind::user_defined1())?,
            user2: signal(SignalKind::user_defined2())?,
            had_terminal: std::io::stdin().is_terminal(),
        })
    }

    /// The next one that asks for the end. What the others are for is not ours to do, except where settings are read again.
    async fn next(&mut self) -> &'static str {
        loop {
            let name = tokio::select! {
                _ = self.interrupt.recv() => return "SIGINT",
                _ = self.terminate.recv() => return "SIGTERM",
                _ = self.hangup.recv() => "SIGHUP",
                _ = self.user1.recv() => "SIGUSR1",
                _ = self.user2.recv() => "SIGUSR2",
            };
            if name == "SIGHUP" && self.had_terminal && !std::io::stdin().is_terminal() {
                return "SIGHUP, as the terminal is gone";
            }
            tracing::info!(
                signal = name,
                "{name} ends nothing: logs go to standard output, and only the gateway reads settings again"
            );
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
