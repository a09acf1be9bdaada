//! The settings of the payment service.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use shop_config::{
    Database, Duration, Engine, Given, Grpc, Http, Kafka, Log, Neighbour, Operations, Otel, Problems, Settings, Stop,
    Var, check_servers, settle_hosts,
};
use shop_identity::IdentitySettings;
use shop_stripe::StripeSettings;
use shop_tls::TlsSettings;

use crate::domain::Limits;

/// The shortest window: a charge that began in time must have an end before the stock is anybody's.
const MIN_WINDOW: std::time::Duration = std::time::Duration::from_mins(1);

/// Everything the payment service can be told.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Address that every listener has which is given none of its own; this machine alone by default.
    pub host: Option<IpAddr>,
    /// The HTTP server.
    pub http: Http,
    /// The gRPC server.
    pub grpc: Grpc,
    /// The listener of probes and Prometheus, where they could not ask the others.
    pub operations: Operations,
    /// TLS of the servers, and towards neighbours.
    pub tls: TlsSettings,
    /// Where payments are kept: MariaDB or SQLite.
    pub database: Database,
    /// Where baskets are read.
    pub basket: Neighbour,
    /// Where stock is reserved.
    pub product: Neighbour,
    /// Where it is known what users are told; asked when one wants to know what the shop knows of him. Without a URL nobody is told
    /// anything.
    pub notification: Neighbour,
    /// Where events go.
    pub kafka: Kafka,
    /// Who moves the money.
    pub provider: ProviderSettings,
    /// How much one buyer may hold of the shelf, and for how long.
    pub checkout: CheckoutSettings,
    /// What is done for payments that nobody asks about.
    pub recovery: RecoverySettings,
    /// How long payments are kept.
    pub retention: RetentionSettings,
    /// Who may call.
    pub identity: IdentitySettings,
    /// Log lines.
    pub log: Log,
    /// Traces.
    pub otel: Otel,
    /// How the process stops.
    pub stop: Stop,
}

/// The payment provider.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ProviderSettings {
    /// Longest wait for the provider; beyond it the outcome is asked for instead.
    pub timeout: Duration,
    /// How long the sandbox takes over a charge with `tok_slow`.
    pub slow: Duration,
    /// Whether the sandbox, which takes no real money, is the provider. Said by who means it: nothing is approved by default.
    pub sandbox: Option<bool>,
    /// Stripe, which is the provider where its key is set.
    pub stripe: StripeSettings,
    /// Whether a charge without a token is approved. The suite says so where its stores are embedded; no setting does.
    #[serde(skip)]
    pub approves_without_token: bool,
}

impl Default for ProviderSettings {
    fn default() -> Self {
        // Card networks answer within seconds; a buyer waits no longer than this for a button.
        Self {
            timeout: Duration::secs(10),
            slow: Duration::secs(2),
            sandbox: None,
            stripe: StripeSettings::default(),
            approves_without_token: false,
        }
    }
}

impl ProviderSettings {
    fn check(&self, problems: &mut Problems) {
        problems.ensure(!self.timeout.is_zero(), "timeout", "must be more than 0");
        // Anybody could name the sandbox and have the goods for nothing.
        let is_real = self.stripe.is_set() && !self.stripe.is_test();
        let message = "must not be true beside a live key of Stripe's: an order could name it and cost nothing";
        problems.ensure(!(is_real && self.sandbox == Some(true)), "sandbox", message);
        problems.within("stripe", |problems| self.stripe.check(problems));
    }
}

/// How much one buyer may hold of the shelf, and for how long.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CheckoutSettings {
    /// How long a buyer has to pay; then the reserved units go back on the shelf.
    pub window: Duration,
    /// Payments of one user that may be open at once; one basket has one.
    pub max_open_payments: u32,
    /// Units in one payment, over all its lines.
    pub max_units: u32,
}

impl Default for CheckoutSettings {
    fn default() -> Self {
        // Half an hour is what payment pages commonly give. One basket at a time is what people have; a few more are for those who
        // began anew. More units than a household buys, fewer than empty a warehouse.
        Self { window: Duration::secs(30 * 60), max_open_payments: 5, max_units: 1000 }
    }
}

impl From<&CheckoutSettings> for Limits {
    fn from(settings: &CheckoutSettings) -> Self {
        let CheckoutSettings { window, max_open_payments, max_units } = settings;
        Self { window: window.get(), open_payments: (*max_open_payments).into(), units: (*max_units).into() }
    }
}

/// What is done for payments that nobody asks about.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RecoverySettings {
    /// Time between two looks for payments that expired or were left half way.
    pub interval: Duration,
    /// How long a payment may be in the hands of a request before it counts as left behind. Longer than
    /// `provider.timeout`, or a slow charge is called off.
    pub settle_after: Duration,
}

