//! What this crate promises beside what hyper does: words for people, limits, and headers in either form.

mod outgoing;
mod reading;

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, StatusCode, Version};
use shop_http1::fields::{self, Fields as _, Names};
use shop_http1::request_head::{self, Fault, FaultKind};
use shop_http1::{Decoder, Edit as _, Headers, Invalid, Lines, Piece, response_head};

/// What is read of a body that came in one piece, and whether it is whole.
fn read(mut decoder: Decoder, wire: &[u8]) -> Result<(Vec<u8>, bool), Invalid> {
    let (mut bytes, mut data) = (Bytes::copy_from_slice(wire), Vec::new());
    while let Some(piece) = decoder.next(&mut bytes)? {
        if let Piece::Data(piece) = piece {
            data.extend_from_slice(&piece);
        }
    }
    Ok((data, decoder.is_done()))
}

#[test]
fn a_body_is_whole_with_its_last_chunk_when_both_came_at_once() {
    let mut bytes = Bytes::from_static(b"4\r\ngood\r\n0\r\n\r\nnext");
    let mut decoder = Decoder::chunked();
    assert_eq!(decoder.next(&mut bytes), Ok(Some(Piece::Data(Bytes::from_static(b"good")))));
    assert!(decoder.is_done());
    assert_eq!(bytes, "next");
}

#[test]
fn the_size_of_a_chunk_has_sixteen_digits_at_most() {
    let sized = |zeros: usize| format!("{}4\r\ngood\r\n0\r\n\r\n", "0".repeat(zeros));
    assert_eq!(read(Decoder::chunked(), sized(15).as_bytes()), Ok((b"good".to_vec(), true)));
    let refused = read(Decoder::chunked(), sized(16).as_bytes());
    assert_eq!(refused, Err(Invalid("a chunk's size has too many digits")));
    // Of each chunk.
    let two = format!("{}4\r\ngood\r\n{}1\r\n!\r\n0\r\n\r\n", "0".repeat(15), "0".repeat(15));
    assert_eq!(read(Decoder::chunked(), two.as_bytes()), Ok((b"good!".to_vec(), true)));
}

#[test]
fn what_is_wrong_with_a_chunked_body_is_said_at_the_first_byte_that_is() {
    for (wire, said) in [
        ("g", "a chunk has no size"),
        ("4g", "a chunk's size is not a number"),
        ("ffffffffffffffff0", "a chunk's size has too many digits"),
        ("4\r\ngoods", "a chunk is longer than its size"),
        ("4\r\ngood\rs", "a chunk is longer than its size"),
        ("4\n", "a chunk's size is not a number"),
        ("4;\n", "a chunk's size is not a line, or has a control character"),
        ("4\rx", "a chunk's size is not a line, or has a control character"),
        ("0\r\n\rx", "a trailer has a bare CR"),
        ("0\r\na: b\rx", "a trailer has a bare CR"),
    ] {
        assert_eq!(read(Decoder::chunked(), wire.as_bytes()), Err(Invalid(said)), "{wire:?}");
        assert!(read(Decoder::chunked(), &wire.as_bytes()[..wire.len() - 1]).is_ok_and(|(_, is_done)| !is_done));
    }
    for wire in ["0\r\na: \x01", "0\r\na\n", "0\r\n\x7f"] {
        let said = Err(Invalid("a trailer has a control character or a bare LF"));
        assert_eq!(read(Decoder::strictly_chunked(), wire.as_bytes()), said, "{wire:?}");
    }
}

#[test]
fn extensions_and_trailers_are_bounded() {
    const MOST: usize = 16 * 1024;
    let extended = |length: usize| format!("1;{}\r\n!\r\n0\r\n\r\n", "x".repeat(length));
    assert_eq!(read(Decoder::chunked(), extended(MOST - 1).as_bytes()), Ok((b"!".to_vec(), true)));
    let refused = Err(Invalid("the chunk extensions are too large"));
    assert_eq!(read(Decoder::chunked(), extended(MOST).as_bytes()), refused);
    // All of one body count together.
    let half = "x".repeat(MOST / 2);
    assert_eq!(read(Decoder::chunked(), format!("1;{half}\r\n!\r\n1;{half}\r\n!\r\n0\r\n\r\n").as_bytes()), refused);

    let trailers =
        |lines: usize, length: usize| format!("0\r\n{}\r\n", format!("a: {}\r\n", "x".repeat(length)).repeat(lines));
    assert_eq!(read(Decoder::chunked(), trailers(1, MOST - 8).as_bytes()), Ok((Vec::new(), true)));
    let refused = Err(Invalid("the trailers are too large"));
    assert_eq!(read(Decoder::chunked(), trailers(1, MOST - 6).as_bytes()), refused);
    assert_eq!(read(Decoder::chunked(), trailers(fields::MOST_HEADERS, 1).as_bytes()), Ok((Vec::new(), true)));
    assert_eq!(read(Decoder::chunked(), trailers(fields::MOST_HEADERS + 1, 1).as_bytes()), refused);
}

