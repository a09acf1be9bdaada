//! The same `Idempotency-Key` twice: one effect, one answer.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use salvo::prelude::*;
use salvo::test::{RequestBuilder, ResponseExt, TestClient};
use serde::Deserialize;
use serde_json::{Value, json};
use shop_clock::SystemClock;
use shop_config::Http;
use shop_fault::{Fault, Kind};
use shop_idempotency::{Begin, BoxError, Fingerprint, Store, Stored};
use shop_runtime::Shutdown;
use shop_telemetry::Metrics;
use shop_web::idempotency::{self, Canonical};
use shop_web::{About, Health, OptionalJson, Parts, Problem, precondition, service};
use tokio::sync::Notify;
use uuid::Uuid;

/// Keys in memory, kept as the contract asks.
#[derive(Default)]
struct Keys {
    rows: Mutex<HashMap<String, Row>>,
    broken: bool,
}

struct Row {
    fingerprint: Fingerprint,
    operation: Uuid,
    running: bool,
    answer: Option<Stored>,
}

#[async_trait]
impl Store for Keys {
    async fn begin(&self, key: &str, fingerprint: &Fingerprint) -> Result<Begin, BoxError> {
        if self.broken {
            return Err("disk full at /secret/path".into());
        }
        let mut rows = self.rows.lock().expect("not poisoned");
        let fresh = || Row { fingerprint: *fingerprint, operation: Uuid::new_v4(), running: false, answer: None };
        let row = rows.entry(key.to_owned()).or_insert_with(fresh);
        Ok(match row {
            row if !fingerprint.is_of(&row.fingerprint.asked) => Begin::Mismatch,
            Row { answer: Some(answer), .. } => Begin::Replay(answer.clone()),
            Row { running: true, .. } => Begin::InFlight,
            row => {
                row.running = true;
                Begin::Run { operation: row.operation }
            }
        })
    }

    async fn finish(&self, key: &str, answer: &Stored) -> Result<(), BoxError> {
        let mut rows = self.rows.lock().expect("not poisoned");
        let row = rows.get_mut(key).expect("begun");
        (row.running, row.answer) = (false, Some(answer.clone()));
        Ok(())
    }

    async fn abandon(&self, key: &str) -> Result<(), BoxError> {
        self.rows.lock().expect("not poisoned").get_mut(key).expect("begun").running = false;
        Ok(())
    }
}

/// What to do, and how often; once when that is left out.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Order {
    r#do: Option<String>,
    a: Option<u32>,
    times: Option<u32>,
}

