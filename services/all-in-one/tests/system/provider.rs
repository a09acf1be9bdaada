//! People and machines of a real OpenID provider: they sign in there, and buy and sell here, also while it changes its keys.

use std::collections::BTreeMap;

use reqwest::redirect::Policy;
use reqwest::{Client, Method, Response, Url};
use serde_json::{Value, json};
use shop_identity::{IdentitySettings, Mode, Role, Signer};
use shop_testing::backend;

use crate::shop::Shop;

/// A verifier and its challenge (RFC 7636, appendix B).
const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";
/// Where an application on somebody's own machine listens (RFC 8252, section 7.3).
const REDIRECT: &str = "http://127.0.0.1:7777/signed-in";

/// What a browser and an application do with the provider.
struct Provider {
    issuer: String,
    client: Client,
}

/// A browser's cookies.
#[derive(Default)]
struct Jar(BTreeMap<String, String>);

impl Jar {
    fn take(&mut self, response: &Response) {
        for line in response.headers().get_all("set-cookie") {
            let pair = line.to_str().expect("text").split(';').next().expect("a pair");
            let (name, value) = pair.split_once('=').expect("a name and a value");
            self.0.insert(name.to_owned(), value.to_owned());
        }
    }

    fn show(&self) -> String {
        self.0.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("; ")
    }
}

impl Provider {
    fn new(issuer: String) -> Self {
        let client = Client::builder().no_proxy().redirect(Policy::none()).build().expect("a client");
        Self { issuer, client }
    }

    async fn page(&self, jar: &mut Jar, request: reqwest::RequestBuilder) -> Response {
        let response = request.header("cookie", jar.show()).send().await.expect("an answer");
        jar.take(&response);
        response
    }

