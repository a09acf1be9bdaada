//! What passes, hyper's server reads as the same requests; and where the bytes are cut changes nothing.
#![no_main]
#![allow(dead_code, reason = "the gateway uses all of it")]

#[path = "../../src/http1/decoder.rs"]
mod decoder;
#[path = "../../src/http1/fields.rs"]
mod fields;
#[path = "../../src/front/http1/head.rs"]
mod head;
#[path = "../../src/reason.rs"]
mod reason;

use std::convert::Infallible;
use std::sync::Mutex;

use bytes::Bytes;
use decoder::Piece;
use head::{Head, Reader};
use http::{HeaderMap, Method, Uri, Version, header};
use http_body_util::{BodyExt as _, Empty};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use libfuzzer_sys::fuzz_target;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

const LARGEST_HEAD: usize = 4096;

/// As in the module that the others belong to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Invalid(&'static str);

/// A request that is whole.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Seen {
    head: (Method, Uri, Version, HeaderMap),
    body: Vec<u8>,
    trailers: Option<HeaderMap>,
}

/// What the gateway makes of `wire` in pieces of `size`: the requests that are whole, and whether something is refused.
fn ours(wire: &[u8], size: usize) -> (Vec<Seen>, bool) {
    let (mut reader, mut current, mut seen) = (Reader::new(LARGEST_HEAD), None, Vec::new());
    let mut bytes = Bytes::new();
    for piece in wire.chunks(size) {
        bytes = [&bytes, piece].concat().into();
        while !bytes.is_empty() {
            let Some((request, decoder)) = &mut current else {
                match reader.read(&mut bytes) {
                    Ok(Some(Head { parts, body, .. })) => {
                        let head = (parts.method, parts.uri, parts.version, parts.headers);
                        current = Some((Seen { head, body: Vec::new(), trailers: None }, body));
                    }
                    Ok(None) => break,
                    Err(_) => return (seen, true),
                }
                seen.extend(current.take_if(|(_, body)| body.is_done()).map(|(request, _)| request));
                continue;
            };
            match decoder.next(&mut bytes) {
                Ok(Some(Piece::Data(data))) => request.body.extend_from_slice(&data),
                Ok(Some(Piece::Trailers(trailers))) => request.trailers = Some(trailers),
                Ok(None) => {}
                Err(_) => return (seen, true),
            }
            seen.extend(current.take_if(|(_, body)| body.is_done()).map(|(request, _)| request));
        }
    }
    (seen, false)
}

/// What hyper's server makes of it.
async fn hypers(wire: &[u8]) -> Vec<Seen> {
    let seen = Mutex::new(Vec::new());
    let (mut client, server) = tokio::io::duplex(1 << 20);
    let service = service_fn(|request: hyper::Request<hyper::body::Incoming>| {
        let seen = &seen;
        async move {
            let (parts, body) = request.into_parts();
            if let Ok(body) = body.collect().await {
                let trailers = body.trailers().cloned();
                let head = (parts.method, parts.uri, parts.version, parts.headers);
                seen.lock().expect("not poisoned").push(Seen { head, body: body.to_bytes().to_vec(), trailers });
            }
            Ok::<_, Infallible>(hyper::Response::new(Empty::<Bytes>::new()))
        }
    });
    let mut builder = hyper::server::conn::http1::Builder::new();
    builder.max_header_size(LARGEST_HEAD).max_buf_size(64 * 1024).half_close(true);
    let talk = async {
        let _ = client.write_all(wire).await;
        let _ = client.shutdown().await;
        let _ = client.read_to_end(&mut Vec::new()).await;
    };
    let (_, ()) = tokio::join!(builder.serve_connection(TokioIo::new(server), service), talk);
    seen.into_inner().expect("not poisoned")
}

/// Whether hyper goes on after `request`.
fn keeps(request: &Seen) -> bool {
    let (method, _, version, headers) = &request.head;
    let is_plain = *method != Method::CONNECT && !headers.contains_key(header::EXPECT);
    is_plain && *version == Version::HTTP_11 && !headers.contains_key(header::CONNECTION)
}

fuzz_target!(|input: (u8, &[u8])| {
    let (size, wire) = input;
    let (at_once, is_refused) = ours(wire, wire.len().max(1));
    let in_pieces = ours(wire, usize::from(size).max(1));
    // Nonsense in a head that is not whole may show later in pieces, or never.
    assert_eq!(at_once, in_pieces.0);
    assert!(is_refused || !in_pieces.1, "refused in pieces, and not at once");
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let theirs = runtime.block_on(hypers(wire));
    for (ours, theirs) in at_once.iter().zip(&theirs) {
        assert_eq!(ours, theirs);
    }
    assert!(
        at_once.len() <= theirs.len() || at_once.iter().take(theirs.len()).any(|request| !keeps(request)),
        "{at_once:?} beside {theirs:?}"
    );
});
