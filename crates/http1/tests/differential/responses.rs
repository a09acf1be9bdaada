//! Answers as the codec reads them, in one piece and in any two, and beside hyper's client.

use bytes::BytesMut;
use http::{HeaderMap, HeaderName, Method};
use proptest::prelude::*;
use shop_http1::Decoder;
use shop_http1::fields::MOST_HEADERS;
use shop_http1::response_head::LARGEST_HEAD;

use crate::hyper_client::{Seen, agree, read};

fn whole(wire: &str) -> Seen {
    let seen = read(&Method::GET, &[wire.as_bytes()]);
    assert!(seen.is_whole, "{:?}: {wire}", seen.fault);
    seen
}

/// Answers that are valid, with the status, the body, the number of trailers, and whether the connection is kept.
const GOOD: [(&str, u16, &str, usize, bool); 19] = [
    ("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\ngood", 200, "good", 0, true),
    ("HTTP/1.1 200 OK\r\ncontent-length: 4\r\nContent-Length:4\r\n\r\ngood", 200, "good", 0, true),
    ("HTTP/1.1 200 OK\r\ncontent-length: 4, 4\r\n\r\ngood", 200, "good", 0, true),
    ("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", 200, "", 0, true),
    ("HTTP/1.1 200\r\ncontent-length: 0\r\n\r\n", 200, "", 0, true),
    ("HTTP/1.1 200 Fine by me\r\ncontent-length: 0\r\n\r\n", 200, "", 0, true),
    ("HTTP/1.1 200 OK\nx: y\ncontent-length: 4\n\ngood", 200, "good", 0, true),
    ("HTTP/1.1 200 OK\r\n\r\nto the end", 200, "to the end", 0, true),
    ("HTTP/1.0 200 OK\r\ncontent-length: 4\r\n\r\ngood", 200, "good", 0, false),
    ("HTTP/1.0 200 OK\r\nconnection: Keep-Alive\r\ncontent-length: 4\r\n\r\ngood", 200, "good", 0, true),
    ("HTTP/1.1 200 OK\r\nconnection: x, Close\r\ncontent-length: 4\r\n\r\ngood", 200, "good", 0, false),
    ("HTTP/1.1 204 No Content\r\ncontent-length: 4\r\n\r\n", 204, "", 0, true),
    ("HTTP/1.1 304 Not Modified\r\ntransfer-encoding: chunked\r\n\r\n", 304, "", 0, true),
    ("HTTP/1.1 101 Switching Protocols\r\nupgrade: chat\r\n\r\n", 101, "", 0, true),
    (
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 \r\nlink: a\r\n\r\nHTTP/1.1 404 \r\ncontent-length: 1\r\n\r\n!",
        404,
        "!",
        0,
        true,
    ),
    ("HTTP/1.1 200 OK\r\ntransfer-encoding: Chunked\r\n\r\n4\r\ngood\r\n0\r\n\r\n", 200, "good", 0, true),
    (
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4  \r\ngood\r\nB;a=\"b\"\r\n and better\r\n00\r\n\r\n",
        200,
        "good and better",
        0,
        true,
    ),
    (
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\ngood\r\n0\r\na: b\r\na: c\r\nd:\r\n\r\n",
        200,
        "good",
        3,
        true,
    ),
    ("HTTP/1.1 200 OK\r\ntransfer-encoding: gzip\r\n\r\nto the end", 200, "to the end", 0, true),
];

/// Answers that are not, and those of which some is missing.
const BAD: [&str; 22] = [
    "",
    "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\ngood",
    "HTTP/1.1 200 OK\r\ncontent-length: 4\r\ncontent-length: 5\r\n\r\ngood",
    "HTTP/1.1 200 OK\r\ncontent-length: 4,\r\n\r\ngood",
    "HTTP/1.1 200 OK\r\ncontent-length: +4\r\n\r\ngood",
    "HTTP/1.1 200 OK\r\ncontent-length: 18446744073709551614\r\n\r\ngood",
    "HTTP/1.1 200 OK\r\ncontent-length: 18446744073709551620\r\n\r\ngood",
    "HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\ngood\r\n0\r\n\r\n",
    "HTTP/1.1 99 Low\r\n\r\n",
    "HTTP/2.0 200 OK\r\n\r\n",
    "SSH-2.0-OpenSSH_9.2\r\n",
    "HTTP/1.1 200 OK\r\nx\r\n\r\n",
    "HTTP/1.1 200 OK\r\nx: a\r\n b\r\n\r\n",
    "HTTP/1.1 200 OK\r\nx : y\r\n\r\n",
    "HTTP/1.1 200 OK\r\nx: \0\r\n\r\n",
    "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\ngood\r\n",
    "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\ngood\r\n0\r\n\r\n",
    "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\ngood\n0\n\n",
    "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n\r\ngood\r\n0\r\n\r\n",
    "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4 4\r\ngood\r\n0\r\n\r\n",
    "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n10000000000000004\r\ngood\r\n0\r\n\r\n",
    "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\nno colon\r\n\r\n",
];

