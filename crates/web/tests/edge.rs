//! What every route of every service does alike, asked through the whole stack.

use std::sync::Arc;
use std::time::Duration;

use salvo::oapi::{ToParameters, ToSchema, endpoint};
use salvo::prelude::*;
use salvo::test::{RequestBuilder, ResponseExt, TestClient};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use shop_config::Http;
use shop_fault::{Fault, FieldError, Kind};
use shop_page::Limit;
use shop_page::Slice;
use shop_runtime::Shutdown;
use shop_telemetry::Metrics;
use shop_web::page::{Listed, Page, PageSize};
use shop_web::{About, Health, OptionalJson, Parts, Path, Problem, Query, StrictJson, etag, service};

#[derive(Deserialize, ToSchema)]
struct New {
    name: String,
    #[serde(default)]
    tags: Vec<Tag>,
    #[serde(default)]
    #[expect(dead_code, reason = "only read from the outside")]
    best: Option<Tag>,
}

#[derive(Deserialize, ToSchema)]
struct Tag {
    weight: u8,
}

#[derive(Debug, Default, Deserialize, ToSchema)]
struct Note {
    text: Option<String>,
}

#[derive(Serialize, ToSchema)]
struct Thing {
    id: u32,
    name: String,
}

impl Listed for Thing {
    const PLURAL: &'static str = "things";
    const PAGE: &'static str = "ThingPage";
}

#[derive(Deserialize, ToParameters)]
#[salvo(parameters(default_parameter_in = Query))]
struct Filter {
    #[serde(default)]
    #[salvo(parameter(value_type = PageSize))]
    limit: Limit,
    q: Option<String>,
}

#[endpoint]
async fn create(body: StrictJson<New>, res: &mut Response) -> Result<Json<Thing>, Problem> {
    let weight: u32 = body.0.tags.iter().map(|tag| u32::from(tag.weight)).sum();
    res.status_code(StatusCode::CREATED);
    Ok(Json(Thing { id: weight, name: body.0.name }))
}

#[endpoint]
async fn show(id: Path<i64>, res: &mut Response) -> Result<Json<Thing>, Problem> {
    if id.0 == 404 {
        return Err(Fault::new(Kind::NotFound, "thing_not_found", "there is no thing 404").into());
    }
    etag::set(res, 3);
    res.headers_mut().insert("cache-control", "private".parse().expect("a header"));
    Ok(Json(Thing { id: u32::try_from(id.0).unwrap_or(u32::MAX), name: "thing".to_owned() }))
}

#[endpoint]
async fn list(filter: Query<Filter>) -> Json<Page<Thing>> {
    let Filter { limit, q } = filter.0;
    let name = q.unwrap_or_default();
    let things = (1..=limit.get() + 1).map(|id| Thing { id, name: name.clone() }).collect();
    Json(Page::of(Slice::cut(things, limit.get() as usize, |thing| thing.id), "things"))
}

#[endpoint]
async fn note(body: OptionalJson<Note>) -> String {
    body.0.text.unwrap_or_else(|| "none".to_owned())
}

#[handler]
async fn boom() {
    panic!("secret of the handler");
}

#[handler]
async fn slow() {
    std::future::pending::<()>().await;
}

#[handler]
async fn broken() -> Result<(), Problem> {
    Err(Fault::internal(std::io::Error::other("password wrong for root")).into())
}

#[handler]
async fn down() -> Result<(), Problem> {
    Err(Fault::new(Kind::Unavailable, "store_unavailable", "the store does not answer")
        .with_field(FieldError::new("f", "c", "m"))
        .with_member("hint", json!("later"))
        .into())
}

#[handler]
async fn bare(res: &mut Response) {
    res.status_code(StatusCode::IM_A_TEAPOT);
}

#[handler]
async fn trace_state() -> String {
    let kept = shop_telemetry::context::current().and_then(|context| context.state);
    kept.map_or_else(|| "none".to_owned(), |kept| kept.as_str().to_owned())
}

