//! The settings of the basket service.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use shop_config::{
    Duration, Given, Grpc, Http, Kafka, Log, Neighbour, Operations, Otel, Problems, Redis, Settings, Stop, Var,
    check_servers, settle_hosts,
};
use shop_identity::IdentitySettings;
use shop_tls::TlsSettings;

/// Everything the basket service can be told.
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
    /// Where baskets are kept.
    pub redis: Redis,
    /// Where products are looked up.
    pub product: Neighbour,
    /// Where events come from.
    pub kafka: Kafka,
    /// Rules of baskets.
    pub basket: Baskets,
    /// Who may call.
    pub identity: IdentitySettings,
    /// Log lines.
    pub log: Log,
    /// Traces.
    pub otel: Otel,
    /// How the process stops.
    pub stop: Stop,
}

/// Rules of baskets.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Baskets {
    /// How long a basket lives after its last change; a day outlasts a night's sleep over a purchase.
    pub ttl: Duration,
}

impl Default for Baskets {
    fn default() -> Self {
        Self { ttl: Duration::secs(24 * 60 * 60) }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            host: None,
            http: Http::on(8081),
            grpc: Grpc::on(50051),
            operations: Operations::default(),
            tls: TlsSettings::default(),
            redis: Redis::default(),
            product: Neighbour::at("localhost:50050"),
            kafka: Kafka::default(),
            basket: Baskets::default(),
            identity: IdentitySettings::default(),
            log: Log::default(),
            otel: Otel::default(),
            stop: Stop::default(),
        }
    }
}

impl Settings for Config {
    const NAME: &'static str = "basket-service";
    const ABOUT: &'static str = "Keeps one basket per user and looks its products up in the catalogue";

    fn vars() -> Vec<Var> {
        let product =
            [Var::new("PRODUCT_SERVICE_URL", "product.url", "host:port of the product service's gRPC server")];
        let servers = Http::vars().into_iter().chain(Grpc::vars()).chain(Operations::vars()).chain(TlsSettings::vars());
        servers
            .chain(Redis::vars())
            .chain(product)
            .chain(Kafka::vars())
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
        self.redis.check("redis", problems);
        self.product.check("product", problems);
        self.kafka.check("kafka", problems);
        self.log.check("log", problems);
        self.otel.check("otel", problems);
        if self.basket.ttl.is_zero() {
            problems.add("basket.ttl", "must be more than 0");
        }
    }
}
