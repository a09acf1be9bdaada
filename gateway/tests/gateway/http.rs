//! Plain calls: what reaches the backend, what comes back, and what the client is told when nothing does.

use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::Response;
use shop_gateway::settings::{BackendUrl, Backends};
use shop_testing::eventually;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::{Client, Running, Upstream, backends, config, echoed, get, nobody, read_head, request, reset};

#[tokio::test]
async fn the_prefix_is_cut_off_and_everything_else_kept() {
    let upstream = Upstream::echo().await;
    let gateway = Running::before(upstream.addr).await;
    for (method, sent, received) in [
        ("GET", "/api/products?limit=2&x=%2F..", "/products?limit=2&x=%2F.."),
        ("PUT", "/api/products/7", "/products/7"),
        ("DELETE", "/api/baskets/u1/items/7", "/baskets/u1/items/7"),
        ("POST", "/api/payments", "/payments"),
        ("PATCH", "/api/users/u1/payments?", "/users/u1/payments?"),
        ("OPTIONS", "/api/notifications", "/notifications"),
        ("BREW", "/api/products/pot", "/products/pot"),
        ("GET", "//api/./products//a%2Fb/", "/products/a%2Fb/"),
        ("GET", "http://gw.test/api/products/1", "/products/1"),
    ] {
        let reply = gateway.send(request(method, sent, "")).await;
        assert_eq!(reply.status(), 200, "{method} {sent}");
        let seen = reply.json();
        assert_eq!((&seen["method"], &seen["target"]), (&method.into(), &received.into()), "{sent}");
    }
    let head = gateway.send(request("HEAD", "/api/products", "")).await;
    assert!(head.status() == 200 && head.body.is_empty() && head.header("content-length").is_some());
}

#[tokio::test]
async fn paths_without_a_service_and_paths_with_two_readings_are_refused() {
    let upstream = Upstream::echo().await;
    let mut settings = config(upstream.addr);
    settings.services["notification"].enabled = false;
    settings.services["basket"].urls = Backends::default();
    let gateway = Running::start(settings).await;
    for (path, status, code) in [
        ("/", 404, "no_route"),
        ("/products", 404, "no_route"),
        ("/api/productsx", 404, "no_route"),
        ("/api/notifications", 503, "service_disabled"),
        ("/api/baskets/u1", 503, "no_healthy_backend"),
        ("/api/products/%2e%2e/%2e%2e/admin", 400, "bad_path"),
        ("/api/products/..%2fadmin", 400, "bad_path"),
        ("/api/products/%5c..%5cadmin", 400, "bad_path"),
        ("/api/products/%00", 400, "bad_path"),
        ("/../api/products", 400, "bad_path"),
    ] {
        gateway.get(path).await.refused(status, code);
    }
    gateway.get(&format!("/api/products/{}", "x".repeat(8 * 1024))).await.refused(414, "uri_too_long");
    assert_eq!(upstream.requests.load(SeqCst), 0);
}

#[tokio::test]
async fn the_backend_learns_who_asks_and_nothing_of_the_connection() {
    let upstream = Upstream::echo().await;
    let gateway = Running::before(upstream.addr).await;
    let mut sent = get("/api/products");
    for (name, value) in [
        ("connection", "x-hop"),
        ("x-hop", "1"),
        ("te", "trailers, gzip"),
        ("x-forwarded-for", "6.6.6.6"),
        ("forwarded", "for=6.6.6.6"),
        ("proxy-authorization", "Basic eDp5"),
        ("x-request-id", "my-id"),
        ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
        ("authorization", "Bearer t"),
    ] {
        sent.headers_mut().append(name, value.parse().expect("value"));
    }
    let reply = gateway.send(sent).await;
    assert_eq!(reply.header("x-request-id"), Some("my-id"));
    let seen = reply.json();
    for (name, values) in [
        ("host", &["gw.test"][..]),
        ("x-hop", &[]),
        ("proxy-authorization", &[]),
        ("te", &["trailers"]),
        ("connection", &["te"]),
        ("x-forwarded-for", &["127.0.0.1"]),
        ("x-forwarded-proto", &["http"]),
        ("x-forwarded-host", &["gw.test"]),
        ("x-forwarded-prefix", &["/api"]),
        ("forwarded", &["for=127.0.0.1;host=\"gw.test\";proto=http"]),
        ("via", &["1.1 shop-gateway"]),
        ("x-request-id", &["my-id"]),
        ("authorization", &["Bearer t"]),
    ] {
        assert_eq!(echoed(&seen, name), values, "{name}");
    }
    let trace = echoed(&seen, "traceparent");
    assert!(matches!(&trace[..], [trace] if trace.starts_with("00-0af7651916cd43dd8448eb211c80319c-")), "{trace:?}");
}

