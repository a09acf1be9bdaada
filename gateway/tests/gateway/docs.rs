//! The reference of the whole API: one document of what the services say, and the page that shows it.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::Full;
use hyper::Response;
use serde_json::{Value, json};
use shop_gateway::Config;
use shop_testing::eventually;

use crate::support::{Running, Upstream, backends, config, get, nobody, read_head, request};

fn described(path: &str, id: &str) -> Value {
    json!({
        "openapi": "3.1.0", "info": {"title": "A service", "version": "1"},
        "paths": {path: {"get": {"operationId": id, "responses": {"200": {"description": "fine"}}}}},
    })
}

/// A service that describes itself, as long as it is willing.
async fn service(document: Value, willing: &Arc<AtomicBool>) -> Upstream {
    let willing = Arc::clone(willing);
    Upstream::serving(move |request| {
        let is_asked = request.uri().path() == "/openapi.json" && willing.load(SeqCst);
        let body = if is_asked { document.to_string() } else { "well".to_owned() };
        async move { Response::new(Full::new(Bytes::from(body))) }
    })
    .await
}

/// A gateway in front of these two services; the others are switched off.
fn before(product: &Upstream, basket: &Upstream) -> Config {
    let mut settings = config(product.addr);
    settings.services["basket"].urls = backends(&[basket.addr]);
    settings.services["payment"].enabled = false;
    settings.services["notification"].enabled = false;
    settings
}

fn willing() -> Arc<AtomicBool> {
    Arc::new(AtomicBool::new(true))
}

async fn two() -> (Upstream, Upstream) {
    let product = service(described("/products", "listProducts"), &willing()).await;
    let basket = service(described("/baskets/{user_id}", "getBasket"), &willing()).await;
    (product, basket)
}

fn state(document: &Value, service: &str) -> String {
    document["x-services"][service].as_str().unwrap_or_default().to_owned()
}

#[tokio::test]
async fn one_document_has_the_whole_api_and_is_asked_for_once() {
    let (product, basket) = two().await;
    let mut settings = before(&product, &basket);
    settings.limits.unfinished_per_address = 0;
    let gateway = Running::start(settings).await;
    let replies = futures_util::future::join_all((0..20).map(|_| gateway.get("/openapi.json"))).await;
    for reply in &replies {
        assert_eq!((reply.status(), reply.header("content-type")), (200, Some("application/json")));
        assert_eq!(reply.header("x-frame-options"), Some("DENY"));
        assert_eq!(reply.body, replies[0].body);
    }
    let document = replies[0].json();
    let paths: Vec<_> = document["paths"].as_object().expect("paths").keys().collect();
    assert_eq!(paths, ["/api/baskets/{user_id}", "/api/products"]);
    assert_eq!(document["servers"], json!([{"url": "/"}]));
    assert_eq!(document["paths"]["/api/products"]["get"]["tags"], json!(["product"]));
    for status in ["429", "502", "503", "504"] {
        let target = format!("/components/responses/Gateway{status}");
        // No limits, so nobody is over them.
        assert_eq!(document.pointer(&target).is_some(), status != "429", "{status}");
    }
    assert_eq!((product.requests.load(SeqCst), basket.requests.load(SeqCst)), (1, 1));

    let mut again = get("/openapi.json");
    let tag = replies[0].header("etag").expect("a tag").parse().expect("a value");
    again.headers_mut().insert("if-none-match", tag);
    assert_eq!(gateway.send(again).await.status(), 304);
}

#[tokio::test]
async fn a_service_that_is_away_is_named_and_described_when_it_is_back() {
    let (is_product_there, is_basket_there) = (willing(), Arc::new(AtomicBool::new(false)));
    let product = service(described("/products", "listProducts"), &is_product_there).await;
    let basket = service(described("/baskets", "createBasket"), &is_basket_there).await;
    let mut settings = before(&product, &basket);
    settings.docs.max_age = shop_config::Duration::millis(20);
    let gateway = Running::start(settings).await;
    let document = gateway.get("/openapi.json").await.json();
    assert_eq!((state(&document, "product"), state(&document, "basket")), ("described".into(), "missing".into()));
    assert_eq!(state(&document, "payment"), "disabled");
    let text = document["info"]["description"].as_str().expect("text");
    assert!(text.contains("The basket service does not answer"), "{text}");

    is_basket_there.store(true, SeqCst);
    is_product_there.store(false, SeqCst);
    eventually!({
        let document = gateway.get("/openapi.json").await.json();
        let states = (state(&document, "product"), state(&document, "basket"));
        let paths = document["paths"].as_object().map_or(0, serde_json::Map::len);
        // What it said before stays, so that names made of the document stay.
        (states == ("described_earlier".into(), "described".into()) && paths == 2).then_some(()).ok_or(document)
    });
}

