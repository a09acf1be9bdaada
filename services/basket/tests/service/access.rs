//! Who may do what, over HTTP and gRPC, as tokens of the suite's own say who calls.

use reqwest::Method;
use serde_json::{Value, json};
use shop_identity::{Identity, IdentitySettings, Mode, Role, Signer};
use shop_testing::Reply;
use tonic::{Code, Request};

use super::*;

/// A service that asks who calls, and who signs for it.
struct Guarded {
    running: Running,
    signer: Signer,
    settings: IdentitySettings,
}

impl Guarded {
    async fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let key = folder.path().join("key.pem");
        std::fs::write(&key, Signer::generate().expect("a key")).expect("written");
        let signer = Signer::read(&key).expect("a key");
        let mut settings = IdentitySettings { mode: Mode::Required, ..IdentitySettings::off() };
        settings.internal.key_file = Some(key);
        let url = format!("sqlite://{}", folder.path().join("basket.db").display());
        let running = Running::start_on(Redis::at(&url), settings.clone(), folder).await;
        Self { running, signer, settings }
    }

    fn token(&self, user: &str, roles: &[Role]) -> String {
        format!("Bearer {}", self.signer.person(user, roles, Duration::from_mins(5)))
    }

    /// What another service of the suite shows.
    fn service(&self, name: &'static str) -> String {
        let shown = Identity::open(&self.settings, name).expect("opens").credential("basket").authorization();
        shown.expect("is signed").to_str().expect("is text").to_owned()
    }

    async fn ask(&self, who: &str, method: Method, path: &str, more: &[(&str, &str)], body: Option<Value>) -> Reply {
        let mut request = self.running.api.request(method, path);
        for (name, value) in [("authorization", who)].iter().chain(more).filter(|(_, value)| !value.is_empty()) {
            request = request.header(*name, *value);
        }
        self.running.api.send(if let Some(body) = &body { request.json(body) } else { request }).await
    }

    async fn get(&self, who: &str, path: &str) -> Reply {
        self.ask(who, Method::GET, path, &[], None).await
    }

    async fn post(&self, who: &str, path: &str, body: Value) -> Reply {
        self.ask(who, Method::POST, path, &[], Some(body)).await
    }

    /// A new guest: his name and what he shows.
    async fn guest(&self) -> (String, String) {
        let made = self.ask("", Method::POST, "/guests", &[], None).await;
        assert_eq!((made.status, made.header("cache-control")), (201, "no-store"), "{made:?}");
        let place = made.header("location").to_owned();
        let made = made.json();
        assert_eq!(Some(place.as_str()), made["user_id"].as_str().map(|user| format!("/baskets/{user}")).as_deref());
        assert_eq!((&made["token_type"], &made["expires_in"]), (&json!("Bearer"), &json!(86400)));
        let text = |name: &str| made[name].as_str().unwrap_or_else(|| panic!("{name} in {made}")).to_owned();
        (text("user_id"), format!("Bearer {}", text("access_token")))
    }
}

fn of<T>(who: &str, message: T) -> Request<T> {
    let mut request = Request::new(message);
    if !who.is_empty() {
        request.metadata_mut().insert("authorization", who.parse().expect("a value"));
    }
    request
}

fn item() -> Value {
    json!({ "product_id": 1, "quantity": 2 })
}

fn basket_of(user: &str) -> proto::GetBasketRequest {
    proto::GetBasketRequest { user_id: user.to_owned(), refresh: false }
}