impl Default for RecoverySettings {
    fn default() -> Self {
        // The look costs three index reads. A request is done, one way or the other, well within the half minute.
        Self { interval: Duration::secs(5), settle_after: Duration::secs(30) }
    }
}

/// How long payments are kept, counted from when they were made. For ever where nothing is set.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RetentionSettings {
    /// When payments are deleted that failed or were cancelled; at least 2 days.
    pub unpaid: Option<Duration>,
    /// When the buyer is taken out of payments that were made: his id, what the client noted, and reasons for refunds. Amounts and
    /// lines stay, for the books. At least 30 days.
    pub buyers: Option<Duration>,
}

impl RetentionSettings {
    fn check(&self, problems: &mut Problems) {
        // Longer than anything that may still come for a payment: answers to keys, events, letters that are replayed.
        for (key, length, days) in [("unpaid", self.unpaid, 2), ("buyers", self.buyers, 30)] {
            let long = length.is_none_or(|length| length.get().as_secs() >= days * 86_400);
            problems.ensure(long, key, format!("use at least {days} days, or leave it out to keep them"));
        }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            host: None,
            http: Http::on(8082),
            grpc: Grpc::on(50052),
            operations: Operations::default(),
            tls: TlsSettings::default(),
            database: Database::mariadb("payment", "payment_service"),
            basket: Neighbour::at("localhost:50051"),
            product: Neighbour::at("localhost:50050"),
            notification: Neighbour::at("localhost:50053"),
            kafka: Kafka::default(),
            provider: ProviderSettings::default(),
            checkout: CheckoutSettings::default(),
            recovery: RecoverySettings::default(),
            retention: RetentionSettings::default(),
            identity: IdentitySettings::default(),
            log: Log::default(),
            otel: Otel::default(),
            stop: Stop::default(),
        }
    }
}

impl Settings for Config {
    const NAME: &'static str = "payment-service";
    const ABOUT: &'static str = "Charges baskets, once each, and pays back";

    fn vars() -> Vec<Var> {
        let neighbours = [
            Var::new("BASKET_SERVICE_URL", "basket.url", "host:port of the basket service's gRPC server"),
            Var::new("PRODUCT_SERVICE_URL", "product.url", "host:port of the product service's gRPC server"),
            Var::new(
                "NOTIFICATION_SERVICE_URL",
                "notification.url",
                "host:port of the notification service's gRPC server",
            ),
        ];
        let servers = Http::vars().into_iter().chain(Grpc::vars()).chain(Operations::vars()).chain(TlsSettings::vars());
        let database = Database::vars(Engine::MariaDb);
        servers
            .chain(database)
            .chain(neighbours)
            .chain(Kafka::vars())
            .chain(StripeSettings::vars().into_iter().map(|var| var.within("provider")))
            .chain(IdentitySettings::vars())
            .chain(Log::vars())
            .chain(Otel::vars())
            .collect()
    }

    fn settle(&mut self, given: &Given<'_>) {
        settle_hosts(self.host, given, [("http.host", &mut self.http.host), ("grpc.host", &mut self.grpc.host)]);
    }

    fn check(&self, problems: &mut Problems) {
        check_servers(&self.http, &self.grpc, &self.operations, problems);
        self.tls.check("tls", problems);
        self.identity.check(&[("http.host", self.http.addr()), ("grpc.host", self.grpc.addr())], problems);
        self.database.check("database", Engine::MariaDb, problems);
        self.kafka.check("kafka", problems);
        self.basket.check("basket", problems);
        self.product.check("product", problems);
        if !self.notification.url.is_empty() {
            self.notification.check("notification", problems);
        }
        self.log.check("log", problems);
        self.otel.check("otel", problems);
        problems.within("provider", |p| self.provider.check(p));
        problems.within("checkout", |p| {
            let window = self.checkout.window.get();
            p.ensure(window >= MIN_WINDOW, "window", "must be at least 1m: people pay by hand");
            p.ensure(self.checkout.max_open_payments > 0, "max_open_payments", "must be more than 0");
            p.ensure(self.checkout.max_units > 0, "max_units", "must be more than 0");
        });
        problems.within("retention", |p| self.retention.check(p));
        problems.within("recovery", |p| {
            p.ensure(!self.recovery.interval.is_zero(), "interval", "must be more than 0");
            let patient = self.recovery.settle_after.get() > self.provider.timeout.get();
            p.ensure(patient, "settle_after", "must be longer than provider.timeout, or a slow charge is called off");
        });
    }
}

#[cfg(test)]
mod tests {
    use shop_config::{Sources, load};

    use shop_config::Target;

    use super::*;

    fn with(variables: &[(&str, &str)]) -> Sources {
        let variables = variables.iter().chain(&[("IDENTITY_MODE", "off")]);
        let env = variables.map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Sources { env, ..Sources::default() }
    }

