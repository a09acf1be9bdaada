//! Answers of backends are read as hyper's client reads them, and where the bytes are cut changes nothing.
#![no_main]
#![allow(dead_code, reason = "tests use all of it")]

#[path = "../../tests/differential/hyper_client.rs"]
mod hyper_client;

use http::Method;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (u8, &[u8])| {
    let (flags, wire) = input;
    // The lowest bit is what was asked, the others are the size of pieces.
    let method = if flags & 1 == 1 { Method::HEAD } else { Method::GET };
    hyper_client::check(&method, wire, usize::from(flags >> 1));
});
