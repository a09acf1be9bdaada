//! gRPC as pages in browsers call it.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::{Buf as _, Bytes};
use http::Request;
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use shop_gateway::Config;
use shop_gateway::settings::Service;
use shop_testing::{Program, backend as wanted};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::grpc::backend;
use crate::routes::{bare, problems};
use crate::support::{Reply, Running, Upstream, backends, http2, nobody};

const ROUTE: &str = "grpc = 'shop.product.v1.ProductService'\nto = 'one'\ngrpc_web = true";
const PROTO: &str = "application/grpc-web+proto";
const TEXT: &str = "application/grpc-web-text+proto";

fn settings(addr: std::net::SocketAddr, route: &str) -> Config {
    let service = Service { grpc_urls: backends(&[addr]), ..Service::default() };
    bare(&[("one", service)], &[("numbers", route)])
}

/// A message with a number below 128, in its frame.
fn message(id: u8) -> Vec<u8> {
    vec![0, 0, 0, 0, 2, 8, id]
}

fn call(method: &str, kind: &str, body: impl Into<Bytes>) -> Request<Full<Bytes>> {
    let request = Request::builder().method("POST").uri(format!("/shop.product.v1.ProductService/{method}"));
    let request = request.header("host", "gw.test").header("content-type", kind).header("x-grpc-web", "1");
    request.body(Full::new(body.into())).expect("a request")
}

/// The numbers in a body, and the lines of its last frame.
fn read(body: &[u8]) -> (Vec<u8>, Vec<String>) {
    let (mut rest, mut numbers, mut lines) = (body, Vec::new(), Vec::new());
    while !rest.is_empty() {
        let (flags, size) = (rest.get_u8(), rest.get_u32() as usize);
        let (frame, behind) = rest.split_at(size);
        rest = behind;
        if flags == 0x80 {
            assert!(rest.is_empty(), "trailers are the last frame");
            lines = String::from_utf8_lossy(frame).lines().map(str::to_owned).collect();
        } else {
            numbers.push(frame[1]);
        }
    }
    (numbers, lines)
}

/// One text after the other, each with its padding.
fn decoded(text: &[u8]) -> Vec<u8> {
    let parts = text.split_inclusive(|byte| *byte == b'=').collect::<Vec<_>>();
    let mut whole = String::new();
    let mut bytes = Vec::new();
    for part in parts {
        whole.push_str(std::str::from_utf8(part).expect("text"));
        if whole.len().is_multiple_of(4) {
            bytes.extend(STANDARD.decode(&whole).expect("base64"));
            whole.clear();
        }
    }
    assert!(whole.is_empty(), "{whole}");
    bytes
}

impl Reply {
    fn outcome(&self) -> (Vec<u8>, Vec<String>) {
        assert_eq!((self.status(), self.header("grpc-status")), (200, None), "{:?}", self.head);
        match self.header("content-type") {
            Some(TEXT | "application/grpc-web-text") => read(&decoded(&self.body)),
            kind => {
                assert!(matches!(kind, Some(PROTO | "application/grpc-web")), "{kind:?}");
                read(&self.body)
            }
        }
    }
}

fn has(lines: &[String], line: &str) -> bool {
    lines.iter().any(|one| one == line)
}

#[tokio::test]
async fn a_call_of_a_page_is_a_call_of_grpc() {
    let gateway = Running::start(settings(backend().await, ROUTE)).await;
    let in_text = STANDARD.encode(message(21));
    for (kind, body) in [(PROTO, message(21)), ("application/grpc-web", message(21)), (TEXT, in_text.into())] {
        let reply = gateway.send(call("Twice", kind, body.clone())).await;
        let (numbers, lines) = reply.outcome();
        assert_eq!(numbers, [42], "{kind}");
        assert!(has(&lines, "grpc-status: 0"), "{lines:?}");
        assert_eq!(reply.head.headers.get("seen").map(http::HeaderValue::as_bytes), Some(&b"te=trailers"[..]));
        let mut request = call("Twice", kind, body);
        *request.uri_mut() = "http://gw.test/shop.product.v1.ProductService/Twice".parse().expect("a target");
        request.headers_mut().remove("host");
        let answer = http2(gateway.addr).await.send_request(request).await.expect("an answer");
        let (head, body) = answer.into_parts();
        let body = body.collect().await.expect("is whole");
        assert!(body.trailers().is_none());
        let reply = Reply { head, trailers: None, body: body.to_bytes() };
        assert_eq!(reply.outcome().0, [42], "{kind} over HTTP/2");
    }
    // Asked in one form, wanted in the other.
    let mut mixed = call("Twice", PROTO, message(4));
    mixed.headers_mut().insert("accept", TEXT.parse().expect("a value"));
    let reply = gateway.send(mixed).await;
    assert_eq!((reply.header("content-type"), reply.outcome().0), (Some("application/grpc-web-text"), vec![8]));
    // Without messages the outcome is in the body too.
    for kind in [PROTO, TEXT] {
        let body = if kind == TEXT { STANDARD.encode(message(1)).into() } else { message(1) };
        let reply = gateway.send(call("Fail", kind, body)).await;
        let (numbers, lines) = reply.outcome();
        assert!(numbers.is_empty());
        assert!(has(&lines, "grpc-status: 9") && has(&lines, "grpc-message: sp%C3%A4%C5%A5"), "{lines:?}");
        assert!(lines.iter().any(|line| line.starts_with("grpc-status-details-bin: ")), "{lines:?}");
    }
}

