//! What a client may do to a connection that others share: take calls back, each of which resets a stream, and send bodies in
//! pieces that cost their reader more than they bring.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::time::Instant;

use shop_testing::eventually;
use tokio::net::TcpStream;
use tokio::sync::Notify;

use crate::crowds::from;
use crate::frames::{Caller, GOAWAY, backend, gateway, good, refused};
use crate::peer::{DATA, END_HEADERS, END_STREAM, HEADERS, Peer, RST_STREAM, block, frame};
use crate::support::{Running, Upstream, config};

/// So many resets at once, and so many a second, does the backend bear.
const AT_ONCE: f64 = 50.0;
const A_SECOND: f64 = 33.0;

/// What the backend has seen.
#[derive(Default)]
struct Seen {
    calls: AtomicU32,
    resets: AtomicU32,
    let_go: Notify,
}

/// A backend that answers its first call when it is told to, and others never. Who resets many is an attacker to it, as with
/// nghttp2: then it ends everybody's calls.
async fn wary(seen: &Arc<Seen>) -> Upstream {
    let seen = Arc::clone(seen);
    backend(move |mut peer| {
        let seen = Arc::clone(&seen);
        async move {
            let (begun, mut resets, mut last) = (Instant::now(), 0.0, 0_u32);
            loop {
                let next = tokio::select! {
                    () = seen.let_go.notified() => {
                        peer.answer(1).await;
                        continue;
                    }
                    next = peer.frame() => next,
                };
                match next {
                    Some((HEADERS, _, stream, _)) => {
                        last = stream;
                        seen.calls.fetch_add(1, SeqCst);
                    }
                    Some((RST_STREAM, ..)) => {
                        resets += 1.0;
                        seen.resets.fetch_add(1, SeqCst);
                    }
                    Some(_) => {}
                    None => return,
                }
                if resets > AT_ONCE + A_SECOND * begun.elapsed().as_secs_f64() {
                    let calm = [&last.to_be_bytes()[..], &11_u32.to_be_bytes()].concat();
                    peer.send(frame(GOAWAY, 0, 0, &calm)).await;
                    return;
                }
            }
        }
    })
    .await
}

/// The head of a call.
fn call() -> Vec<u8> {
    block(&[
        (":method", "POST"),
        (":scheme", "http"),
        (":authority", "a"),
        (":path", "/shop.product.v1.ProductService/Call"),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
    ])
}

/// Begins ninety calls, whole ones or with more to come, and takes them back: one by one, or by going away.
async fn takes_back(is_whole: bool, leaves: bool) {
    const CALLS: u32 = 90;
    let seen = Arc::new(Seen::default());
    let upstream = wary(&seen).await;
    let gateway = gateway(&upstream).await;
    let mut caller = Caller::connect(&gateway).await;
    let waiting = tokio::spawn(async move { caller.call("60S").await });
    eventually!(seen.calls.load(SeqCst) == 1);

    let mut hostile = Peer::client(TcpStream::connect(gateway.addr).await.expect("connects"), &[]).await;
    let head = call();
    let end = if is_whole { END_STREAM } else { 0 };
    let streams = || (0..CALLS).map(|number| 2 * number + 1);
    let begin = |stream| [frame(HEADERS, END_HEADERS, stream, &head), frame(DATA, end, stream, &[0; 5])].concat();
    hostile.send(streams().flat_map(begin).collect()).await;
    eventually!(seen.calls.load(SeqCst) == 1 + CALLS);
    if leaves {
        drop(hostile);
    } else {
        hostile.send(streams().flat_map(|stream| frame(RST_STREAM, 0, stream, &[0, 0, 0, 8])).collect()).await;
    }
    // All of them are, but not at once.
    eventually!(seen.resets.load(SeqCst) == CALLS);
    seen.let_go.notify_one();
    assert_eq!(waiting.await.expect("no panic"), good(), "{is_whole}, {leaves}");
    assert_eq!(upstream.connections.load(SeqCst), 1);
}

#[tokio::test]
async fn who_takes_back_many_calls_does_not_cost_others_theirs() {
    tokio::join!(takes_back(true, false), takes_back(true, true), takes_back(false, false), takes_back(false, true));
}

