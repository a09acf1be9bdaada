//! Health checks, and what follows from them: who takes calls, the panic rule, slow start.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering::SeqCst};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use shop_config::Duration;
use shop_gateway::Config;
use shop_testing::eventually;

use crate::support::{Client, Mortal, Running, Upstream, backends, config, get, nobody, request};

/// Product at `addrs`, checked twenty times a second.
fn checked(addrs: &[SocketAddr]) -> Config {
    let mut settings = config(addrs[0]);
    settings.services["product"].urls = backends(addrs);
    settings.services["product"].grpc_urls = backends(&[]);
    for other in ["basket", "payment", "notification"] {
        settings.services[other].enabled = false;
    }
    settings.health_check.enabled = true;
    settings.health_check.interval = Duration::millis(50);
    settings.health_check.timeout = Duration::millis(500);
    settings.load_balancer.slow_start = Duration::secs(0);
    settings
}

async fn check_of(gateway: &Running, index: usize) -> String {
    let health = gateway.look("/health").await.json();
    health["services"]["product"]["backends"][index]["check"].as_str().unwrap_or("none").to_owned()
}

/// Eight clients that call until told to stop; returns how many calls they made, and which were not answered well.
async fn load(addr: SocketAddr, stop: Arc<AtomicBool>, made: Arc<AtomicUsize>) -> Vec<String> {
    let client = |number: usize| {
        let (stop, made) = (Arc::clone(&stop), Arc::clone(&made));
        async move {
            let mut bad = Vec::new();
            let mut client = Client::connect(addr).await;
            let mut turn = number;
            while !stop.load(SeqCst) {
                turn += 1;
                let call = if turn.is_multiple_of(2) {
                    get("/api/products")
                } else {
                    let mut call = request("POST", "/api/products", "an order");
                    let key = format!("{number}-{turn}").parse().expect("a key");
                    call.headers_mut().insert("idempotency-key", key);
                    call
                };
                let reply = client.send(call).await.expect("an answer");
                made.fetch_add(1, SeqCst);
                if reply.status() != 200 {
                    bad.push(format!("{} {:?}", reply.status(), reply.header("x-gateway-reason")));
                }
            }
            bad
        }
    };
    futures_util::future::join_all((0..8).map(client)).await.concat()
}