impl Canonical for Order {
    fn canonical(self) -> Result<Value, Problem> {
        let Self { r#do, a, times } = self;
        Ok(json!({"do": r#do.as_deref().map(str::trim), "a": a, "times": times.unwrap_or(1)}))
    }
}

/// Answers by body, counts its runs, and can be held in the middle.
#[derive(Clone, Default)]
struct Create {
    runs: Arc<AtomicUsize>,
    entered: Arc<Notify>,
    go_on: Arc<Notify>,
}

#[handler]
impl Create {
    async fn handle(&self, req: &mut Request, depot: &mut Depot, res: &mut Response) -> Result<(), Problem> {
        let run = self.runs.fetch_add(1, Ordering::SeqCst) + 1;
        let operation = idempotency::operation(depot, &SystemClock);
        let asked: Value = req.parse_json().await.unwrap_or_default();
        match asked["do"].as_str().unwrap_or_default() {
            "refuse" => return Err(Fault::new(Kind::Conflict, "basket_empty", "the basket is empty").into()),
            "wait" if run == 1 => return Err(Fault::new(Kind::Busy, "payment_unsettled", "not yet").into()),
            "fail" if run == 1 => return Err(Fault::new(Kind::Unavailable, "store_unavailable", "down").into()),
            "expect" if !precondition::of(req)?.admits(2) => {
                return Err(Fault::new(Kind::Precondition, "precondition_failed", "it is at v2").into());
            }
            "hold" => {
                self.entered.notify_one();
                self.go_on.notified().await;
            }
            _ => {}
        }
        res.status_code(StatusCode::CREATED);
        res.add_header("location", format!("/things/{operation}"), true).expect("a valid header");
        res.render(Json(json!({"run": run, "operation": operation})));
        Ok(())
    }
}

fn app(create: &Create, keys: Keys) -> Arc<Service> {
    let hoop = idempotency::hoop::<OptionalJson<Order>>(Arc::new(keys));
    let router = Router::new().push(
        Router::with_path("things")
            .hoop(hoop)
            .post(create.clone())
            .push(Router::with_path("more").post(create.clone())),
    );
    let health = Health::new(&Shutdown::new());
    Arc::new(service(
        router,
        Parts {
            about: About { title: "t", tags: &[] },
            metrics: Metrics::new("t"),
            health,
            guard: shop_identity::Guard::open(),
            settings: Http::on(0),
        },
    ))
}

fn post(key: &str, body: &str) -> RequestBuilder {
    TestClient::post("http://localhost/things").raw_json(body).add_header("idempotency-key", key, true)
}

async fn answer(mut res: Response) -> (u16, String, bool) {
    let replayed = res.headers().contains_key("idempotency-replayed");
    let status = res.status_code.expect("set").as_u16();
    (status, res.take_string().await.unwrap_or_default(), replayed)
}

#[tokio::test]
async fn an_answer_that_asks_to_come_back_is_not_the_one_to_keep() {
    let create = Create::default();
    let app = app(&create, Keys::default());
    let waits = post("k", r#"{"do": "wait"}"#).send(&*app).await;
    assert_eq!(
        (waits.status_code, &waits.headers()["retry-after"]),
        (Some(StatusCode::CONFLICT), &"1".parse().expect("a value"))
    );
    let (status, _, replayed) = answer(post("k", r#"{"do": "wait"}"#).send(&*app).await).await;
    assert_eq!((status, replayed, create.runs.load(Ordering::SeqCst)), (201, false, 2));
}

#[tokio::test]
async fn a_repeat_gets_the_stored_answer() {
    let create = Create::default();
    let app = app(&create, Keys::default());
    let first = post("k", "{}").send(&*app).await;
    let location = first.headers()["location"].clone();
    let (status, body, replayed) = answer(first).await;
    assert_eq!((status, replayed), (201, false));
    let again = post("k", "{}").send(&*app).await;
    assert_eq!(again.headers()["location"], location);
    assert!(again.headers()["content-type"].to_str().expect("ASCII").starts_with("application/json"));
    assert_eq!(answer(again).await, (201, body, true));
    assert_eq!(create.runs.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_refusal_is_stored_too() {
    let create = Create::default();
    let app = app(&create, Keys::default());
    let (status, body, _) = answer(post("k", r#"{"do":"refuse"}"#).send(&*app).await).await;
    assert_eq!(status, 409);
    assert_eq!(answer(post("k", r#"{"do":"refuse"}"#).send(&*app).await).await, (409, body, true));
}

#[tokio::test]
async fn a_failure_of_ours_is_not_stored_and_the_operation_stays() {
    let create = Create::default();
    let app = app(&create, Keys::default());
    assert_eq!(answer(post("k", r#"{"do":"fail"}"#).send(&*app).await).await.0, 503);
    let (status, body, replayed) = answer(post("k", r#"{"do":"fail"}"#).send(&*app).await).await;
    assert_eq!((status, replayed), (201, false), "{body}");
    assert_eq!(create.runs.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn a_key_is_good_for_one_request_only() {
    let create = Create::default();
    let app = app(&create, Keys::default());
    post("k", "{}").send(&*app).await;
    let other_body = answer(post("k", r#"{"a":1}"#).send(&*app).await).await;
    assert!(other_body.0 == 422 && other_body.1.contains("idempotency_key_reused"), "{other_body:?}");
    let other_path =
        TestClient::post("http://localhost/things/more").raw_json("{}").add_header("idempotency-key", "k", true);
    assert_eq!(answer(other_path.send(&*app).await).await.0, 422);
}

#[tokio::test]
async fn a_repeat_may_be_written_otherwise() {
    let create = Create::default();
    let app = app(&create, Keys::default());
    let (status, body, _) = answer(post("k", r#"{"do":"x","a":1}"#).send(&*app).await).await;
    assert_eq!(status, 201);
    for same in [
        r#"{"a":1,"do":"x"}"#,
        "{ \"do\" : \"\\u0078\",\n \"a\" : 1 }",
        r#"{"do":" x ","a":1,"times":null}"#,
        r#"{"do":"x","a":1,"times":1}"#,
    ] {
        assert_eq!(answer(post("k", same).send(&*app).await).await, (201, body.clone(), true), "{same}");
    }
    for other in [r#"{"do":"x","a":2}"#, r#"{"do":"x"}"#, r#"{"do":"x","a":1,"times":2}"#, "{}", ""] {
        let refused = answer(post("k", other).send(&*app).await).await;
        assert!(refused.0 == 422 && refused.1.contains("idempotency_key_reused"), "{other}: {refused:?}");
    }
    assert_eq!(create.runs.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn who_expected_another_state_may_ask_again_and_who_was_answered_may_expect_anything() {
    let create = Create::default();
    let app = app(&create, Keys::default());
    let expecting = |tag: &'static str| post("k", r#"{"do": "expect"}"#).add_header("if-match", tag, true);
    assert_eq!(answer(expecting("\"v1\"").send(&*app).await).await.0, 412);
    let (status, body, replayed) = answer(expecting("\"v2\"").send(&*app).await).await;
    assert_eq!((status, replayed), (201, false), "{body}");
    for tag in ["\"v2\"", "\"v1\"", "*"] {
        assert_eq!(answer(expecting(tag).send(&*app).await).await, (201, body.clone(), true), "{tag}");
    }
}

#[tokio::test]
async fn what_cannot_be_read_takes_no_key() {
    let create = Create::default();
    let app = app(&create, Keys::default());
    for name in ["if-match", "if-none-match"] {
        assert_eq!(answer(post("k", "{}").add_header(name, "v1", true).send(&*app).await).await.0, 400, "{name}");
    }
    for (body, status) in [(r#"{"do":"#, 400), (r#"{"x":1}"#, 422), (r#"{"a":1,"a":2}"#, 422), (r#"{"a":1e400}"#, 422)]
    {
        assert_eq!(answer(post("k", body).send(&*app).await).await.0, status, "{body}");
    }
    assert_eq!(answer(post("k", "{}").send(&*app).await).await.0, 201, "the key is still free");
}

#[tokio::test]
async fn a_repeat_while_the_first_runs_is_a_conflict() {
    let create = Create::default();
    let app = app(&create, Keys::default());
    let first = tokio::spawn({
        let app = app.clone();
        async move { post("k", r#"{"do":"hold"}"#).send(&*app).await }
    });
    create.entered.notified().await;
    let res = post("k", r#"{"do":"hold"}"#).send(&*app).await;
    assert_eq!(res.headers()["retry-after"], "1");
    let second = answer(res).await;
    assert!(second.0 == 409 && second.1.contains("idempotency_in_flight"), "{second:?}");
    create.go_on.notify_one();
    assert_eq!(first.await.expect("answers").status_code, Some(StatusCode::CREATED));
}

#[tokio::test]
async fn a_caller_that_goes_away_lets_the_key_go() {
    let create = Create::default();
    let app = app(&create, Keys::default());
    let first = tokio::spawn({
        let app = app.clone();
        async move { post("k", r#"{"do":"hold"}"#).send(&*app).await }
    });
    create.entered.notified().await;
    first.abort();
    first.await.expect_err("aborted");
    create.go_on.notify_one();
    // The key is let go by a task of its own: ask until it was.
    let status = async {
        loop {
            match answer(post("k", r#"{"do":"hold"}"#).send(&*app).await).await.0 {
                409 => tokio::task::yield_now().await,
                status => return status,
            }
        }
    };
    assert_eq!(tokio::time::timeout(std::time::Duration::from_secs(5), status).await, Ok(201));
}

#[tokio::test]
async fn without_a_key_every_request_runs() {
    let create = Create::default();
    let app = app(&create, Keys::default());
    for _ in 0..2 {
        TestClient::post("http://localhost/things").raw_json("{}").send(&*app).await;
    }
    assert_eq!(create.runs.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn a_key_that_is_empty_or_too_long_is_refused() {
    let create = Create::default();
    let app = app(&create, Keys::default());
    for key in ["", "   ", &"k".repeat(256)] {
        let (status, body, _) = answer(post(key, "{}").send(&*app).await).await;
        assert!(status == 400 && body.contains("invalid_idempotency_key"), "{key}: {status} {body}");
    }
    assert_eq!(answer(post(&"k".repeat(255), "{}").send(&*app).await).await.0, 201);
    assert_eq!(create.runs.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_store_that_is_down_is_503_and_nothing_runs() {
    let create = Create::default();
    let app = app(&create, Keys { broken: true, ..Keys::default() });
    let (status, body, _) = answer(post("k", "{}").send(&*app).await).await;
    assert!(status == 503 && body.contains("store_unavailable") && !body.contains("secret"), "{status} {body}");
    assert_eq!(create.runs.load(Ordering::SeqCst), 0);
}
