//! A share of a route's calls, counted over many.

use std::time::Duration;

use shop_gateway::settings::Service;
use shop_testing::eventually;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::routes::bare;
use crate::support::Running;

const CALLS: u32 = 100_000;

#[tokio::test]
async fn a_twentieth_of_a_hundred_thousand_calls_is_a_twentieth() {
    // Switched off, they need no backends, and whose turn it was is counted all the same.
    let off = Service { enabled: false, ..Service::default() };
    let routes = [("all", "path = '/*'\nto = ['stable;weight=95', 'canary;weight=5']")];
    let gateway = Running::start(bare(&[("stable", off.clone()), ("canary", off)], &routes)).await;
    let (mut read, mut write) = TcpStream::connect(gateway.addr).await.expect("connects").into_split();
    let reading = tokio::spawn(async move {
        let mut buffer = vec![0; 64 * 1024];
        while read.read(&mut buffer).await.is_ok_and(|count| count > 0) {}
    });
    // Many at a time, and none waits for the answer to another.
    let many = "GET / HTTP/1.1\r\nhost: x\r\n\r\n".repeat(100);
    for _ in 0..CALLS / 100 {
        write.write_all(many.as_bytes()).await.expect("sends");
    }
    let calls = |service: &str| {
        let line = format!(r#"gateway_requests_total{{method="GET",service="{service}",status="503"}}"#);
        gateway.metric(&line).unwrap_or_default()
    };
    eventually!(within Duration::from_mins(5), calls("stable") + calls("canary") >= f64::from(CALLS));
    // Chance goes astray by more than half a per cent of all once in 10^12 times.
    let share = calls("canary") / f64::from(CALLS);
    assert!((0.045..=0.055).contains(&share), "{share}");
    drop(write);
    reading.await.expect("no panic");
}
