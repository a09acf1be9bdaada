//! The settings of the product service.

use serde::{Deserialize, Serialize};
use shop_config::{
    Database, Engine, Grpc, Http, Kafka, Log, Otel, Problems, Settings, Stop, Target, Var, check_servers,
};

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
        let servers = Http::vars().into_iter().chain(Grpc::vars());
        let database = Database::vars(Engine::Postgres);
        servers.chain(database).chain(Kafka::vars()).chain(Log::vars()).chain(Otel::vars()).collect()
    }

    fn check(&self, problems: &mut Problems) {
        check_servers(&self.http, &self.grpc, problems);
        self.database.check("database", problems);
        self.kafka.check("kafka", problems);
        self.log.check("log", problems);
        self.otel.check("otel", problems);
        if matches!(self.database.target(), Ok(Target::MariaDb(_))) {
            problems
                .add("database.url", "the catalogue keeps to PostgreSQL or SQLite: use postgres://… or sqlite://PATH");
        }
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
