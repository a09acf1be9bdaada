//! Who may do what, asked of the service's own ports.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use shop_identity::{Identity, IdentitySettings, Kind, Mode, Role, Signer};
use shop_proto::payment::v1 as proto;
use shop_proto::payment::v1::payment_service_client::PaymentServiceClient;
use shop_rpc::fault;
use shop_testing::{Reply, eventually};
use tonic::transport::Channel;
use tonic::{Code, Request, Status};

use crate::world::World;

const HOUR: Duration = Duration::from_hours(1);
const NOBODYS: &str = "0190f8a0-5a3e-7c11-8d5b-000000000000";

/// A service that wants to know who calls.
struct Shop {
    world: World,
    grpc: PaymentServiceClient<Channel>,
    identity: Identity,
    settings: IdentitySettings,
    _folder: tempfile::TempDir,
}

impl Shop {
    async fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("key.pem");
        std::fs::write(&file, Signer::generate().expect("a key")).expect("writes");
        let mut settings = IdentitySettings { mode: Mode::Required, ..IdentitySettings::default() };
        settings.internal.key_file = Some(file);
        let identity = Identity::open(&settings, "test").expect("opens");
        let world = World::with(settings.clone()).await;
        let grpc = PaymentServiceClient::connect(format!("http://{}", world.grpc)).await.expect("connects");
        Self { world, grpc, identity, settings, _folder: folder }
    }

    fn token(&self, user: &str, roles: &[Role]) -> String {
        self.identity.signer().expect("a key").person(user, roles, HOUR)
    }

    async fn ask(&self, token: &str, method: Method, path: &str, headers: &[(&str, &str)], body: &Value) -> Reply {
        let mut request = self.world.api.request(method, path).header("x-request-id", "same");
        if !token.is_empty() {
            request = request.bearer_auth(token);
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.world.api.send(if body.is_null() { request } else { request.json(body) }).await
    }

    async fn get(&self, token: &str, path: &str) -> Reply {
        self.ask(token, Method::GET, path, &[], &Value::Null).await
    }

    async fn post(&self, token: &str, path: &str, body: &Value) -> Reply {
        self.ask(token, Method::POST, path, &[], body).await
    }

    /// The id of a new payment of his own, who does not say that it is.
    async fn buy(&self, token: &str) -> String {
        let made = self.post(token, "/payments", &json!({"method": "credit_card"})).await;
        assert_eq!(made.status, 201, "{made:?}");
        made.json()["id"].as_str().expect("an id").to_owned()
    }

    /// The ids and the next cursor of a page.
    async fn page(&self, token: &str, path: &str) -> (Vec<String>, Value) {
        let page = self.get(token, path).await;
        assert_eq!(page.status, 200, "{page:?}");
        let page = page.json();
        let ids = page["payments"].as_array().expect("payments").iter().map(|one| one["id"].as_str().expect("an id"));
        (ids.map(str::to_owned).collect(), page["next_cursor"].clone())
    }
}

/// What a call over gRPC says, and who says it.
fn by<T>(token: &str, message: T) -> Request<T> {
    let mut request = Request::new(message);
    if !token.is_empty() {
        request.metadata_mut().insert("authorization", format!("Bearer {token}").parse().expect("a value"));
    }
    request.metadata_mut().insert("x-request-id", "same".parse().expect("a value"));
    request
}

/// The whole of a refusal, with the id of the payment taken out.
fn whole(status: &Status, id: &str) -> (Code, String, Vec<u8>) {
    let text = String::from_utf8_lossy(status.details()).replace(id, "ID");
    (status.code(), status.message().replace(id, "ID"), text.into_bytes())
}

fn said(refused: Result<impl Sized, Status>) -> (Code, String) {
    let status = refused.map(drop).expect_err("is refused");
    (status.code(), fault(status).code().to_owned())
}

