//! Whose tokens are good, and what comes of those that are not.

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::sync::atomic::Ordering::SeqCst;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use shop_clock::{Clock, SystemClock};
use shop_gateway::Config;
use shop_gateway::settings::ClientKey;
use shop_identity::{IdentitySettings, Mode, Signer};
use shop_testing::eventually;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{Error, Message};
use tonic::metadata::MetadataValue;
use tonic::{Code, Request};
use tonic_types::StatusExt;

use crate::grpc::{backend, channel_to, number, twice};
use crate::support::{Reply, Running, Upstream, config, echoed, get, http2, nobody, request};
use crate::upgrade;

const SECRET: &str = "0123456789abcdef0123456789abcdef";
const ISSUER: &str = "https://login.example";

fn now() -> i64 {
    SystemClock.now().unix_timestamp()
}

/// A token with these claims beside those that each has to have, signed with `secret` (HS256).
fn signed(secret: &str, more: &Value) -> String {
    let encode = |text: &[u8]| URL_SAFE_NO_PAD.encode(text);
    let mut claims = json!({"iss": ISSUER, "aud": "shop", "sub": "ada", "exp": now() + 3600});
    claims.as_object_mut().expect("claims").extend(more.as_object().expect("more").clone());
    let message = format!("{}.{}", encode(br#"{"alg":"HS256"}"#), encode(claims.to_string().as_bytes()));
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, secret.as_bytes());
    format!("{message}.{}", encode(ring::hmac::sign(&key, message.as_bytes()).as_ref()))
}

#[expect(clippy::needless_pass_by_value, reason = "each is made for one call")]
pub(crate) fn token(more: Value) -> String {
    signed(SECRET, &more)
}

fn forged(number: usize) -> String {
    signed("another secret, just as long as it", &json!({"sub": format!("eve{number}")}))
}

pub(crate) fn required() -> IdentitySettings {
    IdentitySettings {
        mode: Mode::Required,
        issuer: ISSUER.to_owned(),
        audience: "shop".to_owned(),
        secret: SECRET.into(),
        leeway: shop_config::Duration::secs(0),
        ..IdentitySettings::default()
    }
}

fn settings(upstream: SocketAddr) -> Config {
    Config { identity: required(), ..config(upstream) }
}

async fn ask(gateway: &Running, path: &str, headers: &[(&'static str, &str)]) -> Reply {
    let mut call = get(path);
    for (name, value) in headers {
        let value = value.parse().expect("a value");
        if *name == "host" {
            call.headers_mut().insert(*name, value);
        } else {
            call.headers_mut().append(*name, value);
        }
    }
    if path.starts_with("/admin") { gateway.operate(call).await } else { gateway.send(call).await }
}

async fn show(gateway: &Running, path: &str, token: &str) -> Reply {
    ask(gateway, path, &[("authorization", &format!("Bearer {token}"))]).await
}

#[tokio::test]
async fn a_good_token_goes_on_as_it_came_and_a_bad_one_reaches_nobody() {
    let upstream = Upstream::echo().await;
    let gateway = Running::start(settings(upstream.addr)).await;
    for good in [token(json!({})), token(json!({"sub": "bob", "roles": ["support"]}))] {
        // The second time it is known.
        for _ in 0..2 {
            let reply = show(&gateway, "/api/products", &good).await;
            assert_eq!(echoed(&reply.json(), "authorization"), [format!("Bearer {good}")]);
        }
    }
    assert_eq!(gateway.get("/api/products").await.status(), 200, "what needs a token is for services to say");
    let reached = upstream.requests.load(SeqCst);

    let expired = token(json!({"exp": now() - 10}));
    for (bad, code) in [
        (expired.as_str(), "token_expired"),
        (&forged(1), "token_invalid"),
        (&token(json!({"aud": "elsewhere"})), "token_invalid"),
        (&token(json!({"iss": "https://elsewhere.example"})), "token_invalid"),
        ("nonsense", "token_invalid"),
        ("", "token_invalid"),
    ] {
        let reply = show(&gateway, "/api/payments", bad).await;
        reply.refused(401, code);
        let challenge = reply.header("www-authenticate").expect("a challenge");
        assert!(challenge.starts_with(r#"Bearer error="invalid_token""#), "{challenge}");
        assert_eq!(reply.header("cache-control"), Some("no-store"));
    }
    let good = format!("Bearer {}", token(json!({})));
    for headers in [
        [("authorization", good.as_str()), ("authorization", good.as_str())],
        [("authorization", &good), ("authorization", "")],
        [("authorization", &format!("{good}, {good}")), ("x-other", "x")],
        [("authorization", "Basic YWRhOmFkYQ=="), ("x-other", "x")],
    ] {
        ask(&gateway, "/api/products", &headers).await.refused(401, "token_invalid");
    }
    assert_eq!(upstream.requests.load(SeqCst), reached, "nobody was asked");
    eventually!(gateway.metric(r#"gateway_refusals_total{reason="token_expired",service="payment"}"#) == Some(1.0));
    eventually!(gateway.metric(r#"gateway_refusals_total{reason="token_invalid",service="product"}"#) == Some(4.0));

    // The body is never sent, so that nobody can have waited for it.
    let head = "POST /api/payments HTTP/1.1\r\nhost: gw.test\r\ncontent-length: 1000000\r\nconnection: close\r\n";
    let answer = gateway.raw(format!("{head}authorization: Bearer {expired}\r\n\r\n")).await;
    assert!(answer.starts_with("HTTP/1.1 401 "), "{answer}");

    for own in ["/health", "/health/ready"] {
        assert_eq!(show(&gateway, own, "nonsense").await.status(), 200, "{own} is the gateway's own");
    }
}

#[tokio::test]
async fn a_grpc_call_with_a_bad_token_is_unauthenticated_and_identity_in_metadata_means_nothing() {
    let gateway = Running::start(settings(backend().await)).await;
    let mut client = channel_to(gateway.addr).await;
    let with = |token: &str| {
        let mut call = Request::new(number(4));
        call.metadata_mut().insert("authorization", format!("Bearer {token}").parse().expect("a value"));
        call.metadata_mut().insert("x-user-id", MetadataValue::from_static("grace"));
        call.metadata_mut().insert_bin("x-user-id-bin", MetadataValue::from_bytes(b"grace"));
        call
    };
    assert_eq!(twice(&mut client, with(&token(json!({})))).await.expect("an answer").get_ref().id, 8);
    let expired = token(json!({"exp": now() - 10}));
    for (bad, code) in [(&expired, "token_expired"), (&forged(1), "token_invalid")] {
        let status = twice(&mut client, with(bad)).await.expect_err("is refused");
        assert_eq!(status.code(), Code::Unauthenticated);
        assert_eq!(status.metadata().get("x-gateway-reason").expect("a reason"), code);
        let details = status.get_error_details();
        assert_eq!(details.error_info().map(|info| info.reason.as_str()), Some(code), "as a service would say it");
        assert!(status.metadata().contains_key("www-authenticate"));
    }
}

#[tokio::test]
async fn only_the_token_says_who_a_client_is() {
    let upstream = Upstream::echo().await;
    let mut settings = settings(upstream.addr);
    settings.rate_limit.enabled = true;
    settings.rate_limit.burst = NonZeroU32::new(2).expect("not zero");
    settings.rate_limit.window = shop_config::Duration::secs(6000);
    settings.rate_limit.key = vec![ClientKey::Subject, ClientKey::Ip];
    settings.underscores_in_headers = true;
    let gateway = Running::start(settings).await;
    // Four spellings pass like any other header, and leave their sender who he is.
    for (name, status) in [("x-user-id", 200), ("x_user_id", 200), ("x.user.id", 429), ("x-authenticated-user", 429)] {
        let reply = ask(&gateway, "/api/products", &[(name, "ada")]).await;
        assert_eq!(reply.status(), status, "{name}");
        if status == 200 {
            assert_eq!(echoed(&reply.json(), name), ["ada"]);
        }
    }
    let ada = token(json!({"jti": "1"}));
    for (token, status) in [
        (&ada, 200),
        (&token(json!({"jti": "2"})), 200),
        (&ada, 429),
        (&token(json!({"sub": "bob"})), 200),
        (&forged(1), 401),
    ] {
        assert_eq!(show(&gateway, "/api/products", token).await.status(), status, "{token}");
    }
    // Only a proxy can know whom it speaks for.
    let reply = ask(
        &gateway,
        "/api/products",
        &[("authorization", &format!("Bearer {}", token(json!({"sub": "cid"})))), ("x-forwarded-user", "ada")],
    )
    .await;
    assert_eq!((reply.status(), echoed(&reply.json(), "x-forwarded-user")), (200, Vec::new()));
}

#[tokio::test]
async fn while_the_keys_cannot_be_had_tokens_are_neither_good_nor_bad() {
    let upstream = Upstream::echo().await;
    let mut settings = settings(upstream.addr);
    settings.identity.secret = "".into();
    settings.identity.jwks_url = format!("http://{}/keys", nobody());
    let gateway = Running::start(settings).await;
    // One that such a key could have signed; of another kind it is none.
    let unknown = token(json!({}));
    let (_, rest) = unknown.split_once('.').expect("a head");
    let unknown = format!("{}.{rest}", URL_SAFE_NO_PAD.encode(br#"{"alg":"ES256"}"#));
    let reply = show(&gateway, "/api/products", &unknown).await;
    reply.refused(503, "identity_unavailable");
    assert!(reply.header("retry-after").is_some_and(|after| after.parse::<u32>().is_ok()));
    assert_eq!(reply.header("www-authenticate"), None);
    assert_eq!(gateway.get("/api/products").await.status(), 200, "who shows none is served");
}

#[tokio::test]
async fn a_flood_of_bad_tokens_costs_signatures_only_so_often_and_who_is_known_goes_on() {
    let upstream = Upstream::echo().await;
    let gateway = Running::start(settings(upstream.addr)).await;
    let known = token(json!({}));
    assert_eq!(show(&gateway, "/api/products", &known).await.status(), 200);
    let mut checked = 0;
    for number in 0..300 {
        match show(&gateway, "/api/products", &forged(number)).await.status() {
            401 => checked += 1,
            status => assert_eq!(status, 429),
        }
    }
    // A slow machine gets some more each second.
    assert!((100..250).contains(&checked), "{checked}");
    let mut fresh = 0;
    let refused = eventually!({
        fresh += 1;
        show(&gateway, "/api/products", &forged(1000 + fresh)).await;
        let reply = show(&gateway, "/api/products", &token(json!({"sub": format!("new{fresh}")}))).await;
        (reply.status() == 429).then_some(reply)
    });
    refused.refused(429, "rate_limited");
    assert!(refused.header("retry-after").is_some(), "a good token, which nobody looks at");
    assert_eq!(show(&gateway, "/api/products", &known).await.status(), 200);
    assert_eq!(gateway.get("/api/products").await.status(), 200);
}

#[tokio::test]
async fn what_is_between_services_has_no_path_through_here() {
    let upstream = Upstream::echo().await;
    let gateway = Running::start(settings(upstream.addr)).await;
    let mut client = http2(gateway.addr).await;
    let stock = "shop.product.v1.StockService/ReserveStock";
    for path in [
        format!("/{stock}"),
        format!("//{stock}"),
        format!("/{stock}/"),
        format!("/./{stock}"),
        format!("/api/../{stock}"),
        format!("/api/products/../../{stock}"),
        format!("/shop.product.v1.ProductService/../{stock}"),
        format!("/shop.product.v1.ProductService/%2e%2e/{stock}"),
        format!("/shop.product.v1.ProductService%2f..%2f{stock}"),
        format!("/shop.product.v1.ProductService/..;/{stock}"),
        format!("/shop.product.v1.ProductService/x/{stock}"),
        "/shop.product.v1.StockService%2FReserveStock".to_owned(),
        "/shop.product.v1.stockservice/reservestock".to_owned(),
        "/shop.product.v1.Stock%53ervice/ReserveStock".to_owned(),
        "/shop.product.v1.productservice/GetProduct".to_owned(),
        "/shop.payment.v1.SettlementService/GetOutcomes".to_owned(),
        "/shop.notification.v1.NotificationService/Get".to_owned(),
        "/grpc.health.v1.Health/Check".to_owned(),
        "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo".to_owned(),
        "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo".to_owned(),
    ] {
        for method in ["POST", "GET", "HEAD", "OPTIONS"] {
            let call = http::Request::builder().method(method).uri(format!("http://gw.test{path}"));
            let call = call.header("content-type", "application/grpc").header("shop-service", "product");
            let answer = client.send_request(call.body(http_body_util::Full::default()).expect("a request")).await;
            let answer = answer.expect("an answer");
            let header = |name| answer.headers().get(name).map(|value| value.to_str().expect("text"));
            let refused = (header("grpc-status"), header("x-gateway-reason"));
            let expected = [(Some("12"), Some("no_route")), (Some("3"), Some("bad_path"))];
            assert!(expected.contains(&refused), "{method} {path}: {refused:?}");
        }
    }
    let absolute = gateway
        .raw(format!(
            "POST http://gw.test/{stock} HTTP/1.1\r\nhost: gw.test\r\ncontent-type: application/grpc\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
        ))
        .await;
    assert!(absolute.starts_with("HTTP/1.1 404 "), "{absolute}");
    for path in ["/api/health", "/api/metrics", "/api/products/../metrics", "/api/baskets/./../health/ready"] {
        gateway.get(path).await.refused(404, "no_route");
    }
    assert_eq!(upstream.requests.load(SeqCst), 0);
    gateway.get("/api/products/..;/metrics").await.refused(400, "bad_path");
    let target = gateway.get("/api/products/x%2Fmetrics").await.json()["target"].clone();
    assert!(target.as_str().is_some_and(|target| target.starts_with("/products/")), "{target}");
    assert_eq!(gateway.send(request("POST", "/api/guests", "")).await.json()["target"], "/guests");
}

#[tokio::test]
async fn reflection_and_health_of_services_are_open_where_a_setting_says_so() {
    let gateway = Running::start(Config { grpc_introspection: true, ..config(backend().await) }).await;
    let mut client = http2(gateway.addr).await;
    let call = http::Request::post("http://gw.test/grpc.health.v1.Health/Check");
    let call = call.header("content-type", "application/grpc").header("shop-service", "product");
    let answer = client.send_request(call.body(http_body_util::Full::default()).expect("a request")).await;
    let answer = answer.expect("an answer");
    assert!(!answer.headers().contains_key("x-gateway-reason"), "a backend without it answers: {answer:?}");
}

#[tokio::test]
async fn a_connection_that_was_opened_with_a_good_token_outlives_it() {
    let upstream = upgrade::echo().await;
    let gateway = Running::start(settings(upstream.addr)).await;
    let open = |token: &str| {
        let address = format!("ws://{}/api/notifications/live", gateway.addr);
        let mut call = address.into_client_request().expect("a request");
        call.headers_mut().insert("authorization", format!("Bearer {token}").parse().expect("a value"));
        tokio_tungstenite::connect_async(call)
    };
    let brief = token(json!({"exp": now() + 2}));
    let (mut socket, _) = open(&brief).await.expect("is good");
    eventually!(matches!(open(&brief).await, Err(Error::Http(answer)) if answer.status() == 401));
    socket.send(Message::text("still here")).await.expect("sends");
    assert_eq!(socket.next().await.expect("open").expect("a message"), Message::text("still here"));
}

#[tokio::test]
async fn operators_are_let_in_beside_the_admin_token_and_others_are_not() {
    let mut settings = settings(nobody());
    let gateway = Running::start(settings.clone()).await;
    let operator = token(json!({"sub": "olga", "roles": ["operator"]}));
    assert_eq!(show(&gateway, "/admin/status", &operator).await.status(), 200, "by any name");
    show(&gateway, "/admin/status", &token(json!({"roles": ["support"]}))).await.refused(403, "admin_forbidden");
    show(&gateway, "/admin/status", &forged(1)).await.refused(401, "admin_unauthorized");
    ask(&gateway, "/admin/status", &[]).await.refused(401, "admin_unauthorized");
    assert_eq!(ask(&gateway, "/admin/status", &[("host", "localhost")]).await.status(), 200, "as before");
    let local = [("host", "localhost"), ("authorization", "Bearer nonsense")];
    ask(&gateway, "/admin/status", &local).await.refused(401, "admin_unauthorized");

    settings.admin.token = "correct-horse-battery".into();
    let gateway = Running::start(settings).await;
    for good in ["correct-horse-battery", &operator] {
        assert_eq!(show(&gateway, "/admin/status", good).await.status(), 200);
    }
    ask(&gateway, "/admin/status", &[("host", "localhost")]).await.refused(401, "admin_unauthorized");
    for number in 0..10 {
        show(&gateway, "/admin/status", &forged(number)).await.refused(401, "admin_unauthorized");
    }
    show(&gateway, "/admin/status", &forged(10)).await.refused(429, "rate_limited");
    for good in ["correct-horse-battery", &operator] {
        assert_eq!(show(&gateway, "/admin/status", good).await.status(), 200, "from the same address");
    }
}

#[tokio::test]
async fn new_settings_say_whose_tokens_are_good_and_wrong_ones_change_nothing() {
    let upstream = Upstream::echo().await;
    let gateway = Running::start(settings(upstream.addr)).await;
    let known = token(json!({}));
    assert_eq!(show(&gateway, "/api/products", &known).await.status(), 200);
    let mut next = settings(upstream.addr);
    next.identity.internal.key_file = Some("/nowhere/key.pem".into());
    let problems = gateway.handle.apply(next.clone()).map(drop).expect_err("no such file").to_string();
    assert!(problems.contains("identity.internal.key_file"), "{problems}");
    assert_eq!(show(&gateway, "/api/products", &known).await.status(), 200);
    next.identity.internal.key_file = None;
    next.identity.audience = "elsewhere".to_owned();
    gateway.handle.apply(next.clone()).expect("applies");
    show(&gateway, "/api/products", &known).await.refused(401, "token_invalid");
    next.identity = IdentitySettings::off();
    gateway.handle.apply(next).expect("applies");
    assert_eq!(show(&gateway, "/api/products", "whatever").await.status(), 200);
}

#[tokio::test]
async fn under_development_this_machine_gets_any_token_and_pages_of_others_none() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("key.pem");
    std::fs::write(&file, Signer::generate().expect("a key")).expect("writes");
    let mut settings = settings(nobody());
    settings.identity.internal.key_file = Some(file);
    settings.cors.origins = vec!["http://localhost:3000".parse().expect("an origin")];
    let closed = Running::start(settings.clone()).await;
    ask(&closed, "/dev/token?user=ada", &[("host", "localhost")]).await.refused(404, "no_route");

    settings.identity.development = true;
    let gateway = Running::start(settings).await;
    let query = "/dev/token?user=ada&role=support&role=operator&for=5m";
    for host in ["localhost:8083", "127.0.0.1", "[::1]:8083"] {
        let reply = ask(&gateway, query, &[("host", host)]).await;
        assert_eq!((reply.status(), reply.header("cache-control")), (200, Some("no-store")), "{host}");
        assert_eq!(reply.header("content-type"), Some("text/plain; charset=utf-8"));
        let token = std::str::from_utf8(&reply.body).expect("text");
        assert_eq!(show(&gateway, "/admin/status", token).await.status(), 200, "the token is an operator's");
    }
    for (more, status, code) in [
        (&[("host", "gw.test")][..], 403, "local_only"),
        (&[("host", "localhost.evil.example")], 403, "local_only"),
        (&[("x-forwarded-for", "127.0.0.1")], 403, "local_only"),
        (&[("sec-fetch-site", "cross-site")], 403, "cross_origin_refused"),
        (&[("sec-fetch-site", "same-site")], 403, "cross_origin_refused"),
        (&[("origin", "http://localhost:3000")], 403, "cross_origin_refused"),
        (&[("origin", "null")], 403, "cross_origin_refused"),
    ] {
        let headers = [&[("host", "localhost")], more].concat();
        let reply = ask(&gateway, query, &headers).await;
        reply.refused(status, code);
        let is_cors = |name: &http::HeaderName| name.as_str().starts_with("access-control");
        assert!(!reply.head.headers.keys().any(is_cors), "{more:?}");
    }
    for query in [
        "",
        "?user=",
        "?user=me",
        "?user=guest-1",
        "?user=ada&role=king",
        "?user=ada&for=8d",
        "?user=a&user=b",
        "?usr=a",
    ] {
        let reply = ask(&gateway, &format!("/dev/token{query}"), &[("host", "localhost")]).await;
        reply.refused(400, "invalid_parameter");
    }
    let mut post = request("POST", query, "");
    post.headers_mut().insert("host", "localhost".parse().expect("a value"));
    gateway.send(post).await.refused(405, "method_refused");
}
