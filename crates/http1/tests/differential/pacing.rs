//! A message as it is written at one pace and read at another: what comes out is what went in, wherever writers and readers
//! pause, and however little they take at a time.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, Version};
use http_body::{Body, Frame, SizeHint};
use shop_http1::response::{self, RequestInfo, Skip};
use shop_http1::{Decoder, Framing, Outgoing, Piece, Trouble, request_head, response_head};
use tokio::io::AsyncWrite;

/// What is left of the bytes that decide; behind their end everything is quick and whole.
#[derive(Clone)]
struct Dice<'a>(&'a [u8]);

impl Dice<'_> {
    fn roll(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    fn pauses(&mut self) -> bool {
        self.roll().is_some_and(|byte| byte % 4 == 3)
    }

    /// Mostly small, now and then more than any buffer.
    fn size(&mut self) -> Option<usize> {
        Some(match self.roll()? {
            byte @ 0..64 => byte.into(),
            byte @ 64..192 => (usize::from(byte) - 63) * 40,
            byte => (usize::from(byte) - 191) * 700,
        })
    }
}

/// A body that comes as it likes.
struct Paced<'a> {
    frames: VecDeque<Bytes>,
    trailers: Option<HeaderMap>,
    length: Option<u64>,
    /// Whether it says that it has ended before it is asked.
    is_telling: bool,
    dice: Dice<'a>,
}

impl Body for Paced<'_> {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.dice.pauses() {
            return Poll::Pending;
        }
        let data = self.frames.pop_front().map(Frame::data);
        Poll::Ready(data.or_else(|| self.trailers.take().map(Frame::trailers)).map(Ok))
    }

    fn is_end_stream(&self) -> bool {
        self.is_telling && self.frames.is_empty() && self.trailers.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        self.length.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

impl Skip for Paced<'_> {
    fn skip(&mut self) {
        self.frames.clear();
    }
}

/// A connection that takes as much as it likes.
struct Slow<'a> {
    taken: Vec<u8>,
    dice: Dice<'a>,
}

impl Slow<'_> {
    fn take(&mut self, parts: &[&[u8]]) -> Poll<io::Result<usize>> {
        if self.dice.pauses() {
            return Poll::Pending;
        }
        let all: usize = parts.iter().map(|part| part.len()).sum();
        let most = self.dice.size().map_or(all, |size| all.min(size + 1));
        self.taken.extend(parts.iter().copied().flatten().take(most));
        Poll::Ready(Ok(most))
    }
}

impl AsyncWrite for Slow<'_> {
    fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.take(&[bytes])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.take(&parts.iter().map(|part| &**part).collect::<Vec<_>>())
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// The bytes of a message.
fn written(mut outgoing: Outgoing<Paced<'_>>, dice: Dice<'_>) -> Vec<u8> {
    let mut socket = Slow { taken: Vec::new(), dice };
    let mut cx = Context::from_waker(Waker::noop());
    loop {
        // Nothing here wakes anybody: whoever pauses is asked again.
        match outgoing.poll_send(&mut socket, &mut cx) {
            Poll::Pending => {}
            Poll::Ready(Ok(())) => return socket.taken,
            Poll::Ready(Err(Trouble::Body)) => panic!("the body is as long as it said"),
            Poll::Ready(Err(Trouble::Connection(error))) => panic!("{error}"),
        }
    }
}

/// What a body is made of, read in pieces.
fn read(mut decoder: Decoder, mut wire: Bytes, dice: &mut Dice<'_>) -> (Vec<u8>, Option<HeaderMap>) {
    let (mut data, mut trailers) = (Vec::new(), None);
    while !decoder.is_done() && !wire.is_empty() {
        let most = dice.size().map_or(wire.len(), |size| wire.len().min(size + 1));
        let mut bytes = wire.split_to(most);
        while let Some(piece) = decoder.next(&mut bytes).expect("valid") {
            match piece {
                Piece::Data(piece) => data.extend_from_slice(&piece),
                Piece::Trailers(last) => trailers = Some(last),
            }
        }
        assert!(bytes.is_empty(), "all of it belongs to the message");
    }
    assert!(wire.is_empty() && decoder.end(), "whole, and nothing behind it");
    (data, trailers)
}

