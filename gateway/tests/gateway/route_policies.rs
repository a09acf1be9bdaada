//! What routes ask of their callers: where they come from, who they are, how often they call.

use std::sync::atomic::Ordering::SeqCst;

use serde_json::json;
use shop_config::Problems;
use shop_gateway::Config;
use shop_gateway::settings::Service;
use tonic::{Code, Request};

use crate::grpc::{backend, channel_to, number, twice};
use crate::identity::{required, token};
use crate::routes::{bare, problems};
use crate::support::{Running, Upstream, backends, service};

/// A gateway in front of `one`, with these routes, that believes this machine whose client it speaks for.
fn proxied(one: &Upstream, routes: &[(&str, &str)]) -> Config {
    let mut settings = bare(&[("one", service(&[one.addr]))], routes);
    settings.trusted_proxies = vec!["127.0.0.1".parse().expect("a range")];
    settings
}

#[tokio::test]
async fn a_route_is_for_clients_of_some_addresses_only() {
    let one = Upstream::echo().await;
    let routes = [
        ("all", "path = '/*'\nto = 'one'"),
        (
            "office",
            "path = '/office'\nto = 'one'\naccess = { allow = ['10.0.0.0/8', 'fd00::/8'], deny = ['10.6.0.0/16'] }",
        ),
        ("hidden", "path = '/hidden'\nto = 'one'\naccess = { deny = ['203.0.113.7'] }"),
        ("notice", "path = '/notice'\nrespond = { body = 'hello' }\naccess = { allow = ['10.0.0.0/8'] }"),
    ];
    let gateway = Running::start(proxied(&one, &routes)).await;
    let mut asked = 0;
    for (target, client, is_admitted) in [
        ("/office", "10.1.2.3", true),
        ("/office", "fd12::1", true),
        ("/office", "10.6.0.1", false),
        ("/office", "192.0.2.1", false),
        ("/office", "2001:db8::1", false),
        // Only the last hop is a proxy's word.
        ("/office", "10.1.2.3, 192.0.2.1", false),
        ("/hidden", "203.0.113.7", false),
        ("/hidden", "203.0.113.8", true),
        ("/other", "203.0.113.7", true),
        ("/notice", "192.0.2.1", false),
    ] {
        let reply = gateway.ask("GET", "x", target, &[("x-forwarded-for", client)]).await;
        if is_admitted {
            assert_eq!(reply.status(), 200, "{target} for {client}");
            asked += 1;
        } else {
            reply.refused(403, "address_refused");
            let said = String::from_utf8_lossy(&reply.body).into_owned();
            assert!(!said.contains("10.0.0.0"), "{said}");
        }
        assert_eq!(one.requests.load(SeqCst), asked, "{target} for {client}");
    }
    // Itself the client comes from 127.0.0.1.
    gateway.ask("GET", "x", "/office", &[]).await.refused(403, "address_refused");
    let explained = gateway.told("/admin/explain?path=/office&client=192.0.2.1").await;
    assert_eq!(explained["refused"]["reason"], "address_refused");
    assert_eq!(explained["access"]["allow"], json!(["10.0.0.0/8", "fd00::/8"]));
    let explained = gateway.told("/admin/explain?path=/office&client=10.0.0.1").await;
    assert_eq!((&explained["refused"], &explained["to"][0]["service"]), (&json!(null), &json!("one")));
}

#[tokio::test]
async fn a_route_wants_a_token_and_a_role() {
    let one = Upstream::echo().await;
    let routes = [
        ("all", "path = '/*'\nto = 'one'"),
        ("mine", "path = '/mine'\nto = 'one'\naccess = { require = 'token' }"),
        ("desk", "path = '/desk'\nto = 'one'\naccess = { require = 'token', roles = ['support', 'operator'] }"),
    ];
    let mut settings = bare(&[("one", service(&[one.addr]))], &routes);
    settings.identity = required();
    let gateway = Running::start(settings).await;
    let (ada, sam) = (token(json!({})), token(json!({"sub": "sam", "roles": ["support"]})));
    let mut asked = 0;
    for (target, shown, status, code, challenge) in [
        ("/open", None, 200, None, None),
        ("/open", Some(&ada), 200, None, None),
        ("/mine", None, 401, Some("token_missing"), Some("Bearer")),
        ("/mine", Some(&ada), 200, None, None),
        ("/desk", None, 401, Some("token_missing"), Some("Bearer")),
        ("/desk", Some(&ada), 403, Some("forbidden"), Some(r#"Bearer error="insufficient_scope""#)),
        ("/desk", Some(&sam), 200, None, None),
    ] {
        let bearer = shown.map(|token| format!("Bearer {token}"));
        let headers: Vec<_> = bearer.iter().map(|bearer| ("authorization", bearer.as_str())).collect();
        let reply = gateway.ask("GET", "x", target, &headers).await;
        assert_eq!(reply.status(), status, "{target} {shown:?}");
        assert_eq!((reply.header("x-gateway-reason"), reply.header("www-authenticate")), (code, challenge), "{target}");
        asked += usize::from(status == 200);
        assert_eq!(one.requests.load(SeqCst), asked, "{target} {shown:?}");
    }
    gateway.ask("GET", "x", "/mine", &[("authorization", "Bearer x")]).await.refused(401, "token_invalid");
}

#[tokio::test]
async fn a_route_of_grpc_asks_likewise() {
    let grpc = Service { grpc_urls: backends(&[backend().await]), ..Service::default() };
    let routes = [("one", "grpc = 'shop.product.v1.ProductService'\nto = 'one'\naccess = { require = 'token' }")];
    let mut settings = bare(&[("one", grpc)], &routes);
    settings.identity = required();
    let gateway = Running::start(settings).await;
    let mut client = channel_to(gateway.addr).await;
    let status = twice(&mut client, Request::new(number(21))).await.expect_err("no token");
    assert_eq!(status.code(), Code::Unauthenticated);
    assert_eq!(status.metadata().get("x-gateway-reason").map(|word| word.as_bytes()), Some(&b"token_missing"[..]));
    let mut request = Request::new(number(21));
    let bearer = format!("Bearer {}", token(json!({})));
    request.metadata_mut().insert("authorization", bearer.parse().expect("a value"));
    assert_eq!(twice(&mut client, request).await.expect("an answer").into_inner(), number(42));
}

#[test]
fn access_that_cannot_be_given_is_a_problem() {
    for (access, key) in [
        ("require = 'token'", "routes.a.access.require"),
        ("roles = ['support']", "routes.a.access.roles"),
        ("require = 'none', roles = ['support']", "routes.a.access.roles"),
    ] {
        let found = problems(&[("a", &format!("path = '/a'\nto = 'one'\naccess = {{ {access} }}"))]);
        assert!(found.contains(key), "{access}: {found}");
    }
    for access in ["roles = ['boss']", "allow = ['everybody']", "deny = ['10.0.0.0/33']", "require = 'yes'", "x = 1"] {
        let text = format!("path = '/a'\nto = 'one'\naccess = {{ {access} }}");
        assert!(toml::from_str::<shop_gateway::settings::Route>(&text).is_err(), "{access}");
    }
    let mut settings = bare(&[], &[("a", "path = '/a'\nrespond = { body = 'x' }\naccess = { require = 'token' }")]);
    settings.identity = required();
    let mut found = Problems::default();
    shop_config::Settings::check(&settings, &mut found);
    assert!(found.is_empty(), "{found}");
}