fn app_with(settings: Http, health: Health) -> Service {
    let router = Router::new()
        .push(Router::with_path("things").get(list).post(create).push(Router::with_path("{id}").get(show)))
        .push(Router::with_path("notes").post(note))
        .push(Router::with_path("boom").get(boom))
        .push(Router::with_path("slow").get(slow))
        .push(Router::with_path("broken").get(broken))
        .push(Router::with_path("down").get(down))
        .push(Router::with_path("state").get(trace_state))
        .push(Router::with_path("bare").get(bare));
    service(
        router,
        Parts {
            about: About { title: "Things", tags: &[] },
            metrics: Metrics::new("things"),
            health,
            guard: shop_identity::Guard::open(),
            settings,
        },
    )
}

fn app() -> Service {
    app_with(Http::on(0), Health::new(&Shutdown::new()))
}

async fn ask(request: RequestBuilder) -> Response {
    request.send(&app()).await
}

fn url(path: &str) -> String {
    format!("http://localhost{path}")
}

fn header<'a>(res: &'a Response, name: &str) -> &'a str {
    res.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

/// Checks everything a problem must have and returns its members.
async fn problem(mut res: Response, status: u16, code: &str) -> Value {
    assert_eq!(res.status_code.map(|status| status.as_u16()), Some(status), "{code}");
    assert_eq!(header(&res, "content-type"), "application/problem+json");
    let id = header(&res, "x-request-id").to_owned();
    let body: Value = res.take_json().await.expect("a problem is JSON");
    assert_eq!(body["code"], code, "{body}");
    assert_eq!(body["status"], status);
    assert_eq!(body["request_id"], id);
    for member in ["type", "title", "detail", "instance"] {
        assert!(body[member].as_str().is_some_and(|text| !text.is_empty()), "{member}: {body}");
    }
    body
}

fn post(path: &str, body: &str) -> RequestBuilder {
    TestClient::post(url(path)).raw_json(body)
}

#[tokio::test]
async fn an_unknown_path_is_a_problem_with_its_path() {
    let body = problem(ask(TestClient::get(url("/no/where?q=1"))).await, 404, "not_found").await;
    assert_eq!(body["instance"], "/no/where");
}

#[tokio::test]
async fn a_wrong_method_says_which_are_right() {
    let res = ask(TestClient::delete(url("/things"))).await;
    let mut allowed: Vec<_> = header(&res, "allow").split(", ").map(str::to_owned).collect();
    allowed.sort();
    assert_eq!(allowed, ["GET", "HEAD", "POST"]);
    problem(res, 405, "method_not_allowed").await;
}

#[tokio::test]
async fn a_usable_request_id_is_echoed_and_others_are_replaced() {
    let res = ask(TestClient::get(url("/things/1")).add_header("x-request-id", "order-17", true)).await;
    assert_eq!(header(&res, "x-request-id"), "order-17");
    for bad in ["two words", &"x".repeat(129)] {
        let res = ask(TestClient::get(url("/nowhere")).add_header("x-request-id", bad, true)).await;
        assert_eq!(header(&res, "x-request-id").len(), 36, "{bad}");
    }
}

#[tokio::test]
async fn what_other_systems_say_of_a_trace_is_kept_beside_it_only() {
    const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    for (parent, said, kept) in [
        (PARENT, &["rojo=1,congo=2"][..], "rojo=1,congo=2"),
        (PARENT, &["rojo=1", "congo=2"], "rojo=1,congo=2"),
        (PARENT, &["nonsense"], "none"),
        (PARENT, &[], "none"),
        ("nonsense", &["rojo=1"], "none"),
    ] {
        let mut request = TestClient::get(url("/state")).add_header("traceparent", parent, true);
        for said in said {
            request = request.add_header("tracestate", *said, false);
        }
        assert_eq!(ask(request).await.take_string().await.expect("text"), kept, "{parent} {said:?}");
    }
}

#[tokio::test]
async fn a_body_that_is_not_json_is_malformed() {
    for body in ["", "{", "{\"name\":\"a\"} x", "nonsense", "{\"name\": \"a\u{0}\"}"] {
        problem(ask(post("/things", body)).await, 400, "malformed_json").await;
    }
}

