//! Arbitrary bytes as method, path, query, headers and body: never a 5xx, never a panic, never HTML.

use std::sync::LazyLock;

use proptest::prelude::*;
use salvo::http::{HeaderName, HeaderValue, Method, ReqBody};
use salvo::oapi::{ToParameters, ToSchema, endpoint};
use salvo::prelude::*;
use salvo::test::{RequestBuilder, ResponseExt};
use serde::Deserialize;
use shop_config::Http;
use shop_page::{Cursor, Limit};
use shop_runtime::Shutdown;
use shop_telemetry::Metrics;
use shop_web::page::PageSize;
use shop_web::{About, Health, OptionalJson, Parts, Path, Problem, Query, StrictJson, precondition, service};

#[derive(Deserialize, ToSchema)]
#[expect(dead_code, reason = "only read from the outside")]
struct Body {
    name: String,
    amount: i64,
    inner: Option<Vec<Body>>,
}

#[derive(Default, Deserialize, ToSchema)]
#[expect(dead_code, reason = "only read from the outside")]
struct Maybe {
    reason: Option<String>,
}

#[derive(Deserialize, ToParameters)]
#[salvo(parameters(default_parameter_in = Query))]
#[expect(dead_code, reason = "only read from the outside")]
struct Filter {
    #[serde(default)]
    #[salvo(parameter(value_type = PageSize))]
    limit: Limit,
    cursor: Option<String>,
    in_stock: Option<bool>,
}

#[endpoint]
async fn create(_body: StrictJson<Body>) -> &'static str {
    "made"
}

#[endpoint]
async fn change(_id: Path<i64>, _body: OptionalJson<Maybe>, req: &mut Request) -> Result<&'static str, Problem> {
    precondition::of(req)?;
    Ok("changed")
}

#[endpoint]
async fn list(filter: Query<Filter>) -> Result<&'static str, Problem> {
    if let Some(cursor) = &filter.0.cursor {
        Cursor::decode::<(i64, String)>("things", cursor)?;
    }
    Ok("listed")
}

static APP: LazyLock<Service> = LazyLock::new(|| {
    let router =
        Router::with_path("things").get(list).post(create).push(Router::with_path("{id}").put(change).delete(change));
    let health = Health::new(&Shutdown::new());
    service(
        router,
        Parts {
            about: About { title: "t", tags: &[] },
            metrics: Metrics::new("t"),
            health,
            guard: shop_identity::Guard::open(),
            settings: Http::on(0),
        },
    )
});

static RUNTIME: LazyLock<tokio::runtime::Runtime> =
    LazyLock::new(|| tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime"));

/// What arrives when the URL is one that `http` lets through.
fn send(method: &str, target: &str, headers: &[(String, Vec<u8>)], body: Vec<u8>) -> Option<(u16, String, String)> {
    let method = Method::from_bytes(method.as_bytes()).ok()?;
    format!("http://localhost{target}").parse::<http::Uri>().ok()?;
    url::Url::parse(&format!("http://localhost{target}")).ok()?;
    let mut request = RequestBuilder::new(format!("http://localhost{target}"), method).build();
    for (name, value) in headers {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name.as_str()), HeaderValue::from_bytes(value)) {
            request.headers_mut().append(name, value);
        }
    }
    *request.body_mut() = ReqBody::Once(body.into());
    let mut response = RUNTIME.block_on(APP.handle(request));
    let status = response.status_code.map_or(0, |status| status.as_u16());
    let kind =
        response.headers().get("content-type").and_then(|kind| kind.to_str().ok()).unwrap_or_default().to_owned();
    let body = RUNTIME.block_on(response.take_string()).unwrap_or_default();
    Some((status, kind, body))
}

fn check(answer: Option<(u16, String, String)>) -> Result<(), TestCaseError> {
    let Some((status, kind, body)) = answer else { return Ok(()) };
    prop_assert!((200..500).contains(&status), "{status} {body}");
    prop_assert!(!kind.contains("html") && !body.to_ascii_lowercase().contains("<html"), "{kind} {body}");
    if status >= 400 && !body.is_empty() {
        prop_assert_eq!(kind, "application/problem+json");
        prop_assert!(serde_json::from_str::<serde_json::Value>(&body).is_ok(), "{}", body);
    }
    Ok(())
}

fn methods() -> impl Strategy<Value = String> {
    prop_oneof![Just("GET"), Just("POST"), Just("PUT"), Just("DELETE"), Just("HEAD"), Just("OPTIONS"), Just("BREW")]
        .prop_map(str::to_owned)
}

fn headers() -> impl Strategy<Value = Vec<(String, Vec<u8>)>> {
    let name = prop_oneof![
        Just("content-type".to_owned()),
        Just("x-request-id".to_owned()),
        Just("traceparent".to_owned()),
        Just("if-match".to_owned()),
        Just("accept".to_owned()),
        Just("content-encoding".to_owned()),
        "[a-z-]{1,20}",
    ];
    let value = prop_oneof![
        Just(b"application/json".to_vec()),
        Just(b"text/html".to_vec()),
        prop::collection::vec(any::<u8>(), 0..200),
    ];
    prop::collection::vec((name, value), 0..6)
}

fn bodies() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        prop::collection::vec(any::<u8>(), 0..300),
        r#"[\[\]{}":,0-9eE.+a-z\\ -]{0,120}"#.prop_map(String::into_bytes),
        r#"\{"(name|amount|inner|x)":("[^"]{0,20}"|-?[0-9]{1,25}|null|\[\{\}\])(,"(name|amount|inner)":(1|"a"|true))?\}"#
            .prop_map(String::into_bytes),
        Just(b"[".repeat(100_000)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_path_and_query(method in methods(), path in "/[!-~]{0,60}", query in "(\\?[!-~]{0,80})?") {
        check(send(&method, &format!("{path}{query}"), &[], Vec::new()))?;
    }

    #[test]
    fn any_parameter_of_known_routes(id in "[!-~&&[^/?#]]{1,40}", query in "((limit|cursor|in_stock|x)=[!-~&&[^#]]{0,60}&?){0,4}") {
        check(send("GET", &format!("/things?{query}"), &[], Vec::new()))?;
        check(send("PUT", &format!("/things/{id}"), &[], Vec::new()))?;
    }

    #[test]
    fn any_headers_and_body(method in methods(), path in prop_oneof![Just("/things"), Just("/things/7")], headers in headers(), body in bodies()) {
        check(send(&method, path, &headers, body))?;
    }

    #[test]
    fn any_json_body(body in bodies()) {
        let json = [("content-type".to_owned(), b"application/json".to_vec())];
        check(send("POST", "/things", &json, body.clone()))?;
        check(send("DELETE", "/things/1", &json, body))?;
    }
}