    #[test]
    fn nothing_set_means_the_architectures_defaults() {
        let config = load::<Config>(&with(&[])).expect("valid").settings;
        assert_eq!((config.http.port, config.grpc.port), (8082, 50052));
        let url = "mysql://payment:password@localhost:3306/payment_service?ssl-mode=DISABLED";
        assert_eq!(config.database.target(), Ok(Target::MariaDb(url.to_owned())));
        assert_eq!((config.basket.url.as_str(), config.product.url.as_str()), ("localhost:50051", "localhost:50050"));
        assert_eq!(config.notification.url.as_str(), "localhost:50053");
    }

    #[test]
    fn a_payment_may_not_count_as_left_behind_while_its_charge_may_still_run() {
        for (after, fine) in [("10s", false), ("11s", true)] {
            let settings = with(&[("SHOP_PROVIDER__TIMEOUT", "10s"), ("SHOP_RECOVERY__SETTLE_AFTER", after)]);
            assert_eq!(load::<Config>(&settings).is_ok(), fine, "{after}");
        }
    }

    #[test]
    fn nobody_can_name_the_sandbox_where_real_money_is_taken() {
        for (key, sandbox, fine) in [
            ("sk_live_1", "true", false),
            ("rk_live_1", "true", false),
            ("sk_live_1", "false", true),
            ("sk_test_1", "true", true),
        ] {
            let page = ("STRIPE_RETURN_URL", "https://shop.example/paid");
            let settings = with(&[("STRIPE_SECRET_KEY", key), ("SHOP_PROVIDER__SANDBOX", sandbox), page]);
            assert_eq!(load::<Config>(&settings).is_ok(), fine, "{key} {sandbox}");
        }
    }

    #[test]
    fn every_variable_of_the_architecture_is_heard() {
        let variables = [
            ("PORT", "1"),
            ("GRPC_PORT", "2"),
            ("DB_HOST", "db"),
            ("DB_PORT", "3"),
            ("DB_USER", "u"),
            ("DB_PASSWORD", "p"),
            ("DB_NAME", "n"),
            ("DB_SSL_MODE", "require"),
            ("BASKET_SERVICE_URL", "basket:4"),
            ("PRODUCT_SERVICE_URL", "product:5"),
            ("NOTIFICATION_SERVICE_URL", "notification:6"),
            ("KAFKA_BROKERS", "a:1,b:2"),
            ("STRIPE_SECRET_KEY", "sk_test_1"),
            ("STRIPE_WEBHOOK_SECRETS", "whsec_abcdefghijklmnop"),
            ("STRIPE_RETURN_URL", "https://shop.example/paid/{payment}"),
            ("STRIPE_BASE_URL", "http://127.0.0.1:12111"),
            ("LOG_LEVEL", "debug"),
            ("SHOP_RECOVERY__SETTLE_AFTER", "1m"),
        ];
        let config = load::<Config>(&with(&variables)).expect("valid").settings;
        assert_eq!((config.http.port, config.grpc.port), (1, 2));
        assert_eq!(config.database.target(), Ok(Target::MariaDb("mysql://u:p@db:3/n?ssl-mode=REQUIRED".to_owned())));
        assert_eq!((config.basket.url.as_str(), config.product.url.as_str()), ("basket:4", "product:5"));
        assert_eq!(config.notification.url.as_str(), "notification:6");
        let stripe = &config.provider.stripe;
        assert!(stripe.is_set() && stripe.is_test() && stripe.base_url == "http://127.0.0.1:12111");
        assert_eq!(stripe.returning("7"), "https://shop.example/paid/7");
        assert_eq!((config.kafka.brokers.len(), config.log.level.as_str()), (2, "debug"));
        assert_eq!(config.recovery.settle_after.get(), std::time::Duration::from_mins(1));
    }

    #[test]
    fn what_cannot_work_is_reported_all_at_once() {
        let wrong = [
            ("GRPC_PORT", "8082"),
            ("DATABASE_URL", "postgres://a@b/c"),
            ("PRODUCT_SERVICE_URL", "nowhere"),
            ("SHOP_PROVIDER__TIMEOUT", "0"),
            ("SHOP_RETENTION__UNPAID", "1d"),
            ("SHOP_RETENTION__BUYERS", "29d"),
        ];
        let problems = load::<Config>(&with(&wrong)).map(drop).expect_err("refused");
        let keys: Vec<_> = problems.iter().map(|problem| problem.key.as_str()).collect();
        let retention = ["retention.unpaid", "retention.buyers"];
        assert_eq!(keys, [&["grpc.port", "database.url", "product.url", "provider.timeout"], &retention[..]].concat());
    }
}