#[tokio::test]
async fn what_other_systems_say_of_a_trace_goes_along_with_it_only() {
    const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let upstream = Upstream::echo().await;
    let gateway = Running::before(upstream.addr).await;
    let long = format!("rojo={}", "x".repeat(508));
    for (parents, states, expected) in [
        (&[PARENT][..], &["rojo=00f067aa0ba902b7,congo=t61"][..], &["rojo=00f067aa0ba902b7,congo=t61"][..]),
        (&[PARENT], &["rojo=1", "congo=2"], &["rojo=1", "congo=2"]),
        (&[PARENT], &["nonsense"], &[]),
        (&[PARENT], &[&long], &[]),
        (&["00-nonsense"], &["rojo=1"], &[]),
        (&[], &["rojo=1"], &[]),
        (&[PARENT], &[], &[]),
    ] {
        let mut sent = get("/api/products");
        for (name, values) in [("traceparent", parents), ("tracestate", states)] {
            for value in values {
                sent.headers_mut().append(name, value.parse().expect("value"));
            }
        }
        let seen = gateway.send(sent).await.json();
        assert_eq!(echoed(&seen, "tracestate"), expected, "{parents:?} {states:?}");
    }
}

#[tokio::test]
async fn a_request_without_ids_gets_some() {
    let upstream = Upstream::echo().await;
    let gateway = Running::before(upstream.addr).await;
    let reply = gateway.get("/api/products").await;
    let id = reply.header("x-request-id").expect("an id").to_owned();
    assert_eq!(uuid::Uuid::parse_str(&id).expect("a uuid").get_version_num(), 7);
    assert_eq!(echoed(&reply.json(), "x-request-id"), [id]);
    assert_eq!(echoed(&reply.json(), "traceparent").len(), 1);
}

#[tokio::test]
async fn a_trusted_proxys_forwarding_headers_are_continued() {
    let upstream = Upstream::echo().await;
    let mut settings = config(upstream.addr);
    settings.trusted_proxies = vec!["127.0.0.0/8".parse().expect("a network")];
    let gateway = Running::start(settings).await;
    let mut sent = get("/api/products");
    sent.headers_mut().insert("x-forwarded-for", "9.9.9.9".parse().expect("value"));
    sent.headers_mut().insert("x-forwarded-proto", "https".parse().expect("value"));
    let seen = gateway.send(sent).await.json();
    assert_eq!(echoed(&seen, "x-forwarded-for"), ["9.9.9.9, 127.0.0.1"]);
    assert_eq!(echoed(&seen, "x-forwarded-proto"), ["https"]);
    assert_eq!(echoed(&seen, "forwarded"), ["for=9.9.9.9, for=127.0.0.1;host=\"gw.test\";proto=http"]);
}

