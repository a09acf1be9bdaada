//! Room for requests being served, on the heap so that a connection is small while it waits, and used again: it is some
//! kilobytes, which the allocator gives and takes slowly.

use std::cell::RefCell;

use http::Response;
use tokio_util::sync::ReusableBoxFuture;

use crate::proxy::download::Body;

/// A request being served.
pub(super) type Serving = ReusableBoxFuture<'static, Response<Body>>;

/// So many are kept for each thread.
const MOST: usize = 32;

thread_local! {
    static SPARE: RefCell<Vec<Serving>> = const { RefCell::new(Vec::new()) };
}

/// `serving` in room of its own.
pub(super) fn room_for(serving: impl Future<Output = Response<Body>> + Send + 'static) -> Serving {
    match SPARE.with_borrow_mut(Vec::pop) {
        Some(mut room) => {
            room.set(serving);
            room
        }
        None => ReusableBoxFuture::new(serving),
    }
}

/// Keeps the room of one that is over.
pub(super) fn leave(room: Serving) {
    SPARE.with_borrow_mut(|spare| {
        if spare.len() < MOST {
            spare.push(room);
        }
    });
}
