//! Room to read into, shared by all connections of a thread: one that waits holds none.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use tokio::io::AsyncRead;
use tokio_util::io::poll_read_buf;

/// Memory is taken in pieces of this size, each for several small answers. A single one that nobody takes holds a whole
/// piece, so it is not larger.
const BLOCK: usize = 16 * 1024;
/// The least room for a read: enough for a head and a small body.
const LEAST: usize = 4 * 1024;
/// The same for the rest of a body known to be large.
const LARGE_BLOCK: usize = 64 * 1024;
const LARGE: usize = 32 * 1024;

thread_local! {
    static SMALL_ROOM: RefCell<BytesMut> = RefCell::new(BytesMut::new());
    static LARGE_ROOM: RefCell<BytesMut> = RefCell::new(BytesMut::new());
}

/// What `stream` has; nothing at its end. `wanted` is how much is due, if that is known.
pub fn poll_read<S>(stream: &mut S, wanted: Option<u64>, cx: &mut Context<'_>) -> Poll<io::Result<Bytes>>
where
    S: AsyncRead + Unpin,
{
    let is_large = wanted.is_some_and(|wanted| usize::try_from(wanted).map_or(true, |wanted| wanted > BLOCK));
    let (room, least, block) = if is_large { (&LARGE_ROOM, LARGE, LARGE_BLOCK) } else { (&SMALL_ROOM, LEAST, BLOCK) };
    room.with_borrow_mut(|room| {
        if room.capacity() < least {
            // Takes the same memory again when all that was read into it is gone.
            room.reserve(block);
        }
        ready!(poll_read_buf(Pin::new(stream), cx, room))?;
        Poll::Ready(Ok(room.split().freeze()))
    })
}
