//! A running service on a free port, with an embedded store of its own.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use shop_clock::{Clock as _, SystemClock};
use shop_config::{Database, Grpc, Http};
use shop_events::{Bus, Context, Envelope, Event, Item, MemoryBus, PaymentCompleted, RetryPolicy};
use shop_identity::IdentitySettings;
use shop_notification::Config;
use shop_runtime::Shutdown;
use shop_telemetry::Metrics;
use shop_testing::Api;
use shop_web::Doors;
use tokio::task::JoinSet;
use uuid::Uuid;

const LOCAL: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// A service under test.
pub(crate) struct Running {
    /// Its HTTP side.
    pub(crate) api: Api,
    /// Its gRPC side.
    pub(crate) grpc: SocketAddr,
    /// Where its events come from.
    pub(crate) bus: Arc<MemoryBus>,
    shutdown: Shutdown,
    serving: JoinSet<anyhow::Result<()>>,
}

/// Settings under which a test is over soon, and may send to itself.
pub(crate) fn quick(folder: &Path) -> Config {
    let url = format!("sqlite://{}", folder.join("notification.db").display());
    let (http, grpc) = (Http { host: LOCAL, ..Http::on(0) }, Grpc { host: LOCAL, ..Grpc::on(0) });
    let mut config =
        Config { http, grpc, database: Database::at(&url), identity: IdentitySettings::off(), ..Config::default() };
    (config.webhook.allow_private, config.webhook.allow_http) = (true, true);
    config.delivery.interval = shop_config::Duration::millis(20);
    config.delivery.first_pause = shop_config::Duration::millis(10);
    config.delivery.longest_pause = shop_config::Duration::millis(50);
    config
}

impl Running {
    /// Starts a service with these settings.
    pub(crate) async fn start(config: Config) -> Self {
        let pause = Duration::from_millis(1);
        let quick =
            RetryPolicy { attempts: 2, first: pause, longest: pause, internal: pause, ..RetryPolicy::default() };
        let bus = Arc::new(MemoryBus::with_policy(None, quick));
        let shutdown = Shutdown::new();
        let metrics = Metrics::new("notification-service");
        let doors = Doors::of_process(&config.http, &config.grpc, &config.operations).await.expect("two ports");
        let built = shop_notification::Notification::build(doors, config, bus.clone(), metrics, &shutdown).await;
        let service = built.expect("is built");
        let (api, grpc) = (Api::new(service.http_addr()), service.grpc_addr());
        let mut serving = JoinSet::new();
        serving.spawn(service.run(shutdown.clone()));
        Self { api, grpc, bus, shutdown, serving }
    }

    /// Adds an endpoint for everything; its id and its secret.
    pub(crate) async fn endpoint(&self, url: &str) -> (String, String) {
        let (status, made) = self.api.post("/webhooks/endpoints", &serde_json::json!({"url": url})).await;
        assert_eq!(status, 201, "{made}");
        let text = |member: &str| made[member].as_str().unwrap_or_else(|| panic!("{member} in {made}")).to_owned();
        (text("id"), text("secret"))
    }

    /// `user` has paid; the event's id.
    pub(crate) async fn paid(&self, user: &str) -> Uuid {
        let event = completed(user);
        self.bus.publish(&event.encode()).await.expect("takes effect");
        event.id
    }

    /// The notifications that this query finds.
    pub(crate) async fn listed(&self, query: &str) -> Vec<Value> {
        let (status, page) = self.api.get(&format!("/notifications?{query}")).await;
        assert_eq!(status, 200, "{page}");
        page["notifications"].as_array().expect("notifications").clone()
    }

    /// The only notification that this query finds.
    pub(crate) async fn only(&self, query: &str) -> Value {
        let mut found = self.listed(query).await;
        assert_eq!(found.len(), 1, "{found:?}");
        found.remove(0)
    }

    /// The value of a metric.
    pub(crate) async fn metric(&self, name: &str) -> Option<f64> {
        let text = self.api.send(self.api.request(http::Method::GET, "/metrics")).await.text;
        text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok())
    }

    /// Stops the service, which must end well.
    pub(crate) async fn stop(self) {
        self.shutdown.soft.cancel();
        for ended in self.serving.join_all().await {
            ended.expect("ends well");
        }
    }
}

/// `user` bought two desks.
pub(crate) fn completed(user: &str) -> Envelope {
    let price: shop_money::Decimal = "1299.50".parse().expect("a decimal");
    let item = Item {
        product_id: 3,
        name: "Walnut desk".to_owned(),
        quantity: 2,
        price,
        subtotal: "2599.00".parse().expect("a decimal"),
        category: "furniture".to_owned(),
    };
    Envelope {
        id: Uuid::new_v4(),
        time: SystemClock.now(),
        source: "payment-service".to_owned(),
        event: Event::PaymentCompleted(PaymentCompleted {
            payment_id: Uuid::new_v4(),
            user_id: user.to_owned(),
            basket_id: None,
            amount: "2599.00".parse().expect("a decimal"),
            currency: shop_money::Currency::USD,
            items: vec![item],
            metadata: std::collections::BTreeMap::default(),
        }),
        context: Context::default(),
    }
}
