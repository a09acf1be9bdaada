//! How many calls there may be to one service at a time, and how many wait for one of them to end.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use crate::settings::ServiceLimits;

/// Room for calls.
pub(crate) struct Room {
    places: Arc<Semaphore>,
    waiting: AtomicUsize,
    most_waiting: usize,
}

/// A call's place, until the last clone of it is dropped.
pub(crate) type Place = Arc<OwnedSemaphorePermit>;

/// There was no room in time.
#[derive(Debug)]
pub(crate) struct Full;

impl Room {
    /// As settings have it; none when there is no limit.
    pub(super) fn new(settings: &ServiceLimits) -> Option<Arc<Self>> {
        let places = settings.max_requests?.get() as usize;
        Some(Arc::new(Self {
            places: Arc::new(Semaphore::new(places)),
            waiting: AtomicUsize::new(0),
            most_waiting: settings.max_waiting as usize,
        }))
    }

    /// A place, for which it waits so long if there may be one more who does. Who came first has it first.
    pub(crate) async fn place(&self, longest: Duration) -> Result<Place, Full> {
        if let Ok(place) = Arc::clone(&self.places).try_acquire_owned() {
            return Ok(Arc::new(place));
        }
        let _waits = Waits::for_one_of(&self.waiting, self.most_waiting).ok_or(Full)?;
        match timeout(longest, Arc::clone(&self.places).acquire_owned()).await {
            Ok(Ok(place)) => Ok(Arc::new(place)),
            _ => Err(Full),
        }
    }
}

/// One of those who wait.
struct Waits<'a>(&'a AtomicUsize);

impl<'a> Waits<'a> {
    fn for_one_of(waiting: &'a AtomicUsize, most: usize) -> Option<Self> {
        let room = |count| (count < most).then_some(count + 1);
        waiting.fetch_update(Relaxed, Relaxed, room).ok().map(|_| Self(waiting))
    }
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use super::*;

    const LONG: Duration = Duration::from_secs(10);

    #[tokio::test(start_paused = true)]
    async fn who_finds_no_place_waits_as_one_of_a_few_and_for_a_while() {
        assert!(Room::new(&ServiceLimits::default()).is_none());
        let settings = ServiceLimits { max_requests: NonZeroU32::new(1), max_waiting: 1 };
        let room = Room::new(&settings).expect("a limit");
        let place = room.place(LONG).await.expect("nobody is there");
        let (first, second) = tokio::join!(room.place(Duration::from_secs(1)), room.place(LONG));
        assert!(first.is_err() && second.is_err(), "one waited in vain, the other had no room to");
        let waits = room.place(LONG);
        let ends = async { drop(place) };
        let (place, ()) = tokio::join!(waits, ends);
        let place = place.expect("one ended");
        // Given up, it waits no more.
        assert!(timeout(Duration::from_secs(1), room.place(LONG)).await.is_err());
        let clone = Arc::clone(&place);
        drop(place);
        assert!(room.place(Duration::from_secs(1)).await.is_err(), "half of it is still there");
        drop(clone);
        assert!(room.place(Duration::ZERO).await.is_ok());
    }
}
