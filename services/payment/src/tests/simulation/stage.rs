//! Runs tasks, one poll at a time, in an order that a seed decides; and lets processes die between two polls of theirs.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::task::{Context, Poll, Wake, Waker};

use futures_util::task::AtomicWaker;
use parking_lot::Mutex;

/// Whose a task is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Of {
    /// The world's outside of the service: it goes on whoever dies.
    World,
    /// That replica's: it ends with it.
    Replica(usize),
}

type Work = Pin<Box<dyn Future<Output = ()> + Send>>;

struct Task {
    of: Of,
    name: &'static str,
    work: Work,
    flag: Arc<Flag>,
}

/// Whether a task wants to be polled.
struct Flag {
    is_ready: AtomicBool,
    root: Arc<AtomicWaker>,
}

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.is_ready.store(true, Relaxed);
        self.root.wake();
    }
}

/// Where tasks are started.
#[derive(Default)]
pub(super) struct Stage {
    started: Mutex<Vec<Task>>,
    root: Arc<AtomicWaker>,
}

/// What the seed decides, and what is looked at between polls.
pub(super) trait Direction {
    /// A place under `count`.
    fn below(&self, count: usize) -> usize;

    /// What becomes of a replica, or of this one task of it, instead of a poll.
    fn fate(&self, replica: usize, task: &'static str) -> Fate;

    /// Looks at everything after a poll; an error ends the play.
    fn look(&self) -> Result<(), String>;
}

/// What becomes of a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    GoesOn,
    /// It is dropped where it waits.
    IsDropped,
    /// Its replica dies, with all tasks.
    DiesWithAll,
}

impl Stage {
    /// Starts a task.
    pub(super) fn start(&self, of: Of, name: &'static str, work: impl Future<Output = ()> + Send + 'static) {
        let flag = self.flag();
        self.started.lock().push(Task { of, name, work: Box::pin(work), flag });
        self.root.wake();
    }

    fn flag(&self) -> Arc<Flag> {
        Arc::new(Flag { is_ready: AtomicBool::new(true), root: self.root.clone() })
    }

    /// Polls what wants to be polled until `main` is done, or something is amiss.
    pub(super) async fn play<D: Direction>(
        &self,
        direction: &D,
        main: impl Future<Output = Result<(), String>>,
    ) -> Result<(), String> {
        let mut main = pin!(main);
        let main_flag = self.flag();
        let mut tasks = Vec::new();
        let turn = poll_fn(|cx| {
            self.root.register(cx.waker());
            loop {
                tasks.append(&mut self.started.lock());
                let is_mains = main_flag.is_ready.swap(false, Relaxed);
                if is_mains {
                    let waker = Waker::from(main_flag.clone());
                    if let Poll::Ready(end) = main.as_mut().poll(&mut Context::from_waker(&waker)) {
                        return Poll::Ready(end);
                    }
                } else if !poll_one(&mut tasks, direction) {
                    return Poll::Pending;
                }
                if let Err(amiss) = direction.look() {
                    return Poll::Ready(Err(amiss));
                }
            }
        });
        // Its own order is the seed's; the runtime's fairness has no part in it.
        tokio::task::unconstrained(turn).await
    }
}

/// One step of one of those that are ready; false when none is.
fn poll_one<D: Direction>(tasks: &mut Vec<Task>, direction: &D) -> bool {
    let is_ready = |task: &Task| task.flag.is_ready.load(Relaxed);
    let ready = tasks.iter().filter(|task| is_ready(task)).count();
    if ready == 0 {
        return false;
    }
    let chosen = direction.below(ready);
    let all = tasks.iter().enumerate().filter(|(_, task)| is_ready(task));
    let Some((place, _)) = all.take(chosen + 1).last() else { return false };
    let task = &mut tasks[place];
    let fate = match task.of {
        Of::World => Fate::GoesOn,
        Of::Replica(replica) => direction.fate(replica, task.name),
    };
    match fate {
        Fate::GoesOn => {
            task.flag.is_ready.store(false, Relaxed);
            let waker = Waker::from(task.flag.clone());
            if task.work.as_mut().poll(&mut Context::from_waker(&waker)).is_ready() {
                tasks.remove(place);
            }
        }
        Fate::IsDropped => drop(tasks.remove(place)),
        Fate::DiesWithAll => {
            let of = task.of;
            tasks.retain(|task| task.of != of);
        }
    }
    true
}
