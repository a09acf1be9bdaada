//! docs/metrics.md is what the code registers: every metric of every service and of the gateway. `make metrics-docs` writes it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;

use reqwest::Method;
use shop::{Config, Suite};
use shop_basket::Basket;
use shop_events::MemoryBus;
use shop_gateway::settings::{Certificate, Listener, ListenerTls, ProxyProtocol};
use shop_identity::IdentitySettings;
use shop_kafka::KafkaBus;
use shop_notification::Notification;
use shop_payment::Payment;
use shop_product::Product;
use shop_runtime::Shutdown;
use shop_telemetry::{Described, Metrics};
use shop_testing::{Api, Program, backend, eventually};
use shop_tls::TlsSettings;
use shop_web::Doors;

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/metrics.md");

/// The values of each label: there are few, and no caller can make more.
const LABELS: [(&str, &str); 24] = [
    ("backend", "A backend's address as settings or discovery give it; forgotten with it."),
    (
        "call",
        "`charge`, `find`, `void`, `refund`: what the provider is asked; of Stripe its own, such as `create_intent`.",
    ),
    ("channel", "`email`, `webhook`, `log`."),
    ("code", "The `code` of a problem; for gRPC one of its 17 codes, such as `NOT_FOUND`."),
    ("file", "The `cert_file` of a listener's certificate."),
    ("group", "A consumer group, such as `basket-service`."),
    ("listener", "The name of one of the gateway's `listeners`."),
    ("method", "An HTTP method or `OTHER`; for gRPC a method of the interface or `unmatched`."),
    ("mode", "`local` or `redis`: who counts the calls of clients."),
    (
        "outcome",
        "Of the provider `approved`, `declined`, `voided`, `unknown`, `paid_back`, `refused`, or `lost` when there was no \
         answer; of notifications and reservations as the metric says.",
    ),
    ("partition", "A partition's number."),
    ("pool", "`postgres`, `mariadb`, `sqlite_read`, `sqlite_write`."),
    ("provider", "Who moves the money: `stripe` or `sandbox`."),
    ("reason", "One of the gateway's [reason words](gateway.md)."),
    ("result", "`applied`, `unchanged`, `refused`; of copies of requests `sent`, `failed`, `dropped`, `too_large`."),
    ("revision", "The commit it was built from, or `unknown`."),
    ("route", "A route's template, never a path; `unmatched` for those without one."),
    ("service", "The service's name; at the gateway also `gateway` for its own routes."),
    ("source", "A `dns://`, `srv://` or `file://` address of the settings."),
    ("state", "`idle` or `in_use`."),
    ("status", "An HTTP status, 499 when the client left first; of payments their status."),
    ("topic", "A topic of events."),
    ("version", "The program's version."),
    (
        "what",
        "Of what is recovered `expired`, `settled`, `refunds`; of what waits `processing`, `requires_action`, `authorised`, \
         `refund`.",
    ),
];