#[tokio::test]
async fn what_a_trusted_proxy_leaves_alone_its_client_wrote_and_nobody_believes() {
    let upstream = Upstream::echo().await;
    let mut settings = config(upstream.addr);
    settings.trusted_proxies = vec!["127.0.0.0/8".parse().expect("a network")];
    let written = |settings| async {
        let gateway = Running::start(settings).await;
        let mut sent = get("/api/products");
        for (name, value) in [
            ("x-forwarded-for", "9.9.9.9"),
            ("forwarded", "for=6.6.6.6;host=evil.example"),
            ("x-forwarded-host", "evil.example"),
            ("x-forwarded-prefix", "/evil"),
            ("x-real-ip", "6.6.6.6"),
        ] {
            sent.headers_mut().insert(name, value.parse().expect("value"));
        }
        let seen = gateway.send(sent).await.json();
        ["forwarded", "x-forwarded-host", "x-forwarded-prefix", "x-real-ip"].map(|name| echoed(&seen, name).join(", "))
    };
    let own = "for=127.0.0.1;host=\"gw.test\";proto=http";
    assert_eq!(written(settings.clone()).await, [&format!("for=9.9.9.9, {own}"), "gw.test", "/api", ""]);
    for name in ["Forwarded", "X-Forwarded-Host", "X-Real-IP"] {
        settings.trusted_headers.push(name.parse().expect("a header of proxies"));
    }
    let forwarded = format!("for=6.6.6.6;host=evil.example, {own}");
    assert_eq!(written(settings).await, [forwarded.as_str(), "evil.example", "/api", "6.6.6.6"]);
}

#[tokio::test]
async fn bodies_of_any_size_and_framing_arrive_whole() {
    let upstream = Upstream::serving(|request| async move {
        use http_body_util::BodyExt;
        let body = request.into_body().collect().await.expect("a body").to_bytes();
        Response::new(Full::new(body))
    })
    .await;
    let gateway = Running::before(upstream.addr).await;
    for size in [0, 1, 65_536, 3_000_000] {
        let body: Bytes = (0..=250_u8).cycle().take(size).collect::<Vec<_>>().into();
        let reply = gateway.send(request("POST", "/api/products", body.clone())).await;
        assert_eq!(reply.status(), 200);
        assert!(reply.body == body, "{size} bytes came back as {}", reply.body.len());
    }
    let answer = gateway
        .raw("POST /api/products HTTP/1.1\r\nhost: a\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\n")
        .await;
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("\r\n\r\nabcde"), "{answer}");
}

