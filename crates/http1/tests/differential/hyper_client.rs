//! Answers as the codec reads them, and as hyper's client does: for tests and the fuzz target.

use bytes::Bytes;
use http::header::TRANSFER_ENCODING;
use http::{HeaderMap, Method, Request, Version};
use http_body_util::{BodyExt as _, Empty};
use hyper_util::rt::TokioIo;
use shop_http1::response_head::{self, LARGEST_HEAD, Reader, ReasonPhrase};
use shop_http1::{Invalid, Piece};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// What was made of an answer.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) head: Option<(u16, Version, Option<Bytes>, HeaderMap)>,
    pub(crate) body: Vec<u8>,
    pub(crate) trailers: Option<HeaderMap>,
    pub(crate) is_whole: bool,
    /// Bytes behind the answer, and whether the connection would be kept.
    pub(crate) left: usize,
    pub(crate) keeps: bool,
    pub(crate) fault: Option<&'static str>,
}

/// What the codec makes of `pieces`, after which the connection ends.
pub(crate) fn read(method: &Method, pieces: &[&[u8]]) -> Seen {
    let mut seen = Seen::default();
    if let Err(Invalid(fault)) = try_read(method, pieces, &mut seen) {
        seen.fault = Some(fault);
    }
    seen
}

fn try_read(method: &Method, pieces: &[&[u8]], seen: &mut Seen) -> Result<(), Invalid> {
    let (mut reader, mut decoder, mut bytes) = (Reader::default(), None, Bytes::new());
    for piece in pieces {
        bytes = [&bytes, *piece].concat().into();
        while decoder.is_none() && !bytes.is_empty() {
            let Some(head) = reader.read(std::mem::take(&mut bytes))? else { break };
            bytes = head.rest;
            let status = head.parts.status.as_u16();
            if !(100..200).contains(&status) || status == 101 {
                decoder = Some(response_head::body(&head.parts, method)?);
                let reason = head.parts.reason.as_ref();
                let reason = reason.map(|reason| Bytes::copy_from_slice(ReasonPhrase::as_bytes(reason)));
                seen.keeps = head.keeps;
                seen.head = Some((status, head.parts.version, reason, head.parts.headers.to_map()));
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
    seen.left = bytes.len();
    Ok(())
}

/// What hyper's client makes of it.
async fn hyper_reads(method: &Method, wire: &[u8]) -> Seen {
    let (ours, mut theirs) = tokio::io::duplex(1 << 20);
    let mut builder = hyper::client::conn::http1::Builder::new();
    builder.max_header_size(LARGEST_HEAD).max_buf_size(LARGEST_HEAD);
    let (mut sender, connection) = builder.handshake(TokioIo::new(ours)).await.expect("shakes hands");
    let backend = async move {
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            request.push(theirs.read_u8().await.expect("a request"));
        }
        theirs.write_all(wire).await.expect("it fits");
    };
    let client = async move {
        let request = Request::builder().method(method).uri("/").body(Empty::<Bytes>::new()).expect("a request");
        let mut seen = Seen::default();
        let Ok(response) = sender.send_request(request).await else { return seen };
        let (head, mut body) = response.into_parts();
        let reason = head.extensions.get::<hyper::ext::ReasonPhrase>().cloned().map(Bytes::from);
        seen.head = Some((head.status.as_u16(), head.version, reason, head.headers));
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
    let (seen, ..) = tokio::join!(client, backend, async { drop(connection.await) });
    seen
}

/// Both read the same answer, as far as it is one.
pub(crate) fn agree(method: &Method, wire: &[u8]) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let theirs = runtime.block_on(hyper_reads(method, wire));
    let ours = Seen { left: 0, keeps: false, fault: None, ..read(method, &[wire]) };
    // Of an answer that is not whole, it is chance how much was read before.
    if ours.is_whole || theirs.is_whole {
        assert_eq!(ours, theirs, "{method} {:?}", Bytes::copy_from_slice(wire));
    }
    assert_eq!(ours.head, theirs.head, "{method} {:?}", Bytes::copy_from_slice(wire));
}

/// Whether a proxy hands on what has such a head: no coding but `chunked`, however the others are read.
fn is_handed_on(seen: &Seen) -> bool {
    let Some((.., headers)) = &seen.head else { return true };
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    codings.next().is_none_or(|coding| coding.as_bytes().eq_ignore_ascii_case(b"chunked")) && codings.next().is_none()
}

/// Any bytes at all: where they are cut changes nothing, and hyper reads the same of what a proxy hands on.
pub(crate) fn check(method: &Method, wire: &[u8], size: usize) {
    let at_once = read(method, &[wire]);
    if !is_handed_on(&at_once) {
        return;
    }
    let pieces: Vec<_> = wire.chunks(size.max(1)).collect();
    let in_pieces = read(method, &pieces);
    // Of an answer that is not whole, it is chance how much was read before.
    assert_eq!(at_once.is_whole, in_pieces.is_whole);
    if at_once.is_whole {
        assert_eq!(at_once, in_pieces);
    }
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let theirs = runtime.block_on(hyper_reads(method, wire));
    if at_once.is_whole || theirs.is_whole {
        assert_eq!(Seen { left: 0, keeps: false, fault: None, ..at_once }, theirs);
    }
}
