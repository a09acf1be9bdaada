//! Settings for tests: a process made of two whole services, as the all-in-one binary is.

use serde::{Deserialize, Serialize};

use crate::{Database, Duration, Engine, Http, Kafka, Log, Otel, Problems, Redis, Settings, Var};

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Product {
    pub(crate) http: Http,
    pub(crate) database: Database,
    pub(crate) kafka: Kafka,
    pub(crate) limit: Option<u32>,
    pub(crate) hold: Option<Duration>,
    pub(crate) tiers: Vec<Tier>,
}

/// An element of a list, with nothing that could be left out.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Tier {
    pub(crate) name: String,
    pub(crate) price: u32,
}

impl Default for Product {
    fn default() -> Self {
        Self {
            http: Http::on(8080),
            database: Database::postgres("product_service"),
            kafka: Kafka::default(),
            limit: None,
            hold: None,
            tiers: Vec::new(),
        }
    }
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Basket {
    pub(crate) http: Http,
    pub(crate) redis: Redis,
}

impl Default for Basket {
    fn default() -> Self {
        Self { http: Http::on(8081), redis: Redis::default() }
    }
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Suite {
    pub(crate) product: Product,
    pub(crate) basket: Basket,
    pub(crate) log: Log,
    pub(crate) otel: Otel,
}

impl Settings for Suite {
    const NAME: &'static str = "suite";
    const ABOUT: &'static str = "two services in one process";

    fn vars() -> Vec<Var> {
        let ours = [
            Var::new("PORT", "product.http.port", "port of the product service"),
            Var::new("DB_PORT", "product.database.port", "port of the database"),
            Var::new("DB_PASSWORD", "product.database.password", "password of the database's user"),
            Var::new("DB_SSL_MODE", "product.database.ssl_mode", "encryption of the connection"),
            Var::new("DATABASE_URL", "product.database.url", "the database, instead of its parts"),
            Var::new("KAFKA_BROKERS", "product.kafka.brokers", "brokers of the event bus"),
            Var::new("REDIS_PORT", "basket.redis.port", "port of Redis"),
            Var::new("REDIS_PASSWORD", "basket.redis.password", "password of Redis"),
            Var::new("LOG_LEVEL", "log.level", "how much is logged"),
            Var::new("LOG_FORMAT", "log.format", "json, text or auto"),
        ];
        ours.into_iter().chain(Otel::vars()).collect()
    }

    fn unheard() -> Vec<(&'static str, Vec<String>)> {
        let instead = ["DB_PASSWORD", "REDIS_PASSWORD"].map(str::to_owned);
        vec![("PASSWORD", instead.into()), ("GREETING", Vec::new())]
    }

    fn gone() -> Vec<(&'static str, &'static str)> {
        vec![("basket.cache", "set basket.redis"), ("CACHE_PASSWORD", "set REDIS_PASSWORD")]
    }

    fn check(&self, problems: &mut Problems) {
        problems.within("product", |p| {
            self.product.http.check("http", p);
            self.product.database.check("database", Engine::Postgres, p);
            self.product.kafka.check("kafka", p);
        });
        problems.within("basket", |p| {
            self.basket.http.check("http", p);
            self.basket.redis.check("redis", p);
        });
        self.log.check("log", problems);
        self.otel.check("otel", problems);
    }
}