#[tokio::test]
async fn a_wrong_field_is_named_with_its_path() {
    for (body, field, code) in [
        (r#"{"name":"a","colour":1}"#, "colour", "unknown_field"),
        (r#"{"name":"a","tags":[{"weight":1,"x":{}}]}"#, "tags[0].x", "unknown_field"),
        (r#"{"name":"a","best":{"weight":1,"x":{}}}"#, "best.x", "unknown_field"),
        (r#"{"name":7}"#, "name", "invalid_type"),
        (r#"{"name":"a","tags":[{"weight":1},{"weight":"b"}]}"#, "tags[1].weight", "invalid_type"),
        (r#"{"name":"a","tags":[{"weight":256}]}"#, "tags[0].weight", "invalid_value"),
        (r#"{"tags":[]}"#, "name", "required"),
        (r#"{"name":"a","name":"b"}"#, "name", "duplicate_field"),
        (r#"["a", []]"#, "body", "invalid_type"),
        (r"7", "body", "invalid_type"),
        (r#"{"name":"a","tags":[8]}"#, "tags[0]", "invalid_type"),
    ] {
        let problem = problem(ask(post("/things", body)).await, 422, "validation_failed").await;
        let error = &problem["errors"][0];
        assert_eq!((&error["code"], &error["field"]), (&json!(code), &json!(field)), "{body}: {problem}");
    }
}

#[tokio::test]
async fn a_body_of_another_media_type_is_refused() {
    for kind in ["text/plain", "application/x-www-form-urlencoded", "application/json; charset=latin1", "json"] {
        let request = TestClient::post(url("/things")).text(r#"{"name":"a"}"#).add_header("content-type", kind, true);
        problem(ask(request).await, 415, "unsupported_media_type").await;
    }
    let packed = post("/things", "{}").add_header("content-encoding", "gzip", true);
    problem(ask(packed).await, 415, "unsupported_content_encoding").await;
    for kind in ["application/json; charset=UTF-8", "application/merge-patch+json"] {
        let request = TestClient::post(url("/things")).text(r#"{"name":"a"}"#).add_header("content-type", kind, true);
        assert_eq!(ask(request).await.status_code, Some(StatusCode::CREATED), "{kind}");
    }
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused_announced_or_not() {
    let big = format!(r#"{{"name":"{}"}}"#, "a".repeat(1024 * 1024));
    problem(ask(post("/things", &big)).await, 413, "body_too_large").await;
    let announced = post("/things", "{}").add_header("content-length", "1048577", true);
    problem(ask(announced).await, 413, "body_too_large").await;
    let fits = format!(r#"{{"name":"{}"}}"#, "a".repeat(1000 * 1024));
    assert_eq!(ask(post("/things", &fits)).await.status_code, Some(StatusCode::CREATED));
}

#[tokio::test]
async fn an_optional_body_may_be_absent_but_not_wrong() {
    assert_eq!(ask(TestClient::post(url("/notes"))).await.take_string().await.expect("text"), "none");
    let sent = ask(post("/notes", r#"{"text":"hi"}"#)).await.take_string().await;
    assert_eq!(sent.expect("text"), "hi");
    problem(ask(post("/notes", r#"{"txt":"hi"}"#)).await, 422, "validation_failed").await;
}

#[tokio::test]
async fn a_parameter_that_does_not_parse_is_named() {
    let bad = problem(ask(TestClient::get(url("/things/abc"))).await, 400, "invalid_parameter").await;
    assert_eq!(bad["errors"][0]["field"], "id");
    for other_spelling in ["+1", "01", "1.0", "0", "-1", "%D9%A3", "%ff"] {
        let res = ask(TestClient::get(url(&format!("/things/{other_spelling}")))).await;
        assert_eq!(problem(res, 400, "invalid_parameter").await["errors"][0]["field"], "id", "{other_spelling}");
    }
    let wrong = [
        ("limit=0", "limit"),
        ("limit=x", "limit"),
        ("page=2", "page"),
        ("q=a&q=b", "q"),
        ("q=%ff", "q"),
        ("%ff=1", "\u{fffd}"),
    ];
    for (query, field) in wrong {
        let res = ask(TestClient::get(url(&format!("/things?{query}")))).await;
        assert_eq!(problem(res, 400, "invalid_parameter").await["errors"][0]["field"], field);
    }
}

#[tokio::test]
async fn a_list_has_its_plural_a_count_and_the_next_cursor() {
    let body: Value = ask(TestClient::get(url("/things?limit=2&q=x"))).await.take_json().await.expect("JSON");
    assert_eq!(body["things"], json!([{"id": 1, "name": "x"}, {"id": 2, "name": "x"}]));
    assert_eq!(body["count"], 2);
    assert!(body["next_cursor"].is_string(), "{body}");
}

#[tokio::test]
async fn what_breaks_inside_stays_inside() {
    for (path, secret) in [("/boom", "secret"), ("/broken", "password")] {
        let body = problem(ask(TestClient::get(url(path))).await, 500, "internal").await;
        assert!(!body.to_string().contains(secret), "{body}");
    }
}

#[tokio::test]
async fn a_dependency_that_is_down_says_when_to_come_back() {
    let res = ask(TestClient::get(url("/down"))).await;
    assert_eq!(header(&res, "retry-after"), "1");
    let body = problem(res, 503, "store_unavailable").await;
    assert_eq!((&body["errors"][0]["field"], &body["hint"]), (&json!("f"), &json!("later")));
}

#[tokio::test]
async fn a_failure_of_ours_says_of_whom_it_speaks_and_a_refusal_does_not() {
    for (path, scope) in [("/down", "service"), ("/broken", "request"), ("/boom", "request")] {
        assert_eq!(header(&ask(TestClient::get(url(path))).await, "x-fault-scope"), scope, "{path}");
    }
    for path in ["/nowhere", "/bare", "/things/7"] {
        assert!(!ask(TestClient::get(url(path))).await.headers().contains_key("x-fault-scope"), "{path}");
    }
}

#[tokio::test]
async fn a_problem_names_the_path_that_the_client_asked_for() {
    for (prefix, instance) in [("/api", "/api/nowhere"), ("", "/nowhere"), ("/a<b>", "/nowhere")] {
        let res = ask(TestClient::get(url("/nowhere")).add_header("x-forwarded-prefix", prefix, true)).await;
        let body = problem(res, 404, "not_found").await;
        assert_eq!(body["instance"], instance);
        assert_eq!(body["detail"], format!("nothing is at {instance}"));
    }
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_hangs_is_given_up() {
    problem(ask(TestClient::get(url("/slow"))).await, 504, "timeout").await;
}

#[tokio::test]
async fn any_other_error_status_is_a_problem_too() {
    problem(ask(TestClient::get(url("/bare"))).await, 418, "http_418").await;
}

#[tokio::test]
async fn head_answers_like_get_without_the_body() {
    let get = ask(TestClient::get(url("/things/7"))).await;
    let mut head = ask(TestClient::head(url("/things/7"))).await;
    assert_eq!(head.status_code, Some(StatusCode::OK));
    assert_eq!(header(&head, "etag"), header(&get, "etag"));
    assert_eq!(header(&head, "content-length"), "23");
    assert_eq!(head.take_string().await.unwrap_or_default(), "");
    assert_eq!(ask(TestClient::head(url("/nowhere"))).await.status_code, Some(StatusCode::NOT_FOUND));
}

#[tokio::test]
async fn a_known_version_is_not_sent_again() {
    for known in ["\"v3\"", "W/\"v3\"", "\"v1\", W/\"x\" ,\"v3\"", "*"] {
        for head in [false, true] {
            let request = if head { TestClient::head(url("/things/7")) } else { TestClient::get(url("/things/7")) };
            let mut res = ask(request.add_header("if-none-match", known, true)).await;
            assert_eq!(res.status_code, Some(StatusCode::NOT_MODIFIED), "{known}");
            assert_eq!((header(&res, "etag"), header(&res, "cache-control")), ("\"v3\"", "private"), "{known}");
            assert!(!res.headers().contains_key("content-type") && !res.headers().contains_key("content-length"));
            assert_eq!(res.take_string().await.unwrap_or_default(), "", "{known}");
        }
    }
    for other in ["\"v2\"", "\"V3\"", "", " , "] {
        let res = ask(TestClient::get(url("/things/7")).add_header("if-none-match", other, true)).await;
        assert_eq!(res.status_code, Some(StatusCode::OK), "{other}");
    }
    let lines = TestClient::get(url("/things/7")).add_header("if-none-match", "\"v1\"", true).add_header(
        "if-none-match",
        "\"v3\"",
        false,
    );
    assert_eq!(ask(lines).await.status_code, Some(StatusCode::NOT_MODIFIED), "over two lines");
}

#[tokio::test]
async fn a_read_may_expect_a_version() {
    let ask_for =
        |path: &str, name: &'static str, tags: &'static str| TestClient::get(url(path)).add_header(name, tags, true);
    for (tags, status) in [("\"v3\"", 200), ("\"v1\", \"v3\"", 200), ("*", 200), ("W/\"v3\"", 412), ("\"v2\"", 412)] {
        let res = ask(ask_for("/things/7", "if-match", tags)).await;
        assert_eq!(res.status_code.map(|status| status.as_u16()), Some(status), "{tags}");
    }
    // If-Match comes first (RFC 9110, section 13.2.2).
    let both = ask_for("/things/7", "if-match", "\"v2\"").add_header("if-none-match", "\"v3\"", true);
    problem(ask(both).await, 412, "precondition_failed").await;
    for (name, code) in [("if-match", "invalid_if_match"), ("if-none-match", "invalid_if_none_match")] {
        let refused = problem(ask(ask_for("/things/7", name, "v3")).await, 400, code).await;
        assert_eq!(refused["errors"][0]["field"].as_str().map(str::to_lowercase).as_deref(), Some(name));
        // What is not there is not there, whatever is expected of it.
        for tags in ["*", "\"v3\""] {
            problem(ask(ask_for("/things/404", name, tags)).await, 404, "thing_not_found").await;
        }
    }
    // A list has no tag: none matches, and a star is for whatever is there.
    for (name, tags, status) in [
        ("if-match", "\"v3\"", 412),
        ("if-match", "*", 200),
        ("if-none-match", "\"v3\"", 200),
        ("if-none-match", "*", 304),
    ] {
        let res = ask(ask_for("/things", name, tags)).await;
        assert_eq!(res.status_code.map(|status| status.as_u16()), Some(status), "{name} {tags}");
    }
}

#[tokio::test]
async fn descriptions_and_pages_have_tags_too() {
    for path in ["/openapi.json", "/docs"] {
        let first = ask(TestClient::get(url(path))).await;
        let tag = header(&first, "etag").to_owned();
        assert!(tag.len() > 10, "{path}: {tag}");
        let again = ask(TestClient::get(url(path)).add_header("if-none-match", &tag, true)).await;
        assert_eq!(again.status_code, Some(StatusCode::NOT_MODIFIED), "{path}");
        assert_eq!(header(&again, "cache-control"), "no-cache", "{path}");
    }
}

#[tokio::test]
async fn the_interface_describes_itself() {
    let doc: Value = ask(TestClient::get(url("/openapi.json"))).await.take_json().await.expect("JSON");
    assert_eq!((&doc["openapi"], &doc["info"]["title"]), (&json!("3.1.0"), &json!("Things")));
    let post = &doc["paths"]["/things"]["post"];
    assert!(post["requestBody"]["content"]["application/json"]["schema"].is_object(), "{post}");
    for status in ["400", "413", "415", "422", "500", "503", "504"] {
        let problem = &post["responses"][status]["content"]["application/problem+json"];
        assert_eq!(problem["schema"]["$ref"], "#/components/schemas/Problem", "{status}: {post}");
    }
    let listing = &doc["paths"]["/things"]["get"];
    assert_eq!(listing["parameters"].as_array().expect("two").len(), 2);
    assert_eq!(
        listing["responses"]["200"]["content"]["application/json"]["schema"]["$ref"],
        "#/components/schemas/ThingPage"
    );
    assert_eq!(doc["paths"]["/things/{id}"]["get"]["parameters"][0]["in"], "path");
}

#[tokio::test]
async fn the_page_to_try_it_comes_with_all_its_parts_and_needs_nothing_from_outside() {
    let mut res = ask(TestClient::get(url("/docs"))).await;
    assert!(header(&res, "content-type").starts_with("text/html"));
    assert!(
        header(&res, "content-security-policy").contains("default-src 'none'; script-src 'self'; style-src 'self'")
    );
    let page = res.take_string().await.expect("text");
    assert!(!page.contains("http://") && !page.contains("https://"));
    let parts: Vec<_> = page.split('"').filter(|text| text.starts_with("docs/")).collect();
    assert_eq!(parts.len(), 4, "{page}");
    for part in parts {
        let part = url(&format!("/{part}"));
        let res = ask(TestClient::get(&part).add_header("accept-encoding", "gzip", true)).await;
        assert_eq!(res.status_code, Some(StatusCode::OK), "{part}");
        assert_eq!(header(&res, "content-encoding"), "gzip", "{part}");
        assert!(header(&res, "cache-control").contains("immutable"), "{part}");
        let again = TestClient::get(&part).add_header("if-none-match", header(&res, "etag"), true);
        assert_eq!(ask(again).await.status_code, Some(StatusCode::NOT_MODIFIED), "{part}");
    }
    assert_eq!(ask(TestClient::get(url("/docs/nowhere.js"))).await.status_code, Some(StatusCode::NOT_FOUND));
}

#[tokio::test]
async fn health_shows_each_dependency_and_readiness_follows_it() {
    let shutdown = Shutdown::new();
    let health = Health::new(&shutdown);
    health.check("store", || async { Err("connection refused".to_owned()) });
    health.check("bus", || async { Ok(()) });
    let app = app_with(Http::on(0), health);
    let mut summary = TestClient::get(url("/health")).send(&app).await;
    assert_eq!(summary.status_code, Some(StatusCode::OK));
    let body: Value = summary.take_json().await.expect("JSON");
    assert_eq!(body["status"], "down");
    assert_eq!(body["checks"]["store"], json!({"status": "down", "error": "connection refused"}));
    assert_eq!(body["checks"]["bus"]["status"], "up");
    let ready = TestClient::get(url("/health/ready")).send(&app).await;
    assert_eq!((ready.status_code, header(&ready, "retry-after")), (Some(StatusCode::SERVICE_UNAVAILABLE), "1"));
    let live = TestClient::get(url("/health/live")).send(&app).await;
    assert_eq!(live.status_code, Some(StatusCode::OK));
}

#[tokio::test]
async fn a_draining_process_is_not_ready() {
    let shutdown = Shutdown::new();
    let app = app_with(Http::on(0), Health::new(&shutdown));
    let ready = || TestClient::get(url("/health/ready")).send(&app);
    assert_eq!(ready().await.status_code, Some(StatusCode::OK));
    shutdown.soft.cancel();
    let mut res = ready().await;
    assert_eq!(res.status_code, Some(StatusCode::SERVICE_UNAVAILABLE));
    assert_eq!(res.take_json::<Value>().await.expect("JSON")["status"], "draining");
}

#[tokio::test]
async fn requests_are_counted_by_route_not_by_path() {
    let app = Arc::new(app());
    for path in ["/things/1", "/things/2", "/things/404", "/made-up-1", "/made-up-2"] {
        TestClient::get(url(path)).send(&*app).await;
    }
    let mut res = TestClient::get(url("/metrics")).send(&*app).await;
    let text = res.take_string().await.expect("text");
    for line in [
        r#"http_server_requests_total{method="GET",route="/things/{id}",status="200"} 2"#,
        r#"http_server_requests_total{method="GET",route="/things/{id}",status="404"} 1"#,
        r#"http_server_requests_total{method="GET",route="unmatched",status="404"} 2"#,
        r#"http_server_errors_total{code="thing_not_found"} 1"#,
        r#"http_server_errors_total{code="not_found"} 2"#,
        "http_server_requests_in_flight 1",
    ] {
        assert!(text.contains(line), "{line}\n{text}");
    }
    assert!(!text.contains("made-up"), "{text}");
}

#[tokio::test]
async fn limits_come_from_the_settings() {
    let settings = Http { body_limit: 10, timeout: shop_config::Duration::millis(20), ..Http::on(0) };
    let app = app_with(settings, Health::new(&Shutdown::new()));
    problem(post("/things", r#"{"name":"abc"}"#).send(&app).await, 413, "body_too_large").await;
    let gone = tokio::time::timeout(Duration::from_secs(5), TestClient::get(url("/slow")).send(&app)).await;
    problem(gone.expect("well within five seconds"), 504, "timeout").await;
}
