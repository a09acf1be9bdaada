//! Stopping in two steps.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

/// The two steps in which a process ends. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct Shutdown {
    /// Stop accepting, finish what runs.
    pub soft: CancellationToken,
    /// The grace is over: drop everything. Implies `soft`.
    pub hard: CancellationToken,
}

impl Shutdown {
    /// Both steps still to come.
    pub fn new() -> Self {
        Self::default()
    }

    /// The first SIGINT or SIGTERM is `soft`; a second one, or `grace` later, is `hard`. Call it inside the runtime.
    pub fn on_signals(_grace: Duration) -> Self {
        todo!()
    }

    /// Begins the end by ourselves, as a first signal does.
    pub fn stop(&self, _grace: Duration) {
        todo!()
    }
}
