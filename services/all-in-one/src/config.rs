//! Settings of the whole suite: what runs, on which bus, and each service's own section.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use shop_config::{Database, Kafka, Log, Otel, Problems, Secret, Settings, Stop, Var};

/// The suite's settings.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Folder of the embedded stores and the dead letters; made when absent.
    pub data: PathBuf,
    /// Which services run in this process.
    pub services: Vec<Service>,
    /// What carries events: this process itself or Kafka.
    pub bus: BusKind,
    /// Whether an empty catalogue gets ten demo products.
    pub demo: bool,
    /// Kafka, when `bus = "kafka"`.
    pub kafka: Kafka,
    /// Logging of the process.
    pub log: Log,
    /// Traces of the process.
    pub otel: Otel,
    /// How the process stops.
    pub stop: Stop,
    /// The product service.
    pub product: shop_product::Config,
    /// The basket service.
    pub basket: shop_basket::Config,
    /// The payment service.
    pub payment: shop_payment::Config,
    /// The notification service.
    pub notification: shop_notification::Config,
    /// The gateway.
    pub gateway: shop_gateway::Config,
}

/// A part of the suite that can run here or elsewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Service {
    /// The catalogue and its stock.
    Product,
    /// The baskets.
    Basket,
    /// The payments.
    Payment,
    /// E-mails and webhooks.
    Notification,
    /// The gateway in front.
    Gateway,
}

impl Service {
    /// Every service, in the order they start.
    pub const ALL: [Self; 5] = [Self::Product, Self::Basket, Self::Payment, Self::Notification, Self::Gateway];
}

/// What carries events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BusKind {
    /// The process itself: needs producer and consumers in it.
    Memory,
    /// Kafka.
    Kafka,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            data: "data".into(),
            services: Service::ALL.to_vec(),
            bus: BusKind::Memory,
            demo: true,
            kafka: Kafka::default(),
            log: Log::default(),
            otel: Otel::default(),
            stop: Stop::default(),
            product: shop_product::Config::default(),
            basket: shop_basket::Config::default(),
            payment: shop_payment::Config::default(),
            notification: shop_notification::Config::default(),
            gateway: shop_gateway::Config::default(),
        }
    }
}

impl Config {
    /// Whether `service` runs in this process.
    pub fn runs(&self, service: Service) -> bool {
        self.services.contains(&service)
    }

    /// Fills in the embedded stores where no URL chooses another.
    pub(crate) fn embed(&mut self) {
        let file = |name: &str| Some(Secret::from(format!("sqlite://{}", self.data.join(name).display())));
        self.product.database.url = self.product.database.url.take().or_else(|| file("product.db"));
        self.basket.redis.url = self.basket.redis.url.take().or_else(|| file("basket.db"));
        self.payment.database.url = self.payment.database.url.take().or_else(|| file("payment.db"));
        self.notification.database.url = self.notification.database.url.take().or_else(|| file("notification.db"));
    }
}

impl Settings for Config {
    const NAME: &'static str = "shop";
    const ABOUT: &'static str =
        "The whole shop in one process: products, baskets, payments, notifications, and the gateway in front.";

