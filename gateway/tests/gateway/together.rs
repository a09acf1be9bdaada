//! Rate limits that several gateways keep together, in Redis.

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::time::Instant;

use shop_config::{Duration, Secret};
use shop_gateway::Config;
use shop_gateway::settings::RouteLimit;
use shop_testing::{Collector, Process, backend, eventually, free_port};
use tokio::io::copy_bidirectional;
use tokio::net::TcpStream;

use crate::support::{Client, Running, Upstream, config, get};

const MODE: &str = r#"gateway_rate_limiter_mode{mode="redis"}"#;
const FALLBACKS: &str = "gateway_rate_limit_fallback_total";

/// `burst` calls, and hardly any more during a test.
fn limited(upstream: SocketAddr, url: &str, prefix: &str, burst: u32) -> Config {
    let mut settings = config(upstream);
    let limit = &mut settings.rate_limit;
    limit.enabled = true;
    limit.requests = NonZeroU32::MIN;
    limit.window = Duration::secs(10_000);
    limit.burst = NonZeroU32::new(burst).expect("not zero");
    limit.redis.url = Secret::from(url);
    prefix.clone_into(&mut limit.redis.key_prefix);
    // A busy machine must not look like a sick Redis.
    limit.redis.timeout = Duration::secs(10);
    settings
}

async fn counting_in_redis(settings: Config) -> Running {
    let gateway = Running::start(settings).await;
    eventually!(gateway.metric(MODE) == Some(1.0));
    gateway
}

/// How many of `calls` calls are allowed; the others are refused for the rate and nothing else.
async fn allowed(addr: SocketAddr, calls: usize) -> usize {
    let mut client = Client::connect(addr).await;
    let mut allowed = 0;
    for _ in 0..calls {
        let reply = client.send(get("/api/products")).await.expect("an answer");
        if reply.status() == 200 {
            allowed += 1;
        } else {
            reply.refused(429, "rate_limited");
        }
    }
    allowed
}

