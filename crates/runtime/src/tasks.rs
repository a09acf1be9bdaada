//! Background tasks with names, waited for when the process ends.

use std::any::Any;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::FutureExt as _;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// A set of background tasks. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Tasks {
    tracker: TaskTracker,
    abort: CancellationToken,
    panicked: CancellationToken,
    names: Arc<Mutex<Vec<&'static str>>>,
}

impl Tasks {
    /// No tasks yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Starts `work`; a panic in it is logged under `name` and reported by [`Tasks::wait`].
    pub fn spawn<F>(&self, name: &'static str, work: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let tasks = self.clone();
        self.tracker.spawn(async move {
            let work = AssertUnwindSafe(work).catch_unwind();
            match tasks.abort.run_until_cancelled(work).await {
                Some(Ok(())) => {}
                Some(Err(panic)) => tasks.report(name, panic.as_ref()),
                None => tracing::warn!(task = name, "the task did not end in time and was dropped"),
            }
        });
    }

    /// Fires when a task panicked.
    pub async fn panicked(&self) {
        self.panicked.cancelled().await;
    }

    /// Runs `work`, which ends by `soft`; a panic in one of the tasks fires that. A service cannot do without its tasks:
    /// it stops, [`Tasks::wait`] says why, and its supervisor starts it anew.
    pub async fn underlie<T>(&self, soft: &CancellationToken, work: impl Future<Output = T>) -> T {
        let mut work = std::pin::pin!(work);
        tokio::select! {
            done = &mut work => return done,
            () = self.panicked() => soft.cancel(),
        }
        work.await
    }

    /// How many tasks are running.
    pub fn len(&self) -> usize {
        self.tracker.len()
    }

    /// Whether no task is running.
    pub fn is_empty(&self) -> bool {
        self.tracker.is_empty()
    }

    /// Waits until all tasks ended; those still running when `hard` fires are dropped.
    /// An error names the tasks that panicked.
    pub async fn wait(&self, hard: &CancellationToken) -> anyhow::Result<()> {
        self.tracker.close();
        if hard.run_until_cancelled(self.tracker.wait()).await.is_none() {
            self.abort.cancel();
            self.tracker.wait().await;
        }
        let names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        anyhow::ensure!(names.is_empty(), "background task {} panicked", names.join(", "));
        Ok(())
    }

    fn report(&self, name: &'static str, panic: &(dyn Any + Send)) {
        tracing::error!(task = name, panic = message(panic), "a background task panicked");
        self.names.lock().unwrap_or_else(PoisonError::into_inner).push(name);
        self.panicked.cancel();
    }
}

/// Starts what lives as long as the process and is never waited for: watching for signals, feeding the watchdog.
#[expect(clippy::disallowed_methods, reason = "nothing is lost when these end with the process")]
pub(crate) fn detached<F>(work: F)
where
    F: Future<Output = ()> + Send + 'static,
{
    tokio::spawn(work);
}

/// Starts a task on the runtime it is called on, which drops it at its end: work of one connection, not of the process.
#[expect(
    clippy::disallowed_methods,
    reason = "connections belong to their thread's runtime, not to the process's tasks"
)]
pub fn spawn_here(work: impl Future<Output = ()> + Send + 'static) {
    tokio::spawn(work);
}

/// What was said on panicking, where it was text.
fn message(panic: &(dyn Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("(no message)")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn all_tasks_are_waited_for() {
        let tasks = Tasks::new();
        let (send, receive) = tokio::sync::oneshot::channel();
        tasks.spawn("one", async move {
            let _ = receive.await;
        });
        assert_eq!(tasks.len(), 1);
        send.send(()).expect("the task listens");
        tasks.wait(&CancellationToken::new()).await.expect("no panic");
        assert!(tasks.is_empty());
    }

    #[tokio::test]
    async fn a_task_that_never_ends_is_dropped_at_the_hard_stop() {
        let tasks = Tasks::new();
        tasks.spawn("endless", std::future::pending());
        let hard = CancellationToken::new();
        hard.cancel();
        tasks.wait(&hard).await.expect("no panic");
        assert!(tasks.is_empty());
    }

    #[tokio::test]
    async fn a_panic_is_told_with_the_name_of_the_task() {
        let tasks = Tasks::new();
        tasks.spawn("relay", async { panic!("boom") });
        tasks.panicked().await;
        let error = tasks.wait(&CancellationToken::new()).await.expect_err("a panic");
        assert_eq!(error.to_string(), "background task relay panicked");
    }

    #[tokio::test]
    async fn a_panic_ends_the_work_that_stands_on_the_task() {
        let (tasks, soft) = (Tasks::new(), CancellationToken::new());
        tasks.spawn("relay", async { panic!("boom") });
        tasks.underlie(&soft, soft.cancelled()).await;
        tasks.wait(&CancellationToken::new()).await.expect_err("a panic");
    }

    #[tokio::test]
    async fn work_that_ends_by_itself_leaves_the_process_running() {
        let (tasks, soft) = (Tasks::new(), CancellationToken::new());
        assert_eq!(tasks.underlie(&soft, std::future::ready(7)).await, 7);
        assert!(!soft.is_cancelled());
    }
}
