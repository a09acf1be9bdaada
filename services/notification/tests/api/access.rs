//! Who may do what, as tokens of the suite's own say who calls.

use std::time::Duration;

use http::Method;
use serde_json::{Value, json};
use shop_identity::{IdentitySettings, Mode, Role, Signer};
use shop_testing::Reply;

use crate::harness::{Running, quick};

/// A service that asks who calls, and who signs for it.
struct Guarded {
    running: Running,
    signer: Signer,
    _folder: tempfile::TempDir,
}

impl Guarded {
    async fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let key = folder.path().join("key.pem");
        std::fs::write(&key, Signer::generate().expect("a key")).expect("written");
        let signer = Signer::read(&key).expect("a key");
        let mut identity = IdentitySettings { mode: Mode::Required, ..IdentitySettings::off() };
        identity.internal.key_file = Some(key);
        let mut config = quick(folder.path());
        config.identity = identity;
        Self { running: Running::start(config).await, signer, _folder: folder }
    }

    fn token(&self, user: &str, roles: &[Role]) -> String {
        self.signer.person(user, roles, Duration::from_mins(5))
    }

    async fn ask(&self, token: &str, method: Method, path: &str, more: &[(&str, &str)], body: Option<Value>) -> Reply {
        let mut request = self.running.api.request(method, path);
        if !token.is_empty() {
            request = request.bearer_auth(token);
        }
        for (name, value) in more {
            request = request.header(*name, *value);
        }
        self.running.api.send(if let Some(body) = &body { request.json(body) } else { request }).await
    }

    async fn get(&self, token: &str, path: &str) -> Reply {
        self.ask(token, Method::GET, path, &[], None).await
    }
}

fn users(page: &Reply) -> Vec<String> {
    let page = page.json();
    let items = page["notifications"].as_array().unwrap_or_else(|| panic!("a page: {page}"));
    items.iter().map(|one| one["user_id"].as_str().unwrap_or_default().to_owned()).collect()
}

