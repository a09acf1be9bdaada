//! Requests and answers on the wire at the same time, and connections to backends between two calls.

use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use shop_testing::eventually;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::{Client, Running, Upstream, config, get, read_head, reset};

async fn one_worker(upstream: &Upstream) -> Running {
    let mut settings = config(upstream.addr);
    settings.workers = 1;
    Running::start(settings).await
}

async fn in_time<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), what).await.expect("in time")
}

/// Reads until `end` has come.
async fn read_until(stream: &mut TcpStream, end: &str) -> String {
    let mut text = Vec::new();
    while !text.ends_with(end.as_bytes()) {
        text.push(in_time(stream.read_u8()).await.expect("more"));
    }
    String::from_utf8_lossy(&text).into_owned()
}

#[tokio::test]
async fn an_answer_begun_before_the_request_has_ended_goes_on_beside_it_and_leaves_a_connection_to_use() {
    let upstream = Upstream::raw(|mut stream| async move {
        while !read_head(&mut stream).await.is_empty() {
            let head = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
            let _ = stream.write_all(head.as_bytes()).await;
            for _ in 0..3 {
                let mut piece = [0; 4];
                let _ = stream.read_exact(&mut piece).await;
                let piece = format!("4\r\n{}\r\n", String::from_utf8_lossy(&piece));
                let _ = stream.write_all(piece.as_bytes()).await;
            }
            let _ = stream.write_all(b"0\r\n\r\n").await;
        }
    })
    .await;
    let gateway = one_worker(&upstream).await;
    let mut client = TcpStream::connect(gateway.addr).await.expect("connects");
    for _ in 0..3 {
        let head = "POST /api/products HTTP/1.1\r\nhost: a\r\ncontent-length: 12\r\n\r\n";
        client.write_all(head.as_bytes()).await.expect("writes");
        read_until(&mut client, "\r\n\r\n").await;
        for piece in ["ping", "pong", "done"] {
            client.write_all(piece.as_bytes()).await.expect("writes");
            assert_eq!(read_until(&mut client, &format!("{piece}\r\n")).await, format!("4\r\n{piece}\r\n"));
        }
        assert_eq!(read_until(&mut client, "0\r\n\r\n").await, "0\r\n\r\n");
    }
    assert_eq!(upstream.connections.load(SeqCst), 1);
}

#[tokio::test]
async fn a_client_that_sends_all_before_it_takes_any_of_an_early_answer_is_served() {
    const SIZE: usize = 8 << 20;
    let upstream = Upstream::raw(|stream| async move {
        let (mut read, mut write) = stream.into_split();
        let answer = async {
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {SIZE}\r\n\r\n");
            let _ = write.write_all(head.as_bytes()).await;
            let _ = write.write_all(&vec![b'y'; SIZE]).await;
        };
        let take = async {
            let mut taken = 0;
            let mut room = vec![0; 1 << 16];
            while taken < SIZE {
                match read.read(&mut room).await {
                    Ok(size) if size > 0 => taken += size,
                    _ => return,
                }
            }
        };
        tokio::join!(answer, take);
    })
    .await;
    let mut settings = config(upstream.addr);
    settings.http.body_limit = 68 << 20;
    let gateway = Running::start(settings).await;
    let mut client = TcpStream::connect(gateway.addr).await.expect("connects");
    let head = format!("POST /api/products HTTP/1.1\r\nhost: a\r\ncontent-length: {SIZE}\r\n\r\n");
    client.write_all(head.as_bytes()).await.expect("writes");
    in_time(client.write_all(&vec![b'x'; SIZE])).await.expect("the gateway takes all of it");
    read_until(&mut client, "\r\n\r\n").await;
    let mut answer = vec![0; SIZE];
    in_time(client.read_exact(&mut answer)).await.expect("the whole answer");
    assert!(answer.iter().all(|byte| *byte == b'y'));
}

/// How many calls to the product service's backend are not over.
async fn calls(gateway: &Running) -> u64 {
    let standing = gateway.look("/health/detailed").await.json();
    standing["services"]["product"]["backends"][0]["active_requests"].as_u64().expect("a number")
}

