//! What passes, hyper's server reads as the same requests; and where the bytes are cut changes nothing.
#![no_main]

#[path = "../../tests/differential/hyper_server.rs"]
mod hyper_server;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (u8, &[u8])| {
    let (size, wire) = input;
    let (at_once, is_refused) = hyper_server::read(&[wire]);
    let pieces: Vec<_> = wire.chunks(usize::from(size).max(1)).collect();
    let in_pieces = hyper_server::read(&pieces);
    // Nonsense in a head that is not whole may show later in pieces, or never.
    assert_eq!(at_once, in_pieces.0);
    assert!(is_refused || !in_pieces.1, "refused in pieces, and not at once");
    hyper_server::agree(wire);
});
