//! Room for requests being served, on the heap so that a connection is small while it waits, and used again: it is some
//! kilobytes, which the allocator gives and takes slowly.

use tokio_util::sync::ReusableBoxFuture;

use crate::server::handler::{Handler, Served, Serving};

/// So many are kept for each thread: as many requests as wait for backends on a busy one.
const MOST: usize = 128;

/// `serving` in room of its own.
pub(super) fn room_for<H: Handler>(
    serving: impl Future<Output = Served<H::Body, H::Tunnel>> + Send + 'static,
) -> Serving<H> {
    match H::spare().with_borrow_mut(Vec::pop) {
        Some(mut room) => {
            room.set(serving);
            room
        }
        None => ReusableBoxFuture::new(serving),
    }
}

/// Keeps the room of one that is over.
pub(super) fn leave<H: Handler>(room: Serving<H>) {
    H::spare().with_borrow_mut(|pool| {
        if pool.len() < MOST {
            pool.push(room);
        }
    });
}