#[tokio::test]
async fn trailers_pass_both_ways() {
    let upstream = Upstream::echo().await;
    let gateway = Running::before(upstream.addr).await;
    let answer = gateway
        .raw(
            "POST /api/products HTTP/1.1\r\nhost: a\r\nconnection: close\r\ntrailer: x-sum\r\n\
             transfer-encoding: chunked\r\n\r\n1\r\na\r\n0\r\nx-sum: 42\r\n\r\n",
        )
        .await;
    assert!(answer.contains(r#""trailers":[["x-sum","42"]]"#), "{answer}");

    let upstream = Upstream::saying(
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: x-sum\r\n\r\n2\r\nok\r\n0\r\nx-sum: 7\r\n\r\n",
    )
    .await;
    let gateway = Running::before(upstream.addr).await;
    let mut sent = get("/api/products");
    sent.headers_mut().insert("te", "trailers".parse().expect("value"));
    let reply = gateway.send(sent).await;
    assert_eq!(reply.body, "ok");
    assert_eq!(reply.trailers.expect("trailers")["x-sum"], "7");
}

#[tokio::test]
async fn answers_are_streamed_as_they_come() {
    let (mut more, next) = tokio::io::duplex(64);
    let next = std::sync::Mutex::new(Some(next));
    let upstream = Upstream::raw(move |mut stream| {
        let mut next = next.lock().expect("lock").take().expect("one connection");
        async move {
            read_head(&mut stream).await;
            stream.write_all(b"HTTP/1.1 200 OK\r\n\r\nfirst ").await.expect("writes");
            let mut word = [0; 6];
            next.read_exact(&mut word).await.expect("told to go on");
            stream.write_all(&word).await.expect("writes");
        }
    })
    .await;
    let gateway = Running::before(upstream.addr).await;
    let mut client = TcpStream::connect(gateway.addr).await.expect("connects");
    client.write_all(b"GET /api/products HTTP/1.1\r\nhost: a\r\n\r\n").await.expect("writes");
    let mut seen = String::new();
    while !seen.contains("first ") {
        let mut buffer = [0; 1024];
        let size = client.read(&mut buffer).await.expect("reads");
        assert!(size > 0, "{seen}");
        seen.push_str(&String::from_utf8_lossy(&buffer[..size]));
    }
    more.write_all(b"second").await.expect("tells to go on");
    while !seen.contains("second") {
        let mut buffer = [0; 1024];
        let size = client.read(&mut buffer).await.expect("reads");
        assert!(size > 0, "{seen}");
        seen.push_str(&String::from_utf8_lossy(&buffer[..size]));
    }
}

#[tokio::test]
async fn a_client_that_waits_for_continue_is_told_to_go_on() {
    let upstream = Upstream::echo().await;
    let gateway = Running::before(upstream.addr).await;
    let mut client = TcpStream::connect(gateway.addr).await.expect("connects");
    let head = "POST /api/products HTTP/1.1\r\nhost: a\r\nconnection: close\r\nexpect: 100-continue\r\ncontent-length: 2\r\n\r\n";
    client.write_all(head.as_bytes()).await.expect("writes");
    let interim = read_head(&mut client).await;
    assert!(interim.starts_with(b"HTTP/1.1 100"), "{}", String::from_utf8_lossy(&interim));
    client.write_all(b"ok").await.expect("writes");
    let mut answer = String::new();
    client.read_to_string(&mut answer).await.expect("reads");
    assert!(answer.contains(r#""body":"ok""#) && !answer.contains("expect"), "{answer}");
}

#[tokio::test]
async fn a_location_of_the_backends_leads_through_the_gateway() {
    let upstream = Upstream::saying("HTTP/1.1 201 Created\r\nlocation: /products/7\r\ncontent-length: 0\r\n\r\n").await;
    let gateway = Running::before(upstream.addr).await;
    let reply = gateway.send(request("POST", "/api/products", "{}")).await;
    assert_eq!((reply.status(), reply.header("location")), (201, Some("/api/products/7")));
}

#[tokio::test]
async fn connections_are_used_again_and_requests_take_turns() {
    let one = Upstream::echo().await;
    let two = Upstream::echo().await;
    let mut settings = config(one.addr);
    settings.workers = 1;
    settings.services["product"].urls = backends(&[one.addr, two.addr]);
    let gateway = Running::start(settings).await;
    let mut client = Client::connect(gateway.addr).await;
    for _ in 0..20 {
        assert_eq!(client.send(get("/api/products")).await.expect("an answer").status(), 200);
    }
    assert_eq!((one.requests.load(SeqCst), two.requests.load(SeqCst)), (10, 10));
    assert_eq!((one.connections.load(SeqCst), two.connections.load(SeqCst)), (1, 1));
}

#[tokio::test]
async fn a_backend_that_is_not_there_is_a_502_unless_another_is() {
    let dead = nobody();
    let gateway = Running::before(dead).await;
    gateway.get("/api/products").await.refused(502, "connect_failed");
    eventually!(gateway.metric(r#"gateway_refusals_total{reason="connect_failed",service="product"}"#) == Some(1.0));

    let alive = Upstream::echo().await;
    let mut settings = config(alive.addr);
    settings.services["product"].urls = backends(&[dead, alive.addr]);
    let gateway = Running::start(settings).await;
    for _ in 0..4 {
        let reply = gateway.send(request("POST", "/api/products", "body")).await;
        assert_eq!((reply.status(), &reply.json()["body"]), (200, &"body".into()));
    }
    let label = format!(r#"gateway_backend_health{{backend="http://{dead}",service="product"}}"#);
    assert_eq!(gateway.metric(&label), Some(0.0));
}

#[tokio::test]
async fn a_backend_that_does_not_accept_in_time_is_connect_failed() {
    // TEST-NET-1 (RFC 5737) answers nobody; where it is refused at once instead, the reason is the same.
    let mut settings = config(nobody());
    settings.services["product"].urls = vec![BackendUrl::new("192.0.2.1", 80)].into();
    settings.upstream.connect_timeout = shop_config::Duration::millis(100);
    let gateway = Running::start(settings).await;
    gateway.get("/api/products").await.refused(502, "connect_failed");
}

#[tokio::test]
async fn a_backend_that_closes_or_resets_without_an_answer_is_upstream_reset() {
    let closing = Upstream::raw(|mut stream| async move {
        read_head(&mut stream).await;
    })
    .await;
    let gateway = Running::before(closing.addr).await;
    gateway.get("/api/products").await.refused(502, "upstream_reset");

    let resetting = Upstream::raw(|mut stream| async move {
        read_head(&mut stream).await;
        reset(stream);
    })
    .await;
    let gateway = Running::before(resetting.addr).await;
    gateway.send(request("POST", "/api/products", "x")).await.refused(502, "upstream_reset");
}

#[tokio::test]
async fn an_answer_that_is_not_http_is_upstream_invalid() {
    for nonsense in [
        &b"SSH-2.0-OpenSSH_9.2\r\n\r\n"[..],
        b"HTTP/1.1 2000 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: two\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nbad header\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n",
    ] {
        let upstream = Upstream::saying(nonsense).await;
        let gateway = Running::before(upstream.addr).await;
        gateway.get("/api/products").await.refused(502, "upstream_invalid");
    }
    let mut endless = b"HTTP/1.1 200 OK\r\nx: ".to_vec();
    endless.resize(200_000, b'x');
    let upstream = Upstream::saying(endless).await;
    let gateway = Running::before(upstream.addr).await;
    gateway.get("/api/products").await.refused(502, "upstream_invalid");
}

#[tokio::test]
async fn an_answer_that_breaks_off_breaks_off_at_the_client_too() {
    for (answer, status) in [
        ("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf", 200),
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhalf", 200),
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n", 200),
    ] {
        let upstream = Upstream::saying(answer).await;
        let gateway = Running::before(upstream.addr).await;
        assert!(gateway.try_send(get("/api/products")).await.is_err(), "{answer:?} looked whole, {status}");
        eventually!(
            gateway.metric(r#"gateway_refusals_total{reason="upstream_reset",service="product"}"#) == Some(1.0)
        );
    }
}

#[tokio::test]
async fn a_slow_head_and_a_slow_body_are_given_up_on() {
    let silent = Upstream::raw(|mut stream| async move {
        read_head(&mut stream).await;
        std::future::pending::<()>().await;
    })
    .await;
    let mut settings = config(silent.addr);
    settings.upstream.first_byte_timeout = shop_config::Duration::millis(100);
    let gateway = Running::start(settings).await;
    gateway.get("/api/products").await.refused(504, "upstream_timeout");
    gateway.send(request("POST", "/api/products", "body")).await.refused(504, "upstream_timeout");

    let stalling = Upstream::raw(|mut stream| async move {
        read_head(&mut stream).await;
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf").await;
        std::future::pending::<()>().await;
    })
    .await;
    let mut settings = config(stalling.addr);
    settings.upstream.idle_timeout = shop_config::Duration::millis(100);
    let gateway = Running::start(settings).await;
    assert!(gateway.try_send(get("/api/products")).await.is_err());
    eventually!(gateway.metric(r#"gateway_refusals_total{reason="upstream_timeout",service="product"}"#) == Some(1.0));
}

#[tokio::test]
async fn the_whole_exchange_has_a_limit_however_busy_it_is() {
    let trickling = Upstream::raw(|mut stream| async move {
        read_head(&mut stream).await;
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await;
        let mut ticks = tokio::time::interval(Duration::from_millis(10));
        while stream.write_all(b"x").await.is_ok() {
            ticks.tick().await;
        }
    })
    .await;
    let mut settings = config(trickling.addr);
    settings.upstream.total_timeout = shop_config::Duration::millis(200);
    let gateway = Running::start(settings).await;
    let broke = tokio::time::timeout(Duration::from_secs(10), gateway.try_send(get("/api/products"))).await;
    assert!(broke.expect("it ends").is_err());
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused_announced_or_not() {
    let upstream = Upstream::echo().await;
    let mut settings = config(upstream.addr);
    settings.http.body_limit = 10;
    let gateway = Running::start(settings).await;
    gateway.send(request("POST", "/api/products", "0123456789a")).await.refused(413, "body_too_large");
    assert_eq!(upstream.requests.load(SeqCst), 0, "the announced one did not reach the backend");
    assert_eq!(gateway.send(request("POST", "/api/products", "0123456789")).await.status(), 200);
    let answer = gateway
        .raw(
            "POST /api/products HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\nb\r\n0123456789a\r\n0\r\n\r\n",
        )
        .await;
    assert!(answer.starts_with("HTTP/1.1 413") && answer.contains("x-gateway-reason: body_too_large"), "{answer}");
}

#[tokio::test]
async fn a_client_that_stops_sending_its_body_is_refused() {
    let upstream = Upstream::echo().await;
    let mut settings = config(upstream.addr);
    settings.limits.body_idle = shop_config::Duration::millis(100);
    let gateway = Running::start(settings).await;
    let answer = gateway.raw("POST /api/products HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\nhalf").await;
    assert!(answer.starts_with("HTTP/1.1 408") && answer.contains("x-gateway-reason: body_timeout"), "{answer}");
}

#[tokio::test]
async fn a_slow_upload_does_not_count_against_the_backend() {
    let upstream = Upstream::echo().await;
    let mut settings = config(upstream.addr);
    settings.upstream.first_byte_timeout = shop_config::Duration::millis(150);
    let gateway = Running::start(settings).await;
    let mut client = TcpStream::connect(gateway.addr).await.expect("connects");
    client
        .write_all(b"POST /api/products HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: 5\r\n\r\n")
        .await
        .expect("writes");
    let mut ticks = tokio::time::interval(Duration::from_millis(80));
    for byte in b"slow!" {
        ticks.tick().await;
        client.write_all(&[*byte]).await.expect("writes");
    }
    let mut answer = String::new();
    client.read_to_string(&mut answer).await.expect("reads");
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("slow!"), "{answer}");
}

#[tokio::test]
async fn an_unused_connection_that_the_backend_closed_is_replaced_without_anybody_noticing() {
    // Answers one request per connection and closes without saying so, as a backend does that restarts.
    let upstream = Upstream::raw(|mut stream| async move {
        read_head(&mut stream).await;
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
    })
    .await;
    let mut settings = config(upstream.addr);
    settings.workers = 1;
    let gateway = Running::start(settings).await;
    let mut client = Client::connect(gateway.addr).await;
    for _ in 0..50 {
        let reply = client.send(get("/api/products")).await.expect("an answer");
        assert_eq!((reply.status(), &reply.body[..]), (200, &b"ok"[..]));
    }
}

#[tokio::test]
async fn a_request_that_may_have_had_an_effect_is_not_sent_twice() {
    // The second request on a connection is read and the connection dropped: it may have been acted on.
    let upstream = Upstream::raw(|mut stream| async move {
        read_head(&mut stream).await;
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
        read_head(&mut stream).await;
    })
    .await;
    let mut settings = config(upstream.addr);
    settings.workers = 1;
    let gateway = Running::start(settings).await;
    let mut client = Client::connect(gateway.addr).await;
    assert_eq!(client.send(request("POST", "/api/payments", "")).await.expect("an answer").status(), 200);
    client.send(request("POST", "/api/payments", "")).await.expect("an answer").refused(502, "upstream_reset");
    assert_eq!(client.send(get("/api/payments")).await.expect("an answer").status(), 200);
    assert_eq!(client.send(get("/api/payments")).await.expect("an answer").status(), 200, "a GET goes out again");
    assert_eq!(upstream.connections.load(SeqCst), 3);
}

#[tokio::test]
async fn a_client_that_leaves_frees_the_backend() {
    let (told, mut gone) = tokio::sync::mpsc::channel(1);
    let upstream = Upstream::raw(move |mut stream| {
        let told = told.clone();
        async move {
            read_head(&mut stream).await;
            let left = stream.read(&mut [0; 1]).await;
            told.send(matches!(left, Ok(0) | Err(_))).await.expect("the test listens");
        }
    })
    .await;
    let gateway = Running::before(upstream.addr).await;
    let mut client = TcpStream::connect(gateway.addr).await.expect("connects");
    client.write_all(b"GET /api/products HTTP/1.1\r\nhost: a\r\n\r\n").await.expect("writes");
    eventually!(upstream.connections.load(SeqCst) == 1);
    drop(client);
    let gone = tokio::time::timeout(Duration::from_secs(10), gone.recv()).await;
    assert_eq!(gone.expect("the backend's connection is closed"), Some(true));
    eventually!(gateway.metric(r#"gateway_requests_total{method="GET",service="product",status="499"}"#) == Some(1.0));
    eventually!(gateway.metric(r#"gateway_active_requests{service="product"}"#) == Some(0.0));
}

#[tokio::test]
async fn http2_clients_reach_http1_backends() {
    let upstream = Upstream::echo().await;
    let gateway = Running::before(upstream.addr).await;
    let stream = TcpStream::connect(gateway.addr).await.expect("connects");
    let (mut sender, connection) = hyper::client::conn::http2::handshake(
        hyper_util::rt::TokioExecutor::new(),
        hyper_util::rt::TokioIo::new(stream),
    )
    .await
    .expect("shakes hands");
    tokio::spawn(connection);
    let request = hyper::Request::post(format!("http://{}/api/products?x=1", gateway.addr))
        .header("cookie", "a=1")
        .header("cookie", "b=2")
        .body(Full::new(Bytes::from_static(b"over two")))
        .expect("a request");
    let answer = sender.send_request(request).await.expect("an answer");
    assert_eq!((answer.status().as_u16(), answer.version()), (200, http::Version::HTTP_2));
    let body = http_body_util::BodyExt::collect(answer.into_body()).await.expect("a body").to_bytes();
    let seen: serde_json::Value = serde_json::from_slice(&body).expect("json");
    assert_eq!((&seen["target"], &seen["body"]), (&"/products?x=1".into(), &"over two".into()));
    assert_eq!(echoed(&seen, "host"), [gateway.addr.to_string()]);
    assert_eq!(echoed(&seen, "cookie"), ["a=1; b=2"]);
}

#[tokio::test]
async fn a_head_that_trickles_in_is_cut_off() {
    let upstream = Upstream::echo().await;
    let mut settings = config(upstream.addr);
    settings.http.header_timeout = shop_config::Duration::millis(200);
    let gateway = Running::start(settings).await;
    let cut = |times: f64| gateway.metric(r#"gateway_connections_cut_total{reason="head_timeout"}"#) == Some(times);
    assert_eq!(gateway.raw("").await, "", "a client that says nothing");
    eventually!(cut(1.0));
    assert_eq!(gateway.raw("PRI * HT").await, "", "a client that stops in its preface");
    eventually!(cut(2.0));
    assert_eq!(gateway.raw("GET /api/products HTTP/1.1\r\nho").await, "", "a client that stops in its head");
    eventually!(cut(3.0));
    let mut client = TcpStream::connect(gateway.addr).await.expect("connects");
    client.write_all(b"GET /api/products HTTP/1.1\r\nhost: a\r\n\r\n").await.expect("writes");
    read_head(&mut client).await;
    client.write_all(b"GET /api/pro").await.expect("writes");
    let ended = tokio::time::timeout(Duration::from_secs(10), client.read_to_end(&mut Vec::new())).await;
    assert!(ended.is_ok(), "a second head that stops");
    eventually!(cut(4.0));
}

#[tokio::test]
async fn a_client_that_was_refused_and_stays_is_closed_and_not_counted_as_slow() {
    let mut settings = config(nobody());
    settings.http.header_timeout = shop_config::Duration::millis(200);
    let gateway = Running::start(settings).await;
    let mut client = TcpStream::connect(gateway.addr).await.expect("connects");
    client.write_all(b"GET /api/products HTTP/1.1\nhost: a\n\n").await.expect("writes");
    let mut answer = Vec::new();
    client.read_to_end(&mut answer).await.expect("reads");
    assert!(answer.starts_with(b"HTTP/1.1 400"), "{}", String::from_utf8_lossy(&answer));
    // Nothing of this side is closed.
    eventually!(gateway.metric("gateway_client_connections") == Some(0.0));
    assert_eq!(gateway.metric(r#"gateway_connections_cut_total{reason="head_timeout"}"#), None);
    assert_eq!(gateway.metric(r#"gateway_refusals_total{reason="bad_request",service="gateway"}"#), Some(1.0));
}

#[tokio::test]
async fn an_answer_before_the_end_of_the_body_reaches_the_client() {
    let upstream = Upstream::raw(|mut stream| async move {
        read_head(&mut stream).await;
        let _ = stream.write_all(b"HTTP/1.1 422 Unprocessable\r\ncontent-length: 2\r\n\r\nno").await;
        // Takes the rest, as a polite server does.
        let _ = stream.read_to_end(&mut Vec::new()).await;
    })
    .await;
    let gateway = Running::before(upstream.addr).await;
    let mut client = TcpStream::connect(gateway.addr).await.expect("connects");
    let head = "POST /api/products HTTP/1.1\r\nhost: a\r\ncontent-length: 1000000\r\n\r\nbegin";
    client.write_all(head.as_bytes()).await.expect("writes");
    let answer = read_head(&mut client).await;
    assert!(answer.starts_with(b"HTTP/1.1 422"), "{}", String::from_utf8_lossy(&answer));
}

#[tokio::test]
async fn old_clients_and_hasty_ones_are_served() {
    let upstream = Upstream::saying("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n").await;
    let gateway = Running::before(upstream.addr).await;
    let answer = gateway.raw("GET /api/products HTTP/1.0\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.0 200") && answer.ends_with("\r\n\r\nok"), "{answer}");
    assert!(!answer.contains("chunked"), "HTTP/1.0 knows no chunks: {answer}");

    let upstream = Upstream::echo().await;
    let gateway = Running::before(upstream.addr).await;
    let two = "GET /api/products/1 HTTP/1.1\r\nhost: a\r\n\r\n\
               GET /api/products/2 HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
    let answer = gateway.raw(two).await;
    let (first, second) = (answer.find("/products/1"), answer.find("/products/2"));
    assert!(first.is_some() && second > first, "both, in order: {answer}");
}

#[tokio::test]
async fn a_client_that_takes_nothing_of_its_answer_is_cut_off() {
    let upstream = Upstream::raw(|mut stream| async move {
        read_head(&mut stream).await;
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await;
        let piece = vec![b'x'; 1 << 20];
        while stream.write_all(&piece).await.is_ok() {}
    })
    .await;
    let mut settings = config(upstream.addr);
    settings.limits.write_stall = shop_config::Duration::millis(300);
    let gateway = Running::start(settings).await;
    let mut client = TcpStream::connect(gateway.addr).await.expect("connects");
    client.write_all(b"GET /api/products HTTP/1.1\r\nhost: a\r\n\r\n").await.expect("writes");
    eventually!(gateway.metric(r#"gateway_connections_cut_total{reason="write_stalled"}"#) == Some(1.0));
    eventually!(gateway.metric(r#"gateway_active_requests{service="product"}"#) == Some(0.0));
}
