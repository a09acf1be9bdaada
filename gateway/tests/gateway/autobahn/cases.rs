//! What is tried: the groups are those of Autobahn's test suite.

/// Kinds of frames (RFC 6455, section 5.2).
const CONTINUATION: u8 = 0;
const TEXT: u8 = 1;
const BINARY: u8 = 2;
pub(super) const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;
/// The first reserved bit: compressed (RFC 7692).
const COMPRESSED: u8 = 0x40;

/// Bytes to send, and what the server makes of them.
pub(super) struct Case {
    pub(super) name: String,
    /// Each is written by itself.
    pub(super) pieces: Vec<Vec<u8>>,
    /// Whether compression is offered.
    pub(super) deflate: bool,
    /// How many messages come back.
    pub(super) messages: usize,
    /// With which code the server closes; 0 without one.
    pub(super) code: u16,
}

/// A frame of a client's, masked as it has to be.
pub(super) fn frame(is_last: bool, kind: u8, payload: &[u8]) -> Vec<u8> {
    const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];
    let first = if is_last { 0x80 | kind } else { kind };
    let mut frame = vec![first];
    match payload.len() {
        length @ 0..126 => frame.push(0x80 | u8::try_from(length).expect("is short")),
        length @ 126..65536 => {
            frame.push(0x80 | 0x7e);
            frame.extend(u16::try_from(length).expect("fits").to_be_bytes());
        }
        length => {
            frame.push(0x80 | 0x7f);
            frame.extend(u64::try_from(length).expect("fits").to_be_bytes());
        }
    }
    frame.extend(MASK);
    frame.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    frame
}

fn whole(kind: u8, payload: impl AsRef<[u8]>) -> Vec<u8> {
    frame(true, kind, payload.as_ref())
}

fn close(code: u16, reason: &[u8]) -> Vec<u8> {
    whole(CLOSE, [&code.to_be_bytes(), reason].concat())
}

/// A case that the client ends well.
fn good(name: impl Into<String>, messages: usize, mut frames: Vec<Vec<u8>>) -> Case {
    frames.push(close(1000, b""));
    Case { name: name.into(), pieces: frames, deflate: false, messages, code: 1000 }
}

/// A case that the server ends.
fn bad(name: impl Into<String>, code: u16, messages: usize, frames: Vec<Vec<u8>>) -> Case {
    Case { name: name.into(), pieces: frames, deflate: false, messages, code }
}

/// All of them.
pub(super) fn all() -> Vec<Case> {
    [messages(), pings(), reserved(), fragments(), utf8(), closes(), many(), deflate()].into_iter().flatten().collect()
}

/// Messages of many lengths, whole and in pieces that are no frames.
fn messages() -> Vec<Case> {
    let mut cases = Vec::new();
    for length in [0, 1, 125, 126, 127, 128, 4096, 65_535, 65_536, 65_537, 1 << 20] {
        for (kind, byte) in [(TEXT, b'*'), (BINARY, 0xfe)] {
            let message = whole(kind, vec![byte; length]);
            cases.push(good(format!("{length} bytes of kind {kind}"), 1, vec![message.clone()]));
            let pieces = message.chunks(997).map(<[u8]>::to_vec).collect();
            cases.push(good(format!("{length} bytes of kind {kind} in pieces"), 1, pieces));
        }
    }
    let octets = whole(TEXT, "grüße").iter().map(|byte| vec![*byte]).collect();
    cases.push(good("byte by byte", 1, octets));
    cases
}

fn pings() -> Vec<Case> {
    let mut cases: Vec<_> = [0, 1, 125]
        .map(|length| good(format!("a ping of {length}"), 0, vec![whole(PING, vec![0xff; length])]))
        .into_iter()
        .collect();
    cases.push(bad("a ping of 126", 1002, 0, vec![whole(PING, [1; 126])]));
    cases.push(good("a pong that nobody asked for", 0, vec![whole(PONG, "unasked")]));
    cases.push(good("a pong, then a ping", 0, vec![whole(PONG, "unasked"), whole(PING, "asked")]));
    cases.push(good("ten pings", 0, (0..10).map(|count| whole(PING, [count])).collect()));
    cases.push(good("ten pings at once", 0, vec![(0..10).flat_map(|count| whole(PING, [count])).collect()]));
    cases
}

