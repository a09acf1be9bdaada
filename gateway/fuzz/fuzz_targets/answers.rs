//! Answers of backends are read as hyper's client reads them, and where the bytes are cut changes nothing.
#![no_main]
#![allow(dead_code, reason = "the gateway uses all of it")]

#[path = "../../src/http1/decoder.rs"]
mod decoder;
#[path = "../../src/http1/fields.rs"]
mod fields;
#[path = "../../src/http1/response_head.rs"]
mod response_head;

use bytes::Bytes;
use decoder::Piece;
use http::header::TRANSFER_ENCODING;
use http::{HeaderMap, Method, Request, Version};
use http_body_util::{BodyExt as _, Empty};
use hyper_util::rt::TokioIo;
use libfuzzer_sys::fuzz_target;
use response_head::{LARGEST_HEAD, Reader};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// As in the module that the others belong to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Invalid(&'static str);

/// What was made of an answer.
#[derive(Debug, Default, PartialEq, Eq)]
struct Seen {
    head: Option<(u16, Version, HeaderMap)>,
    body: Vec<u8>,
    trailers: Option<HeaderMap>,
    is_whole: bool,
}

/// What the gateway makes of `wire` in pieces of `size`, after which the connection ends.
fn ours(method: &Method, wire: &[u8], size: usize) -> Seen {
    let mut seen = Seen::default();
    // What was seen before a fault counts.
    let _ = read(method, wire, size, &mut seen);
    seen
}

fn read(method: &Method, wire: &[u8], size: usize, seen: &mut Seen) -> Result<(), Invalid> {
    let (mut reader, mut decoder, mut bytes) = (Reader::default(), None, Bytes::new());
    for piece in wire.chunks(size) {
        bytes = [&bytes, piece].concat().into();
        while decoder.is_none() && !bytes.is_empty() {
            let Some(head) = reader.read(std::mem::take(&mut bytes))? else { break };
            bytes = head.rest;
            let status = head.parts.status.as_u16();
            if !(100..200).contains(&status) || status == 101 {
                decoder = Some(response_head::body(&head.parts, method)?);
                seen.head = Some((status, head.parts.version, head.parts.headers));
            }
        }
        let Some(decoder) = &mut decoder else { continue };
        while let Some(piece) = decoder.next(&mut bytes)? {
            match piece {
                Piece::Data(data) => seen.body.extend_from_slice(&data),
                Piece::Trailers(trailers) => seen.trailers = Some(trailers),
            }
        }
    }
    seen.is_whole = decoder.is_some_and(|mut decoder| decoder.is_done() || decoder.end());
    Ok(())
}

/// What hyper's client makes of it.
async fn hypers(method: &Method, wire: &[u8]) -> Seen {
    let (client, mut server) = tokio::io::duplex(1 << 20);
    let mut builder = hyper::client::conn::http1::Builder::new();
    builder.max_header_size(LARGEST_HEAD).max_buf_size(LARGEST_HEAD);
    let (mut sender, connection) = builder.handshake(TokioIo::new(client)).await.expect("shakes hands");
    let backend = async move {
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            request.push(server.read_u8().await.expect("a request"));
        }
        server.write_all(wire).await.expect("it fits");
    };
    let client = async move {
        let mut seen = Seen::default();
        let request = Request::builder().method(method).uri("/").body(Empty::<Bytes>::new()).expect("a request");
        let Ok(response) = sender.send_request(request).await else { return seen };
        let (head, mut body) = response.into_parts();
        seen.head = Some((head.status.as_u16(), head.version, head.headers));
        while let Some(frame) = body.frame().await {
            match frame.map(hyper::body::Frame::into_data) {
                Ok(Ok(data)) => seen.body.extend_from_slice(&data),
                Ok(Err(frame)) => seen.trailers = frame.into_trailers().ok(),
                Err(_) => return seen,
            }
        }
        seen.is_whole = true;
        seen
    };
    tokio::join!(client, backend, async { drop(connection.await) }).0
}

/// Whether the gateway hands on what has such a head: no coding but `chunked`, however the others are read.
fn is_handed_on(seen: &Seen) -> bool {
    let Some((_, _, headers)) = &seen.head else { return true };
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    codings.next().is_none_or(|coding| coding.as_bytes().eq_ignore_ascii_case(b"chunked")) && codings.next().is_none()
}

fuzz_target!(|input: (u8, &[u8])| {
    let (flags, wire) = input;
    // The lowest bit is what was asked, the others are the size of pieces.
    let method = if flags & 1 == 1 { Method::HEAD } else { Method::GET };
    let at_once = ours(&method, wire, wire.len().max(1));
    let in_pieces = ours(&method, wire, usize::from(flags >> 1).max(1));
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let theirs = runtime.block_on(hypers(&method, wire));
    if !is_handed_on(&at_once) {
        return;
    }
    // Of an answer that is not whole, it is chance how much was read before.
    assert_eq!(at_once.is_whole, in_pieces.is_whole);
    if at_once.is_whole || theirs.is_whole {
        assert_eq!(at_once, in_pieces);
        assert_eq!(at_once, theirs);
    }
});