#[tokio::test]
async fn messages_come_one_by_one() {
    let gateway = Running::start(settings(backend().await, ROUTE)).await;
    for (kind, body) in [(PROTO, message(3)), (TEXT, STANDARD.encode(message(3)).into())] {
        let reply = gateway.send(call("Count", kind, body.clone())).await;
        let (numbers, lines) = reply.outcome();
        assert_eq!(numbers, [1, 2, 3]);
        assert!(has(&lines, "grpc-status: 11") && has(&lines, "grpc-message: that%20was%20all"), "{lines:?}");
        // One, and then nothing for ever.
        let stream = TcpStream::connect(gateway.addr).await.expect("connects");
        let (mut client, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.expect("shakes hands");
        tokio::spawn(connection);
        let mut answer = client.send_request(call("Break", kind, body)).await.expect("an answer").into_body();
        let mut seen = Vec::new();
        let whole = if kind == TEXT { STANDARD.encode(message(1)).len() } else { message(1).len() };
        while seen.len() < whole {
            let frame = tokio::time::timeout(Duration::from_secs(10), answer.frame()).await.expect("does not wait");
            seen.extend_from_slice(&frame.expect("more").expect("no error").into_data().expect("data"));
        }
        let bytes = if kind == TEXT { decoded(&seen) } else { seen };
        assert_eq!(bytes, message(1), "{kind}");
    }
}

#[tokio::test]
async fn text_may_come_in_any_pieces_and_nonsense_is_refused() {
    let gateway = Running::start(settings(backend().await, ROUTE)).await;
    let text = STANDARD.encode(message(5));
    let head = format!(
        "POST /shop.product.v1.ProductService/Twice HTTP/1.1\r\nhost: a\r\ncontent-type: {TEXT}\r\n\
         connection: close\r\ntransfer-encoding: chunked\r\n\r\n"
    );
    let mut stream = TcpStream::connect(gateway.addr).await.expect("connects");
    stream.write_all(head.as_bytes()).await.expect("writes");
    for byte in text.bytes() {
        stream.write_all(&[b'1', b'\r', b'\n', byte, b'\r', b'\n']).await.expect("writes");
        stream.flush().await.expect("writes");
    }
    stream.write_all(b"0\r\n\r\n").await.expect("writes");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("an answer");
    let wanted = STANDARD.encode([0, 0, 0, 0, 2, 8]);
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains(&wanted), "{answer}");
    for body in ["AAAA!AAA", "AAAAA", "AA=A"] {
        let reply = gateway.send(call("Twice", TEXT, body)).await;
        let (_, lines) = reply.outcome();
        assert!(!has(&lines, "grpc-status: 0") && !lines.is_empty(), "{body}: {lines:?}");
    }
}

#[tokio::test]
async fn what_the_gateway_itself_says_has_the_same_form() {
    let gateway = Running::start(settings(nobody(), ROUTE)).await;
    for kind in [PROTO, TEXT] {
        let reply = gateway.send(call("Twice", kind, message(1))).await;
        let (_, lines) = reply.outcome();
        assert_eq!(reply.header("x-gateway-reason"), Some("connect_failed"));
        assert!(has(&lines, "grpc-status: 14"), "{lines:?}");
    }
    let mut late = call("Break", PROTO, message(1));
    late.headers_mut().insert("grpc-timeout", "300m".parse().expect("a value"));
    let gateway = Running::start(settings(backend().await, ROUTE)).await;
    let (numbers, lines) = gateway.send(late).await.outcome();
    assert_eq!(numbers, [1]);
    assert!(has(&lines, "grpc-status: 4") && has(&lines, "x-gateway-reason: upstream_timeout"), "{lines:?}");
}