/// An answer without what is another with each request, and without the name that was asked for.
fn told(reply: &Reply, user: &str) -> (u16, String) {
    let id = reply.json()["request_id"].as_str().unwrap_or_default().to_owned();
    (reply.status, reply.text.replace(&id, "…").replace(user, "…"))
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_says_not_who_he_is_is_asked_for_it() {
    let mut service = Guarded::start().await;
    for (method, path, body) in [
        (Method::GET, "/baskets/ada", None),
        (Method::POST, "/baskets", Some(json!({}))),
        (Method::POST, "/baskets/ada/items", Some(item())),
        (Method::POST, "/baskets/me/merge", Some(json!({ "guest_token": "x" }))),
    ] {
        let refused = service.ask("", method, path, &[], body).await;
        let _ = refused.problem(401, "token_missing");
        assert_eq!(refused.header("www-authenticate"), "Bearer", "{path}");
    }
    let refused = service.running.rpc.get_basket(of("", basket_of("ada"))).await.expect_err("nobody");
    assert_eq!(code(&refused), (Code::Unauthenticated, "token_missing".to_owned()));
    let refused = service.running.rpc.get_basket(of("Bearer a.b.c", basket_of("ada"))).await.expect_err("nobody");
    assert_eq!(code(&refused), (Code::Unauthenticated, "token_invalid".to_owned()));
    service.running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_basket_is_its_users_by_name_alias_and_token() {
    let mut service = Guarded::start().await;
    let (guest, shown) = service.guest().await;
    assert!(guest.starts_with("guest-"), "{guest}");
    assert_eq!(service.post(&shown, &format!("/baskets/{guest}/items"), item()).await.status, 200);
    assert_eq!(service.get(&shown, "/baskets/me").await.json()["user_id"], json!(guest));
    for user in [guest.as_str(), "me", ""] {
        let answer = service.running.rpc.get_basket(of(&shown, basket_of(user))).await.expect("his own").into_inner();
        assert_eq!(answer.basket.expect("a basket").user_id, guest, "{user:?}");
    }

    let ada = service.token("ada", &[]);
    for body in [json!({}), json!({ "user_id": "me" }), json!({ "user_id": "ada" })] {
        let made = service.post(&ada, "/baskets", body).await;
        assert!(matches!(made.status, 200 | 201) && made.json()["user_id"] == "ada", "{made:?}");
    }
    let _ = service.post(&ada, "/baskets", json!({ "user_id": "grace" })).await.problem(403, "forbidden");
    let made = service.running.rpc.create_guest(proto::CreateGuestRequest {}).await.expect("open").into_inner();
    let shown = format!("{} {}", made.token_type, made.access_token);
    let create = proto::CreateBasketRequest { user_id: String::new() };
    let basket = service.running.rpc.create_basket(of(&shown, create)).await.expect("his own").into_inner().basket;
    assert_eq!(basket.expect("a basket").user_id, made.user_id);
    service.running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn somebody_elses_basket_is_one_that_is_not_there() {
    let mut service = Guarded::start().await;
    let (ada, grace) = (service.token("ada", &[]), service.token("grace", &[]));
    assert_eq!(service.post(&ada, "/baskets/me/items", item()).await.status, 200);
    let guest = service.guest().await;
    let body = json!({ "guest_token": guest.1.trim_start_matches("Bearer ") });
    for (method, rest, body) in [
        (Method::GET, "", None),
        (Method::DELETE, "", None),
        (Method::POST, "/items", Some(item())),
        (Method::DELETE, "/items", None),
        (Method::PUT, "/items/1", Some(json!({ "quantity": 1 }))),
        (Method::DELETE, "/items/1", None),
        (Method::POST, "/merge", Some(body)),
    ] {
        for more in [&[][..], &[("if-match", "\"v1\"")], &[("idempotency-key", "k")]] {
            let ask = async |user: &str| {
                let path = format!("/baskets/{user}{rest}");
                told(&service.ask(&grace, method.clone(), &path, more, body.clone()).await, user)
            };
            let theirs = ask("ada").await;
            assert_eq!(theirs, ask("bob").await, "{method} {rest} {more:?}");
            assert!(theirs.0 == 404 && theirs.1.contains("basket_not_found"), "{theirs:?}");
        }
    }
    for user in ["ada", "bob"] {
        let refused = service.running.rpc.get_basket(of(&grace, basket_of(user))).await.expect_err("not hers");
        assert_eq!(code(&refused), (Code::NotFound, "basket_not_found".to_owned()), "{user}");
        let more = proto::AddItemRequest { user_id: user.to_owned(), product_id: 1, quantity: 1 };
        let refused = service.running.rpc.add_item(of(&grace, more)).await.expect_err("not hers");
        assert_eq!(code(&refused), (Code::NotFound, "basket_not_found".to_owned()), "{user}");
    }
    assert_eq!(service.get(&ada, "/baskets/ada").await.json()["item_count"], 2, "it is as it was");
    assert_eq!(service.get(&grace, "/baskets/me").await.status, 404, "nothing was made");
    service.running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn support_and_payment_read_any_basket_and_change_none() {
    let mut service = Guarded::start().await;
    let ada = service.token("ada", &[]);
    assert_eq!(service.post(&ada, "/baskets/me/items", item()).await.status, 200);
    let support = service.token("sam", &[Role::Support]);
    assert_eq!(service.get(&support, "/baskets/ada").await.json()["item_count"], 2);
    let _ = service.post(&support, "/baskets/ada/items", item()).await.problem(404, "basket_not_found");
    let keeper = service.token("kim", &[Role::Catalogue, Role::Operator]);
    let _ = service.get(&keeper, "/baskets/ada").await.problem(404, "basket_not_found");

    let refresh = proto::RefreshBasketRequest { user_id: "ada".to_owned(), expected_version: None };
    let refused = service.running.rpc.refresh_basket(of(&support, refresh)).await.expect_err("it writes");
    assert_eq!(code(&refused), (Code::NotFound, "basket_not_found".to_owned()));
    let read = service.running.rpc.get_basket(of(&support, basket_of("ada"))).await.expect("is read").into_inner();
    assert_eq!(read.basket.expect("a basket").item_count, 2);

    let payment = service.service("payment");
    let read = proto::GetBasketRequest { refresh: true, ..basket_of("ada") };
    let basket = service.running.rpc.get_basket(of(&payment, read)).await.expect("is read").into_inner().basket;
    assert_eq!(basket.expect("a basket").item_count, 2);
    for (who, refused) in [
        (&payment, (Code::PermissionDenied, "forbidden".to_owned())),
        (&support, (Code::NotFound, "basket_not_found".to_owned())),
    ] {
        let more = proto::AddItemRequest { user_id: "ada".to_owned(), product_id: 1, quantity: 1 };
        let added = service.running.rpc.add_item(of(who, more)).await.expect_err("not his");
        assert_eq!(code(&added), refused);
        let clear = proto::ClearItemsRequest { user_id: "ada".to_owned(), expected_version: None };
        let cleared = service.running.rpc.clear_items(of(who, clear)).await.expect_err("not his");
        assert_eq!(code(&cleared), refused);
    }
    let stranger = service.service("notification");
    let refused = service.running.rpc.get_basket(of(&stranger, basket_of("ada"))).await.expect_err("not his");
    assert_eq!(code(&refused), (Code::PermissionDenied, "forbidden".to_owned()));
    assert_eq!(service.get(&ada, "/baskets/me").await.json()["item_count"], 2);
    service.running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_callers_key_is_not_anothers() {
    let mut service = Guarded::start().await;
    let mut carts = Vec::new();
    for user in ["ada", "grace"] {
        let token = service.token(user, &[]);
        let key = [("idempotency-key", "first")];
        let added = service.ask(&token, Method::POST, "/baskets/me/items", &key, Some(item())).await;
        assert_eq!((added.status, added.header("idempotency-replayed")), (200, ""), "{user}");
        assert_eq!(added.json()["user_id"], user);
        let again = service.ask(&token, Method::POST, "/baskets/me/items", &key, Some(item())).await;
        assert_eq!((&again.text, again.header("idempotency-replayed")), (&added.text, "true"), "{user}");
        let mut call = of(&token, proto::CreateBasketRequest { user_id: String::new() });
        call.metadata_mut().insert("idempotency-key", "second".parse().expect("a key"));
        let basket = service.running.rpc.create_basket(call).await.expect("his own").into_inner().basket;
        carts.push(basket.expect("a basket").user_id);
    }
    assert_eq!(carts, ["ada", "grace"]);
    let ada = service.token("ada", &[]);
    let left_out = service.post(&ada, "/baskets", json!({})).await;
    assert_eq!((left_out.status, &left_out.json()["user_id"]), (200, &json!("ada")));
    for blank in ["", " "] {
        let refused = service.post(&ada, "/baskets", json!({"user_id": blank})).await;
        let refused = refused.problem(422, "validation_failed");
        assert_eq!(refused["errors"][0]["field"], "user_id", "a blank is not left out");
    }
    service.running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_merge_takes_both_tokens() {
    let mut service = Guarded::start().await;
    let ada = service.token("ada", &[]);
    let (guest, shown) = service.guest().await;
    assert_eq!(service.post(&shown, "/baskets/me/items", item()).await.status, 200);
    let bare = |token: &str| json!({ "guest_token": token.trim_start_matches("Bearer ") });
    for wrong in [bare(&guest), bare(&ada), bare("a.b.c"), bare(&service.service("payment"))] {
        let refused = service.post(&ada, "/baskets/me/merge", wrong).await.problem(422, "validation_failed");
        assert_eq!(refused["errors"][0]["field"], "guest_token");
    }
    let own = service.post(&shown, "/baskets/me/merge", bare(&shown)).await;
    let _ = own.problem(403, "forbidden");
    assert_eq!(service.get(&shown, "/baskets/me").await.json()["item_count"], 2, "nothing happened");

    let merged = service.post(&ada, "/baskets/me/merge", bare(&shown)).await;
    assert_eq!(merged.status, 200, "{merged:?}");
    assert_eq!(
        (&merged.json()["basket"]["user_id"], &merged.json()["basket"]["item_count"]),
        (&json!("ada"), &json!(2))
    );
    let _ = service.get(&shown, "/baskets/me").await.problem(404, "basket_not_found");

    let guest_token = shown.trim_start_matches("Bearer ").to_owned();
    assert_eq!(service.post(&shown, "/baskets/me/items", item()).await.status, 200);
    let merge = || proto::MergeBasketRequest {
        user_id: "me".to_owned(),
        guest_token: guest_token.clone(),
        expected_version: None,
    };
    let answer = service.running.rpc.merge_basket(of(&ada, merge())).await.expect("merged").into_inner();
    assert_eq!((answer.basket.expect("a basket").item_count, answer.changes.len()), (4, 0));
    let stale = proto::MergeBasketRequest { expected_version: Some(1), ..merge() };
    let refused = service.running.rpc.merge_basket(of(&ada, stale)).await.expect_err("stale");
    assert_eq!(code(&refused), (Code::Aborted, "precondition_failed".to_owned()));
    let wrong = proto::MergeBasketRequest { guest_token: guest, ..merge() };
    let refused = service.running.rpc.merge_basket(of(&ada, wrong)).await.expect_err("no token");
    assert_eq!(code(&refused), (Code::InvalidArgument, "validation_failed".to_owned()));
    service.running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_key_there_are_no_guests() {
    let folder = tempfile::tempdir().expect("a folder");
    let settings = IdentitySettings {
        mode: Mode::Required,
        issuer: "https://issuer.example".to_owned(),
        audience: "shop".to_owned(),
        secret: "0123456789abcdef0123456789abcdef".into(),
        ..IdentitySettings::off()
    };
    let url = format!("sqlite://{}", folder.path().join("basket.db").display());
    let mut running = Running::start_on(Redis::at(&url), settings, folder).await;
    let refused = running.api.send(running.api.request(Method::POST, "/guests")).await;
    let _ = refused.problem(503, "guests_unavailable");
    let refused = running.rpc.create_guest(proto::CreateGuestRequest {}).await.expect_err("no key");
    assert_eq!(code(&refused), (Code::Unavailable, "guests_unavailable".to_owned()));
    running.stop().await;
}
