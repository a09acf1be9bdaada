//! Timers that are used again. Nearly every answer comes long before its time is up, and a timer that is still in the
//! runtime's wheel is set to a later time without a lock, a place in the wheel or an allocation.

use std::cell::RefCell;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::time::{Instant, Sleep, sleep_until};

/// Spare timers a thread keeps: calls at once on a busy worker.
const MOST: usize = 1024;

thread_local! {
    /// Of the thread's one runtime. One that goes off here wakes whoever used it last, for nothing and once.
    static SPARE: RefCell<Vec<Pin<Box<Sleep>>>> = const { RefCell::new(Vec::new()) };
}

/// A timer; goes back to the spare ones when dropped.
struct Timer(Option<Pin<Box<Sleep>>>);

impl Timer {
    fn set(due: Instant) -> Self {
        let sleep = match SPARE.with_borrow_mut(Vec::pop) {
            Some(mut sleep) => {
                sleep.as_mut().reset(due);
                sleep
            }
            None => Box::pin(sleep_until(due)),
        };
        Self(Some(sleep))
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.0.as_mut().map_or(Poll::Ready(()), |sleep| sleep.as_mut().poll(cx))
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        let Some(sleep) = self.0.take() else { return };
        // The thread may be at its end.
        let _ = SPARE.try_with(|spare| {
            let mut spare = spare.borrow_mut();
            if spare.len() < MOST {
                spare.push(sleep);
            }
        });
    }
}

/// Waits for `future`, but not after `due`: then there is nothing.
pub(crate) async fn until<T>(due: Instant, mut future: Pin<&mut impl Future<Output = T>>) -> Option<T> {
    let mut timer = None;
    poll_fn(|cx| {
        if let Poll::Ready(value) = future.as_mut().poll(cx) {
            return Poll::Ready(Some(value));
        }
        timer.get_or_insert_with(|| Timer::set(due)).poll(cx).map(|()| None)
    })
    .await
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};
    use std::pin::pin;
    use std::time::Duration;

    use super::*;

    fn spare() -> usize {
        SPARE.with_borrow(Vec::len)
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_there_needs_no_timer_and_what_does_not_come_ends_in_time() {
        let begun = Instant::now();
        assert_eq!(until(begun, pin!(ready(1))).await, Some(1));
        assert_eq!(spare(), 0);
        for seconds in [30, 1, 10] {
            let begun = Instant::now();
            let limit = Duration::from_secs(seconds);
            assert_eq!(until(begun + limit, pin!(pending::<()>())).await, None);
            let took = begun.elapsed();
            assert!(took >= limit && took < limit + Duration::from_millis(10), "{took:?} of {limit:?}");
            assert_eq!(spare(), 1, "the same again");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_timer_set_again_before_its_time_waits_for_the_new_time() {
        for seconds in [5, 9, 3] {
            let soon = tokio::time::sleep(Duration::from_millis(1));
            assert!(until(Instant::now() + Duration::from_secs(seconds), pin!(soon)).await.is_some());
            assert_eq!(spare(), 1);
        }
        let (begun, limit) = (Instant::now(), Duration::from_secs(7));
        assert_eq!(until(begun + limit, pin!(pending::<()>())).await, None);
        assert!(begun.elapsed() >= limit, "{:?}", begun.elapsed());
    }
}
