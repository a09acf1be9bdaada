//! A payment service of a test's own.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use serde_json::{Value, json};
use shop_clock::ManualClock;
use shop_config::{Database, Duration, Neighbour};
use shop_events::{Bus, Envelope, Event, HandleError, Handler, MemoryBus, Subscription, Topic};
use shop_identity::IdentitySettings;
use shop_payment::{Config, Payment};
use shop_runtime::{CancellationToken, Shutdown};
use shop_telemetry::Metrics;
use shop_testing::{Api, Reply};
use shop_web::Doors;
use time::macros::datetime;

use crate::neighbours::Neighbours;

/// A running service and everything around it.
pub(crate) struct World {
    pub(crate) api: Api,
    pub(crate) grpc: SocketAddr,
    pub(crate) neighbours: Neighbours,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) events: Arc<Events>,
    shutdown: Shutdown,
    _folder: tempfile::TempDir,
}

/// Every event that reached the bus.
#[derive(Default)]
pub(crate) struct Events(Mutex<Vec<Event>>);

#[async_trait]
impl Handler for Events {
    async fn handle(&self, envelope: &Envelope) -> Result<(), HandleError> {
        assert_eq!(envelope.source, "payment-service");
        self.0.lock().expect("no panic").push(envelope.event.clone());
        Ok(())
    }
}

impl Events {
    /// What arrived so far, sorted: order holds per key only.
    pub(crate) fn kinds(&self) -> Vec<String> {
        let name = |event: &Event| match event {
            Event::StockUpdated(stock) => format!("{:?} {}x{}", stock.operation, stock.quantity, stock.product_id),
            other => other.event_type().to_owned(),
        };
        let mut kinds: Vec<_> = self.0.lock().expect("no panic").iter().map(name).collect();
        kinds.sort();
        kinds
    }
}

impl World {
    /// A service at noon, with nothing in it, where anybody may do anything.
    pub(crate) async fn new() -> Self {
        Self::with(IdentitySettings::off()).await
    }

    /// A service at noon, with nothing in it.
    pub(crate) async fn with(identity: IdentitySettings) -> Self {
        Self::set(identity, |_| {}).await
    }

    /// The same with other settings.
    pub(crate) async fn set(identity: IdentitySettings, set: impl FnOnce(&mut Config)) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let neighbours = Neighbours::default();
        let neighbour = Neighbour { retries: 0, ..Neighbour::at(neighbours.serve().await.to_string()) };
        let mut config = Config {
            database: Database::at(&format!("sqlite://{}", folder.path().join("payment.db").display())),
            basket: neighbour.clone(),
            product: neighbour.clone(),
            notification: neighbour,
            identity,
            ..Config::default()
        };
        config.http.host = [127, 0, 0, 1].into();
        config.http.port = 0;
        config.grpc.host = [127, 0, 0, 1].into();
        config.grpc.port = 0;
        config.provider.slow = Duration::millis(1);
        config.provider.sandbox = Some(true);
        config.provider.approves_without_token = true;
        config.recovery.interval = Duration::millis(20);
        config.checkout.max_open_payments = 1000;
        set(&mut config);
        let bus = Arc::new(MemoryBus::new(None));
        let events = Arc::new(Events::default());
        let topics = Topic::ALL.to_vec();
        let subscription = Subscription { group: "test".to_owned(), topics, handler: events.clone() };
        tokio::task::spawn(bus.subscribe(subscription, CancellationToken::new()));
        let shutdown = Shutdown::new();
        let clock = Arc::new(ManualClock::at(datetime!(2026-03-01 12:00 UTC)));
        let metrics = Metrics::new("payment-service");
        let doors = Doors::of_process(&config.http, &config.grpc, &config.operations).await.expect("two ports");
        let built = Payment::build_at(doors, config, bus, metrics, &shutdown, clock.clone()).await;
        let payment = built.expect("builds the service");
        let (http, grpc) = (payment.http_addr(), payment.grpc_addr());
        let stop = shutdown.clone();
        tokio::task::spawn(async move { payment.run(stop).await.expect("runs") });
        Self { api: Api::new(http), grpc, neighbours, clock, events, shutdown, _folder: folder }
    }

    /// POST under an idempotency key.
    pub(crate) async fn post_once(&self, path: &str, key: &str, body: &Value) -> Reply {
        let request = self.api.request(reqwest::Method::POST, path).header("idempotency-key", key).json(body);
        self.api.send(request).await
    }

    /// POST with the whole answer.
    pub(crate) async fn post(&self, path: &str, body: &Value) -> Reply {
        self.api.send(self.api.request(reqwest::Method::POST, path).json(body)).await
    }

    /// The id of a new pending payment of ada's.
    pub(crate) async fn pending(&self) -> String {
        let reply = self.post("/payments", &json!({"user_id": "ada", "method": "credit_card"})).await;
        assert_eq!(reply.status, 201, "{reply:?}");
        reply.json()["id"].as_str().expect("an id").to_owned()
    }

    /// The id of a new payment of ada's that was charged with this token.
    pub(crate) async fn charged_with(&self, token: &str) -> String {
        let id = self.pending().await;
        let (status, payment) =
            self.api.post(&format!("/payments/{id}/process"), &json!({"payment_token": token})).await;
        assert!(matches!(status, 200 | 402), "{payment}");
        id
    }

    /// The id of a new completed payment of ada's.
    pub(crate) async fn completed(&self) -> String {
        let id = self.pending().await;
        let (status, payment) = self.api.post(&format!("/payments/{id}/process"), &json!({})).await;
        assert_eq!((status, &payment["status"]), (200, &json!("completed")), "{payment}");
        id
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.shutdown.soft.cancel();
        self.shutdown.hard.cancel();
    }
}

/// Replaces ids, which are new in every run.
pub(crate) fn steady(mut value: Value) -> Value {
    fn walk(value: &mut Value) {
        match value {
            Value::String(text) if uuid::Uuid::try_parse(text).is_ok() => "<id>".clone_into(text),
            Value::String(text) => {
                let words = text.split(' ').map(|word| if uuid::Uuid::try_parse(word).is_ok() { "<id>" } else { word });
                *text = words.collect::<Vec<_>>().join(" ");
                if let Some(id) = text.split('/').nth(2).filter(|part| uuid::Uuid::try_parse(part).is_ok()) {
                    *text = text.replace(id, "<id>");
                }
            }
            Value::Array(items) => items.iter_mut().for_each(walk),
            Value::Object(members) => members.values_mut().for_each(walk),
            _ => {}
        }
    }
    walk(&mut value);
    value
}
