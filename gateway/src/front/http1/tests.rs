//! Requests as the codec reads them, in one piece and in any two, and beside hyper's server.

use std::convert::Infallible;
use std::sync::Mutex;

use bytes::Bytes;
use http::{HeaderMap, Method, Uri, Version};
use http_body_util::{BodyExt as _, Empty};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use proptest::prelude::*;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::decoder::Piece;
use super::head::{Head, Reader};

const LARGEST_HEAD: usize = 4096;

/// A request and what came of its body.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Seen {
    head: (Method, Uri, Version, HeaderMap),
    body: Vec<u8>,
    trailers: Option<HeaderMap>,
}

/// What the codec makes of `pieces`: the requests that are whole, and whether one of them, or what follows, is refused.
fn read(pieces: &[&[u8]]) -> (Vec<Seen>, bool) {
    let (mut reader, mut current, mut seen) = (Reader::new(LARGEST_HEAD), None, Vec::new());
    let mut bytes = Bytes::new();
    for piece in pieces {
        bytes = [&bytes, *piece].concat().into();
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
    let (_, _, version, headers) = &request.head;
    *version == Version::HTTP_11 && !headers.contains_key(http::header::CONNECTION)
}

/// Both read the same requests, as far as both read any.
fn agree(wire: &[u8]) {
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

/// Something like requests: mostly right, with any part replaced.
fn requests() -> impl Strategy<Value = Vec<u8>> {
    let line = prop_oneof![
        8 => "(GET|POST|HEAD|X-Y) (/[a-z0-9?=%]{0,8}|\\*|http://a/b) HTTP/1\\.[01]\r\n",
        1 => "[ -~]{0,20}\r\n",
    ];
    let field = prop_oneof![
        3 => "(content-length|Content-Length): ?[0-9]{1,2}\r\n",
        3 => "transfer-encoding: ?(chunked|Chunked)\r\n",
        1 => "transfer-encoding: (gzip, chunked|chunked, chunked)\r\n",
        1 => "connection: (close|keep-alive|x, close)\r\n",
        2 => "[a-zA-Z-]{1,8}:[ \t]{0,2}[!-~ ]{0,12}\r\n",
        1 => "[ -~\t]{0,12}\r?\n?",
    ];
    let body = prop_oneof![
        2 => Just(String::new()),
        2 => proptest::collection::vec("([1-9a-fA-F]|1[0-9a-f])(;[a-z=\"]{0,6}| )?\r\n[ -~]{0,24}\r\n", 0..3)
            .prop_map(|chunks| format!("{}0\r\n\r\n", chunks.concat())),
        3 => proptest::collection::vec("[a-z]{1,9}", 0..3).prop_map(|chunks| {
            let chunks: Vec<_> = chunks.iter().map(|chunk| format!("{:x}\r\n{chunk}\r\n", chunk.len())).collect();
            format!("{}0\r\na: b\r\n\r\n", chunks.concat())
        }),
        2 => "[ -~\r\n]{0,40}",
    ];
    let any = proptest::option::weighted(0.2, (any::<prop::sample::Index>(), any::<u8>()));
    let request = (line, proptest::collection::vec(field, 0..3), body)
        .prop_map(|(line, fields, body)| format!("{line}{}\r\n{body}", fields.concat()));
    (proptest::collection::vec(request, 1..4), any).prop_map(|(requests, replaced)| {
        let mut wire = requests.concat().into_bytes();
        if let Some((place, byte)) = replaced {
            let place = place.index(wire.len());
            wire[place] = byte;
        }
        wire
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_passes_is_read_as_hyper_reads_it(wire in requests()) {
        agree(&wire);
    }

    #[test]
    fn where_a_request_is_cut_changes_nothing(wire in requests(), cut in any::<prop::sample::Index>()) {
        let (first, second) = wire.split_at(cut.index(wire.len()));
        let (at_once, in_two) = (read(&[&wire]), read(&[first, second]));
        prop_assert_eq!(&at_once.0, &in_two.0);
        // Nonsense in a head that is not whole may show only when it is looked at again.
        prop_assert!(!in_two.1 || at_once.1);
    }
}

#[test]
fn requests_are_read_wherever_they_are_cut() {
    let wire = b"\r\nPOST /a?b HTTP/1.1\r\nHost: a\r\nX: 1\r\nx:  2 \r\nContent-Length: 3\r\n\r\nabc\
        PUT * HTTP/1.1\r\nhost:a\r\ntransfer-encoding: Chunked\r\n\r\n2;x=\"y\"\r\nde\r\n00\r\nt: 1\r\nt: 2\r\n\r\n\
        GET http://h/ HTTP/1.0\r\n\r\n";
    let (whole, is_refused) = read(&[wire]);
    assert_eq!((whole.len(), is_refused), (3, false));
    assert_eq!((&whole[0].body[..], &whole[1].body[..]), (&b"abc"[..], &b"de"[..]));
    assert_eq!(whole[0].head.3.get_all("x").iter().collect::<Vec<_>>(), ["1", "2"]);
    assert_eq!(whole[1].trailers.as_ref().map(|trailers| trailers.get_all("t").iter().count()), Some(2));
    for cut in 0..=wire.len() {
        let (first, second) = wire.split_at(cut);
        assert_eq!(read(&[first, second]), (whole.clone(), false), "cut at {cut}");
    }
    let bytes: Vec<_> = wire.chunks(1).collect();
    assert_eq!(read(&bytes), (whole, false), "byte by byte");
    agree(wire);
}

#[test]
fn a_begin_of_a_head_holds_no_more_than_itself() {
    let mut room = bytes::BytesMut::with_capacity(1 << 16);
    room.extend_from_slice(b"GET / HT");
    let (mut reader, mut bytes) = (Reader::new(LARGEST_HEAD), room.split().freeze());
    assert!(reader.read(&mut bytes).expect("valid").is_none());
    assert!(room.try_reclaim(1 << 16), "the reader or what it left holds the room");
}