#[test]
fn a_valid_answer_is_read_the_same_wherever_it_is_cut() {
    for (wire, status, body, trailers, keeps) in GOOD {
        let seen = whole(wire);
        assert_eq!(seen.head.as_ref().map(|head| head.0), Some(status), "{wire}");
        assert_eq!(String::from_utf8_lossy(&seen.body), body, "{wire}");
        assert_eq!(seen.trailers.as_ref().map_or(0, HeaderMap::len), trailers, "{wire}");
        assert_eq!((seen.keeps, seen.left), (keeps, 0), "{wire}");
        for cut in 0..=wire.len() {
            let (first, second) = wire.as_bytes().split_at(cut);
            assert_eq!(read(&Method::GET, &[first, second]), seen, "{wire} cut at {cut}");
        }
        let bytes: Vec<_> = wire.as_bytes().chunks(1).collect();
        assert_eq!(read(&Method::GET, &bytes), seen, "{wire} byte by byte");
        agree(&Method::GET, wire.as_bytes());
        agree(&Method::HEAD, wire.as_bytes());
    }
}

#[test]
fn an_answer_that_is_wrong_or_not_whole_is_never_taken_for_whole() {
    for wire in BAD {
        for cut in 0..=wire.len() {
            let (first, second) = wire.as_bytes().split_at(cut);
            let seen = read(&Method::GET, &[first, second]);
            assert!(!seen.is_whole, "{wire} cut at {cut}");
        }
        agree(&Method::GET, wire.as_bytes());
    }
    for (wire, ..) in GOOD.iter().filter(|(wire, ..)| !wire.ends_with("to the end")) {
        for cut in 0..wire.len() {
            let seen = read(&Method::GET, &[&wire.as_bytes()[..cut]]);
            assert!(!seen.is_whole, "{} of {wire}", &wire[..cut]);
        }
    }
}

#[test]
fn room_is_free_again_when_its_pieces_are_gone() {
    for (name, mut decoder, wire) in [
        ("with a length", Decoder::length(8), &b"half"[..]),
        ("in chunks", Decoder::chunked(), b"4\r\nhalf"),
        ("between chunks", Decoder::chunked(), b"4\r\nhalf\r\n"),
        ("to the end", Decoder::Close, b"half"),
    ] {
        let mut room = BytesMut::with_capacity(64);
        room.extend_from_slice(wire);
        let mut bytes = room.split().freeze();
        while decoder.next(&mut bytes).expect("valid").is_some() {}
        // The answer goes on; only `bytes` could still hold the room.
        assert!(room.try_reclaim(64), "{name}");
        assert!(bytes.is_empty() && !decoder.is_done(), "{name}");
    }
}