#[test]
fn a_connection_that_ends_makes_a_body_whole_that_has_no_other_end() {
    for (mut decoder, is_whole) in [
        (Decoder::Close, true),
        (Decoder::Done, true),
        (Decoder::length(0), true),
        (Decoder::length(1), false),
        (Decoder::chunked(), false),
    ] {
        assert_eq!(decoder.end(), is_whole, "{decoder:?}");
        assert!(decoder.is_done());
    }
}

fn map() -> HeaderMap {
    let pairs = [("host", "a"), ("x-one", "1"), ("x-two", "2"), ("x-two", "3")];
    pairs.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value))).collect()
}

/// The same fields as lines, and as a map.
fn both() -> [Headers; 2] {
    let mut lines = Lines::new();
    for (name, value) in &map() {
        lines.add(name.clone(), value.clone());
    }
    [Headers::Lines(lines), Headers::from(map())]
}

const ONE: HeaderName = HeaderName::from_static("x-one");
const TWO: HeaderName = HeaderName::from_static("x-two");
const NONE: HeaderName = HeaderName::from_static("x-none");

#[test]
fn headers_are_the_same_to_who_asks_in_either_form() {
    for headers in both() {
        assert_eq!((headers.len(), headers.is_empty()), (4, false));
        assert_eq!((headers.value(&TWO), headers.value(&NONE)), (Some(&b"2"[..]), None));
        assert_eq!(headers.values(&TWO).collect::<Vec<_>>(), [b"2", b"3"]);
        assert_eq!(headers.values(&NONE).count(), 0);
        assert_eq!((headers.has(&ONE), headers.has(&NONE)), (true, false));
        assert_eq!((headers.text(&ONE), headers.text(&NONE)), (Some("1"), None));
        assert!(headers.has_none(&Names::new(vec![NONE])) && headers.has_none(&Names::new(vec![])));
        assert!(!headers.has_none(&Names::new(vec![NONE, ONE])));
        let mut written = Vec::new();
        headers.write(&mut written);
        assert_eq!(String::from_utf8_lossy(&written), "host: a\r\nx-one: 1\r\nx-two: 2\r\nx-two: 3\r\n");
        assert_eq!((headers.to_map(), headers.into_map()), (map(), map()));
    }
    assert!(Lines::new().is_empty());
    for none in [Headers::Lines(Lines::new()), Headers::from(HeaderMap::new())] {
        assert_eq!((none.len(), none.is_empty()), (0, true));
    }
    // Its bit among the names that may be there is that of another.
    let alike = Names::new(vec![HeaderName::from_static("u-onf")]);
    assert!(both().iter().all(|headers| headers.has_none(&alike)));
    assert!(map().has_none(&Names::new(vec![NONE])) && !map().has_none(&Names::new(vec![TWO, NONE])));
}

#[test]
fn headers_are_changed_alike_in_either_form() {
    type Change = (&'static str, fn(&mut Headers), &'static str);
    let changes: [Change; 6] = [
        ("set", |headers| headers.set(TWO, HeaderValue::from_static("4")), "host: a, x-one: 1, x-two: 4"),
        (
            "add",
            |headers| headers.add(ONE, HeaderValue::from_static("4")),
            "host: a, x-one: 1, x-one: 4, x-two: 2, x-two: 3",
        ),
        ("remove all", |headers| headers.remove_all(&TWO), "host: a, x-one: 1"),
        ("remove if", |headers| headers.remove_if(|name| name.starts_with(b"x-")), "host: a"),
        (
            "change",
            |headers| {
                headers.change(|name, old| (name == b"x-two" && old == b"2").then(|| HeaderValue::from_static("9")));
            },
            "host: a, x-one: 1, x-two: 9, x-two: 3",
        ),
        (
            "add lines",
            |headers| {
                let mut more = Lines::new();
                more.add(NONE, HeaderValue::from_static("5"));
                headers.add_all(&more);
            },
            "host: a, x-none: 5, x-one: 1, x-two: 2, x-two: 3",
        ),
    ];
    for (name, change, expected) in changes {
        for mut headers in both() {
            change(&mut headers);
            assert_eq!(headers.has(&NONE), name == "add lines", "{headers:?}");
            let map = headers.into_map();
            let mut lines: Vec<_> =
                map.iter().map(|(name, value)| format!("{name}: {}", value.to_str().expect("text"))).collect();
            lines.sort_by_key(|line| line.split(':').next().map(str::to_owned));
            assert_eq!(lines.join(", "), expected, "{name}");
        }
    }
}

