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
use shop_idempotency::{Begin, Begun, BoxError, Claim, Fingerprint, Keys, Lease, Store, Stored, began, following};
use shop_runtime::Shutdown;
use shop_telemetry::Metrics;
use shop_web::idempotency::{self, Canonical};
use shop_web::{About, Health, OptionalJson, Parts, Problem, precondition, service};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// Keys in memory, kept as the contract asks. Clones share them, as processes share a store.
#[derive(Clone, Default)]
struct Memory {
    rows: Arc<Mutex<HashMap<String, Row>>>,
    broken: bool,
}

struct Row {
    fingerprint: Fingerprint,
    operation: Uuid,
    owner: Option<Uuid>,
    answer: Option<Stored>,
}

impl Memory {
    fn end(&self, lease: &Lease, end: impl FnOnce(&mut Row)) {
        let mut rows = self.rows.lock().expect("not poisoned");
        let row = rows.get_mut(&lease.name).filter(|row| row.owner == Some(lease.owner));
        if let Some(row) = row {
            row.owner = None;
            end(row);
        }
    }

    fn stored(&self) -> usize {
        self.rows.lock().expect("not poisoned").values().filter(|row| row.answer.is_some()).count()
    }
}

#[async_trait]
impl Store for Memory {
    async fn begin(&self, claim: &Claim) -> Result<Begin, BoxError> {
        if self.broken {
            return Err("disk full at /secret/path".into());
        }
        let mut rows = self.rows.lock().expect("not poisoned");
        let (name, owner, fresh) = (claim.second_name(), Uuid::new_v4(), !rows.contains_key(&claim.second_name()));
        let new = || Row { fingerprint: claim.fingerprint, operation: Uuid::new_v4(), owner: None, answer: None };
        let row = rows.entry(name.clone()).or_insert_with(new);
        Ok(match row {
            row if !claim.fingerprint.is_of(&row.fingerprint.asked) => Begin::Mismatch,
            Row { answer: Some(answer), .. } => Begin::Replay(answer.clone()),
            Row { owner: Some(_), .. } => Begin::InFlight,
            row => {
                row.owner = Some(owner);
                Begin::Run { lease: Lease { name, owner }, operation: row.operation, fresh }
            }
        })
    }

    async fn renew(&self, _leases: &[Lease]) -> Result<(), BoxError> {
        Ok(())
    }

    async fn finish(&self, answers: &[(Lease, Stored)]) -> Result<(), BoxError> {
        for (lease, answer) in answers {
            self.end(lease, |row| row.answer = Some(answer.clone()));
        }
        Ok(())
    }

    async fn release(&self, leases: &[Lease]) -> Result<(), BoxError> {
        for lease in leases {
            self.end(lease, |_| {});
        }
        Ok(())
    }

