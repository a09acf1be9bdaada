//! The settings of the product service.

use serde::{Deserialize, Serialize};
use shop_config::{Database, Grpc, Http, Kafka, Log, Otel, Problems, Settings, Stop, Target, Var, distinct_ports};

/// Everything the product service can be told.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The HTTP server.
    pub http: Http,
    /// The gRPC server.
    pub grpc: Grpc,
    /// Where the catalogue is kept: PostgreSQL or SQLite.
    pub database: Database,
    /// Where events come from.
    pub kafka: Kafka,
    /// Log lines.
    pub log: Log,
    /// Traces.
    pub otel: Otel,
    /// How the process stops.
    pub stop: Stop,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            http: Http::on(8080),
            grpc: Grpc::on(50050),
            database: Database::postgres("product_service"),
            kafka: Kafka::default(),
            log: Log::default(),
            otel: Otel::default(),
            stop: Stop::default(),
        }
    }
}

impl Settings for Config {
    const NAME: &'static str = "product-service";
    const ABOUT: &'static str = "Keeps the catalogue and the stock that checkouts reserve";

    fn vars() -> Vec<Var> {
        let ours = [
            Var::new("PORT", "http.port", "port of the HTTP server"),
            Var::new("GRPC_PORT", "grpc.port", "port of the gRPC server"),
            Var::new("DATABASE_URL", "database.url", "postgres://… or sqlite://PATH; wins over the DB_ variables"),
            Var::new("DB_HOST", "database.host", "host of the PostgreSQL server"),
            Var::new("DB_PORT", "database.port", "port of the PostgreSQL server"),
            Var::new("DB_USER", "database.user", "user of the PostgreSQL server"),
            Var::new("DB_PASSWORD", "database.password", "password of that user"),
            Var::new("DB_NAME", "database.name", "name of the database"),
            Var::new("DB_SSL_MODE", "database.ssl_mode", "false, true, disable, prefer, require or verify-full"),
            Var::new("KAFKA_BROKERS", "kafka.brokers", "Kafka brokers, host:port, separated by commas"),
            Var::new("LOG_LEVEL", "log.level", "error, warn, info, debug or trace, also per target"),
            Var::new("LOG_FORMAT", "log.format", "json, text, or auto: text on a terminal"),
        ];
        ours.into_iter().chain(Otel::vars()).collect()
    }

    fn check(&self, problems: &mut Problems) {
        self.http.check("http", problems);
        self.grpc.check("grpc", problems);
        self.database.check("database", problems);
        self.kafka.check("kafka", problems);
        self.log.check("log", problems);
        self.otel.check("otel", problems);
        if matches!(self.database.target(), Ok(Target::MariaDb(_))) {
            problems
                .add("database.url", "the catalogue keeps to PostgreSQL or SQLite: use postgres://… or sqlite://PATH");
        }
        distinct_ports(&[("http.port", self.http.addr()), ("grpc.port", self.grpc.addr())], problems);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_sound() {
        let mut problems = Problems::default();
        Config::default().check(&mut problems);
        assert!(problems.is_empty(), "{problems:?}");
    }

    #[test]
    fn a_store_that_is_none_of_ours_and_a_shared_port_are_refused() {
        let config =
            Config { database: Database::at("mysql://shop@localhost/shop"), grpc: Grpc::on(8080), ..Config::default() };
        let mut problems = Problems::default();
        config.check(&mut problems);
        assert_eq!(problems.len(), 2, "{problems:?}");
    }
}