#[tokio::test]
async fn whatever_a_service_says_the_others_are_described_in_time() {
    let product = service(described("/products", "listProducts"), &willing()).await;
    let endless = format!("HTTP/1.1 200 OK\r\ncontent-length: 9999999\r\n\r\n{}", " ".repeat(2_000_000));
    for (what, basket) in [
        (
            "silence",
            Upstream::raw(|mut stream| async move {
                read_head(&mut stream).await;
                std::future::pending::<()>().await;
            })
            .await,
        ),
        ("a document without end", Upstream::saying(endless).await),
        ("no HTTP", Upstream::saying("what?\r\n\r\n").await),
        ("no JSON", Upstream::saying("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{,").await),
        (
            "another version",
            Upstream::saying("HTTP/1.1 200 OK\r\ncontent-length: 17\r\n\r\n{\"swagger\":\"2.0\"}").await,
        ),
        ("none", Upstream::saying("HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n").await),
    ] {
        let mut settings = before(&product, &basket);
        settings.docs.timeout = shop_config::Duration::secs(3);
        let gateway = Running::start(settings).await;
        let begun = Instant::now();
        let (document, call) = tokio::join!(gateway.get("/openapi.json"), gateway.get("/api/products"));
        assert_eq!(call.status(), 200, "{what}");
        let document = document.json();
        assert_eq!(
            (state(&document, "product"), state(&document, "basket")),
            ("described".into(), "missing".into()),
            "{what}"
        );
        assert!(begun.elapsed() < Duration::from_secs(15), "{what} took {:?}", begun.elapsed());
        assert!(!document.to_string().contains(&basket.addr.to_string()), "{what}: it names an address");
    }
}

#[tokio::test]
async fn another_backend_is_asked_when_one_is_down() {
    let (product, basket) = two().await;
    let mut settings = before(&product, &basket);
    settings.services["product"].urls = backends(&[nobody(), product.addr]);
    let document = Running::start(settings).await.get("/openapi.json").await.json();
    assert_eq!(state(&document, "product"), "described");
}

#[tokio::test]
async fn the_page_and_its_parts_are_the_gateways_own() {
    let gateway = Running::before(nobody()).await;
    let page = gateway.get("/docs").await;
    assert_eq!((page.status(), page.header("content-type")), (200, Some("text/html; charset=utf-8")));
    let policy = page.header("content-security-policy").expect("a policy");
    assert!(policy.starts_with("default-src 'none'; script-src 'self';"), "{policy}");
    assert_eq!(page.header("x-content-type-options"), Some("nosniff"));
    let html = String::from_utf8(page.body.to_vec()).expect("text");
    let parts: Vec<_> = html.split('"').filter(|text| text.starts_with("docs/")).collect();
    assert_eq!(parts.len(), 4, "{html}");
    for part in parts {
        let mut wish = get(&format!("/{part}"));
        wish.headers_mut().insert("accept-encoding", http::HeaderValue::from_static("gzip, br"));
        let reply = gateway.send(wish).await;
        assert_eq!((reply.status(), reply.header("content-encoding")), (200, Some("gzip")), "{part}");
        assert!(reply.body.len() < 500_000, "{part}");
    }
    let slash = gateway.get("/docs/").await;
    assert_eq!((slash.status(), slash.header("location")), (308, Some("../docs")));
    gateway.get("/docs/nowhere.js").await.refused(404, "no_route");
    gateway.send(request("POST", "/docs", "")).await.refused(405, "method_refused");
    assert_eq!(gateway.send(request("HEAD", "/docs", "")).await.body.len(), 0);
}

#[tokio::test]
async fn rules_for_callers_hold_for_the_reference_too() {
    let (product, basket) = two().await;
    let mut settings = before(&product, &basket);
    settings.cors.origins = vec!["https://a.example".parse().expect("an origin")];
    let gateway = Running::start(settings.clone()).await;
    let mut foreign = get("/openapi.json");
    foreign.headers_mut().insert("origin", http::HeaderValue::from_static("https://a.example"));
    let reply = gateway.send(foreign).await;
    assert_eq!(reply.header("access-control-allow-origin"), Some("https://a.example"));

    settings.rate_limit.enabled = true;
    settings.rate_limit.requests = std::num::NonZeroU32::MIN;
    settings.rate_limit.burst = std::num::NonZeroU32::MIN;
    let limited = Running::start(settings.clone()).await;
    assert_eq!(limited.get("/docs").await.status(), 200);
    limited.get("/openapi.json").await.refused(429, "rate_limited");
    assert_eq!(limited.get("/docs/page.js").await.status(), 200, "the page's parts come along with it");

    settings.docs.enabled = false;
    settings.rate_limit.enabled = false;
    let off = Running::start(settings).await;
    for path in ["/docs", "/docs/page.js", "/openapi.json"] {
        off.get(path).await.refused(404, "no_route");
    }
}