/// Sends a response and a request that are made as `plan` says, and reads them.
pub(crate) fn check(plan: &[u8]) {
    let mut dice = Dice(plan);
    let flags = dice.roll().unwrap_or_default();
    let [is_sized, is_telling, is_old, has_trailers] = [1, 2, 4, 8].map(|bit| flags & bit != 0);
    let mut frames = VecDeque::new();
    for n in 0..dice.roll().unwrap_or_default() % 12 {
        frames.push_back(Bytes::from(vec![b'a' + n; dice.size().unwrap_or_default()]));
    }
    let sent: Vec<u8> = frames.iter().flatten().copied().collect();
    let length = is_sized.then_some(sent.len() as u64);
    let trailers =
        (has_trailers && !is_sized).then(|| HeaderMap::from_iter([(TRAILER, HeaderValue::from_static("1"))]));
    // Each of the others decides by the same bytes, from another place.
    let body = || Paced { frames: frames.clone(), trailers: trailers.clone(), length, is_telling, dice: dice.clone() };
    let writer = Dice(plan.get(plan.len() / 3..).unwrap_or_default());
    let mut reader = Dice(plan.get(plan.len() / 2..).unwrap_or_default());

    let version = if is_old { Version::HTTP_10 } else { Version::HTTP_11 };
    let info = RequestInfo { version, is_head: false, takes_trailers: true, keeps: true };
    let response = Response::builder().header("trailer", TRAILER.as_str()).body(body()).expect("a response");
    let mut wire = Bytes::from(written(response::outgoing(b"", response.into(), info, |_| false).0, writer.clone()));
    let (mut head, mut heads) = (None, response_head::Reader::default());
    while head.is_none() {
        let most = reader.size().map_or(wire.len(), |size| wire.len().min(size + 1));
        head = heads.read(wire.split_to(most)).expect("valid");
    }
    let head = head.expect("there");
    let rest = [head.rest, wire].concat().into();
    let decoder = response_head::body(&head.parts, &Method::GET).expect("valid");
    let came = read(decoder, rest, &mut reader);
    assert!(came.0 == sent, "{} bytes became {}", sent.len(), came.0.len());
    assert_eq!(came.1, trailers.clone().filter(|_| !is_old));

    let mut request = Request::post("/").header("host", "a");
    let framing = match length {
        Some(0) => Framing::Ended,
        Some(length) => Framing::Length(length),
        None => Framing::Chunked(vec![TRAILER]),
    };
    request = match length {
        Some(length) => request.header("content-length", length),
        None => request.header("transfer-encoding", "chunked"),
    };
    let (parts, body) = request.body(body()).expect("a request").into_parts();
    let outgoing = Outgoing::request(framing, body, |lines| request_head::write(&parts.into(), lines));
    let mut wire = Bytes::from(written(outgoing, writer));
    let (mut head, mut heads) = (None, request_head::Reader::new(16 * 1024));
    let mut left = Bytes::new();
    while head.is_none() {
        let most = reader.size().map_or(wire.len(), |size| wire.len().min(size + 1));
        left = wire.split_to(most);
        head = heads.read(&mut left).expect("valid");
    }
    let came = read(head.expect("there").body, [left, wire].concat().into(), &mut reader);
    assert!(came.0 == sent, "{} bytes became {}", sent.len(), came.0.len());
    assert_eq!(came.1, trailers);
}

const TRAILER: http::HeaderName = http::HeaderName::from_static("x-sum");

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::check;

    proptest! {
        #[test]
        fn what_is_sent_at_any_pace_is_what_is_read_at_any_other(plan in proptest::collection::vec(any::<u8>(), 0..400)) {
            check(&plan);
        }
    }
}
