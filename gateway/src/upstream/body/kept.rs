//! A small body kept while it goes out, so that it can go out again.

use bytes::Bytes;
use parking_lot::Mutex;

use super::RequestBody;
use super::request_body::Stream;

/// The pieces of a body as they came; sharing them copies nothing.
pub(crate) struct Kept(Mutex<State>);

struct State {
    pieces: Vec<Bytes>,
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
        Self(Mutex::new(State { pieces: Vec::new(), left: limit, is: Is::Growing, rest: None }))
    }

    /// One more piece.
    pub(super) fn push(&self, piece: &Bytes) {
        let mut state = self.0.lock();
        match state.left.checked_sub(piece.len()) {
            Some(left) if state.is == Is::Growing => {
                state.left = left;
                state.pieces.push(piece.clone());
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
        let state = self.0.lock();
        (state.is == Is::Whole).then(|| RequestBody::again(state.pieces.clone(), None))
    }

    /// The body once more, if it is whole or what is missing can still be had. Only once in the second case.
    pub(crate) fn resume(&self) -> Option<RequestBody> {
        let rest = self.0.lock().rest.take();
        let Some(rest) = rest else { return self.again() };
        Some(RequestBody::again(self.0.lock().pieces.clone(), Some(rest)))
    }
}

impl State {
    fn give_up(&mut self) {
        self.is = Is::Lost;
        self.pieces = Vec::new();
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
}
