//! Requests as the codec reads them, and as hyper's server does: for tests and the fuzz target.

use std::convert::Infallible;
use std::sync::Mutex;

use bytes::Bytes;
use http::{HeaderMap, Method, Uri, Version, header};
use http_body_util::{BodyExt as _, Empty};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use shop_http1::Piece;
use shop_http1::request_head::{Head, Reader};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

pub(crate) const LARGEST_HEAD: usize = 4096;

/// A request and what came of its body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) head: (Method, Uri, Version, HeaderMap),
    pub(crate) body: Vec<u8>,
    pub(crate) trailers: Option<HeaderMap>,
}

/// What the codec makes of `pieces`: the requests that are whole, and whether one of them, or what follows, is refused.
pub(crate) fn read(pieces: &[&[u8]]) -> (Vec<Seen>, bool) {
    let (mut reader, mut current, mut seen) = (Reader::new(LARGEST_HEAD), None, Vec::new());
    let mut bytes = Bytes::new();
    for piece in pieces {
        bytes = [&bytes, *piece].concat().into();
        while !bytes.is_empty() {
            let Some((request, decoder)) = &mut current else {
                match reader.read(&mut bytes) {
                    Ok(Some(Head { parts, body, .. })) => {
                        let head = (parts.method, parts.uri, parts.version, parts.headers.to_map());
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

/// What hyper's server makes of `wire`.
async fn hyper_reads(wire: &[u8]) -> Vec<Seen> {
    let seen = Mutex::new(Vec::new());
    let (mut client, server) = tokio::io::duplex(1 << 20);
    let service = service_fn(|request: http::Request<hyper::body::Incoming>| {
        let seen = &seen;
        async move {
            let (parts, body) = request.into_parts();
            if let Ok(body) = body.collect().await {
                let trailers = body.trailers().cloned();
                let head = (parts.method, parts.uri, parts.version, parts.headers);
                seen.lock().expect("not poisoned").push(Seen { head, body: body.to_bytes().to_vec(), trailers });
            }
            Ok::<_, Infallible>(http::Response::new(Empty::<Bytes>::new()))
        }
    });
    let mut builder = hyper::server::conn::http1::Builder::new();
    builder.max_header_size(LARGEST_HEAD).max_buf_size(64 * 1024).half_close(true);
    let talk = async {
        // It may have closed before.
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

/// Both read the same requests, as far as both read any.
pub(crate) fn agree(wire: &[u8]) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let theirs = runtime.block_on(hyper_reads(wire));
    let (ours, _) = read(&[wire]);
    let shown = Bytes::copy_from_slice(wire);
    // What is refused here, hyper may tolerate; what passes here, it reads the same.
    assert_eq!(
        ours.iter().take(theirs.len()).collect::<Vec<_>>(),
        theirs.iter().take(ours.len()).collect::<Vec<_>>(),
        "{shown:?}"
    );
    assert!(
        ours.len() <= theirs.len() || ours.iter().take(theirs.len()).any(|request| !keeps(request)),
        "{shown:?}: {ours:?}"
    );
}
