//! What passes, hyper's server reads as the same requests; and where the bytes are cut changes nothing.
#![no_main]
#![allow(dead_code, reason = "the gateway uses all of it")]

#[path = "../../src/http1/beside.rs"]
mod beside;
#[path = "../../src/http1/decoder.rs"]
mod decoder;
#[path = "../../src/http1/fields.rs"]
mod fields;
#[path = "../../src/message/reason.rs"]
mod reason;
#[path = "../../src/http1/request_head.rs"]
mod request_head;

/// Where the files look for it.
mod message {
    pub(crate) use super::reason;
}

use libfuzzer_sys::fuzz_target;

/// As in the module that the others belong to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Invalid(&'static str);

fuzz_target!(|input: (u8, &[u8])| {
    let (size, wire) = input;
    let (at_once, is_refused) = beside::read(&[wire]);
    let pieces: Vec<_> = wire.chunks(usize::from(size).max(1)).collect();
    let in_pieces = beside::read(&pieces);
    // Nonsense in a head that is not whole may show later in pieces, or never.
    assert_eq!(at_once, in_pieces.0);
    assert!(is_refused || !in_pieces.1, "refused in pieces, and not at once");
    beside::agree(wire);
});
