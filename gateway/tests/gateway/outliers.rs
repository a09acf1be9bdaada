//! Backends that do worse than the others; and what one service may have otherwise than all.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::{Either, select};
use http_body_util::Full;
use hyper::Response;
use shop_gateway::Config;
use shop_gateway::settings::{OutlierDetection, Service, ServiceLimits};
use shop_testing::eventually;
use tokio::sync::Semaphore;

use crate::support::{Running, Upstream, backends, config, get, nobody};

fn number(number: u32) -> Option<NonZeroU32> {
    NonZeroU32::new(number)
}

/// Answers 503, or only after a while, as long as it is ill.
async fn backend(is_ill: &Arc<AtomicBool>, is_slow: bool) -> Upstream {
    let is_ill = Arc::clone(is_ill);
    Upstream::serving(move |_| {
        let is_ill = is_ill.load(SeqCst);
        async move {
            let mut answer = Response::new(Full::new(Bytes::new()));
            match is_slow {
                true if is_ill => tokio::time::sleep(Duration::from_millis(30)).await,
                false if is_ill => *answer.status_mut() = http::StatusCode::SERVICE_UNAVAILABLE,
                _ => {}
            }
            answer
        }
    })
    .await
}

fn comparing(upstreams: &[&Upstream], settings: &OutlierDetection) -> Config {
    let addrs: Vec<_> = upstreams.iter().map(|upstream| upstream.addr).collect();
    let mut config = config(nobody());
    let outlier_detection = OutlierDetection {
        interval: shop_config::Duration::millis(250),
        min_requests: number(3).expect("three"),
        max_ejected: 100,
        ..settings.clone()
    };
    config.services["product"] = Service { urls: backends(&addrs), outlier_detection, ..Service::default() };
    config.load_balancer.slow_start = shop_config::Duration::secs(0);
    config
}

/// Why each backend of the product service is ejected, as operators see it.
async fn ejected(gateway: &Running) -> Vec<Option<String>> {
    let detail = gateway.look("/health/detailed").await.json();
    let backends = detail["services"]["product"]["backends"].as_array().expect("backends").clone();
    backends.iter().map(|backend| backend["ejected"].as_str().map(str::to_owned)).collect()
}

/// Calls each of four often enough to be compared.
async fn call(gateway: &Running) {
    for _ in 0..16 {
        gateway.get("/api/products").await;
    }
}

async fn one_of_four(is_slow: bool, settings: &OutlierDetection) -> (Running, [Upstream; 4], Arc<AtomicBool>) {
    let (ill, well) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicBool::new(false)));
    let all = [
        backend(&well, is_slow).await,
        backend(&ill, is_slow).await,
        backend(&well, is_slow).await,
        backend(&well, is_slow).await,
    ];
    let gateway = Running::start(comparing(&all.each_ref(), settings)).await;
    (gateway, all, ill)
}

#[tokio::test]
async fn who_fails_or_takes_more_than_the_others_is_ejected_and_shown() {
    let long = OutlierDetection { ejection_time: shop_config::Duration::secs(3600), ..OutlierDetection::default() };
    for (is_slow, why, settings) in [
        (false, "success_rate", OutlierDetection { success_rate: number(20), ..long.clone() }),
        (true, "latency", OutlierDetection { latency: number(3), ..long.clone() }),
    ] {
        let (gateway, all, _) = one_of_four(is_slow, &settings).await;
        eventually!({
            call(&gateway).await;
            ejected(&gateway).await[1].as_deref() == Some(why)
        });
        let health = format!(r#"gateway_backend_health{{backend="http://{}",service="product"}}"#, all[1].addr);
        assert_eq!(gateway.metric(&health), Some(0.0));
        let before = all[1].requests.load(SeqCst);
        for _ in 0..12 {
            assert_eq!(gateway.get("/api/products").await.status(), 200);
        }
        assert_eq!(all[1].requests.load(SeqCst), before, "{why}");
        // Nobody compares any more, so nobody is worse.
        let mut settings = comparing(&all.each_ref(), &OutlierDetection::default());
        settings.services["product"].outlier_detection = OutlierDetection::default();
        gateway.handle.apply(settings).expect("applies");
        assert_eq!(ejected(&gateway).await[1], None);
        call(&gateway).await;
        assert!(all[1].requests.load(SeqCst) > before);
        assert_eq!(gateway.metric(&health), Some(1.0));
    }
}

#[tokio::test]
async fn who_was_ejected_comes_back_when_its_time_is_over() {
    let short = shop_config::Duration::millis(50);
    let settings = OutlierDetection { success_rate: number(20), ejection_time: short, ..OutlierDetection::default() };
    let (gateway, all, ill) = one_of_four(false, &settings).await;
    eventually!({
        call(&gateway).await;
        ejected(&gateway).await[1].is_some()
    });
    ill.store(false, SeqCst);
    eventually!({
        call(&gateway).await;
        ejected(&gateway).await == [None, None, None, None]
    });
    let before = all[1].requests.load(SeqCst);
    call(&gateway).await;
    assert!(all[1].requests.load(SeqCst) > before);
}

#[tokio::test]
async fn when_half_of_them_are_out_ejections_are_ignored() {
    let (ill, well) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicBool::new(false)));
    let all = [
        backend(&ill, false).await,
        backend(&ill, false).await,
        backend(&well, false).await,
        backend(&well, false).await,
    ];
    let settings = OutlierDetection {
        success_rate: number(20),
        ejection_time: shop_config::Duration::secs(3600),
        ..OutlierDetection::default()
    };
    let gateway = Running::start(comparing(&all.each_ref(), &settings)).await;
    eventually!({
        call(&gateway).await;
        ejected(&gateway).await.iter().flatten().count() == 2
    });
    let before = [&all[0], &all[1]].map(|one| one.requests.load(SeqCst));
    call(&gateway).await;
    let after = [&all[0], &all[1]].map(|one| one.requests.load(SeqCst));
    assert!(after[0] > before[0] && after[1] > before[1], "{before:?} {after:?}");
}

