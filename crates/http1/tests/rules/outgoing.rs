//! What goes out: heads, how bodies are delimited, and what of them is still here.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http::Version;
use http::header::{HeaderMap, HeaderName, HeaderValue};
use http_body::{Body, Frame, SizeHint};
use shop_http1::response::{self, RequestInfo, Skip};
use shop_http1::{Framing, Outgoing, PutBack};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};

/// A body of some pieces, whose length is known or not.
struct Pieces {
    left: VecDeque<Bytes>,
    is_known: bool,
    is_skipped: bool,
}

fn pieces(is_known: bool, all: &[&'static str]) -> Pieces {
    let left = all.iter().map(|piece| Bytes::from_static(piece.as_bytes())).collect();
    Pieces { left, is_known, is_skipped: false }
}

impl Body for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.left.pop_front().map(|piece| Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.left.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        let size = self.left.iter().map(|piece| piece.len() as u64).sum();
        if self.is_known { SizeHint::with_exact(size) } else { SizeHint::default() }
    }
}

impl Skip for Pieces {
    fn skip(&mut self) {
        self.is_skipped = true;
    }
}

impl PutBack for Pieces {
    fn put_back(&mut self, piece: Bytes) {
        self.left.push_front(piece);
    }
}

const GET: RequestInfo = RequestInfo { version: Version::HTTP_11, is_head: false, takes_trailers: false, keeps: true };
const HEAD: RequestInfo = RequestInfo { is_head: true, ..GET };
const OLD: RequestInfo = RequestInfo { version: Version::HTTP_10, ..GET };

/// What is sent, without its date; whether that can be delimited, and the connection is kept.
async fn sent(asked: RequestInfo, status: u16, lines: &[(&str, &str)], body: Pieces) -> (String, bool, bool) {
    let mut answer = http::Response::builder().status(status);
    for (name, value) in lines {
        answer = answer.header(*name, *value);
    }
    let answer = answer.body(body).expect("an answer").into();
    let (mut outgoing, keeps) = response::outgoing(b"", answer, asked, |_| false);
    let is_delimited = outgoing.is_delimited();
    let (mut socket, mut client) = duplex(64 * 1024);
    std::future::poll_fn(|cx| outgoing.poll_send(&mut socket, cx)).await.expect("goes out");
    drop(socket);
    let mut text = String::new();
    client.read_to_string(&mut text).await.expect("reads");
    let (head, body) = text.split_once("\r\n\r\n").expect("a head");
    assert_eq!(head.lines().filter(|line| line.starts_with("date: ")).count(), 1, "{head}");
    let head: Vec<_> = head.lines().filter(|line| !line.starts_with("date: ")).collect();
    (format!("{}|{body}", head.join("|")), is_delimited, keeps)
}

#[tokio::test]
async fn an_answer_is_delimited_by_what_is_known_of_it_and_of_who_asked() {
    let hello = || pieces(true, &["hel", "lo"]);
    let unknown = || pieces(false, &["hel", "lo"]);
    let of = |text: &str, is_delimited, keeps| (text.to_owned(), is_delimited, keeps);
    assert_eq!(sent(GET, 200, &[], hello()).await, of("HTTP/1.1 200 OK|content-length: 5|hello", true, true));
    assert_eq!(sent(HEAD, 200, &[], hello()).await, of("HTTP/1.1 200 OK|content-length: 5|", true, true));
    assert_eq!(sent(GET, 200, &[], pieces(true, &[])).await, of("HTTP/1.1 200 OK|content-length: 0|", true, true));
    assert_eq!(sent(HEAD, 200, &[], pieces(true, &[])).await, of("HTTP/1.1 200 OK|", true, true), "nobody knows");
    let length = [("content-length", "5")];
    assert_eq!(sent(GET, 200, &length, unknown()).await, of("HTTP/1.1 200 OK|content-length: 5|hello", true, true));
    assert_eq!(sent(HEAD, 200, &length, hello()).await, of("HTTP/1.1 200 OK|content-length: 5|", true, true));
    assert_eq!(sent(GET, 304, &length, hello()).await, of("HTTP/1.1 304 Not Modified|content-length: 5|", true, true));
    assert_eq!(sent(GET, 204, &length, hello()).await, of("HTTP/1.1 204 No Content|", true, true));
    let chunked = "HTTP/1.1 200 OK|transfer-encoding: chunked|3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n";
    assert_eq!(sent(GET, 200, &[], unknown()).await, of(chunked, true, true));
    assert_eq!(sent(OLD, 200, &[], hello()).await.0, "HTTP/1.0 200 OK|content-length: 5|connection: keep-alive|hello");
    assert_eq!(sent(OLD, 200, &[], unknown()).await, of("HTTP/1.0 200 OK|hello", false, false));
}