    /// Signs somebody in by authorization code with PKCE, and agrees to what the application wants.
    async fn sign_in(&self, name: &str) -> Value {
        let mut jar = Jar::default();
        let query = [
            ("client_id", "shop-web"),
            ("response_type", "code"),
            ("redirect_uri", REDIRECT),
            ("scope", "openid shop"),
            ("code_challenge", CHALLENGE),
            ("code_challenge_method", "S256"),
            ("state", "of-this-test"),
        ];
        let mut next = Url::parse_with_params(&format!("{}/auth", self.issuer), query).expect("an address");
        while !next.as_str().starts_with(REDIRECT) {
            let mut response = self.page(&mut jar, self.client.get(next.clone())).await;
            if response.status() == 200 {
                // One form asks who it is, the next whether he agrees.
                let form = response.text().await.expect("a form");
                let is_login = form.contains(r#"name="login""#);
                let fields = if is_login {
                    vec![("prompt", "login"), ("login", name), ("password", "any")]
                } else {
                    vec![("prompt", "consent")]
                };
                response = self.page(&mut jar, self.client.post(next.clone()).form(&fields)).await;
            }
            let location = response.headers().get("location").expect("a way on").to_str().expect("text");
            next = next.join(location).expect("an address");
        }
        let answer: BTreeMap<_, _> = next.query_pairs().into_owned().collect();
        assert_eq!((&*answer["state"], &answer["iss"]), ("of-this-test", &self.issuer), "{next}");
        self.token(&[
            ("grant_type", "authorization_code"),
            ("client_id", "shop-web"),
            ("code", &answer["code"]),
            ("redirect_uri", REDIRECT),
            ("code_verifier", VERIFIER),
        ])
        .await
    }

    /// The access token of a person.
    async fn person(&self, name: &str) -> String {
        text(&self.sign_in(name).await["access_token"])
    }

    /// That of a machine that keeps the catalogue.
    async fn machine(&self) -> String {
        let (id, secret) = (("client_id", "catalogue-keeper"), ("client_secret", "what-the-keeper-knows"));
        text(&self.token(&[("grant_type", "client_credentials"), id, secret]).await["access_token"])
    }

    async fn token(&self, form: &[(&str, &str)]) -> Value {
        let response = self.client.post(format!("{}/token", self.issuer)).form(form).send().await.expect("an answer");
        let (status, body) = (response.status(), response.text().await.expect("a body"));
        assert_eq!(status, 200, "{body}");
        serde_json::from_str(&body).expect("JSON")
    }

    async fn rotate(&self) {
        let response = self.client.post(format!("{}/rotate", self.issuer)).send().await.expect("an answer");
        assert_eq!(response.status(), 200);
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("no text: {value}")).to_owned()
}

fn settings(issuer: &str, folder: &tempfile::TempDir) -> IdentitySettings {
    let key = folder.path().join("key.pem");
    std::fs::write(&key, Signer::generate().expect("chance")).expect("written");
    let mut settings = IdentitySettings {
        mode: Mode::Required,
        issuer: issuer.to_owned(),
        audience: "shop-api".to_owned(),
        roles: [("shop-keepers".to_owned(), Role::Catalogue)].into(),
        // Its keys change while the test waits.
        cooldown: shop_config::Duration::millis(100),
        ..IdentitySettings::default()
    };
    settings.internal.key_file = Some(key);
    settings
}

fn lamp(price: &str) -> Value {
    json!({"name": "A lamp", "description": "for a test", "price": price, "stock_quantity": 10, "category": "tests",
        "image_url": null})
}

/// Buys one of the product; the payment.
async fn buys(shop: &Shop, token: &str, product: &Value) -> Value {
    let line = json!({"product_id": product["id"], "quantity": 1});
    let added = shop.call_as(token, Method::POST, "/api/baskets/me/items", line).await;
    assert_eq!(added.status, 200, "{added:?}");
    let made = shop.call_as(token, Method::POST, "/api/payments", json!({"method": "credit_card"})).await;
    assert_eq!(made.status, 201, "{made:?}");
    let path = format!("/api/payments/{}/process", text(&made.json["id"]));
    let paid = shop.call_as(token, Method::POST, &path, json!({"payment_token": "tok_approve"})).await;
    assert_eq!((paid.status, &paid.json["status"]), (200, &"completed".into()), "{paid:?}");
    paid.json
}

/// How many payments somebody finds under a path.
async fn finds(shop: &Shop, token: &str, path: &str) -> u64 {
    let list = shop.call_as(token, Method::GET, path, Value::Null).await;
    assert_eq!(list.status, 200, "{list:?}");
    list.json["count"].as_u64().unwrap_or_else(|| panic!("no list: {list:?}"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn people_buy_and_machines_sell_while_keys_rotate() {
    let Some(issuer) = backend::oidc() else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let identity = settings(&issuer, &folder);
    let shop = Box::pin(Shop::embedded_with(|config| config.identity = identity)).await;
    let provider = Provider::new(issuer);
    let refusal = async |token: &str, method, path: &str, body| {
        let answer = shop.call_as(token, method, path, body).await;
        (answer.status, answer.code().to_owned())
    };

    // A machine keeps the catalogue; people do not.
    let (keeper, signed_in) = (provider.machine().await, provider.sign_in("ada").await);
    let (ada, grace) = (text(&signed_in["access_token"]), provider.person("grace").await);
    let made = shop.call_as(&keeper, Method::POST, "/api/products", lamp("12.50")).await;
    assert_eq!(made.status, 201, "{made:?}");
    let product = made.json;
    let path = format!("/api/products/{}", product["id"]);
    assert_eq!(refusal(&ada, Method::PUT, &path, lamp("0.01")).await, (403, "forbidden".to_owned()));
    let changed = shop.call_as(&keeper, Method::PUT, &path, lamp("11.00")).await;
    assert_eq!((changed.status, &changed.json["price"]), (200, &json!(11.00)), "{changed:?}");
    // Who somebody is says nothing of what may be done in his name.
    let id_token = text(&signed_in["id_token"]);
    assert_eq!(
        refusal(&id_token, Method::GET, "/api/baskets/me", Value::Null).await,
        (401, "token_invalid".to_owned())
    );

    let payment = buys(&shop, &ada, &product).await;
    assert_eq!((&payment["user_id"], &payment["amount"]), (&json!("ada"), &json!(11.00)), "{payment}");
    let (path, unknown) =
        (format!("/api/payments/{}", text(&payment["id"])), format!("/api/payments/{}", uuid::Uuid::now_v7()));
    assert_eq!(finds(&shop, &ada, "/api/users/me/payments").await, 1);
    let seen = shop.call_as(&ada, Method::GET, &path, Value::Null).await;
    assert_eq!((seen.status, &seen.json["id"]), (200, &payment["id"]), "{seen:?}");
    // Somebody else hears what he hears of a payment that is not there.
    let not_there = refusal(&grace, Method::GET, &unknown, Value::Null).await;
    assert_eq!((not_there.0, refusal(&grace, Method::GET, &path, Value::Null).await), (404, not_there));
    assert_eq!(finds(&shop, &grace, "/api/users/me/payments").await, 0);
    assert_eq!(finds(&shop, &grace, "/api/payments").await, 0);
    let refund = format!("{path}/refund");
    assert_eq!(refusal(&ada, Method::POST, &refund, json!({})).await, (403, "forbidden".to_owned()));

    // Another key signs; both are there.
    provider.rotate().await;
    let (new_ada, new_keeper) = (provider.person("ada").await, provider.machine().await);
    for token in [&ada, &new_ada] {
        assert_eq!(finds(&shop, token, "/api/users/me/payments").await, 1);
    }
    for token in [&keeper, &new_keeper] {
        assert_eq!(shop.call_as(token, Method::POST, "/api/products", lamp("5.00")).await.status, 201);
    }
    buys(&shop, &new_ada, &product).await;
    // The first is gone.
    provider.rotate().await;
    provider.rotate().await;
    let newest = provider.person("ada").await;
    assert_eq!(finds(&shop, &newest, "/api/users/me/payments").await, 2);
    let gone = refusal(&ada, Method::GET, "/api/users/me/payments", Value::Null).await;
    assert_eq!(gone, (401, "token_invalid".to_owned()));
    assert_eq!(finds(&shop, &new_ada, "/api/users/me/payments").await, 2, "the second is still there");
    buys(&shop, &newest, &product).await;
    shop.stop().await;
}
