//! A collector that takes connections and never answers must not hold the process up.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use shop_config::{Log, Otel};
use shop_telemetry::{SpanKind, arrive};

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_collector_does_not_hold_up_the_end() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let endpoint = format!("http://{}", listener.local_addr().expect("bound"));
    let otel = Otel { endpoint: Some(endpoint), timeout: shop_config::Duration::millis(200), ..Otel::default() };
    let guard = shop_telemetry::init("basket", &Log::default(), &otel).expect("telemetry starts");
    drop(arrive(None, SpanKind::Server, || ("request".into(), Vec::new())));

    let start = Instant::now();
    guard.shutdown().await;
    // Generous, as the machine may be busy; without a limit it would be minutes.
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
}