#[tokio::test]
async fn without_a_token_nobody_is_let_in() {
    let mut shop = Shop::new().await;
    let one = format!("/payments/{NOBODYS}");
    for (method, path) in [
        (Method::GET, "/payments".to_owned()),
        (Method::POST, "/payments".to_owned()),
        (Method::GET, one.clone()),
        (Method::POST, format!("{one}/process")),
        (Method::POST, format!("{one}/cancel")),
        (Method::POST, format!("{one}/capture")),
        (Method::POST, format!("{one}/refund")),
        (Method::GET, "/users/ada/payments".to_owned()),
    ] {
        let refused = shop.ask("", method, &path, &[], &Value::Null).await;
        let _ = refused.problem(401, "token_missing");
        assert_eq!(refused.header("www-authenticate"), "Bearer", "{path}");
    }
    let id = || NOBODYS.to_owned();
    let missing = (Code::Unauthenticated, "token_missing".to_owned());
    assert_eq!(said(shop.grpc.create_payment(proto::CreatePaymentRequest::default()).await), missing);
    assert_eq!(said(shop.grpc.get_payment(proto::GetPaymentRequest { id: id() }).await), missing);
    assert_eq!(said(shop.grpc.get_payments(proto::GetPaymentsRequest::default()).await), missing);
    assert_eq!(said(shop.grpc.get_user_payments(proto::GetUserPaymentsRequest::default()).await), missing);
    let process = proto::ProcessPaymentRequest { id: id(), ..Default::default() };
    assert_eq!(said(shop.grpc.process_payment(process).await), missing);
    assert_eq!(said(shop.grpc.cancel_payment(proto::CancelPaymentRequest { id: id() }).await), missing);
    let capture = proto::CapturePaymentRequest { id: id(), ..Default::default() };
    assert_eq!(said(shop.grpc.capture_payment(capture).await), missing);
    let refund = proto::RefundPaymentRequest { id: id(), ..Default::default() };
    assert_eq!(said(shop.grpc.refund_payment(refund).await), missing);
}

#[tokio::test]
async fn somebody_elses_payment_is_one_that_does_not_exist() {
    let mut shop = Shop::new().await;
    let (ada, grace) = (shop.token("ada", &[]), shop.token("grace", &[]));
    let id = shop.buy(&ada).await;
    let reserved = || shop.world.neighbours.reservations.load(std::sync::atomic::Ordering::SeqCst);
    let before = reserved();
    let asked = [
        (Method::GET, "", vec![]),
        (Method::GET, "", vec![("if-none-match", "\"v1\"")]),
        (Method::POST, "/process", vec![]),
        (Method::POST, "/process", vec![("if-match", "\"v1\"")]),
        (Method::POST, "/process", vec![("if-match", "\"v99\""), ("idempotency-key", "k-1")]),
        (Method::POST, "/cancel", vec![]),
        (Method::POST, "/cancel", vec![("if-match", "\"v99\"")]),
        (Method::POST, "/cancel", vec![("if-match", "*"), ("idempotency-key", "k-2")]),
    ];
    // While it is pending, and when it is paid.
    for status in ["pending", "completed"] {
        for (method, below, headers) in &asked {
            let mut told = Vec::new();
            for (id, key) in [(NOBODYS, "unknown"), (&*id, "known")] {
                let key = format!("{key}-{status}-{below}");
                let headers: Vec<_> = headers
                    .iter()
                    .map(|(name, value)| (*name, if *name == "idempotency-key" { &*key } else { value }))
                    .collect();
                let path = format!("/payments/{id}{below}");
                let reply = shop.ask(&grace, method.clone(), &path, &headers, &Value::Null).await;
                let _ = reply.problem(404, "payment_not_found");
                let mut sent = reply.headers.clone();
                sent.remove("date");
                told.push((reply.text.replace(id, "ID"), sent));
            }
            assert_eq!(told[0], told[1], "{method} {below} {headers:?}");
        }
        for (unknown, known) in [(NOBODYS, &*id)].map(|(a, b)| (a.to_owned(), b.to_owned())) {
            let mut told = Vec::new();
            for id in [unknown, known] {
                let got = shop.grpc.get_payment(by(&grace, proto::GetPaymentRequest { id: id.clone() })).await;
                let process = proto::ProcessPaymentRequest { id: id.clone(), ..Default::default() };
                let charged = shop.grpc.process_payment(by(&grace, process)).await;
                let cancelled =
                    shop.grpc.cancel_payment(by(&grace, proto::CancelPaymentRequest { id: id.clone() })).await;
                let refused =
                    [got.map(drop), charged.map(drop), cancelled.map(drop)].map(|answer| answer.expect_err("not hers"));
                assert_eq!(refused[0].code(), Code::NotFound);
                told.push(refused.map(|status| whole(&status, &id)));
            }
            assert_eq!(told[0], told[1]);
        }
        let seen = shop.get(&ada, &format!("/payments/{id}")).await;
        assert_eq!(
            (&seen.json()["status"], seen.header("etag")),
            (&json!(status), ["\"v1\"", "\"v3\""][usize::from(status != "pending")])
        );
        if status == "pending" {
            assert_eq!(reserved(), before, "grace's asking reserves nothing");
            let paid = shop.post(&ada, &format!("/payments/{id}/process"), &json!({})).await;
            assert_eq!(paid.json()["status"], "completed", "{paid:?}");
        }
    }
}

