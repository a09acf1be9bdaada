//! Routes that another server is asked about: what it gets to hear, and what comes of its answer.

mod over_tls;

use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;

use bytes::Bytes;
use http::{HeaderMap, Request, Response, request::Parts};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use parking_lot::Mutex;
use serde_json::Value;
use shop_gateway::settings::Service;
use tokio::sync::watch;
use tonic::Code;

use crate::grpc::{backend, channel_to, number, twice};
use crate::peer::{DATA, END_HEADERS, END_STREAM, HEADERS, Peer, block, frame};
use crate::routes::{ask, bare, problems};
use crate::support::{Client, Running, Upstream, backends, echoed, nobody, service};

/// What the server was asked, and the body that came with it.
type Asked = Arc<Mutex<Vec<(Parts, Bytes)>>>;

/// A server that decides by the cookie.
async fn authority() -> (Upstream, Asked) {
    let asked = Asked::default();
    let seen = Arc::clone(&asked);
    let upstream = Upstream::serving(move |request: Request<Incoming>| {
        let seen = Arc::clone(&seen);
        async move {
            let (head, body) = request.into_parts();
            let cookie = head.headers.get("cookie").map(|cookie| cookie.to_str().expect("text").to_owned());
            let body = body.collect().await.expect("whole").to_bytes();
            seen.lock().push((head, body));
            decide(cookie.as_deref()).await
        }
    })
    .await;
    (upstream, asked)
}

async fn decide(cookie: Option<&str>) -> Response<Full<Bytes>> {
    let answer = Response::builder();
    let (answer, body) = match cookie {
        Some("session=good") => (answer.header("x-user", "ada").header("x-more", "1").header("x-hidden", "1"), "fine"),
        Some("session=slow") => std::future::pending().await,
        Some("session=long") => {
            let body = Full::new(Bytes::from(vec![b'x'; 64 * 1024 + 1]));
            return answer.status(403).body(body).expect("an answer");
        }
        Some("session=old") => (answer.status(401).header("www-authenticate", "Basic realm=\"x\""), "old"),
        _ => {
            let answer = answer.status(302).header("location", "https://login.example/?to=here");
            let answer = answer.header("set-cookie", "a=1").header("set-cookie", "b=2").header("x-hidden", "1");
            (answer.header("content-type", "text/html"), "<p>sign in")
        }
    };
    answer.body(Full::new(Bytes::from(body))).expect("an answer")
}

/// A gateway in front of `one` whose route `/a` asks at `url`.
async fn asking(one: &Upstream, url: &str, more: &str) -> Running {
    let auth = format!("path = '/a/*'\nto = 'one'\nforward_auth = {{ url = '{url}', {more} }}");
    let routes = [("a", auth.as_str()), ("open", "path = '/open'\nto = 'one'")];
    let mut settings = bare(&[("one", service(&[one.addr]))], &routes);
    settings.underscores_in_headers = true;
    Running::start(settings).await
}

fn values(headers: &HeaderMap, name: &str) -> Vec<String> {
    headers.get_all(name).iter().map(|value| value.to_str().expect("text").to_owned()).collect()
}

#[tokio::test]
async fn the_server_hears_what_is_asked_for_and_the_service_who_asks() {
    let (one, (auth, asked)) = (Upstream::echo().await, authority().await);
    let url = format!("http://{}/verify?app=1", auth.addr);
    let gateway = asking(&one, &url, "headers = ['X-User', 'x-groups', 'x-more']").await;
    let mut call = crate::support::request("POST", "/a/b/../c?d=e", "the body");
    for (name, value) in [
        ("cookie", "session=good"),
        ("authorization", "Bearer t"),
        ("x-other", "o"),
        ("x-user", "eve"),
        ("x_user", "eve"),
        ("x-groups", "admins"),
        ("x-forwarded-uri", "/open"),
    ] {
        call.headers_mut().append(name, value.parse().expect("a value"));
    }
    let reply = gateway.send(call).await;
    let seen = reply.json();
    assert_eq!((&seen["target"], &seen["body"]), (&"/a/c?d=e".into(), &"the body".into()));
    let got = |name| echoed(&seen, name).join("|");
    assert_eq!([got("x-user"), got("x-more"), got("x-other"), got("cookie")], ["ada", "1", "o", "session=good"]);
    assert_eq!([got("x_user"), got("x-groups"), got("x-hidden")], ["", "", ""]);
    let (head, body) = asked.lock().pop().expect("it was asked");
    assert_eq!((head.method.as_str(), head.uri.to_string().as_str()), ("GET", "/verify?app=1"));
    for (name, expected) in [
        ("x-forwarded-method", "POST"),
        ("x-forwarded-proto", "http"),
        ("x-forwarded-host", "gw.test"),
        ("x-forwarded-uri", "/a/c?d=e"),
        ("x-forwarded-for", "127.0.0.1"),
        ("cookie", "session=good"),
        ("authorization", "Bearer t"),
        ("x-request-id", reply.header("x-request-id").expect("an id")),
    ] {
        assert_eq!(values(&head.headers, name), [expected], "{name}");
    }
    for none in ["x-other", "x-user", "content-length", "transfer-encoding"] {
        assert!(values(&head.headers, none).is_empty(), "{none}");
    }
    assert!(body.is_empty());
    assert_eq!(gateway.ask("GET", "x", "/open", &[("x-user", "eve")]).await.status(), 200);
    assert!(asked.lock().is_empty(), "nobody is asked about the other route");
}