#[test]
fn what_may_not_be_remembered_and_what_is_kept_for_long_is_the_same_as_before() {
    let mut secret = HeaderValue::from_static("s");
    secret.set_sensitive(true);
    let mut lines = Lines::new();
    lines.add(ONE, secret);
    lines.add(TWO, HeaderValue::from_static("2"));
    lines.shrink();
    assert!(!lines.is_empty());
    assert_eq!(lines.iter().collect::<Vec<_>>(), [(&b"x-one"[..], &b"s"[..]), (b"x-two", b"2")]);
    assert_eq!(format!("{lines:?}"), r#"[("x-one", "s"), ("x-two", "2")]"#);
    let map = lines.to_map();
    assert_eq!((map[&ONE].is_sensitive(), map[&TWO].is_sensitive()), (true, false));
}

#[test]
fn words_and_lengths_are_found_in_lists() {
    assert!(fields::has_word(b"keep-alive , Close", "close") && !fields::has_word(b"closed", "close"));
    let said = |lines: &[&'static str]| {
        let all = lines.iter().map(|line| (header::CONTENT_LENGTH, HeaderValue::from_static(line)));
        fields::length(&all.collect::<HeaderMap>())
    };
    assert_eq!([said(&["7"]), said(&["7, 7"]), said(&["7", "7"])], [Some(7); 3]);
    for wrong in [&[][..], &["7, 8"], &["7", "8"], &["+7"], &[""], &["7,"], &["18446744073709551614"], &["-1"]] {
        assert_eq!(said(wrong), None, "{wrong:?}");
    }
    assert_eq!(said(&["18446744073709551613"]), Some(u64::MAX - 2));
    assert_eq!(
        (fields::text(b"a\tb c~"), fields::text(b"\x7f"), fields::text("ä".as_bytes())),
        (Some("a\tb c~"), None, None)
    );
}

#[test]
fn trailers_that_are_about_framing_or_refused_are_not_announced() {
    let announced = |line: &'static str| {
        let map: HeaderMap = [(header::TRAILER, HeaderValue::from_static(line))].into_iter().collect();
        let all = fields::announced(&map, |name| name == b"x-one");
        all.iter().map(|name| name.as_str().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(announced("X-Two, x-one, Content-Length, not a name, grpc-status"), ["x-two", "grpc-status"]);
    assert!(fields::belongs_to_head(&header::HOST) && !fields::belongs_to_head(&TWO));
}

/// What is wrong with a head.
fn fault(head: impl AsRef<[u8]>) -> Fault {
    request_head::Reader::new(128 * 1024).read(&mut Bytes::copy_from_slice(head.as_ref())).expect_err("is refused")
}

#[test]
fn a_client_is_told_what_is_wrong_with_its_request_and_which() {
    for (head, detail, path) in [
        ("GET /a<b HTTP/1.1\r\n\r\n", "the request target has a bare <; send it as %3C", "/a%3Cb"),
        ("GET /a>b HTTP/1.1\r\n\r\n", "the request target has a bare >; send it as %3E", "/a%3Eb"),
        ("GET /a?b=\"c HTTP/1.1\r\n\r\n", "the query has a bare \"; send it as %22", "/a"),
        ("GET /a`b HTTP/1.1\r\n\r\n", "the path has a bare `; send it as %60", "/a%60b"),
        // What is borne with where it is, before what is not.
        ("GET /a\"b<c HTTP/1.1\r\n\r\n", "the request target has a bare <; send it as %3C", "/a%22b%3Cc"),
        ("GET /a?b=`c<d HTTP/1.1\r\n\r\n", "the request target has a bare <; send it as %3C", "/a"),
        ("GET /ä<b HTTP/1.1\r\n\r\n", "the request target has a bare <; send it as %3C", "/%C3%A4%3Cb"),
        ("GET /a HTTP/1.1\r\ncontent-length: x\r\n\r\n", "the Content-Length is not a number", "/a"),
        ("GET http://h/a/b?c HTTP/1.1\r\ncontent-length: x\r\n\r\n", "the Content-Length is not a number", "/a/b"),
        ("GET http://h HTTP/1.1\r\ncontent-length: x\r\n\r\n", "the Content-Length is not a number", "/"),
        ("GET /x://y HTTP/1.1\r\ncontent-length: x\r\n\r\n", "the Content-Length is not a number", "/x://y"),
        (
            "POST /a HTTP/1.1\r\ncontent-length: 1\r\ncontent-length: 1\r\n\r\n",
            "the request has more than one Content-Length",
            "/a",
        ),
        (
            "POST /a HTTP/1.1\r\ntransfer-encoding: gzip\r\n\r\n",
            "the only transfer coding understood is chunked, once",
            "/a",
        ),
        (
            "POST /a HTTP/1.1\r\ntransfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n",
            "the only transfer coding understood is chunked, once",
            "/a",
        ),
        ("POST /a HTTP/1.0\r\ntransfer-encoding: chunked\r\n\r\n", "HTTP/1.0 has no Transfer-Encoding", "/a"),
        ("GET /a HTTP/1.1\r\na b: c\r\n\r\n", "a header's name is not valid, or its line is folded", "/a"),
        ("GET /a HTTP/1.1\r\na: \x01\r\n\r\n", "a header's value has a control character", "/a"),
        ("GET /a HTTP/1.1\n\r\n", "a line ends with a bare LF", ""),
        ("\n", "a line ends with a bare LF", ""),
    ] {
        let fault = fault(head);
        assert_eq!((fault.kind, fault.detail, &*fault.path), (FaultKind::Invalid, detail, path), "{head:?}");
        assert!(fault.speaks_http, "{head:?}");
    }
    for (head, speaks_http) in [
        ("OPTIONS rtsp://a RTSP/1.0\r\n\r\n", false),
        ("PRI * HTTP/2.0\r\n\r\n", true),
        ("GET /a XHTTP/1.1\r\n\r\n", true),
        ("nonsense\r\n\r\n", true),
        ("\r\nGET /a SIP/2.0\r\n\r\n", false),
    ] {
        assert_eq!(fault(head).speaks_http, speaks_http, "{head:?}");
    }
}

#[test]
fn heads_and_targets_have_limits_that_are_reached_to_the_byte() {
    let reads = |largest: usize, head: &str| {
        let head = request_head::Reader::new(largest).read(&mut Bytes::copy_from_slice(head.as_bytes()));
        head.map(|head| head.is_some()).map_err(|fault| fault.kind)
    };
    let head = "GET / HTTP/1.1\r\nhost: a\r\n\r\n";
    assert_eq!(reads(head.len(), head), Ok(true));
    assert_eq!(reads(head.len() - 1, head), Err(FaultKind::HeadTooLarge));
    assert_eq!(reads(head.len(), &head[..head.len() - 1]), Ok(false));
    assert_eq!(reads(head.len() - 1, &head[..head.len() - 1]), Err(FaultKind::HeadTooLarge));
    let lines = |count: usize| format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(count));
    assert_eq!(reads(128 * 1024, &lines(fields::MOST_HEADERS)), Ok(true));
    assert_eq!(reads(128 * 1024, &lines(fields::MOST_HEADERS + 1)), Err(FaultKind::HeadTooLarge));
    let target = |length: usize| format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(length - 1));
    assert_eq!(reads(128 * 1024, &target(65_534)), Ok(true));
    assert_eq!(reads(128 * 1024, &target(65_535)), Err(FaultKind::UriTooLong));
    let length = |digits: usize| format!("POST / HTTP/1.1\r\ncontent-length: {}\r\n\r\n", "1".repeat(digits));
    assert_eq!((reads(1024, &length(18)), reads(1024, &length(19))), (Ok(true), Err(FaultKind::Invalid)));
}