#[tokio::test(flavor = "multi_thread")]
async fn sixteen_clients_of_two_gateways_get_exactly_what_one_budget_has() {
    let Some(keys) = backend::redis().await else { return };
    let upstream = Upstream::echo().await;
    let settings = limited(upstream.addr, &keys.url(), keys.prefix(), 200);
    let gateways = [counting_in_redis(settings.clone()).await, counting_in_redis(settings).await];
    let clients = (0..16).map(|client| allowed(gateways[client % 2].addr, 50));
    let sum: usize = futures_util::future::join_all(clients).await.into_iter().sum();
    assert_eq!((sum, upstream.requests.load(SeqCst)), (200, 200));
    for gateway in &gateways {
        assert_eq!(gateway.metric(FALLBACKS), Some(0.0));
        let reply = gateway.get("/api/products").await;
        let wait: u32 = reply.header("retry-after").and_then(|wait| wait.parse().ok()).expect("a number");
        assert!((9_000..=10_000).contains(&wait), "{wait}");
        assert_eq!(reply.header("ratelimit"), Some(format!("\"client\";r=0;t={wait}").as_str()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_left_is_told_and_routes_have_budgets_of_their_own() {
    let Some(keys) = backend::redis().await else { return };
    let upstream = Upstream::echo().await;
    let mut settings = limited(upstream.addr, &keys.url(), keys.prefix(), 3);
    let payments = settings.routes.get_mut("payments").expect("is there");
    payments.rate_limit = Some(Box::new(RouteLimit { burst: NonZeroU32::new(1), ..RouteLimit::default() }));
    let gateway = counting_in_redis(settings).await;
    for (path, status, said) in [
        ("/api/products", 200, "\"client\";r=2;t=10000"),
        ("/api/payments", 200, "\"/api/payments/*\";r=0;t=10000"),
        ("/api/products", 200, "\"client\";r=1;t=20000"),
        ("/api/products", 200, "\"client\";r=0;t=30000"),
    ] {
        let reply = gateway.get(path).await;
        assert_eq!((reply.status(), reply.header("ratelimit")), (status, Some(said)), "{path}");
    }
    gateway.get("/api/payments").await.refused(429, "rate_limited");
    gateway.get("/api/products").await.refused(429, "rate_limited");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_processes_share_one_budget() {
    let Some(keys) = backend::redis().await else { return };
    let upstream = Upstream::echo().await;
    let ports = [free_port(), free_port()];
    let mut processes = ports.map(|port| {
        Process::new("gateway")
            .env("IDENTITY_MODE", "off")
            .env("PORT", port.to_string())
            .env("ADMIN_PORT", "0")
            .env("PRODUCT_SERVICE_URLS", format!("http://{}", upstream.addr))
            .env("RATE_LIMIT_BURST", "20")
            .env("RATE_LIMIT_REQUESTS", "1")
            .env("RATE_LIMIT_WINDOW", "10000s")
            .env("RATE_LIMIT_REDIS_URL", keys.url())
            .env("SHOP_RATE_LIMIT__REDIS__KEY_PREFIX", keys.prefix())
            .env("SHOP_RATE_LIMIT__REDIS__TIMEOUT", "10s")
    });
    for (process, port) in processes.iter_mut().zip(ports) {
        process.start(port).await;
        eventually!(process.output().contains("counted in Redis at"));
    }
    let addrs = ports.map(|port| SocketAddr::from(([127, 0, 0, 1], port)));
    let (one, two) = tokio::join!(allowed(addrs[0], 30), allowed(addrs[1], 30));
    assert_eq!(one + two, 20, "{one} and {two}");
    let password = keys.url().split_once(':').and_then(|(_, rest)| Some(rest.split_once('@')?.0.to_owned()));
    for process in &processes {
        let secret = password.as_deref().unwrap_or("//:").trim_start_matches("//:");
        assert!(secret.is_empty() || !process.output().contains(secret), "the password is not logged");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_redis_is_asked_is_a_part_of_the_requests_trace() {
    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
    let Some(keys) = backend::redis().await else { return };
    let (upstream, collector) = (Upstream::echo().await, Collector::start().await);
    let port = free_port();
    let mut process = Process::new("gateway")
        .env("IDENTITY_MODE", "off")
        .env("PORT", port.to_string())
        .env("ADMIN_PORT", "0")
        .env("PRODUCT_SERVICE_URLS", format!("http://{}", upstream.addr))
        .env("RATE_LIMIT_BURST", "1")
        .env("RATE_LIMIT_REQUESTS", "1")
        .env("RATE_LIMIT_WINDOW", "10000s")
        .env("RATE_LIMIT_REDIS_URL", keys.url())
        .env("SHOP_RATE_LIMIT__REDIS__KEY_PREFIX", keys.prefix())
        .env("SHOP_RATE_LIMIT__REDIS__TIMEOUT", "10s")
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", collector.endpoint());
    process.start(port).await;
    eventually!(process.output().contains("counted in Redis at"));
    let mut client = Client::connect(SocketAddr::from(([127, 0, 0, 1], port))).await;
    for (flags, status) in [("01", 200), ("00", 429), ("01", 429)] {
        let mut sent = get("/api/products");
        let traceparent = format!("00-{TRACE}-00f067aa0ba902b7-{flags}");
        sent.headers_mut().insert("traceparent", traceparent.parse().expect("value"));
        assert_eq!(client.send(sent).await.expect("an answer").status(), status);
    }
    assert!(process.stop().await.success());
    let spans = collector.spans();
    let requests: Vec<_> = spans.iter().filter(|span| span.kind == "SERVER").collect();
    assert_eq!(requests.len(), 2, "neither the one nobody records nor what is asked without a request: {spans:?}");
    for (request, calls) in requests.into_iter().zip([&["EVALSHA", "GET"][..], &["EVALSHA"]]) {
        let below: Vec<_> = spans.iter().filter(|span| span.parent == request.id).collect();
        let mut names: Vec<_> = below.iter().map(|span| &*span.name).collect();
        names.sort_unstable();
        assert_eq!(names, calls, "{spans:?}");
        let asked = below.iter().find(|span| span.name == "EVALSHA").expect("is there");
        assert_eq!((&*asked.kind, &*asked.trace, asked.failed), ("CLIENT", TRACE, false));
        assert_eq!((asked.get("db.system.name"), asked.get("db.operation.name")), ("redis", "EVALSHA"));
        let mut told: Vec<_> = asked.attributes.keys().map(String::as_str).collect();
        told.sort_unstable();
        let kinds = ["db.namespace", "db.operation.name", "db.system.name", "server.address", "server.port"];
        assert_eq!(told, kinds, "not whose budget it is");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_redis_each_gateway_counts_by_itself_and_with_it_back_together() {
    let Some(own) = backend::Own::start("redis").await else { return };
    let upstream = Upstream::echo().await;
    let gateway = counting_in_redis(limited(upstream.addr, own.variable("SHOP_TEST_REDIS_URL"), "t:", 5)).await;
    assert_eq!(allowed(gateway.addr, 3).await, 3);
    let (stop, answered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let load = tokio::spawn({
        let (stop, answered, addr) = (Arc::clone(&stop), Arc::clone(&answered), gateway.addr);
        async move {
            let mut sum = 0;
            while !stop.load(SeqCst) {
                sum += allowed(addr, 10).await;
                answered.fetch_add(10, SeqCst);
            }
            sum
        }
    });
    eventually!(answered.load(SeqCst) >= 20);
    own.kill().await;
    eventually!(gateway.metric(MODE) == Some(0.0));
    let at = answered.load(SeqCst);
    eventually!(answered.load(SeqCst) > at + 50);
    assert!(gateway.metric(FALLBACKS).expect("counted") > 50.0);
    own.resume().await;
    eventually!(gateway.metric(MODE) == Some(1.0));
    let at = answered.load(SeqCst);
    eventually!(answered.load(SeqCst) > at + 20);
    stop.store(true, SeqCst);
    let sum = load.await.expect("ends");
    // Two were left of five. Redis may have lost what it knew; this gateway did not give anything away meanwhile.
    assert!((2..=2 + 5).contains(&sum), "{sum}");
    let by_itself = gateway.metric(FALLBACKS);
    allowed(gateway.addr, 10).await;
    assert_eq!(gateway.metric(FALLBACKS), by_itself, "nothing is counted here any more");
}

/// Two gateways have used up one budget when a master dies: nobody gets more for it, or is refused for another reason, whoever
/// counts meanwhile.
async fn the_budget_is_kept(redises: &backend::Redises) {
    let upstream = Upstream::echo().await;
    let settings = limited(upstream.addr, redises.url(), "t:", 50);
    let gateways = [counting_in_redis(settings.clone()).await, counting_in_redis(settings).await];
    let (stop, answered) = (AtomicBool::new(false), [AtomicUsize::new(0), AtomicUsize::new(0)]);
    let load = futures_util::future::join_all([0, 1].map(async |index| {
        let mut sum = 0;
        while !stop.load(SeqCst) {
            sum += allowed(gateways[index].addr, 10).await;
            answered[index].fetch_add(10, SeqCst);
        }
        sum
    }));
    let go_on = async || {
        let before = answered.each_ref().map(|answered| answered.load(SeqCst));
        eventually!(answered.iter().zip(before).all(|(answered, before)| answered.load(SeqCst) >= before + 100));
    };
    let by_themselves = || gateways.each_ref().map(|gateway| gateway.metric(FALLBACKS));
    let dies = async {
        go_on().await;
        redises.kill_master_of("t:client*").await;
        go_on().await;
        eventually!(within std::time::Duration::from_mins(2), {
            let before = by_themselves();
            go_on().await;
            // A cluster's client may wait for the next master rather than give up.
            before == by_themselves() && gateways.iter().all(|gateway| gateway.metric(MODE) == Some(1.0))
        });
        stop.store(true, SeqCst);
    };
    let (sums, ()) = tokio::join!(load, dies);
    assert_eq!((sums.iter().sum::<usize>(), upstream.requests.load(SeqCst)), (50, 50), "{sums:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn sentinels_choose_another_master_and_two_gateways_keep_their_budget() {
    let Some(redises) = backend::Redises::behind_sentinels().await else { return };
    the_budget_is_kept(&redises).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_replaces_a_master_and_two_gateways_keep_their_budget() {
    let Some(redises) = backend::Redises::cluster().await else { return };
    the_budget_is_kept(&redises).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_hangs_costs_its_timeout_once_and_not_with_each_call() {
    let Some(keys) = backend::redis().await else { return };
    let upstream = Upstream::echo().await;
    let place = keys.url().rsplit_once('@').map_or_else(|| keys.url(), |(_, place)| place.to_owned());
    let place = place.trim_start_matches("redis://").split('/').next().expect("host and port").to_owned();
    let hangs = Arc::new(AtomicBool::new(false));
    let is_hanging = Arc::clone(&hangs);
    // Connections that still pass commands on.
    let passing = Arc::new(AtomicUsize::new(0));
    let passes = Arc::clone(&passing);
    let server = place.clone();
    let relay = Upstream::raw(move |mut stream| {
        let (hangs, server, passing) = (Arc::clone(&is_hanging), server.clone(), Arc::clone(&passes));
        async move {
            passing.fetch_add(1, SeqCst);
            let mut redis = TcpStream::connect(server).await.expect("connects");
            let hung = async {
                while !hangs.load(SeqCst) {
                    tokio::time::sleep(std::time::Duration::from_millis(1)).await;
                }
            };
            let ended = tokio::select! {
                _ = copy_bidirectional(&mut stream, &mut redis) => true,
                () = hung => false,
            };
            passing.fetch_sub(1, SeqCst);
            if ended {
                return;
            }
            // Open, and silent until it is well again.
            while hangs.load(SeqCst) {
                tokio::time::sleep(std::time::Duration::from_millis(1)).await;
            }
        }
    })
    .await;
    let url = keys.url().replace(&place, &relay.addr.to_string());
    let mut settings = limited(upstream.addr, &url, keys.prefix(), 1000);
    settings.rate_limit.redis.timeout = Duration::secs(1);
    let gateway = counting_in_redis(settings).await;
    assert_eq!(allowed(gateway.addr, 10).await, 10);
    hangs.store(true, SeqCst);
    eventually!(passing.load(SeqCst) == 0);
    let begun = Instant::now();
    assert_eq!(allowed(gateway.addr, 100).await, 100);
    let took = begun.elapsed();
    assert!(took.as_secs() < 20, "{took:?} for a hundred calls");
    assert_eq!(gateway.metric(MODE), Some(0.0));
    assert!(gateway.metric(FALLBACKS).expect("counted") >= 99.0);
    hangs.store(false, SeqCst);
    eventually!(gateway.metric(MODE) == Some(1.0));
}

#[tokio::test]
async fn a_redis_that_was_never_there_is_no_reason_not_to_serve() {
    let upstream = Upstream::echo().await;
    let nobody = crate::support::nobody();
    let gateway = Running::start(limited(upstream.addr, &format!("redis://{nobody}"), "t:", 3)).await;
    assert_eq!(allowed(gateway.addr, 10).await, 3);
    assert_eq!(gateway.metric(FALLBACKS), Some(10.0));
    assert_eq!(gateway.metric(r#"gateway_rate_limiter_mode{mode="local"}"#), Some(1.0));
}