#[tokio::test]
async fn a_client_cannot_take_off_what_the_server_says_of_it() {
    let (one, (auth, _)) = (Upstream::echo().await, authority().await);
    let gateway = asking(&one, &format!("http://{}/", auth.addr), "headers = ['x-user']").await;
    let head = "GET /a HTTP/1.1\r\nhost: x\r\nconnection: close, x-user\r\nx-user: eve\r\ncookie: session=good\r\n\r\n";
    let answer = gateway.raw(head).await;
    let (_, body) = answer.split_once("\r\n\r\n").expect("a body");
    let seen: Value = serde_json::from_str(body).expect("JSON");
    assert_eq!(echoed(&seen, "x-user"), ["ada"]);
}

#[tokio::test]
async fn nobody_says_who_asks_in_a_trailer() {
    let (one, (auth, _)) = (Upstream::echo().await, authority().await);
    let gateway = asking(&one, &format!("http://{}/", auth.addr), "headers = ['x-user', 'x-groups']").await;
    for (path, trailers) in [("/a", Value::Null), ("/open", serde_json::json!([["x-user", "eve"]]))] {
        let answer = gateway
            .raw(format!(
                "POST {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncookie: session=good\r\n\
                 transfer-encoding: chunked\r\ntrailer: x-user\r\n\r\n2\r\nhi\r\n0\r\nx-user: eve\r\n\r\n"
            ))
            .await;
        let (_, body) = answer.split_once("\r\n\r\n").expect("a body");
        let seen: Value = serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {answer}"));
        assert_eq!((&seen["body"], &seen["trailers"]), (&"hi".into(), &trailers), "{path}: {seen}");
    }
}

#[tokio::test]
async fn nobody_says_who_asks_in_a_trailer_of_a_grpc_call() {
    let (auth, _) = authority().await;
    let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
    let grpc = crate::frames::backend(move |mut peer| {
        let tell = tell.clone();
        async move {
            let mut heads = 0;
            while let Some((kind, flags, stream, _)) = peer.frame().await {
                heads += usize::from(kind == HEADERS);
                if kind <= HEADERS && flags & END_STREAM != 0 {
                    let _ = tell.send(std::mem::take(&mut heads));
                    peer.answer(stream).await;
                }
            }
        }
    })
    .await;
    let service = Service { grpc_urls: backends(&[grpc.addr]), ..Service::default() };
    let guarded = format!("grpc = 'a.Guarded'\nto = 'one'\nforward_auth = {{ url = 'http://{}/' }}", auth.addr);
    let routes = [("guarded", guarded.as_str()), ("open", "grpc = 'a.Open'\nto = 'one'")];
    let gateway = Running::start(bare(&[("one", service)], &routes)).await;
    let mut peer = Peer::with_settings(&gateway, &[]).await;
    for (stream, path, expected) in [(1, "/a.Guarded/Call", 1), (3, "/a.Open/Call", 2)] {
        let head = [
            (":method", "POST"),
            (":scheme", "http"),
            (":path", path),
            (":authority", "a"),
            ("content-type", "application/grpc"),
            ("te", "trailers"),
            ("cookie", "session=good"),
        ];
        let call = [
            frame(HEADERS, END_HEADERS, stream, &block(&head)),
            frame(DATA, 0, stream, b"\0\0\0\0\x02hi"),
            frame(HEADERS, END_HEADERS | END_STREAM, stream, &block(&[("x-user", "eve")])),
        ];
        assert!(peer.send(call.concat()).await);
        let heads = tokio::time::timeout(std::time::Duration::from_secs(10), told.recv()).await;
        assert_eq!(heads.expect("in time"), Some(expected), "{path}");
    }
}