#[tokio::test]
async fn only_support_pays_back() {
    let mut shop = Shop::new().await;
    let (ada, support) = (shop.token("ada", &[]), shop.token("sam", &[Role::Support]));
    let id = shop.buy(&ada).await;
    let path = format!("/payments/{id}");
    assert_eq!(shop.post(&support, &format!("{path}/process"), &json!({})).await.status, 404, "it is not his to pay");
    assert_eq!(shop.post(&ada, &format!("{path}/process"), &json!({})).await.status, 200);
    let refund = || proto::RefundPaymentRequest { id: id.clone(), ..Default::default() };
    for other in [&ada, &shop.token("kim", &[Role::Catalogue]), &shop.token("olga", &[Role::Operator])] {
        let refused = shop.post(other, &format!("{path}/refund"), &json!({})).await;
        let _ = refused.problem(403, "forbidden");
        assert_eq!(
            said(shop.grpc.refund_payment(by(other, refund())).await),
            (Code::PermissionDenied, "forbidden".to_owned())
        );
    }
    let back = shop.post(&support, &format!("{path}/refund"), &json!({"amount": 1})).await;
    assert_eq!((back.status, &back.json()["status"]), (200, &json!("partially_refunded")), "{back:?}");
    let back = shop.grpc.refund_payment(by(&support, refund())).await.expect("pays the rest back").into_inner().payment;
    assert_eq!(back.expect("a payment").status(), proto::PaymentStatus::Refunded);
    let read = shop.get(&support, &path).await.json();
    assert_eq!((&read["user_id"], &read["status"]), (&json!("ada"), &json!("refunded")));
}

#[tokio::test]
async fn lists_show_ones_own_and_cursors_are_for_who_got_them() {
    let mut shop = Shop::new().await;
    let (ada, grace, support) = (shop.token("ada", &[]), shop.token("grace", &[]), shop.token("sam", &[Role::Support]));
    let mut adas = Vec::new();
    for _ in 0..3 {
        adas.push(shop.buy(&ada).await);
    }
    let graces = vec![shop.buy(&grace).await];
    let mut all: Vec<_> = graces.iter().chain(&adas).cloned().collect();
    // Newest first; of one moment, as this clock has only one, ids are in any order.
    for ids in [&mut adas, &mut all] {
        ids.sort_by(|a, b| b.cmp(a));
    }

    let (first, cursor) = shop.page(&ada, "/payments?limit=2").await;
    let cursor = cursor.as_str().expect("there is more").to_owned();
    assert_eq!(first, adas[..2]);
    for path in ["/payments", "/users/me/payments", "/users/ada/payments", "/payments?user_id=me"] {
        assert_eq!(shop.page(&ada, path).await, (adas.clone(), Value::Null), "{path}");
        let joint = if path.contains('?') { '&' } else { '?' };
        assert_eq!(shop.page(&ada, &format!("{path}{joint}cursor={cursor}")).await.0, adas[2..], "{path}");
    }
    let stolen = shop.get(&grace, &format!("/payments?limit=2&cursor={cursor}")).await;
    let _ = stolen.problem(400, "invalid_cursor");
    // What is hers alone is all she gets, however she asks.
    assert_eq!(shop.page(&grace, "/payments").await.0, graces);
    for path in ["/users/ada/payments", "/payments?user_id=ada", &format!("/users/ada/payments?cursor={cursor}")] {
        assert_eq!(shop.page(&grace, path).await, (Vec::new(), Value::Null), "{path}");
        assert_eq!(
            shop.get(&grace, path).await.text,
            shop.get(&grace, "/users/unheard-of/payments").await.text,
            "{path}"
        );
    }
    assert_eq!(shop.page(&support, "/payments").await.0, all);
    assert_eq!(shop.page(&support, "/users/ada/payments").await.0, adas);
    assert_eq!(shop.page(&support, "/users/me/payments").await.0, Vec::<String>::new());

    let ids = |payments: Vec<proto::Payment>| payments.into_iter().map(|one| one.id).collect::<Vec<_>>();
    let named =
        |user: Option<&str>| proto::GetPaymentsRequest { user_id: user.map(str::to_owned), ..Default::default() };
    let theirs = |user: &str| proto::GetUserPaymentsRequest { user_id: user.to_owned(), ..Default::default() };
    for (token, user, expected) in [
        (&ada, None, &adas),
        (&ada, Some("me"), &adas),
        (&grace, None, &graces),
        (&grace, Some("ada"), &Vec::new()),
        (&support, None, &all),
        (&support, Some("ada"), &adas),
    ] {
        let found = shop.grpc.get_payments(by(token, named(user))).await.expect("lists").into_inner();
        assert_eq!(&ids(found.payments), expected, "{user:?}");
    }
    for (token, user, expected) in
        [(&ada, "", &adas), (&ada, "me", &adas), (&grace, "ada", &Vec::new()), (&support, "ada", &adas)]
    {
        let found = shop.grpc.get_user_payments(by(token, theirs(user))).await.expect("lists").into_inner();
        assert_eq!(&ids(found.payments), expected, "{user:?}");
    }
    let stolen = proto::GetPaymentsRequest { cursor, ..Default::default() };
    assert_eq!(
        ids(shop.grpc.get_payments(by(&ada, stolen.clone())).await.expect("lists").into_inner().payments),
        adas[2..]
    );
    assert_eq!(
        said(shop.grpc.get_payments(by(&grace, stolen)).await),
        (Code::InvalidArgument, "invalid_cursor".to_owned())
    );
}

