//! The settings of the basket service.

use serde::{Deserialize, Serialize};
use shop_config::{
    Duration, Grpc, Http, Kafka, Log, Neighbour, Otel, Problems, Redis, Settings, Stop, Var, distinct_ports,
};

/// Everything the basket service can be told.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The HTTP server.
    pub http: Http,
    /// The gRPC server.
    pub grpc: Grpc,
    /// Where baskets are kept.
    pub redis: Redis,
    /// Where products are looked up.
    pub product: Neighbour,
    /// Where events come from.
    pub kafka: Kafka,
    /// Rules of baskets.
    pub basket: Baskets,
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
            http: Http::on(8081),
            grpc: Grpc::on(50051),
            redis: Redis::default(),
            product: Neighbour::at("localhost:50050"),
            kafka: Kafka::default(),
            basket: Baskets::default(),
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
        let ours = [
            Var::new("PORT", "http.port", "port of the HTTP server"),
            Var::new("GRPC_PORT", "grpc.port", "port of the gRPC server"),
            Var::new("REDIS_URL", "redis.url", "redis://… or sqlite://PATH; wins over the other REDIS_ variables"),
            Var::new("REDIS_HOST", "redis.host", "host of the Redis server"),
            Var::new("REDIS_PORT", "redis.port", "port of the Redis server"),
            Var::new("REDIS_PASSWORD", "redis.password", "password of the Redis server; empty for none"),
            Var::new("REDIS_DB", "redis.db", "number of the Redis database"),
            Var::new("PRODUCT_SERVICE_URL", "product.url", "host:port of the product service's gRPC server"),
            Var::new("KAFKA_BROKERS", "kafka.brokers", "Kafka brokers, host:port, separated by commas"),
            Var::new("LOG_LEVEL", "log.level", "error, warn, info, debug or trace, also per target"),
            Var::new("LOG_FORMAT", "log.format", "json, text, or auto: text on a terminal"),
        ];
        ours.into_iter().chain(Otel::vars()).collect()
    }

    fn check(&self, problems: &mut Problems) {
        self.http.check("http", problems);
        self.grpc.check("grpc", problems);
        self.redis.check("redis", problems);
        self.product.check("product", problems);
        self.kafka.check("kafka", problems);
        self.log.check("log", problems);
        self.otel.check("otel", problems);
        if self.basket.ttl.is_zero() {
            problems.add("basket.ttl", "must be more than 0");
        }
        distinct_ports(&[("http.port", self.http.addr()), ("grpc.port", self.grpc.addr())], problems);
    }
}