#[tokio::test]
async fn only_the_headers_that_are_named_are_told() {
    let (one, (auth, asked)) = (Upstream::echo().await, authority().await);
    let gateway = asking(&one, &format!("http://{}/", auth.addr), "request_headers = ['x-key']").await;
    let said = [("x-key", "k"), ("x-key", "l"), ("cookie", "session=good"), ("authorization", "Bearer t")];
    assert_eq!(gateway.ask("GET", "x", "/a", &said).await.status(), 302);
    let (head, _) = asked.lock().pop().expect("it was asked");
    assert_eq!(values(&head.headers, "x-key"), ["k", "l"]);
    assert!(values(&head.headers, "cookie").is_empty() && values(&head.headers, "authorization").is_empty());
}

#[tokio::test]
async fn any_other_answer_is_the_clients() {
    let (one, (auth, _)) = (Upstream::echo().await, authority().await);
    let gateway = asking(&one, &format!("http://{}/", auth.addr), "headers = ['x-user']").await;
    let reply = gateway.ask("GET", "x", "/a", &[]).await;
    assert_eq!((reply.status(), &reply.body[..]), (302, &b"<p>sign in"[..]));
    assert_eq!(reply.header("location"), Some("https://login.example/?to=here"));
    assert_eq!(reply.header("content-type"), Some("text/html"));
    assert_eq!(values(&reply.head.headers, "set-cookie"), ["a=1", "b=2"]);
    assert_eq!((reply.header("x-hidden"), reply.header("x-gateway-reason")), (None, None));
    let reply = gateway.ask("HEAD", "x", "/a", &[]).await;
    assert_eq!((reply.status(), reply.header("content-length"), reply.body.len()), (302, Some("10"), 0));
    let reply = gateway.ask("PUT", "x", "/a", &[("cookie", "session=old")]).await;
    assert_eq!((reply.status(), &reply.body[..]), (401, &b"old"[..]));
    assert_eq!(reply.header("www-authenticate"), Some("Basic realm=\"x\""));
    assert_eq!(one.requests.load(SeqCst), 0);
}

#[tokio::test]
async fn without_an_answer_nothing_goes_on() {
    let (one, (auth, _)) = (Upstream::echo().await, authority().await);
    let strange =
        Upstream::saying("HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n").await;
    let garbage = Upstream::saying("nothing of HTTP").await;
    let long = Upstream::saying(format!("HTTP/1.1 200 OK\r\nx: {}\r\n\r\n", "x".repeat(100_000))).await;
    for (addr, cookie) in [
        (auth.addr, "session=slow"),
        (auth.addr, "session=long"),
        (nobody(), "session=good"),
        (strange.addr, "session=good"),
        (garbage.addr, "session=good"),
        (long.addr, "session=good"),
    ] {
        let gateway = asking(&one, &format!("http://{addr}/"), "timeout = '1s'").await;
        let reply = gateway.ask("GET", "x", "/a", &[("cookie", cookie)]).await;
        assert_eq!(reply.status(), 503, "{addr} with {cookie}");
        reply.refused(503, "auth_unavailable");
        assert_eq!(reply.header("retry-after"), Some("1"), "{cookie}");
        let said = String::from_utf8_lossy(&reply.body).into_owned();
        assert!(!said.contains(&addr.to_string()), "{said}");
        let counted = r#"gateway_refusals_total{reason="auth_unavailable",service="one"}"#;
        shop_testing::eventually!(gateway.metric(counted) == Some(1.0));
    }
    assert_eq!(one.requests.load(SeqCst), 0);
}