/// Bits and kinds of frames that mean nothing.
fn reserved() -> Vec<Case> {
    let mut cases = Vec::new();
    for bits in 1..8_u8 {
        let frames = vec![whole(TEXT, "before"), whole(TEXT | bits << 4, "wrong")];
        cases.push(bad(format!("reserved bits {bits}"), 1002, 1, frames));
    }
    for kind in [3, 4, 5, 6, 7, 11, 12, 13, 14, 15] {
        cases.push(bad(format!("a frame of kind {kind}"), 1002, 1, vec![whole(TEXT, "before"), whole(kind, "wrong")]));
    }
    let unmasked = [&[0x80 | TEXT, 5][..], b"Hello"].concat();
    cases.push(bad("a frame without a mask", 1002, 0, vec![unmasked]));
    cases
}

fn fragments() -> Vec<Case> {
    let part = |kind, text: &str| frame(false, kind, text.as_bytes());
    let last = |text: &str| whole(CONTINUATION, text);
    let mut cases = vec![
        good("two fragments", 1, vec![part(TEXT, "a"), last("b")]),
        good("two fragments at once", 1, vec![[part(TEXT, "a"), last("b")].concat()]),
        good("empty fragments", 1, vec![part(TEXT, ""), part(CONTINUATION, ""), last("")]),
        good("a ping between fragments", 1, vec![part(TEXT, "a"), whole(PING, "ping"), last("b")]),
        bad("a ping in fragments", 1002, 0, vec![part(PING, "a"), last("b")]),
        bad("a pong in fragments", 1002, 0, vec![part(PONG, "a"), last("b")]),
        bad("a continuation of nothing", 1002, 0, vec![last("b")]),
        bad("a continuation that has none either", 1002, 0, vec![part(CONTINUATION, "b")]),
        bad("a message within a message", 1002, 0, vec![part(TEXT, "a"), whole(TEXT, "b")]),
        bad("a continuation after the end", 1002, 1, vec![part(TEXT, "a"), last("b"), last("c")]),
    ];
    let many = |kind, length: usize| {
        let mut frames: Vec<_> = (0..length).map(|_| frame(false, CONTINUATION, &[b'x'; 64])).collect();
        frames[0] = frame(false, kind, &[b'x'; 64]);
        frames.push(last(""));
        frames
    };
    for count in [2, 16, 256, 1024] {
        cases.push(good(format!("{count} fragments"), 1, many(TEXT, count)));
        cases.push(good(format!("{count} fragments at once"), 1, vec![many(BINARY, count).concat()]));
    }
    let pinged = many(TEXT, 20).into_iter().flat_map(|frame| [frame, whole(PING, "between")]).collect();
    cases.push(good("a ping after each fragment", 1, pinged));
    cases
}

fn utf8() -> Vec<Case> {
    let mut cases = Vec::new();
    let valid = ["κόσμε", "\u{0}", "\u{7ff}", "\u{800}", "\u{fffd}", "\u{ffff}", "\u{10000}", "\u{10ffff}", "日本語"];
    for text in valid {
        cases.push(good(format!("{text:?}"), 1, vec![whole(TEXT, text)]));
        let parts = text.as_bytes().iter().enumerate();
        let mut parts: Vec<_> =
            parts.map(|(place, byte)| frame(false, if place == 0 { TEXT } else { CONTINUATION }, &[*byte])).collect();
        parts.push(whole(CONTINUATION, ""));
        cases.push(good(format!("{text:?}, a fragment each byte"), 1, parts));
    }
    let invalid: [&[u8]; 16] = [
        b"\x80",
        b"\xbf",
        b"\xc0\xaf",
        b"\xc1\xbf",
        b"\xe0\x80\xaf",
        b"\xed\xa0\x80",
        b"\xed\xbf\xbf",
        b"\xf0\x80\x80\xaf",
        b"\xf4\x90\x80\x80",
        b"\xf5\x80\x80\x80",
        b"\xf8\x88\x80\x80\x80",
        b"\xfe",
        b"\xff",
        b"\xce\xba\xe1",
        b"\xe2\x28\xa1",
        b"a\xc3",
    ];
    for bytes in invalid {
        cases.push(bad(format!("{bytes:x?}"), 1007, 1, vec![whole(TEXT, "before"), whole(TEXT, bytes)]));
        cases.push(good(format!("{bytes:x?}, binary"), 1, vec![whole(BINARY, bytes)]));
    }
    cases
}