    async fn forget(&self, lease: &Lease) -> Result<(), BoxError> {
        self.rows.lock().expect("not poisoned").remove(&lease.name);
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
            "decline" => {
                began();
                return Err(Fault::new(Kind::PaymentRequired, "payment_declined", "the card was declined").into());
            }
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

fn app(create: &Create, store: Memory) -> Arc<Service> {
    app_of(create, &Keys::new(Arc::new(store)))
}

fn app_of(create: &Create, keys: &Keys) -> Arc<Service> {
    let making = idempotency::hoop::<OptionalJson<Order>>("Create", keys.clone());
    let mending = idempotency::hoop::<OptionalJson<Order>>("Mend", keys.clone());
    let things = Router::with_path("things")
        .push(Router::new().hoop(making).post(create.clone()).push(Router::with_path("more").post(create.clone())))
        .push(Router::with_path("mend").hoop(mending).post(create.clone()));
    let router = Router::new().push(things);
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
    let app = app(&create, Memory::default());
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
    let app = app(&create, Memory::default());
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
async fn a_decline_is_the_answer_to_keep() {
    let create = Create::default();
    let app = app(&create, Memory::default());
    let (status, body, _) = answer(post("k", r#"{"do":"decline"}"#).send(&*app).await).await;
    assert_eq!(status, 402);
    assert_eq!(answer(post("k", r#"{"do":"decline"}"#).send(&*app).await).await, (402, body, true));
    assert_eq!(create.runs.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn who_was_refused_before_anything_was_done_mends_it_under_the_same_key() {
    let create = Create::default();
    let app = app(&create, Memory::default());
    for _ in 0..2 {
        let (status, _, replayed) = answer(post("k", r#"{"do":"refuse"}"#).send(&*app).await).await;
        assert_eq!((status, replayed), (409, false), "looked at anew each time");
    }
    let (status, body, replayed) = answer(post("k", "{}").send(&*app).await).await;
    assert_eq!((status, replayed), (201, false), "{body}");
    assert_eq!(answer(post("k", "{}").send(&*app).await).await, (201, body, true));
}

#[tokio::test]
async fn a_refusal_after_a_run_that_may_have_done_something_frees_the_key_for_nothing_else() {
    let create = Create::default();
    let app = app(&create, Memory::default());
    assert_eq!(answer(post("k", r#"{"do":"fail"}"#).send(&*app).await).await.0, 503);
    // The caller cannot know whether it was done: under this key it is that request or none.
    let other = answer(post("k", "{}").send(&*app).await).await;
    assert!(other.0 == 422 && other.1.contains("idempotency_key_reused"), "{other:?}");
}

#[tokio::test]
async fn one_key_may_serve_two_operations() {
    let create = Create::default();
    let app = app(&create, Memory::default());
    let mend =
        || TestClient::post("http://localhost/things/mend").raw_json("{}").add_header("idempotency-key", "k", true);
    let (made, body, _) = answer(post("k", "{}").send(&*app).await).await;
    let (mended, other, replayed) = answer(mend().send(&*app).await).await;
    assert_eq!((made, mended, replayed), (201, 201, false));
    assert_ne!(body, other);
    assert_eq!(answer(mend().send(&*app).await).await, (201, other, true));
    assert_eq!(answer(post("k", "{}").send(&*app).await).await, (201, body, true));
}

#[tokio::test]
async fn answers_reach_the_store_together_and_at_the_latest_when_the_process_ends() {
    let (create, store) = (Create::default(), Memory::default());
    let keys = Keys::new(Arc::new(store.clone()));
    let here = app_of(&create, &keys);
    let stop = CancellationToken::new();
    let storing = tokio::spawn(keys.run(stop.clone()));
    let mut first = Vec::new();
    for key in ["a", "b", "c"] {
        first.push(answer(post(key, "{}").send(&*here).await).await.1);
    }
    stop.cancel();
    storing.await.expect("ends");
    assert_eq!(store.stored(), 3);
    // Another process knows them from the store alone.
    let elsewhere = app(&create, store);
    for (key, body) in ["a", "b", "c"].into_iter().zip(first) {
        assert_eq!(answer(post(key, "{}").send(&*elsewhere).await).await, (201, body, true), "{key}");
    }
}

#[tokio::test]
async fn what_goes_on_for_a_caller_that_went_away_keeps_its_key() {
    let keys = Keys::new(Arc::new(Memory::default()));
    let stop = CancellationToken::new();
    let storing = tokio::spawn(keys.clone().run(stop.clone()));
    let key = || shop_input::Id::read("k").expect("a key");
    let begin = async || keys.begin("Create", key(), Fingerprint { asked: [1; 32], bytes: [1; 32] }).await;
    let Ok(Begun::Run(run)) = begin().await else { panic!("should run") };
    // A command on a task of its own, as those that charge are.
    let go_on = Arc::new(Notify::new());
    let waiting = go_on.clone();
    let mut command = None;
    let spawn = async { command = Some(tokio::spawn(following(async move { waiting.notified().await }))) };
    run.scope(spawn).await;
    drop(run);
    tokio::task::yield_now().await;
    assert!(begin().await.is_err_and(|fault| fault.code() == "idempotency_in_flight"));
    go_on.notify_one();
    command.expect("begun").await.expect("ends");
    let free = async {
        while begin().await.is_err() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(5), free)
        .await
        .expect("the key is free with the command's end");
    stop.cancel();
    storing.await.expect("ends");
}

#[tokio::test]
async fn a_failure_of_ours_is_not_stored_and_the_operation_stays() {
    let create = Create::default();
    let app = app(&create, Memory::default());
    assert_eq!(answer(post("k", r#"{"do":"fail"}"#).send(&*app).await).await.0, 503);
    let (status, body, replayed) = answer(post("k", r#"{"do":"fail"}"#).send(&*app).await).await;
    assert_eq!((status, replayed), (201, false), "{body}");
    assert_eq!(create.runs.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn a_key_is_good_for_one_request_only() {
    let create = Create::default();
    let app = app(&create, Memory::default());
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
    let app = app(&create, Memory::default());
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
    let app = app(&create, Memory::default());
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
    let app = app(&create, Memory::default());
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
    let app = app(&create, Memory::default());
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
    let keys = Keys::new(Arc::new(Memory::default()));
    let app = app_of(&create, &keys);
    let stop = CancellationToken::new();
    let storing = tokio::spawn(keys.run(stop.clone()));
    let first = tokio::spawn({
        let app = app.clone();
        async move { post("k", r#"{"do":"hold"}"#).send(&*app).await }
    });
    create.entered.notified().await;
    first.abort();
    first.await.expect_err("aborted");
    create.go_on.notify_one();
    // The key is let go a little later: ask until it was.
    let status = async {
        loop {
            match answer(post("k", r#"{"do":"hold"}"#).send(&*app).await).await.0 {
                409 => tokio::task::yield_now().await,
                status => return status,
            }
        }
    };
    assert_eq!(tokio::time::timeout(std::time::Duration::from_secs(5), status).await, Ok(201));
    stop.cancel();
    storing.await.expect("ends");
}

#[tokio::test]
async fn without_a_key_every_request_runs() {
    let create = Create::default();
    let app = app(&create, Memory::default());
    for _ in 0..2 {
        TestClient::post("http://localhost/things").raw_json("{}").send(&*app).await;
    }
    assert_eq!(create.runs.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn a_key_that_is_empty_or_too_long_is_refused() {
    let create = Create::default();
    let app = app(&create, Memory::default());
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
    let app = app(&create, Memory { broken: true, ..Memory::default() });
    let (status, body, _) = answer(post("k", "{}").send(&*app).await).await;
    assert!(status == 503 && body.contains("store_unavailable") && !body.contains("secret"), "{status} {body}");
    assert_eq!(create.runs.load(Ordering::SeqCst), 0);
}
