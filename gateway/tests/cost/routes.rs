//! What a route keeps of the memory while it is there, in the settings and in what is made of them.

use std::fmt::Write as _;

use shop_config::Sources;
use shop_gateway::{Config, Gateway};
use shop_runtime::Shutdown;
use shop_testing::eventually;

use crate::{ALLOCATOR, ALONE};

/// Bytes of a route in the settings.
const MOST_OF_SETTINGS: usize = 920;
/// Bytes of a route in all.
const MOST_IN_ALL: usize = 1800;

/// So many routes to ten services.
fn settings(count: usize) -> String {
    let mut text = "suite = false\nworkers = 1\n[http]\nhost = '127.0.0.1'\nport = 0\n[admin]\nport = 0\n\
                    [identity]\nmode = 'off'\n[health_check]\nenabled = false\n"
        .to_owned();
    // Writing to a text cannot fail.
    for place in 0..10 {
        let _ = writeln!(text, "[services.s{place}]\nurls = ['http://127.0.0.1:9']");
    }
    for number in 0..count {
        let place = number % 10;
        let route = format!("path = '/area{}/route{number}/*'\nrewrite = '/*'\nto = 's{place}'", number % 100);
        let _ = writeln!(text, "[routes.r{number}]\n{route}");
    }
    text
}

/// Bytes in use.
fn kept() -> usize {
    let stats = ALLOCATOR.stats();
    stats.bytes_allocated.saturating_sub(stats.bytes_deallocated)
}

/// What settings with so many routes keep, and a gateway that was built with them.
async fn measure(count: usize) -> [usize; 2] {
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), settings(count)).expect("written");
    let sources = Sources { files: vec![file.path().to_owned()], ..Sources::default() };
    // Until whoever was here before has let go of everything.
    let mut last = 0;
    eventually!({
        let now = kept();
        std::mem::replace(&mut last, now) == now
    });
    let before = kept();
    let config = shop_config::load::<Config>(&sources).expect("good settings").settings;
    let read = kept() - before;
    let (metrics, shutdown) = (shop_telemetry::Metrics::new("gateway"), Shutdown::new());
    let gateway = Gateway::build(config, metrics, &shutdown).await.expect("builds");
    let built = kept() - before;
    drop(gateway);
    [read, built]
}

#[tokio::test]
async fn a_route_keeps_no_more_memory_than_it_did() {
    const MORE: usize = 2000;
    let _alone = ALONE.lock().await;
    // What is made once and stays.
    measure(10).await;
    let (few, many) = (measure(500).await, measure(500 + MORE).await);
    let [settings, all] = [0, 1].map(|place| (many[place] - few[place]) / MORE);
    assert!(settings <= MOST_OF_SETTINGS && all <= MOST_IN_ALL, "bytes: {settings} in the settings, {all} in all");
}