    fn vars() -> Vec<Var> {
        let ours = [
            Var::new("PORT", "gateway.http.port", "port of the gateway, HTTP and gRPC"),
            Var::new("SHOP_PRODUCT__HTTP__PORT", "product.http.port", "port of the product service, HTTP"),
            Var::new("SHOP_PRODUCT__GRPC__PORT", "product.grpc.port", "the same, gRPC"),
            Var::new("SHOP_BASKET__HTTP__PORT", "basket.http.port", "port of the basket service, HTTP"),
            Var::new("SHOP_BASKET__GRPC__PORT", "basket.grpc.port", "the same, gRPC"),
            Var::new("SHOP_PAYMENT__HTTP__PORT", "payment.http.port", "port of the payment service, HTTP"),
            Var::new("SHOP_PAYMENT__GRPC__PORT", "payment.grpc.port", "the same, gRPC"),
            Var::new(
                "SHOP_NOTIFICATION__HTTP__PORT",
                "notification.http.port",
                "port of the notification service, HTTP",
            ),
            Var::new("SHOP_DATA", "data", "folder of the embedded stores and of dead letters"),
            Var::new("LOG_LEVEL", "log.level", "what is logged: error, warn, info, debug, trace, or a filter"),
            Var::new("LOG_FORMAT", "log.format", "json, text, or auto (text on a terminal)"),
            Var::new("KAFKA_BROKERS", "kafka.brokers", "Kafka's addresses, comma between them, with bus = kafka"),
            Var::new("PRODUCT_DATABASE_URL", "product.database.url", "store of the product service"),
            Var::new("BASKET_REDIS_URL", "basket.redis.url", "store of the basket service"),
            Var::new("PAYMENT_DATABASE_URL", "payment.database.url", "store of the payment service"),
            Var::new("NOTIFICATION_DATABASE_URL", "notification.database.url", "store of the notification service"),
            Var::new(
                "SMTP_URL",
                "notification.email.smtp_url",
                "mail server, smtps://user:password@host; no e-mail when unset",
            ),
            Var::new("WEBHOOK_URL", "notification.webhook.url", "endpoint that gets every event; none when unset"),
            Var::new("WEBHOOK_SECRET", "notification.webhook.secret", "what is signed with for it: whsec_ and base64"),
            Var::new(
                "ADMIN_TOKEN",
                "gateway.admin.token",
                "bearer token of the gateway's admin API; without one, this machine only",
            ),
        ];
        ours.into_iter().chain(Otel::vars()).collect()
    }

    fn check(&self, problems: &mut Problems) {
        problems.ensure(
            !self.services.is_empty(),
            "services",
            "name at least one of product, basket, payment, notification, gateway",
        );
        let whole = [Service::Product, Service::Basket, Service::Payment].map(|service| self.runs(service));
        let split = whole.contains(&true) && whole.contains(&false);
        problems.ensure(
            self.bus == BusKind::Kafka || !split,
            "bus",
            "use kafka: product, basket and payment share events, and not all of them run in this process",
        );
        let deaf = self.runs(Service::Notification) && !self.runs(Service::Payment);
        problems.ensure(
            self.bus == BusKind::Kafka || !deaf,
            "bus",
            "use kafka: notification hears of payments, and payment does not run in this process",
        );
        if self.bus == BusKind::Kafka {
            self.kafka.check("kafka", problems);
        }
        self.log.check("log", problems);
        self.otel.check("otel", problems);
        // The process has one log, one bus and one way to stop: a service's own section would silently do nothing.
        for (service, ours, theirs) in [
            ("product", section(&self.product), section(&shop_product::Config::default())),
            ("basket", section(&self.basket), section(&shop_basket::Config::default())),
            ("payment", section(&self.payment), section(&shop_payment::Config::default())),
            ("notification", section(&self.notification), section(&shop_notification::Config::default())),
            ("gateway", section(&self.gateway), section(&shop_gateway::Config::default())),
        ] {
            for shared in ["kafka", "log", "otel", "stop"] {
                let same = ours.get(shared) == theirs.get(shared);
                problems.ensure(
                    same,
                    &format!("{service}.{shared}"),
                    format!("set `{shared}` at the top level: the services of one process share it"),
                );
            }
        }
        // A store is chosen by URL here: host, port and the rest of a section alone would silently do nothing.
        let parts =
            |database: &Database| (database.host.clone(), database.port, database.user.clone(), database.name.clone());
        for (key, ours, theirs) in [
            ("product.database", &self.product.database, &shop_product::Config::default().database),
            ("payment.database", &self.payment.database, &shop_payment::Config::default().database),
            ("notification.database", &self.notification.database, &shop_notification::Config::default().database),
        ] {
            problems.ensure(
                ours.url.is_some() || parts(ours) == parts(theirs),
                key,
                "set its url: in this process a store is chosen by URL",
            );
        }
        let mut effective = self.clone();
        effective.embed();
        problems.within("product", |problems| effective.product.check(problems));
        problems.within("basket", |problems| effective.basket.check(problems));
        problems.within("payment", |problems| effective.payment.check(problems));
        problems.within("notification", |problems| effective.notification.check(problems));
        problems.within("gateway", |problems| effective.gateway.check(problems));
    }
}

/// A service's settings, to compare parts of them.
fn section<T: Serialize>(settings: &T) -> serde_json::Value {
    serde_json::to_value(settings).unwrap_or_default()
}