#[tokio::test]
async fn an_answer_that_closes_the_connection_does_and_none_keeps_one_that_is_to_end() {
    let ends = RequestInfo { keeps: false, ..GET };
    for (asked, connection, keeps) in [
        (GET, "close", false),
        (GET, "Close", false),
        (GET, "keep-alive", true),
        (ends, "keep-alive", false),
        (ends, "close", false),
    ] {
        let (text, _, is_kept) = sent(asked, 200, &[("connection", connection)], pieces(true, &[])).await;
        let closes = if keeps { "" } else { "|connection: close" };
        assert_eq!((text, is_kept), (format!("HTTP/1.1 200 OK|content-length: 0{closes}|"), keeps), "{connection}");
    }
    let dated = [("date", "Sun, 06 Nov 1994 08:49:37 GMT")];
    assert_eq!(sent(GET, 200, &dated, pieces(true, &[])).await.0, "HTTP/1.1 200 OK|content-length: 0|");
    let switched = sent(GET, 101, &[("connection", "upgrade")], pieces(true, &[])).await.0;
    assert_eq!(switched, "HTTP/1.1 101 Switching Protocols|connection: upgrade|");
    let switched = sent(ends, 101, &[("connection", "upgrade")], pieces(true, &[])).await.0;
    assert_eq!(switched, "HTTP/1.1 101 Switching Protocols|connection: upgrade|", "that is its end anyway");
    // Trailers are announced where they can follow.
    let announced = [("trailer", "x-one")];
    let takes = RequestInfo { takes_trailers: true, ..GET };
    let head = "HTTP/1.1 200 OK|trailer: x-one|transfer-encoding: chunked|";
    assert!(sent(takes, 200, &announced, pieces(false, &["a"])).await.0.starts_with(head));
    let head = "HTTP/1.1 200 OK|transfer-encoding: chunked|";
    assert!(sent(GET, 200, &announced, pieces(false, &["a"])).await.0.starts_with(head));
}

#[tokio::test]
async fn what_is_not_sent_yet_is_known_to_the_byte() {
    let (mut socket, mut client) = duplex(3);
    let mut cx = Context::from_waker(Waker::noop());
    let mut outgoing = Outgoing::response(Framing::Chunked(Vec::new()), pieces(false, &["abcd", "efgh"]), |_| {});
    assert_eq!((outgoing.unsent(), outgoing.is_begun(), outgoing.is_ended()), (0, false, false));
    let (mut unsent, mut read) = (Vec::new(), Vec::new());
    while outgoing.poll_send(&mut socket, &mut cx).is_pending() {
        unsent.push(outgoing.unsent());
        assert!(outgoing.is_begun());
        let mut part = [0; 3];
        client.read_exact(&mut part).await.expect("reads");
        read.extend_from_slice(&part);
    }
    // The first chunk is in a piece of its own, the second among the lines, of which some are no part of it.
    assert_eq!(unsent, [4, 1, 4, 4, 4, 4, 2]);
    assert_eq!((outgoing.unsent(), outgoing.is_ended()), (0, true));
    drop(socket);
    client.read_to_end(&mut read).await.expect("reads");
    assert_eq!(String::from_utf8_lossy(&read), "4\r\nabcd\r\n4\r\nefgh\r\n0\r\n\r\n");
}