#[test]
fn nonsense_is_refused_at_the_end_of_its_line_however_short_it_is() {
    let mut reader = request_head::Reader::new(1024);
    let mut read = |part: &str| {
        let head = reader.read(&mut Bytes::copy_from_slice(part.as_bytes()));
        head.map(|head| head.is_some()).map_err(|fault| fault.detail)
    };
    assert_eq!(read(&format!("GET / HTTP/1.1\r\nhost: {}\r\n", "a".repeat(100))), Ok(false));
    assert_eq!(read("a b: c"), Ok(false));
    assert_eq!(read("\r\n"), Err("a header's name is not valid, or its line is folded"));
}

#[test]
fn what_a_head_says_of_its_connection_counts_in_its_version() {
    let said = |head: &str| {
        let mut bytes = Bytes::copy_from_slice(head.as_bytes());
        let head = request_head::Reader::new(1024).read(&mut bytes).expect("is valid").expect("is whole");
        (head.keeps, head.expects, head.takes_trailers)
    };
    let lines = "te: gzip, trailers\r\nexpect: 100-continue\r\n\r\n";
    assert_eq!(said(&format!("GET / HTTP/1.1\r\n{lines}")), (true, true, true));
    assert_eq!(said(&format!("GET / HTTP/1.0\r\n{lines}")), (false, false, false));
    assert_eq!(said("GET / HTTP/1.0\r\nconnection: keep-alive\r\n\r\n"), (true, false, false));
    assert_eq!(said("GET / HTTP/1.1\r\nconnection: keep-alive\r\nconnection: close\r\n\r\n"), (false, false, false));
    assert_eq!(said("GET / HTTP/1.1\r\nconnection: close\r\nconnection: keep-alive\r\n\r\n"), (false, false, false));
}