/// What OpenTelemetry's and Prometheus' conventions have for the end of a name.
const UNITS: [(&str, &str); 3] =
    [("_timestamp_seconds", "seconds, Unix time"), ("_seconds", "seconds"), ("_bytes", "bytes")];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_page_of_metrics_is_current() {
    let page = page(&Box::pin(collect()).await);
    if is_update() {
        return std::fs::write(PAGE, page).expect("writes the page");
    }
    let committed = std::fs::read_to_string(PAGE).unwrap_or_default();
    assert!(committed == page, "docs/metrics.md is not what the code registers: run `make metrics-docs`");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_keep_to_the_conventions() {
    for (name, (metric, _)) in Box::pin(collect()).await {
        let words = name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_');
        assert!(words, "{name} has other letters than a-z");
        assert_eq!(metric.kind == "counter", name.ends_with("_total"), "{name} is a {}", metric.kind);
        assert!(metric.kind != "histogram" || name.ends_with("_seconds"), "{name} does not tell its unit");
        for ill in
            ["_ms", "_millis", "_milliseconds", "_minutes", "_percent", "_count", "_sum", "_bucket", "_info_total"]
        {
            assert!(!name.ends_with(ill), "{name} ends in {ill}");
        }
        assert!(!metric.help.trim().is_empty(), "{name} does not say what it is");
        for label in &metric.labels {
            assert!(
                LABELS.iter().any(|(known, _)| known == label),
                "{name}: the values of {label} are not told in LABELS"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn openmetrics_has_the_traces_of_requests_and_a_reader_takes_it() {
    let data = tempfile::tempdir().expect("a folder");
    let suite = Box::pin(Suite::build(embedded(data.path()))).await.expect("the suite starts");
    let addresses = suite.addresses();
    let [gateway, product] = [addresses.gateway, addresses.product].map(|at| Api::new(at.expect("it runs")));
    let shutdown = Shutdown::new();
    let serving = tokio::spawn(suite.run(shutdown.clone()));
    let traced = |api: &Api, trace: &str, flags| {
        let request = api.request(Method::GET, "/api/products?limit=1");
        request.header("traceparent", format!("00-{trace}-00f067aa0ba902b7-{flags}"))
    };
    for (trace, flags) in [(RECORDED, "01"), (UNRECORDED, "00")] {
        assert_eq!(gateway.send(traced(&gateway, trace, flags)).await.status, 200);
    }
    for api in [&gateway, &product] {
        let plain = api.send(api.request(Method::GET, "/metrics")).await;
        assert!(plain.header("content-type").starts_with("text/plain"), "{plain:?}");
        assert!(!plain.text.contains("trace_id") && !plain.text.contains("# EOF"), "{}", plain.text);
        let accept = "application/openmetrics-text;version=1.0.0;q=0.9,text/plain;q=0.5";
        let open = eventually!({
            let open = api.send(api.request(Method::GET, "/metrics").header("accept", accept)).await;
            open.text.contains(&format!("# {{trace_id=\"{RECORDED}\"}} ")).then_some(open)
        });
        assert!(open.header("content-type").starts_with("application/openmetrics-text"), "{open:?}");
        assert!(!open.text.contains(UNRECORDED), "{}", open.text);
        read(&open.text);
    }
    shutdown.soft.cancel();
    serving.await.expect("no panic").expect("a clean end");
}

const RECORDED: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const UNRECORDED: &str = "5cf92f3577b34da6a3ce929d0e0e4736";

/// Has Prometheus' own reader look at it, which is strict.
fn read(text: &str) {
    let Some(python) = backend::openmetrics() else { return };
    let script = "import sys\nfrom prometheus_client.openmetrics.parser import text_string_to_metric_families as read\n\
                  print(sum(1 for family in read(sys.stdin.read()) for sample in family.samples if sample.exemplar))";
    let output = Program::new(python).args(["-c", script]).input(text).run();
    assert!(output.status.success(), "the reader refuses:\n{text}\n{}", String::from_utf8_lossy(&output.stderr));
    assert_ne!(String::from_utf8_lossy(&output.stdout).trim(), "0", "no example was read");
}

/// By name, with who has it.
type All = BTreeMap<String, (Described, BTreeSet<&'static str>)>;

/// What each part registers when it is built, on embedded stores and with a bus of both kinds.
async fn collect() -> All {
    let data = tempfile::tempdir().expect("a folder");
    let mut config = Config { data: data.path().to_owned(), identity: IdentitySettings::off(), ..Config::default() };
    for http in [&mut config.product.http, &mut config.basket.http, &mut config.payment.http, &mut config.gateway.http]
    {
        http.port = 0;
    }
    for grpc in
        [&mut config.product.grpc, &mut config.basket.grpc, &mut config.payment.grpc, &mut config.notification.grpc]
    {
        grpc.port = 0;
    }
    let url = |name: &str| Some(format!("sqlite://{}", data.path().join(name).display()).into());
    config.product.database.url = url("product.db");
    config.basket.redis.url = url("basket.db");
    config.payment.database.url = url("payment.db");
    config.payment.provider.sandbox = Some(true);
    config.notification.database.url = url("notification.db");
    config.payment.provider.stripe.secret_key = "sk_test_1".into();
    encrypt(&mut config.gateway, data.path());
    let (cert_file, key_file) = (config.gateway.tls.cert_file.clone(), config.gateway.tls.key_file.clone());
    let tls = TlsSettings { cert_file: Some(cert_file), key_file: Some(key_file), ..TlsSettings::default() };
    for theirs in
        [&mut config.product.tls, &mut config.basket.tls, &mut config.payment.tls, &mut config.notification.tls]
    {
        theirs.clone_from(&tls);
    }
    let memory = Arc::new(MemoryBus::new(None));
    let shutdown = Shutdown::new();
    let all = [(); 5].map(|()| Metrics::new("any"));
    let [product, basket, payment, notification, gateway] = &all;
    let bus = |metrics: &Metrics| memory.counted(metrics);
    let at = Doors::of_process(&config.product.http, &config.product.grpc, &config.product.operations)
        .await
        .expect("two ports");
    let product = Product::build(at, config.product, bus(product), product.clone(), &shutdown).await.expect("product");
    let at = Doors::of_process(&config.basket.http, &config.basket.grpc, &config.basket.operations)
        .await
        .expect("two ports");
    let basket = Basket::build(at, config.basket, bus(basket), basket.clone(), &shutdown).await.expect("basket");
    let at = Doors::of_process(&config.payment.http, &config.payment.grpc, &config.payment.operations)
        .await
        .expect("two ports");
    let payment = Payment::build(at, config.payment, bus(payment), payment.clone(), &shutdown).await.expect("payment");
    let at = Doors::of_process(&config.notification.http, &config.notification.grpc, &config.notification.operations)
        .await
        .expect("two ports");
    let notification = Notification::build(at, config.notification, bus(notification), notification.clone(), &shutdown);
    let notification = notification.await.expect("notification");
    let gateway = shop_gateway::Gateway::build(config.gateway, gateway.clone(), &shutdown).await.expect("gateway");
    let serving = [
        tokio::spawn(product.run(shutdown.clone())),
        tokio::spawn(basket.run(shutdown.clone())),
        tokio::spawn(payment.run(shutdown.clone())),
        tokio::spawn(notification.run(shutdown.clone())),
        tokio::spawn(gateway.run(shutdown.clone())),
    ];
    // Some are made when serving begins.
    eventually!(
        all[..4]
            .iter()
            .all(|metrics| { metrics.described().iter().any(|metric| metric.name == "rpc_server_requests_total") })
    );
    shutdown.soft.cancel();
    for part in serving {
        part.await.expect("no panic").expect("a clean end");
    }
    for metrics in &all[..4] {
        KafkaBus::open(&config.kafka, "any", metrics).expect("needs no broker");
    }
    let mut known = All::new();
    for (who, metrics) in ["product", "basket", "payment", "notification", "gateway"].into_iter().zip(&all) {
        for metric in metrics.described() {
            let entry = known.entry(metric.name.clone()).or_insert_with(|| (metric.clone(), BTreeSet::new()));
            assert_eq!(entry.0, metric, "two metrics have one name");
            entry.1.insert(who);
        }
    }
    known
}

/// A suite on ports of its own.
fn embedded(data: &Path) -> Config {
    let mut config = Config { data: data.to_owned(), identity: IdentitySettings::off(), ..Config::default() };
    for http in [&mut config.product.http, &mut config.basket.http, &mut config.payment.http] {
        http.port = 0;
    }
    (config.notification.http.port, config.notification.grpc.port) = (0, 0);
    (config.gateway.http.port, config.gateway.admin.port) = (0, 0);
    for grpc in [&mut config.product.grpc, &mut config.basket.grpc, &mut config.payment.grpc] {
        grpc.port = 0;
    }
    config
}

/// A certificate, and one of a listener, for the metrics of their ends.
fn encrypt(gateway: &mut shop_gateway::Config, folder: &Path) {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).expect("makes a certificate");
    let (cert, key) = (folder.join("tls.crt"), folder.join("tls.key"));
    std::fs::write(&cert, made.cert.pem()).expect("writes");
    std::fs::write(&key, made.signing_key.serialize_pem()).expect("writes");
    let certificates = vec![Certificate { cert_file: cert.clone(), key_file: key.clone() }];
    let listener = Listener {
        address: "127.0.0.1:0".parse().expect("an address"),
        tls: Some(ListenerTls { certificates, ..ListenerTls::default() }),
        proxy_protocol: ProxyProtocol::Off,
        proxy_protocol_from: Vec::new(),
    };
    gateway.listeners.insert("edge".to_owned(), listener);
    gateway.tls.cert_file = cert;
    gateway.tls.key_file = key;
    gateway.tls.port = 0;
}

fn page(all: &All) -> String {
    let mut out = String::from(
        "# Metrics\n\n<!-- Written by `make metrics-docs` from what the code registers; a test compares. -->\n\n\
         Every program shows its metrics at `/metrics` of its HTTP port, as Prometheus text; who asks with `Accept: \
         application/openmetrics-text` gets [OpenMetrics](https://prometheus.io/docs/specs/om/open_metrics_spec/) 1.0, in which each \
         bucket of a histogram has the trace that was last counted in it, if it is recorded. Prometheus asks so by itself, and keeps these \
         traces when it is started with `--enable-feature=exemplar-storage`. In `shop` each service has a port and metrics of its own.\n\n\
         Seconds have fractions. Histograms have buckets from 1 ms to 10 s. [operations.md](operations.md) says which to watch.\n\n\
         | metric | type | unit | labels | of | tells |\n|---|---|---|---|---|---|\n",
    );
    let mut used = BTreeSet::new();
    for (name, (metric, who)) in all {
        let base = name.strip_suffix("_total").unwrap_or(name);
        let unit = UNITS.iter().find(|(end, _)| base.ends_with(end)).map_or("", |(_, unit)| unit);
        let labels: Vec<_> = metric.labels.iter().map(|label| format!("`{label}`")).collect();
        used.extend(metric.labels.iter().map(String::as_str));
        let who = if who.len() == 5 { "all".to_owned() } else { who.iter().copied().collect::<Vec<_>>().join(", ") };
        let help = metric.help.trim().trim_end_matches('.');
        // Writing to a String cannot fail.
        let _ = writeln!(out, "| `{name}` | {} | {unit} | {} | {who} | {help} |", metric.kind, labels.join(", "));
    }
    out.push_str("\n## Labels\n\nNo caller can make new values, and a metric of something that goes away goes too.\n\n| label | values |\n|---|---|\n");
    let mut labels = LABELS;
    labels.sort_unstable();
    for (label, values) in labels.into_iter().filter(|(label, _)| used.contains(label)) {
        let _ = writeln!(out, "| `{label}` | {values} |");
    }
    out
}

#[expect(clippy::disallowed_methods, reason = "a switch of the test, not a setting of a program")]
fn is_update() -> bool {
    std::env::var("SHOP_TEST_UPDATE").is_ok_and(|value| value == "1")
}
