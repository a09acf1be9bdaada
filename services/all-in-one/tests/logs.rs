//! What people send and what operators set is used, and told to nobody who reads the log.

use reqwest::Method;
use reqwest::header::{AUTHORIZATION, COOKIE};
use serde_json::{Value, json};
use shop_testing::{Api, Process, backend, eventually, free_port};

const ADMIN_TOKEN: &str = "an-operators-secret-7f3a9c";
const CARD: &str = "4111111111111111";
const PAYMENT_TOKEN: &str = "tok_insufficient_funds";
const MADE_UP_TOKEN: &str = "tok_made_up_51c2";
const SESSION: &str = "session-of-a-customer-90d1";
const BEARER: &str = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhZGEifQ.c2lnbmF0dXJl";
const MAIL: &str = "ada.lovelace@example.com";
const USER: &str = "customer-of-the-house";
const NOTE: &str = "for-my-aunt-in-brighton";

/// What no line may have, beside what every process is searched for.
const SECRETS: [&str; 9] = [ADMIN_TOKEN, CARD, PAYMENT_TOKEN, MADE_UP_TOKEN, SESSION, BEARER, MAIL, USER, NOTE];

#[tokio::test]
async fn of_the_suite_on_embedded_stores_keep_secrets() {
    tells_nothing(&mut shop()).await;
}

#[tokio::test]
async fn of_the_suite_on_servers_keep_secrets() {
    let (Some(postgres), Some(mariadb)) = (backend::postgres().await, backend::mariadb().await) else { return };
    let (Some(redis), Some(kafka)) = (backend::redis().await, backend::kafka().await) else { return };
    let mut shop = shop()
        .env("PRODUCT_DATABASE_URL", postgres.url())
        .env("PAYMENT_DATABASE_URL", mariadb.url())
        .env("SHOP_PAYMENT__PROVIDER__SANDBOX", "true")
        .env("BASKET_REDIS_URL", redis.url())
        .env("SHOP_BASKET__REDIS__KEY_PREFIX", redis.prefix())
        .env("SHOP_BUS", "kafka")
        .env("KAFKA_BROKERS", kafka.brokers())
        .env("SHOP_KAFKA__TOPIC_PREFIX", kafka.prefix())
        .env("SHOP_KAFKA__GROUP_PREFIX", kafka.prefix())
        .env("SHOP_KAFKA__REPLICATION", "1");
    tells_nothing(&mut shop).await;
}

fn shop() -> Process {
    let mut shop = Process::new("shop")
        .env("IDENTITY_MODE", "off")
        .env("LOG_FORMAT", "json")
        .env("LOG_LEVEL", "debug")
        .env("ADMIN_TOKEN", ADMIN_TOKEN);
    shop.set("SHOP_GATEWAY__RATE_LIMIT__ENABLED", "false");
    for section in ["PRODUCT", "BASKET", "PAYMENT", "NOTIFICATION"] {
        shop.set(&format!("SHOP_{section}__HTTP__PORT"), "0");
        shop.set(&format!("SHOP_{section}__GRPC__PORT"), "0");
    }
    for secret in SECRETS {
        shop.keep_secret(secret);
    }
    shop
}

/// Runs `shop` with the details on, lets everything go right and wrong that has a secret in it, and reads its log. What
/// [`Process`] looks for in every log it looks for in this one too.
async fn tells_nothing(shop: &mut Process) {
    let data = tempfile::tempdir().expect("a folder");
    let port = free_port();
    shop.set("PORT", port.to_string());
    shop.set("ADMIN_PORT", "0");
    shop.set("SHOP_DATA", data.path().display().to_string());
    shop.start(port).await;
    let statuses = say_everything(&Api::new(format_args!("127.0.0.1:{port}"))).await;
    assert_eq!(statuses, [201, 200, 401, 200, 200, 404, 422, 422, 201, 422, 402, 422, 422, 404]);
    // The line of a request may come after its answer.
    eventually!({
        let routes: Vec<String> =
            lines(shop).iter().filter_map(|line| Some(line["route"].as_str()?.to_owned())).collect();
        let all =
            ["/admin/status", "/api/baskets/*", "/baskets/{user_id}/items", "/payments/{id}/process", "unmatched"];
        all.iter().all(|route| routes.iter().any(|known| known == route))
    });
    assert!(shop.stop().await.success());
    let lines = lines(shop);
    assert!(lines.len() > 40, "nothing to read in {} lines", lines.len());
    for line in &lines {
        let text = line.to_string();
        let secret = SECRETS.iter().find(|secret| text.contains(**secret));
        assert_eq!(secret, None, "{text}");
    }
}

/// One request after the other, with their statuses.
async fn say_everything(api: &Api) -> Vec<u16> {
    let mut statuses = Vec::new();
    let mut say = async |method: Method, path: &str, body: Value| {
        let request = api.request(method, path).header(COOKIE, format!("session={SESSION}"));
        let authorization = if path.starts_with("/admin") { ADMIN_TOKEN } else { BEARER };
        let mut request = request.header(AUTHORIZATION, format!("Bearer {authorization}"));
        if !body.is_null() {
            request = request.json(&body);
        }
        let reply = api.send(request).await;
        statuses.push(reply.status);
        reply.json()
    };
    let lamp = json!({"name": "Lamp", "price": "19.90", "stock_quantity": 5, "category": "light"});
    let product = say(Method::POST, "/api/products", lamp).await["id"].clone();
    say(Method::GET, "/admin/status", Value::Null).await;
    let refused = api.request(Method::GET, "/admin/status").header(AUTHORIZATION, format!("Bearer {SESSION}"));
    let refused = api.send(refused).await.status;
    say(Method::GET, &format!("/api/products?q={CARD}&category={NOTE}"), Value::Null).await;
    let basket = format!("/api/baskets/{USER}");
    say(Method::POST, &format!("{basket}/items"), json!({"product_id": product, "quantity": 1})).await;
    say(Method::GET, &format!("/api/baskets/{CARD}"), Value::Null).await;
    say(Method::POST, &format!("{basket}/items"), json!({"product_id": CARD, "quantity": MAIL})).await;
    let order = |metadata| json!({"user_id": USER, "method": "credit_card", "description": NOTE, "metadata": metadata});
    say(Method::POST, "/api/payments", order(json!({"card": CARD}))).await;
    let payment = say(Method::POST, "/api/payments", order(json!({"mail": MAIL}))).await["id"].clone();
    let process = format!("/api/payments/{}/process", payment.as_str().expect("an id"));
    say(Method::POST, &process, json!({"payment_token": MADE_UP_TOKEN, "card": CARD})).await;
    say(Method::POST, &process, json!({"payment_token": PAYMENT_TOKEN})).await;
    say(Method::POST, &process, json!({"payment_token": 4_111_111_111_111_111_u64})).await;
    say(Method::POST, "/api/payments", json!({"user_id": MAIL, "method": CARD})).await;
    say(Method::GET, &format!("/{MAIL}/{CARD}"), Value::Null).await;
    statuses.insert(2, refused);
    statuses
}

fn lines(shop: &Process) -> Vec<Value> {
    shop.output().lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}
