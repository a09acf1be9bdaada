//! A running suite with a client's hands.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use shop::{Addresses, Config, Suite};
use shop_identity::IdentitySettings;
use shop_runtime::Shutdown;
use shop_testing::{Api, backend};
use tempfile::TempDir;
use tokio::task::JoinHandle;

/// A suite on free ports, and a client of its gateway.
pub(crate) struct Shop {
    pub(crate) at: Addresses,
    gateway: Api,
    shutdown: Shutdown,
    task: JoinHandle<anyhow::Result<()>>,
    data: TempDir,
    stores: Option<Stores>,
}

/// Databases of its own on the real servers; dropped with it.
struct Stores {
    postgres: [backend::Db; 2],
    mariadb: backend::Db,
    redis: backend::Keys,
    _kafka: backend::Topics,
}

/// What a call came back with.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) json: Value,
    headers: reqwest::header::HeaderMap,
}

impl Answer {
    /// The problem's code, or nothing.
    pub(crate) fn code(&self) -> &str {
        self.json["code"].as_str().unwrap_or_default()
    }

    /// A header, if it is there.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

impl Shop {
    /// On SQLite and the memory bus.
    pub(crate) async fn embedded() -> Self {
        Self::embedded_with(|_| ()).await
    }

    /// The same with other settings.
    pub(crate) async fn embedded_with(adjust: impl FnOnce(&mut Config)) -> Self {
        let data = tempfile::tempdir().expect("a folder");
        let mut config = Self::config(&data);
        adjust(&mut config);
        Box::pin(Self::start(config, data, None)).await
    }

    /// On PostgreSQL, Redis, MariaDB and Kafka, if they run.
    pub(crate) async fn real() -> Option<Self> {
        Box::pin(Self::real_with(|_| ())).await
    }

    /// The same with other settings.
    pub(crate) async fn real_with(adjust: impl FnOnce(&mut Config)) -> Option<Self> {
        let (postgres, notices, mariadb) =
            (backend::postgres().await?, backend::postgres().await?, backend::mariadb().await?);
        let (redis, kafka) = (backend::redis().await?, backend::kafka().await?);
        let data = tempfile::tempdir().expect("a folder");
        let mut config = Self::config(&data);
        config.product.database.url = Some(postgres.url().into());
        config.payment.database.url = Some(mariadb.url().into());
        config.payment.provider.sandbox = Some(true);
        config.notification.database.url = Some(notices.url().into());
        config.basket.redis.url = Some(redis.url().into());
        config.basket.redis.key_prefix = redis.prefix().to_owned();
        config.bus = shop::BusKind::Kafka;
        config.kafka.brokers = kafka.brokers().split(',').map(str::to_owned).collect();
        config.kafka.topic_prefix = kafka.prefix().to_owned();
        config.kafka.group_prefix = kafka.prefix().to_owned();
        config.kafka.replication = 1;
        adjust(&mut config);
        let stores = Stores { postgres: [postgres, notices], mariadb, redis, _kafka: kafka };
        Some(Self::start(config, data, Some(stores)).await)
    }

    fn config(data: &TempDir) -> Config {
        let mut config = Config {
            data: data.path().to_owned(),
            identity: IdentitySettings::off(),
            demo: false,
            ..Config::default()
        };
        let notification = &mut config.notification;
        for http in
            [&mut config.product.http, &mut config.basket.http, &mut config.payment.http, &mut notification.http]
        {
            (http.host, http.port) = ([127, 0, 0, 1].into(), 0);
        }
        for grpc in
            [&mut config.product.grpc, &mut config.basket.grpc, &mut config.payment.grpc, &mut notification.grpc]
        {
            (grpc.host, grpc.port) = ([127, 0, 0, 1].into(), 0);
        }
        (config.gateway.http.host, config.gateway.http.port) = ([127, 0, 0, 1].into(), 0);
        config.gateway.admin.port = 0;
        // The situations come from one client address and are not about limits.
        config.gateway.rate_limit.enabled = false;
        config.gateway.grpc_introspection = true;
        // The situations are about what happens, not how fast on a machine that builds and tests at once.
        for neighbour in [&mut config.basket.product, &mut config.payment.product, &mut config.payment.basket] {
            neighbour.timeout = shop_config::Duration::secs(15);
        }
        // A payment left in processing is settled within the test's patience.
        config.payment.recovery.settle_after = shop_config::Duration::millis(1500);
        config.payment.recovery.interval = shop_config::Duration::millis(200);
        config.payment.provider.timeout = shop_config::Duration::secs(1);
        config
    }

    async fn start(config: Config, data: TempDir, stores: Option<Stores>) -> Self {
        let suite = Box::pin(Suite::build(config)).await.expect("the suite starts");
        let at = suite.addresses();
        let shutdown = Shutdown::new();
        let task = tokio::spawn(suite.run(shutdown.clone()));
        let gateway = Api::new(at.gateway.expect("a gateway"));
        Self { at, gateway, shutdown, task, data, stores }
    }

    /// Waits for an empty outbox, then for a clean end: every event was delivered and every task is gone.
    pub(crate) async fn stop(self) {
        self.eventually("the outbox is empty", async || self.outbox_pending().await == 0).await;
        self.shutdown.soft.cancel();
        let ended = tokio::time::timeout(Duration::from_secs(20), self.task).await;
        ended.expect("the suite drains in time").expect("no panic").expect("a clean end");
    }