#[tokio::test]
async fn connections_are_used_again_and_who_waits_is_in_nobodys_way() {
    let (gate, opened) = watch::channel(false);
    let auth = Upstream::serving(move |request: Request<Incoming>| {
        let mut opened = opened.clone();
        async move {
            if request.headers().get("x-forwarded-uri").is_some_and(|uri| uri == "/a/slow") {
                opened.wait_for(|is_open| *is_open).await.expect("opens");
            }
            Response::new(Full::new(Bytes::from_static(b"fine")))
        }
    })
    .await;
    let one = Upstream::echo().await;
    let gateway = asking(&one, &format!("http://{}/", auth.addr), "timeout = '30s'").await;
    let mut client = Client::connect(gateway.addr).await;
    for _ in 0..20 {
        assert_eq!(client.send(ask("GET", "x", "/a", &[])).await.expect("an answer").status(), 200);
    }
    assert_eq!(auth.connections.load(SeqCst), 1);
    let slow = gateway.ask("GET", "x", "/a/slow", &[]);
    let meanwhile = async {
        shop_testing::eventually!(auth.requests.load(SeqCst) == 21);
        assert_eq!(client.send(ask("GET", "x", "/a", &[])).await.expect("an answer").status(), 200);
        gate.send(true).expect("somebody waits");
    };
    let (reply, ()) = tokio::join!(slow, meanwhile);
    assert_eq!(reply.status(), 200);
}

#[tokio::test]
async fn a_grpc_call_is_asked_about_and_refused_as_grpc_is() {
    let (auth, asked) = authority().await;
    let grpc = Service { grpc_urls: backends(&[backend().await]), ..Service::default() };
    let text = format!(
        "grpc = 'shop.product.v1.ProductService'\nto = 'one'\nforward_auth = {{ url = 'http://{}/' }}",
        auth.addr
    );
    let gateway = Running::start(bare(&[("one", grpc)], &[("one", &text)])).await;
    let mut client = channel_to(gateway.addr).await;
    let mut call = async |cookie: &'static str| {
        let mut request = tonic::Request::new(number(21));
        request.metadata_mut().insert("cookie", cookie.parse().expect("a value"));
        twice(&mut client, request).await
    };
    assert_eq!(call("session=good").await.expect("an answer").into_inner(), number(42));
    let (head, _) = asked.lock().pop().expect("it was asked");
    assert_eq!(values(&head.headers, "x-forwarded-uri"), ["/shop.product.v1.ProductService/Twice"]);
    let refused = call("session=old").await.expect_err("refused");
    assert_eq!((refused.code(), refused.message()), (Code::Unauthenticated, "UNAUTHENTICATED"));
    assert_eq!(call("session=none").await.expect_err("refused").code(), Code::Unknown);
    assert_eq!(call("session=long").await.expect_err("no answer").code(), Code::Unavailable);
}

#[test]
fn a_server_that_cannot_be_asked_is_a_problem() {
    for (auth, key) in [
        ("", "routes.a.forward_auth.url"),
        ("url = 'auth:9000'", "routes.a.forward_auth.url"),
        ("url = 'ftp://auth/'", "routes.a.forward_auth.url"),
        ("url = 'https://a..b/'", "routes.a.forward_auth.url"),
        ("url = 'http://auth/', tls = {}", "routes.a.forward_auth.url"),
        ("url = 'https://auth/', tls = { server_name = 'a b' }", "routes.a.forward_auth.tls.server_name"),
        ("url = 'https://auth/', tls = { cert_file = 'a.pem' }", "routes.a.forward_auth.tls.cert_file"),
        ("url = 'http://user:secret@auth/'", "routes.a.forward_auth.url"),
        ("url = '/verify'", "routes.a.forward_auth.url"),
        ("url = 'http://auth/', timeout = '0s'", "routes.a.forward_auth.timeout"),
        ("url = 'http://auth/', timeout = '2m'", "routes.a.forward_auth.timeout"),
        ("url = 'http://auth/', headers = ['x user']", "routes.a.forward_auth.headers.0"),
        ("url = 'http://auth/', headers = ['x-user', 'host']", "routes.a.forward_auth.headers.1"),
        ("url = 'http://auth/', request_headers = ['transfer-encoding']", "routes.a.forward_auth.request_headers.0"),
        (
            "url = 'http://auth/', request_headers = ['a', 'X-Forwarded-User']",
            "routes.a.forward_auth.request_headers.1",
        ),
    ] {
        let found = problems(&[("a", &format!("path = '/a'\nto = 'one'\nforward_auth = {{ {auth} }}"))]);
        assert!(found.contains(key), "{auth}: {found}");
    }
    for fine in ["url = 'http://auth:9000/verify?app=1'", "url = 'https://[::1]/', tls = { server_name = 'auth' }"] {
        let fine = format!("path = '/a'\nto = 'one'\nforward_auth = {{ {fine} }}");
        assert!(!problems(&[("a", &fine)]).contains("forward_auth"), "{fine}");
    }
}