#[tokio::test]
async fn pages_of_other_sites_need_the_leave_that_all_need() {
    let mut settings = settings(backend().await, ROUTE);
    settings.cors.origins = vec!["https://a.example".parse().expect("an origin")];
    settings.cors.methods = vec!["POST".to_owned()];
    settings.cors.headers = vec!["content-type".to_owned(), "x-grpc-web".to_owned()];
    let gateway = Running::start(settings).await;
    for (origin, leave) in [("https://a.example", Some("https://a.example")), ("https://b.example", None)] {
        let mut preflight = call("Twice", PROTO, "");
        *preflight.method_mut() = http::Method::OPTIONS;
        preflight.headers_mut().remove("content-type");
        let asked = [("access-control-request-method", "POST"), ("access-control-request-headers", "x-grpc-web")];
        for (name, value) in asked.into_iter().chain([("origin", origin)]) {
            preflight.headers_mut().insert(name, value.parse().expect("a value"));
        }
        let reply = gateway.send(preflight).await;
        assert_eq!(reply.header("access-control-allow-origin"), leave, "{origin}: {:?}", reply.head);
        let mut request = call("Twice", PROTO, message(21));
        request.headers_mut().insert("origin", origin.parse().expect("a value"));
        let reply = gateway.send(request).await;
        assert_eq!(reply.header("access-control-allow-origin"), leave, "{origin}");
        match leave {
            Some(_) => assert_eq!(reply.outcome().0, [42]),
            None => reply.refused(403, "cross_origin_refused"),
        }
    }
}

#[tokio::test]
async fn who_may_not_call_is_told_so_in_its_form() {
    let auth = Upstream::serving(|_| async {
        hyper::Response::builder().status(403).body(Full::new(Bytes::from_static(b"no"))).expect("an answer")
    })
    .await;
    let route = format!("{ROUTE}\nforward_auth = {{ url = 'http://{}/' }}", auth.addr);
    let gateway = Running::start(settings(backend().await, &route)).await;
    for kind in [PROTO, TEXT] {
        let (numbers, lines) = gateway.send(call("Twice", kind, message(1))).await.outcome();
        assert!(numbers.is_empty() && has(&lines, "grpc-status: 7"), "{lines:?}");
    }
}

#[tokio::test]
async fn a_route_takes_it_only_when_it_says_so() {
    let off = ROUTE.replace("grpc_web = true", "");
    let gateway = Running::start(settings(backend().await, &off)).await;
    gateway.send(call("Twice", PROTO, message(1))).await.refused(404, "no_route");
    let gateway = Running::start(settings(backend().await, ROUTE)).await;
    let mut get = call("Twice", PROTO, message(1));
    *get.method_mut() = http::Method::PUT;
    gateway.send(get).await.refused(404, "no_route");
    gateway.send(call("Twice", "application/grpc-webs", message(1))).await.refused(404, "no_route");
    let said = problems(&[("x", "path = '/*'\nto = 'one'\ngrpc_web = true")]);
    assert!(said.contains("routes.x.grpc_web"), "{said}");
}

#[tokio::test]
async fn the_clients_that_pages_have_are_content() {
    let Some(folder) = wanted::grpc_web() else { return };
    let gateway = Running::start(settings(backend().await, ROUTE)).await;
    let script = format!("{folder}/client.mjs");
    let url = format!("http://{}", gateway.addr);
    let output = Program::new(format!("{folder}/node")).args([&*script, &*url]).output().await;
    let said = String::from_utf8_lossy(&output.stdout);
    let lines: Vec<Value> = said.lines().map(|line| serde_json::from_str(line).expect("json")).collect();
    let line = |client: &str, call: &str, numbers: &[i64], code: i64, message: &str| json!({"client": client, "call": call, "numbers": numbers, "code": code, "message": message});
    let expected = [
        line("connect", "Twice", &[42], 0, ""),
        line("connect", "Count", &[1, 2, 3], 11, "that was all"),
        line("connect", "late", &[2], 0, ""),
        line("binary", "Twice", &[42], 0, ""),
        line("binary", "Fail", &[], 9, "späť"),
        line("text", "Twice", &[42], 0, ""),
        line("text", "Fail", &[], 9, "späť"),
        line("text", "Count", &[1, 2, 3], 11, "that was all"),
    ];
    assert_eq!(lines, expected, "{}", String::from_utf8_lossy(&output.stderr));
}