    /// Where in the stores a text is.
    pub(crate) async fn knows(&self, text: &str) -> Vec<String> {
        let mut places = Vec::new();
        if let Some(Stores { postgres, mariadb, redis, .. }) = &self.stores {
            for database in postgres.iter().chain([mariadb]) {
                places.extend(database.found(text).await);
            }
            places.extend(redis.found(text));
        } else {
            for service in ["product", "basket", "payment", "notification"] {
                let file = self.data.path().join(service).with_extension("db");
                places.extend(backend::found_in(&file, text).await);
            }
        }
        places
    }

    async fn outbox_pending(&self) -> i64 {
        let payment = self.at.payment_operations.or(self.at.payment).expect("a payment service");
        let payment = Api::new(payment);
        let text = payment.send(payment.request(Method::GET, "/metrics")).await.text;
        let line = text.lines().find(|line| line.starts_with("payment_outbox_pending")).expect("the outbox gauge");
        line.rsplit(' ').next().and_then(|value| value.parse().ok()).expect("a number")
    }

    /// Polls until `holds`, for as long as a loaded machine may need; Kafka's groups take seconds to form.
    pub(crate) async fn eventually(&self, what: &str, holds: impl AsyncFn() -> bool) {
        let wait = async {
            while !holds().await {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(Duration::from_mins(1), wait).await.unwrap_or_else(|_| panic!("not within 60 s: {what}"));
    }

    /// One call through the gateway; `null` sends no body.
    pub(crate) async fn call(&self, method: Method, path: &str, body: Value) -> Answer {
        let request = self.gateway.request(method, path);
        self.send(if body.is_null() { request } else { request.json(&body) }).await
    }

    /// The same by the bearer of a token.
    pub(crate) async fn call_as(&self, token: &str, method: Method, path: &str, body: Value) -> Answer {
        let request = self.gateway.request(method, path).bearer_auth(token);
        self.send(if body.is_null() { request } else { request.json(&body) }).await
    }

    /// A POST with an idempotency key.
    pub(crate) async fn keyed(&self, path: &str, key: &str, body: Value) -> Answer {
        let request = self.gateway.request(Method::POST, path).header("idempotency-key", key);
        self.send(request.json(&body)).await
    }

    async fn send(&self, request: reqwest::RequestBuilder) -> Answer {
        let reply = self.gateway.send(request).await;
        Answer { status: reply.status, json: reply.json(), headers: reply.headers }
    }

    /// A new product's id.
    pub(crate) async fn product(&self, name: &str, price: &str, stock: u32) -> i64 {
        let body = json!({"name": name, "description": "for a test", "price": price, "stock_quantity": stock,
            "category": "tests", "image_url": null});
        let made = self.call(Method::POST, "/api/products", body).await;
        assert_eq!(made.status, 201, "{made:?}");
        made.json["id"].as_i64().expect("an id")
    }

    /// Changes only the price.
    pub(crate) async fn set_price(&self, product: i64, price: &str) {
        let path = format!("/api/products/{product}");
        let now = self.call(Method::GET, &path, Value::Null).await.json;
        let body = json!({"name": now["name"], "description": now["description"], "price": price,
            "stock_quantity": now["stock_quantity"], "category": now["category"], "image_url": now["image_url"]});
        let changed = self.call(Method::PUT, &path, body).await;
        assert_eq!(changed.status, 200, "{changed:?}");
    }

    /// Stock on hand, available, and sold.
    pub(crate) async fn stock(&self, product: i64) -> (i64, i64, i64) {
        let got = self.call(Method::GET, &format!("/api/products/{product}"), Value::Null).await;
        let number = |field: &str| got.json[field].as_i64().unwrap_or_else(|| panic!("{field} in {got:?}"));
        let (on_hand, available) = (number("stock_quantity"), number("available_quantity"));
        assert!(0 <= available && available <= on_hand, "{got:?}");
        (on_hand, available, number("units_sold"))
    }

    /// Adds to the basket and answers it.
    pub(crate) async fn add(&self, user: &str, product: i64, quantity: u32) -> Value {
        let path = format!("/api/baskets/{user}/items");
        let added = self.call(Method::POST, &path, json!({"product_id": product, "quantity": quantity})).await;
        assert_eq!(added.status, 200, "{added:?}");
        added.json
    }

    /// Product and quantity of each line.
    pub(crate) async fn basket_items(&self, user: &str) -> Vec<(i64, i64)> {
        let basket = self.call(Method::GET, &format!("/api/baskets/{user}"), Value::Null).await;
        assert_eq!(basket.status, 200, "{basket:?}");
        let items = basket.json["items"].as_array().expect("items");
        items.iter().filter_map(|item| Some((item["product_id"].as_i64()?, item["quantity"].as_i64()?))).collect()
    }

    /// A pending payment of the user's basket.
    pub(crate) async fn checkout(&self, user: &str) -> Value {
        let body = json!({"user_id": user, "method": "credit_card"});
        let made = self.call(Method::POST, "/api/payments", body).await;
        assert_eq!(made.status, 201, "{made:?}");
        made.json
    }

    /// Charges with this token.
    pub(crate) async fn process(&self, payment: &Value, token: &str) -> Answer {
        let path = format!("/api/payments/{}/process", payment["id"].as_str().expect("an id"));
        self.call(Method::POST, &path, json!({"payment_token": token})).await
    }

    /// Pays back.
    pub(crate) async fn refund(&self, payment: &Value, body: Value) -> Answer {
        let path = format!("/api/payments/{}/refund", payment["id"].as_str().expect("an id"));
        self.call(Method::POST, &path, body).await
    }

    /// The payment as it is now.
    pub(crate) async fn payment(&self, payment: &Value) -> Value {
        let path = format!("/api/payments/{}", payment["id"].as_str().expect("an id"));
        self.call(Method::GET, &path, Value::Null).await.json
    }
}