/// What differs between two answers to the same question: the request's own id.
fn told(reply: &Reply) -> (u16, Value) {
    let mut body = reply.json();
    (body["request_id"], body["instance"], body["detail"]) = (Value::Null, Value::Null, Value::Null);
    (reply.status, body)
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_says_not_who_he_is_is_asked_for_it() {
    let service = Guarded::start().await;
    for path in ["/notifications", "/webhooks/endpoints", "/users/ada/notification-preferences"] {
        let refused = service.get("", path).await;
        let _ = refused.problem(401, "token_missing");
        assert_eq!(refused.header("www-authenticate"), "Bearer", "{path}");
        let bad = service.get("a.b.c", path).await;
        let _ = bad.problem(401, "token_invalid");
        assert!(bad.header("www-authenticate").contains("invalid_token"), "{path}");
    }
    assert_eq!(service.get("", "/health/live").await.status, 200);
    service.running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_has_the_callers_own_and_its_cursors_are_his() {
    let service = Guarded::start().await;
    for user in ["ada", "grace", "ada"] {
        service.running.paid(user).await;
    }
    let (ada, grace) = (service.token("ada", &[]), service.token("grace", &[]));
    let support = service.token("sam", &[Role::Support]);
    // A log line and a skipped e-mail for each payment.
    let own = users(&service.get(&ada, "/notifications").await);
    assert!(!own.is_empty() && own.iter().all(|user| user == "ada"), "{own:?}");
    for asked in ["ada", "me"] {
        assert_eq!(users(&service.get(&ada, &format!("/notifications?user_id={asked}")).await), own);
    }
    assert_eq!(users(&service.get(&ada, "/notifications?user_id=grace").await), [""; 0]);
    let every = users(&service.get(&support, "/notifications").await);
    assert!(every.contains(&"ada".to_owned()) && every.contains(&"grace".to_owned()), "{every:?}");
    assert_eq!(users(&service.get(&support, "/notifications?user_id=ada").await), own);

    let page = service.get(&ada, "/notifications?limit=1").await.json();
    let next = format!("/notifications?limit=1&cursor={}", page["next_cursor"].as_str().expect("a next page"));
    assert_eq!(users(&service.get(&ada, &next).await), ["ada"]);
    for other in [&grace, &support] {
        let _ = service.get(other, &next).await.problem(400, "invalid_cursor");
    }
    service.running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn somebody_elses_notification_is_one_that_is_not_there() {
    let service = Guarded::start().await;
    service.running.paid("ada").await;
    let (ada, grace) = (service.token("ada", &[]), service.token("grace", &[]));
    let support = service.token("sam", &[Role::Support]);
    let listed = service.get(&ada, "/notifications?channel=log").await.json();
    let path = format!("/notifications/{}", listed["notifications"][0]["id"].as_str().expect("an id"));
    assert_eq!((service.get(&ada, &path).await.status, service.get(&support, &path).await.status), (200, 200));

    let absent = "/notifications/00000000-0000-7000-8000-000000000000";
    for more in [&[][..], &[("if-match", "\"v99\"")], &[("if-none-match", "*")]] {
        let theirs = service.ask(&grace, Method::GET, &path, more, None).await;
        let _ = theirs.problem(404, "notification_not_found");
        let nobodys = service.ask(&grace, Method::GET, absent, more, None).await;
        assert_eq!(told(&theirs), told(&nobodys), "{more:?}");
        assert_eq!(theirs.text.len(), nobodys.text.len(), "{more:?}");
    }
    let retry = format!("{path}/retry");
    for token in [&ada, &grace] {
        let refused = service.ask(token, Method::POST, &retry, &[], None).await;
        let _ = refused.problem(403, "forbidden");
        assert!(refused.header("www-authenticate").contains("insufficient_scope"));
    }
    assert_ne!(service.ask(&support, Method::POST, &retry, &[], None).await.status, 403);
    service.running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn preferences_are_their_users_and_support_reads_them() {
    let service = Guarded::start().await;
    let (ada, grace) = (service.token("ada", &[]), service.token("grace", &[]));
    let support = service.token("sam", &[Role::Support]);
    let path = |user: &str| format!("/users/{user}/notification-preferences");
    let body = json!({"email": "ada@shop.example"});
    let put = |token: &str, user: &str| {
        let (token, path, body) = (token.to_owned(), path(user), body.clone());
        let service = &service;
        async move { service.ask(&token, Method::PUT, &path, &[], Some(body)).await }
    };
    assert_eq!(put(&ada, "me").await.json()["user_id"], "ada");
    for token in [&ada, &support] {
        assert_eq!(service.get(token, &path("ada")).await.json()["email"], "ada@shop.example");
    }
    for user in ["ada", "nobody"] {
        let _ = service.get(&grace, &path(user)).await.problem(403, "forbidden");
        let _ = put(&grace, user).await.problem(403, "forbidden");
        let _ = put(&support, user).await.problem(403, "forbidden");
    }
    let _ = service.get(&grace, &path("a%20b")).await.problem(400, "invalid_parameter");
    service.running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn webhook_endpoints_are_the_operators() {
    let service = Guarded::start().await;
    let operator = service.token("olga", &[Role::Operator]);
    let body = json!({"url": "https://shop.example/hooks"});
    let made = service.ask(&operator, Method::POST, "/webhooks/endpoints", &[], Some(body.clone())).await;
    assert_eq!(made.status, 201, "{made:?}");
    let path = made.header("location").to_owned();
    let rotate = format!("{path}/rotate-secret");
    for token in [service.token("ada", &[]), service.token("sam", &[Role::Support, Role::Catalogue])] {
        for (method, path, body) in [
            (Method::GET, "/webhooks/endpoints", None),
            (Method::POST, "/webhooks/endpoints", Some(body.clone())),
            (Method::GET, path.as_str(), None),
            (Method::PUT, &path, Some(body.clone())),
            (Method::POST, &rotate, None),
            (Method::DELETE, &path, None),
        ] {
            let refused = service.ask(&token, method, path, &[], body).await;
            let _ = refused.problem(403, "forbidden");
        }
    }
    assert_eq!(service.ask(&operator, Method::POST, &rotate, &[], None).await.status, 200);
    assert_eq!(service.ask(&operator, Method::DELETE, &path, &[], None).await.status, 204);
    service.running.stop().await;
}
