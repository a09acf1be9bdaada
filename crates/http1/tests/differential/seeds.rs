//! What fuzzing begins with holds without a fuzzer, too.

use std::fs;
use std::path::Path;

use http::Method;

use crate::{hyper_client, hyper_server};

/// The seeds of a target: the size of pieces, and what comes in them.
fn seeds(target: &str) -> Vec<(String, u8, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds").join(target);
    let seeds = fs::read_dir(&folder).expect("a folder").map(|file| {
        let path = file.expect("a file").path();
        let bytes = fs::read(&path).expect("readable");
        let (first, rest) = bytes.split_first().expect("a seed is not empty");
        (path.display().to_string(), *first, rest.to_vec())
    });
    let seeds: Vec<_> = seeds.collect();
    assert!(seeds.len() > 30, "{}: {} seeds", folder.display(), seeds.len());
    seeds
}

#[test]
fn requests_that_fuzzing_begins_with_are_read_as_hyper_reads_them() {
    for (name, size, wire) in seeds("framing") {
        let (at_once, is_refused) = hyper_server::read(&[&wire]);
        let pieces: Vec<_> = wire.chunks(usize::from(size).max(1)).collect();
        let in_pieces = hyper_server::read(&pieces);
        assert_eq!(at_once, in_pieces.0, "{name}");
        assert!(is_refused || !in_pieces.1, "{name}");
        hyper_server::agree(&wire);
    }
}

#[test]
fn answers_that_fuzzing_begins_with_are_read_as_hyper_reads_them() {
    for (_, flags, wire) in seeds("answers") {
        hyper_client::check(if flags & 1 == 1 { &Method::HEAD } else { &Method::GET }, &wire, usize::from(flags >> 1));
    }
}