/// Clients of one address that begin so many whole calls each, as many together as the backend has seen.
async fn begun(clients: u32, each: u32, gateway: &Running, seen: &Seen) -> Vec<Peer> {
    let (before, mut begun) = (seen.calls.load(SeqCst), Vec::new());
    let whole =
        |stream| [frame(HEADERS, END_HEADERS, stream, &call()), frame(DATA, END_STREAM, stream, &[0; 5])].concat();
    for _ in 0..clients {
        let mut client = Peer::client(from(1, gateway.addr).await, &[]).await;
        client.send((0..each).flat_map(|number| whole(2 * number + 1)).collect()).await;
        begun.push(client);
    }
    eventually!(seen.calls.load(SeqCst) == before + clients * each);
    begun
}

#[tokio::test]
async fn who_took_back_too_many_calls_makes_no_more_until_they_are_over_and_others_do() {
    // What goes out at once over each connection, of which there is one for a hundred calls.
    const AT_ONCE: u32 = 16;
    let seen = Arc::new(Seen::default());
    let upstream = wary(&seen).await;
    let mut settings = config(upstream.addr);
    settings.workers = 1;
    // It is not for having many under way.
    settings.limits.unfinished_per_address = 10_000;
    let gateway = Running::start(settings).await;
    let reaches_it = async |address: u8| {
        let before = seen.calls.load(SeqCst);
        let mut client = Peer::client(from(address, gateway.addr).await, &[]).await;
        client.send([frame(HEADERS, END_HEADERS, 1, &call()), frame(DATA, END_STREAM, 1, &[0; 5])].concat()).await;
        eventually!(seen.calls.load(SeqCst) == before + 1);
        client
    };
    // Less than fifty of them run on.
    drop(begun(1, 50 + AT_ONCE - 1, &gateway, &seen).await);
    eventually!(seen.resets.load(SeqCst) >= AT_ONCE);
    let waiting = reaches_it(1).await;
    eventually!(seen.resets.load(SeqCst) == 50 + AT_ONCE - 1);
    drop(waiting);
    eventually!(seen.resets.load(SeqCst) == 50 + AT_ONCE);

    // And now more than that, for three seconds.
    drop(begun(5, 90, &gateway, &seen).await);
    eventually!(seen.resets.load(SeqCst) >= 50 + AT_ONCE + 5 * AT_ONCE);
    let mut caller = Caller::connect(&gateway).await;
    assert_eq!(caller.call("10S").await, refused(8, "too_many_unfinished"));
    let other = reaches_it(2).await;
    eventually!(seen.resets.load(SeqCst) == 50 + AT_ONCE + 5 * 90);
    let again = reaches_it(1).await;
    drop((other, again));
}

#[tokio::test]
async fn a_body_in_pieces_of_nothing_or_a_byte_reaches_its_backend_in_few() {
    let seen = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&seen);
    // As h2 counts: frames that are not the last of their body.
    let upstream = backend(move |mut peer| {
        let seen = Arc::clone(&counted);
        async move {
            while let Some((kind, flags, stream, payload)) = peer.frame().await {
                if kind == DATA && flags & END_STREAM == 0 {
                    assert!(!payload.is_empty(), "nothing is not sent");
                    seen.fetch_add(1, SeqCst);
                } else if stream > 0 && flags & END_STREAM != 0 {
                    peer.answer(stream).await;
                }
            }
        }
    })
    .await;
    let gateway = gateway(&upstream).await;
    let mut client = Peer::client(TcpStream::connect(gateway.addr).await.expect("connects"), &[]).await;
    client.send(frame(HEADERS, END_HEADERS, 1, &call())).await;
    // A message of fifteen hundred bytes.
    client.send(frame(DATA, 0, 1, &[0, 0, 0, 0x05, 0xdc])).await;
    for _ in 0..50 {
        client.send(frame(DATA, 0, 1, &[])).await;
    }
    let byte = frame(DATA, 0, 1, b"x");
    for _ in 0..15 {
        client.send(byte.repeat(100)).await;
    }
    client.send(frame(DATA, END_STREAM, 1, &[])).await;
    let mut is_answered = false;
    while !is_answered {
        let (kind, flags, ..) = client.frame().await.expect("an answer");
        is_answered = kind == HEADERS && flags & END_STREAM != 0;
    }
    let frames = seen.load(SeqCst);
    assert!(frames < 500, "{frames} frames for fifteen hundred");
}