#[test]
fn only_the_names_themselves_mean_what_they_say() {
    // As long as those that do, with values that would.
    let lines = "ab: trailers\r\ncookie: 100-continue\r\nuser-agent: close\r\naccept-charset: 7\r\nif-modified-since: chunked\r\n";
    let mut bytes = Bytes::from(format!("GET / HTTP/1.1\r\n{lines}\r\n"));
    let head = request_head::Reader::new(1024).read(&mut bytes).expect("is valid").expect("is whole");
    assert_eq!((head.keeps, head.expects, head.takes_trailers, head.body.is_done()), (true, false, false, true));
}

#[test]
fn an_answer_says_whether_its_connection_is_kept_and_has_a_limit() {
    let keeps = |version: &str, lines: &str| {
        let bytes = Bytes::from(format!("HTTP/1.{version} 200 OK\r\n{lines}\r\n"));
        response_head::Reader::default().read(bytes).expect("is valid").expect("is whole").keeps
    };
    for (lines, new, old) in [
        ("", true, false),
        ("connection: close\r\n", false, false),
        ("connection: keep-alive\r\n", true, true),
        ("connection: keep-alive, close\r\n", false, false),
        ("connection: upgrade\r\n", true, false),
    ] {
        assert_eq!((keeps("1", lines), keeps("0", lines)), (new, old), "{lines:?}");
    }
    let begin = |length: usize| {
        let begin = format!("HTTP/1.1 200 OK\r\na: {}", "x".repeat(length - 20));
        response_head::Reader::default().read(Bytes::from(begin)).map(|head| head.is_some())
    };
    assert_eq!(begin(response_head::LARGEST_HEAD - 1), Ok(false));
    assert_eq!(begin(response_head::LARGEST_HEAD), Err(Invalid("the head of the answer is too large")));
}

#[test]
fn a_head_is_the_same_in_the_types_of_others() {
    let mut bytes = Bytes::from_static(b"PUT /a?b HTTP/1.0\r\nhost: a\r\n\r\n");
    let head = request_head::Reader::new(1024).read(&mut bytes).expect("is valid").expect("is whole");
    let parts = head.parts.to_http();
    assert_eq!((&parts.method, parts.uri.to_string(), parts.version), (&Method::PUT, "/a?b".into(), Version::HTTP_10));
    assert_eq!(parts.headers[header::HOST], "a");
    let mut written = Vec::new();
    request_head::write(&request_head::Parts::from(parts), &mut written);
    assert_eq!(String::from_utf8_lossy(&written), "PUT /a?b HTTP/1.1\r\nhost: a\r\n\r\n");

    let answer = http::Response::builder().status(404).version(Version::HTTP_10).header("x-one", "1").body(7);
    let answer = response_head::Response::from(answer.expect("an answer")).map(|body| body + 1).into_http();
    assert_eq!((answer.status(), answer.version(), *answer.body()), (StatusCode::NOT_FOUND, Version::HTTP_10, 8));
    assert_eq!(answer.headers()[ONE], "1");
}
