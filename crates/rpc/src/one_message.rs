//! The body of a call to a method that takes one message. tonic reads the first and drops what follows it: of two orders one
//! would be lost without a word.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use tonic::Status;
use tonic::body::Body;

/// The flag and the length before a message (gRPC over HTTP/2, "Length-Prefixed-Message").
const PREFIX: usize = 5;

/// Passes on one message, and breaks off at the begin of a second.
pub(crate) struct OneMessage {
    inner: Body,
    prefix: [u8; PREFIX],
    /// So much of the prefix came.
    begun: usize,
    /// So much of the message is still to come.
    left: usize,
}

impl OneMessage {
    /// Of `body`.
    pub(crate) fn of(body: Body) -> Body {
        let inner = Self { inner: body, prefix: [0; PREFIX], begun: 0, left: 0 };
        Body::new(inner)
    }

    fn follow(&mut self, mut bytes: &[u8]) -> Result<(), Status> {
        while !bytes.is_empty() {
            let room = if self.begun < PREFIX { PREFIX - self.begun } else { self.left };
            if room == 0 {
                return Err(Status::internal("there is more than one"));
            }
            let (now, later) = bytes.split_at(room.min(bytes.len()));
            bytes = later;
            if self.begun == PREFIX {
                self.left -= now.len();
                continue;
            }
            self.prefix[self.begun..self.begun + now.len()].copy_from_slice(now);
            self.begun += now.len();
            let [_, length @ ..] = self.prefix;
            self.left = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
        }
        Ok(())
    }
}

impl http_body::Body for OneMessage {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let next = ready!(Pin::new(&mut self.inner).poll_frame(cx));
        let followed = match &next {
            Some(Ok(frame)) => frame.data_ref().map_or(Ok(()), |data| self.follow(data)),
            _ => Ok(()),
        };
        Poll::Ready(match followed {
            Ok(()) => next,
            Err(status) => Some(Err(status)),
        })
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passes(pieces: &[&[u8]]) -> bool {
        let mut one = OneMessage { inner: Body::empty(), prefix: [0; PREFIX], begun: 0, left: 0 };
        pieces.iter().all(|piece| one.follow(piece).is_ok())
    }

    #[test]
    fn one_message_passes_wherever_it_is_cut_and_a_second_does_not() {
        for wire in [&[0, 0, 0, 0, 3, 7, 8, 9][..], &[0, 0, 0, 0, 0], &[1, 0, 0, 0, 1, 0]] {
            let two = [wire, &[0]].concat();
            for cut in 0..=wire.len() {
                let (first, second) = wire.split_at(cut);
                assert!(passes(&[first, second]), "{wire:?} cut at {cut}");
                let (first, second) = two.split_at(cut);
                assert!(!passes(&[first, second]), "{two:?} cut at {cut}");
            }
        }
    }
}