#[tokio::test]
async fn a_request_of_which_nothing_went_out_can_be_had_back_whole() {
    let mut cx = Context::from_waker(Waker::noop());
    for framing in [|| Framing::Chunked(Vec::new()), || Framing::Length(8)] {
        let (mut socket, mut other) = duplex(1);
        socket.write_all(b"x").await.expect("writes");
        let mut outgoing = Outgoing::request(framing(), pieces(false, &["abcd", "efgh"]), |_| {});
        assert!(outgoing.poll_send(&mut socket, &mut cx).is_pending());
        assert_eq!(outgoing.body_mut().left.len(), 1, "one is taken");
        assert_eq!(outgoing.back().map(|body| body.left), Some(pieces(false, &["abcd", "efgh"]).left));

        let mut outgoing = Outgoing::request(framing(), pieces(false, &["abcd", "efgh"]), |_| {});
        other.read_exact(&mut [0]).await.expect("reads");
        assert!(outgoing.poll_send(&mut socket, &mut cx).is_pending());
        assert!(outgoing.back().is_none(), "some of it went out");
    }
}

#[tokio::test]
async fn a_body_that_is_longer_or_shorter_than_its_length_does_not_go_out_whole() {
    let mut cx = Context::from_waker(Waker::noop());
    for (length, is_whole) in [(3, false), (4, true), (5, false)] {
        let (mut socket, _client) = duplex(64);
        let mut outgoing = Outgoing::response(Framing::Length(length), pieces(false, &["abcd"]), |_| {});
        let Poll::Ready(end) = outgoing.poll_send(&mut socket, &mut cx) else { panic!("there is room") };
        assert_eq!(end.is_ok(), is_whole, "{length}");
    }
}

/// A body that waits for ever behind its first piece, or has trailers there.
struct Rest(Option<Bytes>, Option<HeaderMap>);

impl Body for Rest {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if let Some(piece) = self.0.take() {
            return Poll::Ready(Some(Ok(Frame::data(piece))));
        }
        self.1.take().map_or(Poll::Pending, |trailers| Poll::Ready(Some(Ok(Frame::trailers(trailers)))))
    }
}

#[tokio::test]
async fn what_is_there_goes_out_while_the_rest_is_waited_for() {
    let (mut socket, mut client) = duplex(64);
    let mut cx = Context::from_waker(Waker::noop());
    let rest = Rest(Some(Bytes::from_static(b"abcd")), None);
    let head = |lines: &mut Vec<u8>| lines.extend_from_slice(b"head:");
    let mut outgoing = Outgoing::response(Framing::Close, rest, head);
    assert!(outgoing.poll_send(&mut socket, &mut cx).is_pending());
    let mut sent = [0; 9];
    client.read_exact(&mut sent).await.expect("reads");
    assert_eq!(&sent, b"head:abcd");
    // A head goes out before its body has begun.
    let mut outgoing = Outgoing::response(Framing::Close, Rest(None, None), head);
    assert!(outgoing.poll_send(&mut socket, &mut cx).is_pending());
    client.read_exact(&mut sent[..5]).await.expect("reads");
    assert_eq!(&sent[..5], b"head:");
}

#[tokio::test]
async fn trailers_that_were_not_announced_stay_behind() {
    let (mut socket, mut client) = duplex(64);
    let names = ["x-one", "x-two", "x-two"].map(HeaderName::from_static);
    let trailers = names.iter().map(|name| (name.clone(), HeaderValue::from_static("1"))).collect();
    let framing = Framing::Chunked(vec![HeaderName::from_static("x-two")]);
    let mut outgoing = Outgoing::response(framing, Rest(Some(Bytes::from_static(b"a")), Some(trailers)), |_| {});
    std::future::poll_fn(|cx| outgoing.poll_send(&mut socket, cx)).await.expect("goes out");
    drop(socket);
    let mut sent = String::new();
    client.read_to_string(&mut sent).await.expect("reads");
    // All of one name or none.
    assert_eq!(sent, "1\r\na\r\n0\r\nx-two: 1\r\nx-two: 1\r\n\r\n");
}

#[test]
fn a_body_that_nobody_is_sent_is_skipped() {
    for (asked, status, is_skipped) in [(GET, 200, false), (HEAD, 200, true), (GET, 204, true), (GET, 304, true)] {
        let answer = http::Response::builder().status(status).body(pieces(true, &["a"])).expect("an answer");
        let (mut outgoing, _) = response::outgoing(b"", answer.into(), asked, |_| false);
        assert_eq!(outgoing.body_mut().is_skipped, is_skipped, "{status}");
    }
}