#[tokio::test]
async fn nobody_pays_for_a_basket_that_is_not_his() {
    let mut shop = Shop::new().await;
    let order = |user: &str| json!({"user_id": user, "method": "credit_card"});
    let own = json!({"method": "credit_card"});
    let call = |user: &str| proto::CreatePaymentRequest {
        user_id: user.to_owned(),
        method: proto::PaymentMethod::CreditCard.into(),
        ..Default::default()
    };
    for token in [shop.token("grace", &[]), shop.token("sam", &[Role::Support])] {
        for key in [&[][..], &[("idempotency-key", "k-1")]] {
            let refused = shop.ask(&token, Method::POST, "/payments", key, &order("ada")).await;
            let _ = refused.problem(403, "forbidden");
        }
        let refused = said(shop.grpc.create_payment(by(&token, call("ada"))).await);
        assert_eq!(refused, (Code::PermissionDenied, "forbidden".to_owned()));
    }
    assert!(shop.world.neighbours.shown.lock().expect("no panic")[0].is_none(), "nobody looked into ada's basket");
    let ada = shop.token("ada", &[]);
    for order in [&order("ada"), &order("me"), &own] {
        assert_eq!(shop.post(&ada, "/payments", order).await.json()["user_id"], "ada", "{order}");
    }
    for blank in ["", " "] {
        let refused = shop.post(&ada, "/payments", &order(blank)).await.problem(422, "validation_failed");
        assert_eq!(refused["errors"][0]["field"], "user_id", "a blank is not left out");
    }
    for user in ["ada", "me", ""] {
        let made = shop.grpc.create_payment(by(&ada, call(user))).await.expect("makes").into_inner().payment;
        assert_eq!(made.expect("a payment").user_id, "ada", "{user:?}");
    }
}

#[tokio::test]
async fn a_guest_buys_too() {
    let shop = Shop::new().await;
    let guest = shop.identity.signer().expect("a key").guest();
    let id = shop.buy(&guest.token).await;
    let paid = shop.post(&guest.token, &format!("/payments/{id}/process"), &Value::Null).await.json();
    assert_eq!((&paid["user_id"], &paid["status"]), (&json!(guest.user), &json!("completed")));
    assert_eq!(shop.page(&guest.token, "/users/me/payments").await.0, std::slice::from_ref(&id));
    let other = shop.identity.signer().expect("a key").guest();
    assert_eq!(shop.get(&other.token, &format!("/payments/{id}")).await.status, 404);
}

