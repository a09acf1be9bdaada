//! The stream of events behind the live page, and who gets which.

use bytes::Bytes;
use http::{HeaderMap, Request};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use shop_testing::eventually;
use tokio::net::TcpStream;

use crate::admin::request;
use crate::support::{Running, Upstream, config, nobody};

/// An open stream.
struct Stream {
    status: u16,
    headers: HeaderMap,
    body: Incoming,
    rest: String,
}

impl Stream {
    async fn open(gateway: &Running, pairs: &[(&'static str, &str)]) -> Self {
        let mut wanted: Request<Full<Bytes>> = request("GET", "/admin/events", "");
        for (name, value) in pairs {
            wanted.headers_mut().insert(*name, value.parse().expect("a value"));
        }
        let stream = TcpStream::connect(gateway.operators).await.expect("connects");
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.expect("shakes hands");
        tokio::spawn(connection);
        let (head, body) = sender.send_request(wanted).await.expect("an answer").into_parts();
        Self { status: head.status.as_u16(), headers: head.headers, body, rest: String::new() }
    }

    /// The next event that has data; none at the end.
    async fn next(&mut self) -> Option<Value> {
        loop {
            if let Some(end) = self.rest.find("\n\n") {
                let event: String = self.rest.drain(..end + 2).collect();
                match event.strip_prefix("data: ") {
                    Some(data) => return Some(serde_json::from_str(data).expect("JSON")),
                    None => continue,
                }
            }
            let frame = self.body.frame().await?.expect("a whole stream");
            self.rest.push_str(&String::from_utf8_lossy(frame.data_ref().expect("data")));
        }
    }
}

impl Running {
    /// Points that listeners are told of a service when they come.
    pub(crate) async fn history(&self, service: &str) -> usize {
        let mut stream = Stream::open(self, &[]).await;
        if stream.status != 200 {
            // There are as many as there may be, until it is noticed that they left.
            return 0;
        }
        while !stream.rest.contains("event: history\ndata: ") || stream.rest.matches("\n\n").count() < 2 {
            let frame = stream.body.frame().await.expect("a frame").expect("a whole stream");
            stream.rest.push_str(&String::from_utf8_lossy(frame.data_ref().expect("data")));
        }
        let line = stream.rest.lines().skip_while(|line| *line != "event: history").nth(1).expect("data");
        let told: Value = serde_json::from_str(line.strip_prefix("data: ").expect("data")).expect("JSON");
        told["services"][service]["rate"].as_array().map_or(0, Vec::len)
    }
}

#[tokio::test]
async fn events_tell_rates_and_refusals_of_the_last_seconds() {
    let upstream = Upstream::echo().await;
    let mut settings = config(upstream.addr);
    settings.services["notification"].enabled = false;
    let gateway = Running::start(settings).await;
    let mut stream = Stream::open(&gateway, &[]).await;
    assert_eq!((stream.status, &stream.headers["content-type"]), (200, &"text/event-stream".parse().expect("a value")));
    assert_eq!(stream.headers["cache-control"], "no-store");
    let first = stream.next().await.expect("an event");
    assert_eq!((&first["status"], &first["requests_per_second"]), (&"up".into(), &Value::Null));
    let told = gateway.admin("GET", "/admin/status", "").await;
    assert_eq!(first["etag"].as_str(), told.header("etag"));
    for _ in 0..20 {
        gateway.get("/api/products").await;
        gateway.get("/api/notifications/u1").await.refused(503, "service_disabled");
    }
    let of = |event: &Value, name: &str| -> Value {
        let services = event["services"].as_array().expect("a list");
        services.iter().find(|service| service["name"] == name).expect("it is there").clone()
    };
    let seen = loop {
        let next = stream.next().await.expect("an event");
        if of(&next, "product")["p99_ms"].is_number() && next["refused_by_reason"]["service_disabled"].is_number() {
            break next;
        }
    };
    let product = of(&seen, "product");
    assert!(product["requests_per_second"].as_f64() > Some(0.0), "{seen}");
    assert!(product["backends"][0]["requests_per_second"].as_f64() > Some(0.0), "{seen}");
    assert_eq!(of(&seen, "notification")["status"], "disabled");
    let refusal = &seen["refusals"][0];
    assert_eq!((&refusal["reason"], &refusal["status"]), (&"service_disabled".into(), &503.into()));
    assert_eq!((&refusal["service"], &refusal["route"]), (&"notification".into(), &"/api/notifications/*".into()));
    let all = seen["refusals"].as_array().map_or(0, Vec::len);
    assert!((1..=16).contains(&all), "a few of twenty, not {all}");
    let text = seen.to_string();
    assert!(!text.contains("127.0.0.1\"") && !text.contains("/api/notifications/u1"), "nobody is named: {text}");
}

#[tokio::test]
async fn listeners_are_counted_and_leave_nothing_behind() {
    let gateway = Running::before(nobody()).await;
    let mut all = Vec::new();
    for _ in 0..32 {
        all.push(Stream::open(&gateway, &[]).await);
    }
    assert!(all.iter().all(|stream| stream.status == 200));
    let late = Stream::open(&gateway, &[]).await;
    assert_eq!((late.status, &late.headers["x-gateway-reason"]), (429, &"rate_limited".parse().expect("a value")));
    drop(all);
    eventually!((Stream::open(&gateway, &[]).await.status == 200).then_some(()));
    eventually!((gateway.metric("gateway_active_requests{service=\"gateway\"}") == Some(0.0)).then_some(()));
    // Whoever leaves has had enough; that is neither a failure nor a slow request.
    assert_eq!(gateway.metric("gateway_refusals_total{reason=\"client_closed\",service=\"gateway\"}"), Some(0.0));
    let timed = gateway.metric("gateway_request_duration_seconds_sum{method=\"GET\",service=\"gateway\"}");
    assert!(timed < Some(1.0), "{timed:?}");
}

#[tokio::test]
async fn the_end_of_the_gateway_is_the_end_of_the_events() {
    let mut settings = config(nobody());
    settings.drain_delay = shop_config::Duration::millis(1500);
    let gateway = Running::start(settings).await;
    let mut stream = Stream::open(&gateway, &[]).await;
    stream.next().await.expect("an event");
    gateway.shutdown.soft.cancel();
    let mut last = stream.next().await.expect("an event");
    while let Some(next) = stream.next().await {
        last = next;
    }
    assert_eq!(last["status"], "draining", "who watches is told");
    gateway.ended.await.expect("no panic").expect("a clean end");
}

#[tokio::test]
async fn the_guard_is_that_of_the_admin_api() {
    const TOKEN: &str = "correct-horse-battery";
    let mut settings = config(nobody());
    settings.admin.token = TOKEN.into();
    let gateway = Running::start(settings.clone()).await;
    assert_eq!(Stream::open(&gateway, &[]).await.status, 401);
    assert_eq!(Stream::open(&gateway, &[("authorization", "Bearer wrong")]).await.status, 401);
    let bearer = format!("Bearer {TOKEN}");
    let cross = [("authorization", bearer.as_str()), ("sec-fetch-site", "cross-site")];
    assert_eq!(Stream::open(&gateway, &cross).await.status, 403, "another site's page");
    let mut stream = Stream::open(&gateway, &[("authorization", &bearer), ("sec-fetch-site", "same-origin")]).await;
    assert!(stream.next().await.is_some());

    // The page without a token is refused too, with a form in which to enter it.
    let page = gateway.admin("GET", "/admin/ui", "").await;
    assert_eq!((page.status(), page.header("x-gateway-reason")), (401, Some("admin_unauthorized")));
    assert_eq!(page.header("content-type"), Some("text/html; charset=utf-8"));
    let policy = page.header("content-security-policy").expect("a policy");
    assert!(policy.starts_with("default-src 'none'; script-src 'sha256-") && !policy.contains("unsafe"), "{policy}");

    // Another token ends what the old one opened.
    settings.admin.token = "another-token-altogether".into();
    gateway.handle.apply(settings).expect("good settings");
    while stream.next().await.is_some() {}
    assert_eq!(Stream::open(&gateway, &[("authorization", &bearer)]).await.status, 401);

    let open = Running::before(nobody()).await;
    assert_eq!(Stream::open(&open, &[("x-forwarded-for", "9.9.9.9")]).await.status, 403);
    let mut proxied = request("GET", "/admin/ui", "");
    proxied.headers_mut().insert("x-forwarded-for", "9.9.9.9".parse().expect("a value"));
    open.operate(proxied).await.refused(403, "admin_forbidden");
    assert_eq!(open.admin("GET", "/admin/ui", "").await.status(), 200);
    assert_eq!(open.admin("HEAD", "/admin/events", "").await.header("content-type"), Some("text/event-stream"));
}
