//! What the guard lets pass, hyper reads as the same requests, and never refuses; and where the bytes are cut changes
//! nothing.
#![no_main]
#![allow(dead_code, reason = "the gateway uses all of it")]

#[path = "../../src/front/framing.rs"]
mod framing;
#[path = "../../src/reason.rs"]
mod reason;

use std::convert::Infallible;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use framing::{Fault, Framing};
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Bytes;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use libfuzzer_sys::fuzz_target;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

const LARGEST_HEAD: usize = 4096;

/// Shows `data` to the guard in pieces of `size`, as the gateway does: what passed, how many heads, and the fault.
fn follow(data: &[u8], size: usize) -> (Vec<u8>, u64, Option<Fault>) {
    let mut framing = Framing::new(LARGEST_HEAD);
    let (mut passed, mut held) = (Vec::new(), Vec::new());
    for piece in data.chunks(size) {
        held.extend_from_slice(piece);
        let (length, fault) = framing.follow(&held);
        passed.extend(held.drain(..length));
        if fault.is_some() {
            return (passed, framing.heads(), fault);
        }
    }
    (passed, framing.heads(), None)
}

/// How many requests hyper reads, and whether it found a body that is not good.
async fn requests(bytes: &[u8]) -> (u64, bool) {
    let (count, is_broken) = (AtomicU64::new(0), AtomicBool::new(false));
    let (mut client, server) = tokio::io::duplex(1 << 20);
    let service = service_fn(|request: hyper::Request<hyper::body::Incoming>| {
        count.fetch_add(1, Relaxed);
        let is_broken = &is_broken;
        async move {
            is_broken.fetch_or(request.into_body().collect().await.is_err(), Relaxed);
            Ok::<_, Infallible>(hyper::Response::new(Empty::<Bytes>::new()))
        }
    });
    let mut builder = hyper::server::conn::http1::Builder::new();
    builder.max_header_size(LARGEST_HEAD).max_buf_size(64 * 1024);
    let talk = async {
        let _ = client.write_all(bytes).await;
        let _ = client.shutdown().await;
        let _ = client.read_to_end(&mut Vec::new()).await;
    };
    let (served, ()) = tokio::join!(builder.serve_connection(TokioIo::new(server), service), talk);
    if let Err(error) = served {
        assert!(!error.is_parse() && !error.is_parse_too_large(), "hyper refused what passed: {error:?}");
    }
    (count.into_inner(), is_broken.into_inner())
}

fuzz_target!(|input: (u8, &[u8])| {
    let (size, data) = input;
    let (passed, heads, fault) = follow(data, usize::MAX);
    let pieces = follow(data, usize::from(size).max(1));
    assert!(data.starts_with(&passed) && data.starts_with(&pieces.0));
    // The same requests come of it, and a fault or none; but nonsense in a head that is not whole may show later in pieces.
    assert_eq!(pieces.1, heads);
    assert!(pieces.2.is_none() || fault.is_some(), "{:?} in pieces, and none at once", pieces.2);
    if pieces.2.is_none() {
        assert_eq!(pieces.0, passed);
    }
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let (read, is_broken) = runtime.block_on(requests(&passed));
    let lower = data.to_ascii_lowercase();
    // Extensions and trailers are for hyper to judge; what follows a body that breaks off there is not read.
    let may_close = is_broken
        || ["connection", "http/1.0"].iter().any(|word| lower.windows(word.len()).any(|part| part == word.as_bytes()));
    assert!(read == heads || (may_close && read < heads), "{read} requests of {heads}");
});
