//! Background tasks with names, waited for when the process ends.

use std::future::Future;

use tokio_util::sync::CancellationToken;

/// A set of background tasks. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Tasks {}

impl Tasks {
    /// No tasks yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Starts `work`; a panic in it is logged under `name` and reported by [`Tasks::wait`].
    pub fn spawn<F>(&self, _name: &'static str, _work: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        todo!()
    }

    /// Waits until all tasks ended; those still running when `hard` fires are dropped.
    /// An error names the tasks that panicked.
    pub async fn wait(&self, _hard: &CancellationToken) -> anyhow::Result<()> {
        todo!()
    }
}
