//! Spans on their way to a collector that encrypts and wants to know who sends, in a process of their own since the export is the
//! process's.

use shop_config::{Log, Otel};
use shop_telemetry::{SpanKind, arrive};
use shop_testing::Collector;
use shop_testing::certificates::{Authority, Folder, in_front_of};

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_over_tls_gets_spans_of_who_shows_a_certificate() {
    let (authority, folder) = (Authority::new(), Folder::new());
    let collector = Collector::start().await;
    let behind = collector.endpoint().trim_start_matches("http://").parse().expect("an address");
    let front = in_front_of(behind, &authority.good(&["127.0.0.1"]), Some(&authority)).await;
    let (cert, key) = folder.put_pair("basket", &authority.good(&["basket.shop"]));
    let otel = Otel {
        endpoint: Some(format!("https://{front}")),
        ca_file: Some(folder.put("ca.crt", authority.pem())),
        cert_file: Some(cert),
        key_file: Some(key),
        ..Otel::default()
    };
    let missing = Otel { ca_file: Some(folder.path().join("none.crt")), ..otel.clone() };
    let error = shop_telemetry::init("basket", &Log::default(), &missing).err().expect("no such file");
    assert!(format!("{error:#}").contains("otel.ca_file: cannot use the authorities in"), "{error:#}");

    let guard = shop_telemetry::init("basket", &Log::default(), &otel).expect("telemetry starts");
    drop(arrive(None, SpanKind::Server, || ("request".into(), Vec::new())));
    guard.shutdown().await;
    let spans = collector.spans();
    assert!(matches!(&*spans, [span] if span.name == "request" && span.service == "basket"), "{spans:?}");
}