#[tokio::test]
async fn a_key_of_one_caller_is_none_of_another() {
    let mut shop = Shop::new().await;
    let (ada, grace) = (shop.token("ada", &[]), shop.token("grace", &[]));
    let body = json!({"method": "paypal"});
    let mut made = Vec::new();
    for (token, user) in [(&ada, "ada"), (&grace, "grace")] {
        let first = shop.ask(token, Method::POST, "/payments", &[("idempotency-key", "mine")], &body).await;
        assert_eq!((first.status, &first.json()["user_id"]), (201, &json!(user)), "{first:?}");
        assert_eq!(first.header("idempotency-replayed"), "");
        let again = shop.ask(token, Method::POST, "/payments", &[("idempotency-key", "mine")], &body).await;
        assert_eq!((again.header("idempotency-replayed"), &again.text), ("true", &first.text));
        made.push(first.json()["id"].clone());
    }
    assert_ne!(made[0], made[1]);
    let call = || proto::CreatePaymentRequest {
        method: proto::PaymentMethod::Paypal.into(),
        idempotency_key: Some("ours".to_owned()),
        ..Default::default()
    };
    for (token, user) in [(&ada, "ada"), (&grace, "grace")] {
        let first = shop.grpc.create_payment(by(token, call())).await.expect("makes");
        assert!(!first.metadata().contains_key("idempotency-replayed"));
        let first = first.into_inner();
        assert_eq!(first.payment.as_ref().expect("a payment").user_id, user);
        let again = shop.grpc.create_payment(by(token, call())).await.expect("replays");
        assert!(again.metadata().contains_key("idempotency-replayed"));
        assert_eq!(again.into_inner(), first);
    }
}

#[tokio::test]
async fn neighbours_are_shown_who_asks_by_the_services_own_credential() {
    let shop = Shop::new().await;
    shop.buy(&shop.token("ada", &[])).await;
    let shown = shop.world.neighbours.shown.lock().expect("no panic").clone();
    for (callee, shown) in ["basket", "product"].into_iter().zip(shown) {
        let neighbour = Identity::open(&shop.settings, callee).expect("opens");
        let headers = shown.expect("was asked").into_headers();
        let principal =
            neighbour.authenticator().expect("is on").of(&headers).await.expect("is good").expect("somebody");
        assert_eq!((principal.kind, &*principal.user), (Kind::Service, "payment"));
    }
}

#[tokio::test]
async fn what_nobody_asks_for_goes_on_by_itself() {
    let shop = Shop::new().await;
    let ada = shop.token("ada", &[]);
    let path = format!("/payments/{}", shop.buy(&ada).await);
    shop.world.clock.advance(Duration::from_mins(30));
    eventually!(shop.get(&ada, &path).await.json()["failure"]["code"] == "payment_expired");
    eventually!(shop.world.events.kinds() == ["Release 1x4", "Release 2x3", "payment.expired"]);
}

#[tokio::test]
async fn a_person_is_told_and_forgotten_by_himself_and_by_support_and_by_nobody_else() {
    let mut shop = Shop::new().await;
    let (ada, grace) = (shop.token("ada", &[]), shop.token("grace", &[]));
    let (support, catalogue) = (shop.token("sam", &[Role::Support]), shop.token("kim", &[Role::Catalogue]));
    for (method, user) in [(Method::GET, "ada"), (Method::DELETE, "ada"), (Method::DELETE, "unheard-of")] {
        let path = format!("/users/{user}/data");
        for stranger in [&grace, &catalogue] {
            let refused = shop.ask(stranger, method.clone(), &path, &[], &Value::Null).await;
            let _ = refused.problem(403, "forbidden");
        }
    }
    let told = shop.grpc.export_user_data(by(&grace, proto::ExportUserDataRequest { user_id: "ada".to_owned() })).await;
    assert_eq!(said(told), (Code::PermissionDenied, "forbidden".to_owned()));
    let erased = shop.grpc.erase_user_data(by(&grace, proto::EraseUserDataRequest { user_id: "ada".to_owned() })).await;
    assert_eq!(said(erased), (Code::PermissionDenied, "forbidden".to_owned()));

    for (token, path) in [(&ada, "/users/me/data"), (&ada, "/users/ada/data"), (&support, "/users/ada/data")] {
        let told = shop.get(token, path).await;
        assert_eq!((told.status, &told.json()["user_id"]), (200, &json!("ada")), "{told:?}");
    }
    let shown = shop.world.neighbours.shown.lock().expect("no panic")[0].clone().expect("the basket was asked for");
    assert!(shown.get("authorization").is_some(), "payment says who it is");
    for (token, path) in [(&ada, "/users/me/data"), (&support, "/users/ada/data")] {
        assert_eq!(shop.ask(token, Method::DELETE, path, &[], &Value::Null).await.status, 204);
    }
    let expected = [("if-match", "\"v1\"")];
    let refused = shop.ask(&ada, Method::DELETE, "/users/me/data", &expected, &Value::Null).await;
    let _ = refused.problem(412, "precondition_failed");
}
