//! A small body kept while it goes out, so that it can go out again.

use bytes::{Bytes, BytesMut};
use parking_lot::Mutex;

use super::RequestBody;
use super::request_body::Stream;

/// Smaller pieces are copied, larger ones shared: a piece holds all of the memory that it was read into, beside whatever else
/// came into it.
const SMALL: usize = 8 * 1024;

/// The pieces of a body as they came.
pub(crate) struct Kept(Mutex<State>);

struct State {
    pieces: Vec<Bytes>,
    /// Small ones that came after them, put together.
    tail: BytesMut,
    left: usize,
    is: Is,
    /// What did not go out.
    rest: Option<Box<Stream>>,
}

#[derive(PartialEq, Eq)]
enum Is {
    Growing,
    Whole,
    /// Longer than allowed, or with trailers.
    Lost,
}

impl Kept {
    pub(super) fn new(limit: usize) -> Self {
        Self(Mutex::new(State { pieces: Vec::new(), tail: BytesMut::new(), left: limit, is: Is::Growing, rest: None }))
    }

    /// One more piece.
    pub(super) fn push(&self, piece: &Bytes) {
        let mut state = self.0.lock();
        match state.left.checked_sub(piece.len()) {
            Some(left) if state.is == Is::Growing => {
                state.left = left;
                state.add(piece);
            }
            _ => state.give_up(),
        }
    }

    /// It cannot be kept.
    pub(super) fn give_up(&self) {
        self.0.lock().give_up();
    }

    /// There are no more pieces.
    pub(super) fn end(&self) {
        let mut state = self.0.lock();
        if state.is == Is::Growing {
            state.is = Is::Whole;
        }
    }

    /// Whoever sent it stopped before `rest`.
    pub(super) fn leave(&self, rest: Box<Stream>) {
        let mut state = self.0.lock();
        if state.is == Is::Growing {
            state.rest = Some(rest);
        }
    }

    /// The body once more, if it is whole.
    pub(crate) fn again(&self) -> Option<RequestBody> {
        let mut state = self.0.lock();
        (state.is == Is::Whole).then(|| RequestBody::again(state.all(), None))
    }

    /// The body once more, if it is whole or what is missing can still be had. Only once in the second case.
    pub(crate) fn resume(&self) -> Option<RequestBody> {
        let rest = self.0.lock().rest.take();
        let Some(rest) = rest else { return self.again() };
        Some(RequestBody::again(self.0.lock().all(), Some(rest)))
    }
}

impl State {
    fn add(&mut self, piece: &Bytes) {
        if piece.len() < SMALL {
            self.tail.extend_from_slice(piece);
        }
        if piece.len() >= SMALL || self.tail.len() >= SMALL {
            self.seal();
        }
        if piece.len() >= SMALL {
            self.pieces.push(piece.clone());
        }
    }

    fn seal(&mut self) {
        if !self.tail.is_empty() {
            self.pieces.push(self.tail.split().freeze());
        }
    }

    fn all(&mut self) -> Vec<Bytes> {
        self.seal();
        self.pieces.clone()
    }

    fn give_up(&mut self) {
        self.is = Is::Lost;
        self.pieces = Vec::new();
        self.tail = BytesMut::new();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body::Body as _;

    #[test]
    fn a_body_is_kept_up_to_its_limit_and_given_when_whole() {
        let kept = Kept::new(4);
        kept.push(&Bytes::from_static(b"ab"));
        assert!(kept.again().is_none(), "half of it");
        kept.push(&Bytes::from_static(b"cd"));
        kept.end();
        let size = || kept.again().map(|upload| upload.size_hint().exact());
        assert_eq!((size(), size()), (Some(Some(4)), Some(Some(4))), "as often as needed");
        let large = Kept::new(4);
        large.push(&Bytes::from_static(b"abcde"));
        large.push(&Bytes::from_static(b"f"));
        large.end();
        assert!(large.again().is_none());
    }

    #[test]
    fn small_pieces_hold_no_more_than_themselves() {
        let block = Bytes::from(vec![b'x'; 64 * 1024]);
        let kept = Kept::new(usize::MAX);
        (0..60_000).for_each(|at| kept.push(&block.slice(at..=at)));
        kept.end();
        let again = kept.again().map(|upload| upload.size_hint().exact());
        assert_eq!(again, Some(Some(60_000)));
        assert!(kept.0.lock().pieces.len() <= 60_000 / SMALL + 1, "they are put together");
        assert!(block.try_into_mut().is_ok(), "nobody else has it");
    }

    #[tokio::test]
    async fn pieces_large_and_small_are_given_in_their_order() {
        use http_body_util::BodyExt as _;
        let kept = Kept::new(usize::MAX);
        let sizes = [1, SMALL, 2, 3, SMALL - 1, 2 * SMALL, 1];
        let pieces = sizes.iter().zip(b'a'..).map(|(size, letter)| Bytes::from(vec![letter; *size]));
        let pieces: Vec<_> = pieces.inspect(|piece| kept.push(piece)).collect();
        kept.end();
        let Some(again) = kept.again() else { panic!("it is whole") };
        assert_eq!(again.collect().await.map(http_body_util::Collected::to_bytes).ok(), Some(pieces.concat().into()));
    }
}