#[test]
fn what_follows_an_answer_is_left() {
    let seen = whole("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\ngoodHTTP/1.1 200 OK\r\n");
    assert_eq!((&seen.body[..], seen.left), (&b"good"[..], 17));
    let chunked = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\nmore";
    assert_eq!(whole(chunked).left, 4);
    let head = read(&Method::HEAD, &[b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\ngood"]);
    assert!(head.is_whole && head.left == 4);
}

#[test]
fn heads_and_trailers_have_limits() {
    let head = |size: usize| format!("HTTP/1.1 200 OK\r\ncontent-length: 0\r\nx: {}\r\n\r\n", "y".repeat(size - 43));
    assert_eq!(head(LARGEST_HEAD).len(), LARGEST_HEAD);
    whole(&head(LARGEST_HEAD));
    let lines = |count: usize| format!("HTTP/1.1 200 OK\r\n{}content-length: 0\r\n\r\n", "x: y\r\n".repeat(count - 1));
    whole(&lines(MOST_HEADERS));
    let chunked = |rest: &str| format!("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{rest}\r\n\r\n");
    let trailers = |count: usize| chunked(&format!("0\r\n{}x: y", "x: y\r\n".repeat(count - 1)));
    whole(&trailers(MOST_HEADERS));
    for wire in [
        head(LARGEST_HEAD + 1),
        lines(MOST_HEADERS + 1),
        trailers(MOST_HEADERS + 1),
        chunked(&format!("0\r\nx: {}", "y".repeat(17_000))),
        chunked(&format!("1;{}\r\nx\r\n0", "y".repeat(17_000))),
    ] {
        for size in [1, 1000, wire.len()] {
            let pieces: Vec<_> = wire.as_bytes().chunks(size).collect();
            assert!(read(&Method::GET, &pieces).fault.is_some(), "{} in pieces of {size}", &wire[..60]);
        }
    }
    // One that never ends is given up on too.
    let endless = [b"HTTP/1.1 200 OK\r\n".to_vec(), b"x: y\r\nz: ".to_vec(), vec![b'a'; LARGEST_HEAD]].concat();
    assert!(read(&Method::GET, &endless.chunks(100).collect::<Vec<_>>()).fault.is_some());
}

/// Something like an answer: mostly right, with any part of it replaced.
fn answers() -> impl Strategy<Value = Vec<u8>> {
    let line = prop_oneof![
        8 => "HTTP/1\\.[01] (200|204|304|404|500|101|103|100)( [A-Za-z ]{0,8})?\r?\n",
        1 => "[ -~]{0,20}\r\n",
    ];
    let field = prop_oneof![
        3 => "(content-length|Content-Length): ?[0-9]{1,2}\r\n",
        2 => "transfer-encoding: (chunked|gzip, chunked|Chunked|identity|chunked, gzip)\r\n",
        1 => "connection: (close|keep-alive|x, close)\r?\n",
        2 => "[a-zA-Z-]{1,8}:[ \t]{0,2}[!-~ ]{0,12}\r\n",
        1 => "[ -~\t]{0,12}\r?\n?",
    ];
    let body = prop_oneof![
        3 => proptest::collection::vec("([1-9a-fA-F]|1[0-9a-f])(;[a-z=\"]{0,6}| )?\r\n[ -~]{0,24}\r\n", 0..4)
            .prop_map(|chunks| format!("{}0\r\n\r\n", chunks.concat())),
        3 => proptest::collection::vec("[a-z]{1,9}", 0..4).prop_map(|chunks| {
            let chunks: Vec<_> = chunks.iter().map(|chunk| format!("{:x}\r\n{chunk}\r\n", chunk.len())).collect();
            format!("{}0\r\na: b\r\n\r\n", chunks.concat())
        }),
        2 => "[ -~\r\n]{0,40}",
    ];
    let any = proptest::option::weighted(0.2, (any::<prop::sample::Index>(), any::<u8>()));
    (line, proptest::collection::vec(field, 0..4), body, any).prop_map(|(line, fields, body, replaced)| {
        let mut wire = format!("{line}{}\r\n{body}", fields.concat()).into_bytes();
        if let Some((place, byte)) = replaced {
            let place = place.index(wire.len());
            wire[place] = byte & 0x7f;
        }
        wire
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn answers_are_read_as_hyper_reads_them(wire in answers(), is_head in any::<bool>()) {
        agree(if is_head { &Method::HEAD } else { &Method::GET }, &wire);
    }

    #[test]
    fn where_an_answer_is_cut_changes_nothing(wire in answers(), cut in any::<prop::sample::Index>()) {
        let (first, second) = wire.split_at(cut.index(wire.len()));
        let (at_once, in_two) = (read(&Method::GET, &[&wire]), read(&Method::GET, &[first, second]));
        if at_once.fault.is_none() {
            prop_assert_eq!(at_once, in_two);
        } else {
            // A fault may show later, never not at all.
            prop_assert!(!in_two.is_whole);
        }
    }
}

#[test]
fn names_are_read_without_regard_to_case() {
    let seen = whole("HTTP/1.1 200 OK\r\nX-Thing: a\r\nx-thing:  b \r\nContent-LENGTH: 0\r\n\r\n");
    let values = seen.head.map(|head| {
        let values = head.3.get_all(HeaderName::from_static("x-thing")).iter();
        values.map(|value| value.as_bytes().to_vec()).collect::<Vec<_>>()
    });
    assert_eq!(values, Some(vec![b"a".to_vec(), b"b".to_vec()]));
}
