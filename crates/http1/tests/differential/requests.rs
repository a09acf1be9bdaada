//! Requests as the codec reads them, in one piece and in any two, and beside hyper's server.

use proptest::prelude::*;
use shop_http1::request_head::Reader;

use crate::hyper_server::{LARGEST_HEAD, agree, read};

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