#[tokio::test]
async fn a_request_that_outlasts_its_answer_counts_and_has_an_end() {
    let upstream = Upstream::raw(|mut stream| async move {
        read_head(&mut stream).await;
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\ngood").await;
        let _ = stream.read_to_end(&mut Vec::new()).await;
    })
    .await;
    let mut settings = config(upstream.addr);
    settings.limits.body_idle = shop_config::Duration::secs(60);
    settings.upstream.total_timeout = shop_config::Duration::secs(3);
    let gateway = Running::start(settings).await;
    let mut client = TcpStream::connect(gateway.addr).await.expect("connects");
    let head = "POST /api/products HTTP/1.1\r\nhost: a\r\ncontent-length: 100\r\n\r\nsome";
    client.write_all(head.as_bytes()).await.expect("writes");
    read_until(&mut client, "good").await;
    eventually!(gateway.metric(r#"gateway_active_requests{service="product"}"#) == Some(0.0));
    assert_eq!((calls(&gateway).await, upstream.open.load(SeqCst)), (1, 1));
    eventually!(upstream.open.load(SeqCst) == 0);
    eventually!(calls(&gateway).await == 0);
}

#[tokio::test]
async fn a_backend_that_resets_while_it_is_sent_a_request_leaves_as_much_of_an_answer_as_it_gave() {
    for (length, is_whole) in [(4, true), (10, false)] {
        let upstream = Upstream::raw(move |mut stream| async move {
            read_head(&mut stream).await;
            let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\ngood");
            let _ = stream.write_all(answer.as_bytes()).await;
            // What comes when the client has the beginning of the answer.
            let _ = stream.read_exact(&mut [0; 4]).await;
            reset(stream);
        })
        .await;
        let gateway = one_worker(&upstream).await;
        let mut client = TcpStream::connect(gateway.addr).await.expect("connects");
        let head = "POST /api/products HTTP/1.1\r\nhost: a\r\ncontent-length: 100\r\n\r\n";
        client.write_all(head.as_bytes()).await.expect("writes");
        read_until(&mut client, "good").await;
        client.write_all(b"some").await.expect("writes");
        eventually!(upstream.open.load(SeqCst) == 0);
        eventually!(calls(&gateway).await == 0);
        eventually!(gateway.metric(r#"gateway_active_requests{service="product"}"#) == Some(0.0));
        let broken = || gateway.metric(r#"gateway_refusals_total{reason="upstream_reset",service="product"}"#);
        eventually!(broken().is_some_and(|count| count > 0.0) != is_whole);
    }
}

#[tokio::test]
async fn half_a_request_never_makes_a_whole_answer() {
    // Ends its answer by closing, as soon as its client has.
    let upstream = Upstream::raw(|mut stream| async move {
        read_head(&mut stream).await;
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\nbegin").await;
        let _ = stream.read_to_end(&mut Vec::new()).await;
    })
    .await;
    let gateway = Running::before(upstream.addr).await;
    let mut client = TcpStream::connect(gateway.addr).await.expect("connects");
    let head = "POST /api/products HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n4\r\ngood\r\n";
    client.write_all(head.as_bytes()).await.expect("writes");
    read_until(&mut client, "5\r\nbegin\r\n").await;
    client.write_all(b"no size\r\n").await.expect("writes");
    let mut rest = Vec::new();
    // A reset is an end as well.
    let _ = in_time(client.read_to_end(&mut rest)).await;
    assert_eq!(String::from_utf8_lossy(&rest), "", "no last chunk");
    eventually!(upstream.open.load(SeqCst) == 0);
    let refused = |reason| gateway.metric(&format!(r#"gateway_refusals_total{{reason="{reason}",service="product"}}"#));
    eventually!(refused("bad_request") == Some(1.0));
    // It was the client's doing.
    assert_eq!(refused("upstream_reset").filter(|count| *count > 0.0), None);
    let standing = format!(r#"gateway_backend_health{{backend="http://{}",service="product"}}"#, upstream.addr);
    assert_eq!(gateway.metric(&standing), Some(1.0));
}

#[tokio::test]
async fn a_client_that_leaves_in_the_middle_of_both_ends_both() {
    let upstream = Upstream::raw(|mut stream| async move {
        read_head(&mut stream).await;
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\nbegin").await;
        let _ = stream.read_to_end(&mut Vec::new()).await;
    })
    .await;
    let gateway = Running::before(upstream.addr).await;
    let mut client = TcpStream::connect(gateway.addr).await.expect("connects");
    let head = "POST /api/products HTTP/1.1\r\nhost: a\r\ncontent-length: 100\r\n\r\nsome";
    client.write_all(head.as_bytes()).await.expect("writes");
    read_until(&mut client, "begin\r\n").await;
    assert_eq!(upstream.open.load(SeqCst), 1);
    drop(client);
    eventually!(upstream.open.load(SeqCst) == 0);
    eventually!(gateway.metric(r#"gateway_active_requests{service="product"}"#) == Some(0.0));
}

#[tokio::test]
async fn what_a_backend_says_unasked_is_nobodys_answer() {
    let stray = "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nstray";
    let good = "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\ngood";
    for (first, later) in [(format!("{good}{stray}"), ""), (good.to_owned(), stray)] {
        let upstream = Upstream::raw(move |mut stream| {
            let first = first.clone();
            async move {
                while !read_head(&mut stream).await.is_empty() {
                    let _ = stream.write_all(first.as_bytes()).await;
                    tokio::task::yield_now().await;
                    let _ = stream.write_all(later.as_bytes()).await;
                }
            }
        })
        .await;
        let gateway = one_worker(&upstream).await;
        let mut client = Client::connect(gateway.addr).await;
        for _ in 0..3 {
            let reply = in_time(client.send(get("/api/products"))).await.expect("an answer");
            assert_eq!(&reply.body[..], b"good");
            // The gateway has closed the connection, or will when it looks at it.
            eventually!(upstream.open.load(SeqCst) == 0);
        }
        assert_eq!(upstream.connections.load(SeqCst), 3);
    }
}

#[tokio::test]
async fn a_connection_that_the_backend_wants_closed_is_not_used_again() {
    for answer in [
        "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 4\r\n\r\ngood",
        "HTTP/1.0 200 OK\r\ncontent-length: 4\r\n\r\ngood",
    ] {
        let upstream = Upstream::raw(move |mut stream| async move {
            while !read_head(&mut stream).await.is_empty() {
                let _ = stream.write_all(answer.as_bytes()).await;
            }
        })
        .await;
        let gateway = one_worker(&upstream).await;
        let mut client = Client::connect(gateway.addr).await;
        for _ in 0..3 {
            assert_eq!(in_time(client.send(get("/api/products"))).await.expect("an answer").status(), 200);
        }
        assert_eq!(upstream.connections.load(SeqCst), 3, "{answer}");
    }
}

#[tokio::test]
async fn a_backends_own_words_for_a_status_reach_the_client() {
    let upstream = Upstream::saying("HTTP/1.1 200 Fine by me\r\ncontent-length: 0\r\n\r\n").await;
    let gateway = Running::before(upstream.addr).await;
    let answer = gateway.raw("GET /api/products HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 200 Fine by me\r\n"), "{answer}");
}