#[tokio::test]
async fn a_service_may_have_retries_breakers_and_checks_of_its_own() {
    let ill = Arc::new(AtomicBool::new(true));
    let (mine, other) = (backend(&ill, false).await, backend(&ill, false).await);
    let paths = Arc::new(parking_lot::Mutex::new(Vec::new()));
    let noted = Arc::clone(&paths);
    let checked = Upstream::serving(move |request| {
        noted.lock().push(request.uri().path().to_owned());
        async { Response::new(Full::new(Bytes::new())) }
    });
    let checked = checked.await;
    let mut settings = config(other.addr);
    settings.circuit_breaker.timeout = shop_config::Duration::secs(3600);
    let of_its_own = "retries = { enabled = true, attempts = 1 }\ncircuit_breaker = { enabled = true }";
    let mut service: Service = toml::from_str(of_its_own).expect("a service");
    service.urls = backends(&[mine.addr]);
    settings.services["product"] = service;
    let health: Service =
        toml::from_str("health_check = { enabled = true, path = \"/ready\", interval = \"20ms\" }").expect("a service");
    settings.services["notification"] = Service { urls: backends(&[checked.addr]), ..health };
    let gateway = Running::start(settings).await;
    assert_eq!(gateway.get("/api/products").await.status(), 503);
    assert_eq!(mine.requests.load(SeqCst), 2, "once more, and not twice as by default");
    assert_eq!(gateway.get("/api/baskets").await.status(), 503);
    assert_eq!(other.requests.load(SeqCst), 1, "none more");
    gateway.get("/api/products").await;
    gateway.get("/api/products").await.refused(503, "breaker_open");
    for _ in 0..10 {
        assert_eq!(gateway.get("/api/baskets").await.header("x-gateway-reason"), None);
    }
    let seen = || paths.lock().clone();
    eventually!(seen().len() > 1);
    assert!(seen().iter().all(|path| path == "/ready"), "{:?}", seen());
    let detail = gateway.look("/health/detailed").await.json();
    assert_eq!(detail["services"]["notification"]["backends"][0]["check"], "healthy");
    assert!(detail["services"]["product"]["backends"][0]["check"].is_null(), "{detail}");
}

#[tokio::test]
async fn calls_beyond_the_limit_wait_and_those_beyond_that_are_refused_at_once() {
    let gate = Arc::new(Semaphore::new(0));
    let opened = Arc::clone(&gate);
    let upstream = Upstream::serving(move |_| {
        let gate = Arc::clone(&opened);
        async move {
            gate.acquire().await.expect("open").forget();
            Response::new(Full::new(Bytes::new()))
        }
    });
    let upstream = upstream.await;
    let mut settings = config(upstream.addr);
    settings.services["product"].limits = ServiceLimits { max_requests: number(2), max_waiting: 1 };
    settings.services["product"].timeouts.connect = Some(shop_config::Duration::secs(60));
    let gateway = Arc::new(Running::start(settings).await);
    let ask = || {
        let gateway = Arc::clone(&gateway);
        tokio::spawn(async move { gateway.get("/api/products").await })
    };
    let first = [ask(), ask()];
    eventually!(upstream.requests.load(SeqCst) == 2);
    // Whichever of these comes second is refused; the other waits.
    let (refused, third) = match select(ask(), ask()).await {
        Either::Left(answered) | Either::Right(answered) => answered,
    };
    let refused = refused.expect("an answer");
    refused.refused(503, "upstream_busy");
    assert!(refused.header("retry-after").is_some());
    assert_eq!(upstream.requests.load(SeqCst), 2);
    gate.add_permits(1);
    eventually!(upstream.requests.load(SeqCst) == 3);
    gate.add_permits(2);
    for call in first.into_iter().chain([third]) {
        assert_eq!(call.await.expect("an answer").status(), 200);
    }
    // A client that leaves makes room, too.
    let left = [ask(), ask()];
    eventually!(upstream.requests.load(SeqCst) == 5);
    left.iter().for_each(tokio::task::JoinHandle::abort);
    let next = ask();
    eventually!(upstream.requests.load(SeqCst) == 6);
    gate.add_permits(10);
    assert_eq!(next.await.expect("an answer").status(), 200);
    assert_eq!(gateway.send(get("/api/baskets")).await.status(), 200, "others are not limited");
}