fn closes() -> Vec<Case> {
    let mut cases = vec![
        bad("a close without a code", 0, 0, vec![whole(CLOSE, "")]),
        bad("a close of one byte", 1002, 0, vec![whole(CLOSE, [3])]),
        bad("a close over 125 bytes", 1002, 0, vec![close(1000, &[b'*'; 124])]),
        bad("a reason that is no text", 1007, 0, vec![close(1000, b"\xce\xba\xe1\xbd\xb9\xcf\xed\xa0\x80")]),
        bad("the longest reason", 1000, 0, vec![close(1000, &[b'*'; 123])]),
        bad("two closes", 1000, 0, vec![[close(1000, b"bye"), close(1001, b"bye")].concat()]),
        bad("a message after the close", 1000, 0, vec![[close(1000, b""), whole(TEXT, "late")].concat()]),
        bad("a ping after the close", 1000, 0, vec![[close(1000, b""), whole(PING, "late")].concat()]),
        bad("a close within a message", 1000, 0, vec![frame(false, TEXT, b"a"), close(1000, b"")]),
    ];
    for code in [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 3999, 4000, 4999] {
        cases.push(bad(format!("a close with {code}"), code, 0, vec![close(code, "grüße".as_bytes())]));
    }
    for code in [0, 999, 1004, 1005, 1006, 1016, 1100, 2000, 2999, 5000, 65535] {
        cases.push(bad(format!("a close with {code}, which there is not"), 1002, 0, vec![close(code, b"")]));
    }
    cases
}

/// Many messages, none of which waits for an answer.
fn many() -> Vec<Case> {
    let message = |count: usize| whole(if count.is_multiple_of(2) { TEXT } else { BINARY }, vec![b'x'; count]);
    vec![
        good("300 messages", 300, (0..300).map(message).collect()),
        good("300 messages at once", 300, vec![(0..300).flat_map(message).collect()]),
    ]
}

/// Compression, which the two ends agree upon. The compressed texts are those of RFC 7692, section 7.2.3.
fn deflate() -> Vec<Case> {
    let hello: &[u8] = &[0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00];
    let again: &[u8] = &[0xf2, 0x00, 0x11, 0x00, 0x00];
    let stored = |length: u16| {
        // A block that is not compressed, and the empty one behind it without its end.
        let [low, high] = length.to_le_bytes();
        let mut block = vec![0, low, high, !low, !high];
        block.extend((0..length).map(|place| place.to_le_bytes()[0]));
        block.push(0);
        block
    };
    let mut cases = vec![
        good("a compressed message", 1, vec![whole(TEXT | COMPRESSED, hello)]),
        good(
            "one that needs the one before",
            2,
            vec![whole(TEXT | COMPRESSED, hello), whole(TEXT | COMPRESSED, again)],
        ),
        good("one that is not compressed", 2, vec![whole(TEXT, "Hello"), whole(TEXT | COMPRESSED, hello)]),
        good(
            "compressed fragments",
            1,
            vec![frame(false, TEXT | COMPRESSED, &hello[..3]), whole(PING, ""), whole(CONTINUATION, &hello[3..])],
        ),
        bad(
            "a continuation that says it is compressed",
            1002,
            0,
            vec![frame(false, TEXT | COMPRESSED, &hello[..3]), whole(CONTINUATION | COMPRESSED, &hello[3..])],
        ),
        bad("a compressed ping", 1002, 0, vec![whole(PING | COMPRESSED, hello)]),
    ];
    for length in [1, 125, 4096, 65_535] {
        let message = whole(BINARY | COMPRESSED, stored(length));
        cases.push(good(format!("{length} bytes, compressed"), 1, vec![message.clone()]));
        let pieces = message.chunks(1000).map(<[u8]>::to_vec).collect();
        cases.push(good(format!("{length} bytes, compressed, in pieces"), 1, pieces));
    }
    for case in &mut cases {
        case.deflate = true;
    }
    cases.push(bad("a compressed message, though nobody agreed", 1002, 0, vec![whole(TEXT | COMPRESSED, hello)]));
    cases
}