#[tokio::test]
async fn a_backend_that_dies_under_load_is_noticed_by_no_client_and_comes_back() {
    let mut upstreams = [Mortal::start(), Mortal::start(), Mortal::start()];
    let addrs = upstreams.each_ref().map(|upstream| upstream.addr);
    let mut settings = checked(&addrs);
    settings.retries.enabled = true;
    settings.circuit_breaker.enabled = true;
    settings.circuit_breaker.timeout = Duration::millis(100);
    let gateway = Running::start(settings).await;
    let (stop, made) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let clients = tokio::spawn(load(gateway.addr, Arc::clone(&stop), Arc::clone(&made)));
    eventually!(upstreams.iter().all(|upstream| upstream.count() > 20));
    upstreams[1].kill();
    eventually!(check_of(&gateway, 1).await == "unhealthy");
    let health = format!(r#"gateway_backend_health{{backend="http://{}",service="product"}}"#, addrs[1]);
    assert_eq!(gateway.metric(&health), Some(0.0));
    let at = made.load(SeqCst);
    eventually!(made.load(SeqCst) > at + 100);
    upstreams[1] = Mortal::at(addrs[1]);
    eventually!(upstreams[1].count() > 20);
    eventually!(gateway.metric(&health) == Some(1.0));
    stop.store(true, SeqCst);
    let bad = clients.await.expect("clients end");
    assert!(bad.is_empty(), "{bad:?} of {made:?}");
}

#[tokio::test]
async fn all_dead_is_connect_failed_then_breaker_open_and_heals_by_itself() {
    let mut upstreams = [Mortal::start(), Mortal::start()];
    let addrs = upstreams.each_ref().map(|upstream| upstream.addr);
    let mut settings = checked(&addrs);
    settings.retries.enabled = true;
    settings.circuit_breaker.enabled = true;
    settings.circuit_breaker.timeout = Duration::millis(200);
    let gateway = Running::start(settings).await;
    eventually!(check_of(&gateway, 0).await == "healthy");
    upstreams.iter_mut().for_each(Mortal::kill);
    eventually!(check_of(&gateway, 0).await == "unhealthy" && check_of(&gateway, 1).await == "unhealthy");
    assert_eq!(gateway.look("/health").await.json()["services"]["product"]["status"], "down");
    for _ in 0..3 {
        gateway.get("/api/products").await.refused(502, "connect_failed");
    }
    gateway.get("/api/products").await.refused(503, "breaker_open");
    let _upstream = Mortal::at(addrs[1]);
    eventually!(gateway.get("/api/products").await.status() == 200);
    eventually!(check_of(&gateway, 1).await == "healthy");
}

#[tokio::test]
async fn a_backend_that_is_back_is_called_within_seconds_however_long_its_breaker_would_wait() {
    let mut upstream = Mortal::start();
    let mut settings = checked(&[upstream.addr]);
    settings.health_check.interval = Duration::secs(600);
    settings.circuit_breaker.enabled = true;
    settings.circuit_breaker.timeout = Duration::secs(600);
    let gateway = Running::start(settings).await;
    eventually!(check_of(&gateway, 0).await == "healthy");
    upstream.kill();
    eventually!(gateway.get("/api/products").await.header("x-gateway-reason") == Some("breaker_open"));
    let upstream = Mortal::at(upstream.addr);
    eventually!(gateway.get("/api/products").await.status() == 200);
    let breaker = format!(r#"gateway_circuit_breaker_state{{backend="http://{}",service="product"}}"#, upstream.addr);
    eventually!(gateway.get("/api/products").await.status() == 200 && gateway.metric(&breaker) == Some(0.0));
}

#[tokio::test]
async fn at_the_start_nothing_is_refused_and_backends_not_up_yet_are_found() {
    let addr = nobody();
    let gateway = Running::start(checked(&[addr])).await;
    eventually!(check_of(&gateway, 0).await == "never_healthy");
    let upstream = Mortal::at(addr);
    assert_eq!(gateway.get("/api/products").await.status(), 200, "there is no other");
    eventually!(check_of(&gateway, 0).await == "healthy");
    assert_eq!(upstream.count(), 1);
}

#[tokio::test]
async fn a_backend_that_hangs_is_found_out_while_settings_change_all_the_time() {
    let hangs = Upstream::raw(|stream| async move {
        let _held = stream;
        std::future::pending::<()>().await;
    })
    .await;
    let mut settings = checked(&[hangs.addr]);
    let gateway = Running::start(settings.clone()).await;
    eventually!({
        settings.limits.uri = if settings.limits.uri == 1000 { 2000 } else { 1000 };
        gateway.handle.apply(settings.clone()).expect("good settings");
        check_of(&gateway, 0).await == "never_healthy"
    });
}

#[tokio::test]
async fn a_backend_never_seen_healthy_gets_nothing_while_another_is() {
    let (well, never) = (Mortal::start(), Mortal::start());
    never.ready.store(500, SeqCst);
    let gateway = Running::start(checked(&[never.addr, well.addr])).await;
    eventually!(check_of(&gateway, 0).await == "never_healthy" && check_of(&gateway, 1).await == "healthy");
    for _ in 0..20 {
        assert_eq!(gateway.get("/api/products").await.status(), 200);
    }
    assert_eq!((never.count(), well.count()), (0, 20));
    never.ready.store(200, SeqCst);
    eventually!(check_of(&gateway, 0).await == "healthy");
    gateway.get("/api/products").await;
    gateway.get("/api/products").await;
    assert_eq!(never.count(), 1);
}

#[tokio::test]
async fn a_backend_that_drains_is_left_at_once_though_it_is_half_of_all() {
    let (stays, drains) = (Mortal::start(), Mortal::start());
    let gateway = Running::start(checked(&[stays.addr, drains.addr])).await;
    eventually!(check_of(&gateway, 0).await == "healthy" && check_of(&gateway, 1).await == "healthy");
    drains.ready.store(503, SeqCst);
    eventually!(check_of(&gateway, 1).await == "not_ready");
    for _ in 0..10 {
        assert_eq!(gateway.get("/api/products").await.status(), 200);
    }
    assert_eq!((stays.count(), drains.count()), (10, 0));
}

#[tokio::test]
async fn checks_that_fail_at_half_of_the_backends_are_not_believed() {
    let (one, two) = (Mortal::start(), Mortal::start());
    let gateway = Running::start(checked(&[one.addr, two.addr])).await;
    eventually!(check_of(&gateway, 0).await == "healthy" && check_of(&gateway, 1).await == "healthy");
    // Not its own word: a wrong path, say. Calls still work.
    two.ready.store(404, SeqCst);
    eventually!(check_of(&gateway, 1).await == "unhealthy");
    for _ in 0..10 {
        assert_eq!(gateway.get("/api/products").await.status(), 200);
    }
    assert_eq!((one.count(), two.count()), (5, 5));
}

#[tokio::test]
async fn a_backend_that_recovered_gets_its_share_back_slowly() {
    let mut upstreams = [Mortal::start(), Mortal::start(), Mortal::start()];
    let addrs = upstreams.each_ref().map(|upstream| upstream.addr);
    let mut settings = checked(&addrs);
    settings.load_balancer.slow_start = Duration::secs(600);
    let gateway = Running::start(settings).await;
    eventually!(check_of(&gateway, 0).await == "healthy");
    upstreams[0].kill();
    eventually!(check_of(&gateway, 0).await == "unhealthy");
    upstreams[0] = Mortal::at(addrs[0]);
    eventually!(check_of(&gateway, 0).await == "healthy");
    let mut client = Client::connect(gateway.addr).await;
    for _ in 0..300 {
        assert_eq!(client.send(get("/api/products")).await.expect("an answer").status(), 200);
    }
    let counts = upstreams.each_ref().map(Mortal::count);
    assert!((1..=30).contains(&counts[0]), "a tenth of a hundred: {counts:?}");
    assert!(counts[1].abs_diff(counts[2]) <= 20, "the others share evenly: {counts:?}");
}

#[tokio::test]
async fn grpc_backends_are_asked_by_their_health_service() {
    // 1 is SERVING, 2 NOT_SERVING, 12 the service is not implemented.
    let says = Arc::new(AtomicU8::new(2));
    let answer = Arc::clone(&says);
    let upstream = Upstream::raw(move |stream| {
        let answer = Arc::clone(&answer);
        let service = service_fn(move |request: Request<hyper::body::Incoming>| {
            let answer = answer.load(SeqCst);
            async move {
                assert_eq!(request.uri().path(), "/grpc.health.v1.Health/Check");
                assert_eq!(request.into_body().collect().await.expect("a body").to_bytes(), vec![0; 5]);
                let (message, status) = match answer {
                    12 => (Bytes::new(), "12"),
                    serving => (Bytes::from(vec![0, 0, 0, 0, 2, 8, serving]), "0"),
                };
                let trailers = http::HeaderMap::from_iter([(
                    http::HeaderName::from_static("grpc-status"),
                    http::HeaderValue::from_static(status),
                )]);
                let body = Full::new(message).with_trailers(async move { Some(Ok(trailers)) });
                Ok::<_, Infallible>(Response::new(body))
            }
        });
        async move {
            let builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            let _ = builder.serve_connection(TokioIo::new(stream), service).await;
        }
    })
    .await;
    let mut settings = checked(&[nobody()]);
    settings.services["product"].grpc_urls = backends(&[upstream.addr]);
    let gateway = Running::start(settings).await;
    eventually!(check_of(&gateway, 1).await == "never_healthy");
    says.store(1, SeqCst);
    eventually!(check_of(&gateway, 1).await == "healthy");
    says.store(2, SeqCst);
    eventually!(check_of(&gateway, 1).await == "not_ready");
    says.store(12, SeqCst);
    eventually!(check_of(&gateway, 1).await == "healthy");
}
