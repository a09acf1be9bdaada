//! The settings of the product service.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use shop_config::{
    Database, Duration, Engine, Given, Grpc, Http, Kafka, Log, Neighbour, Operations, Otel, Problems, Settings, Stop,
    Var, check_servers, settle_hosts,
};
use shop_identity::IdentitySettings;
use shop_tls::TlsSettings;

/// Everything the product service can be told.
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
    /// Where the catalogue is kept: PostgreSQL or SQLite.
    pub database: Database,
    /// Where events come from.
    pub kafka: Kafka,
    /// Who is asked what became of reservations.
    pub payment: Neighbour,
    /// What is done for reservations that nothing is heard of.
    pub settlement: SettlementSettings,
    /// How long reservations are kept.
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

/// What is done for reservations that nothing is heard of.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SettlementSettings {
    /// Age at which a reservation that still holds stock is asked about. Longer than a buyer has to pay: before that, what is
    /// held is held for him.
    pub after: Duration,
    /// Time between two looks for such reservations.
    pub interval: Duration,
}

impl Default for SettlementSettings {
    fn default() -> Self {
        // A buyer has 30 minutes, and events as long again to arrive. The look is one index read.
        Self { after: Duration::secs(3600), interval: Duration::secs(60) }
    }
}

/// How long reservations are kept of which nothing came. For ever where nothing is set.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RetentionSettings {
    /// When reservations are deleted whose units all went back on the shelf, and the marks of those that were given up before
    /// they were made, counted from when they were closed; at least 45 days. What was sold stays, and so does every movement.
    pub released: Option<Duration>,
}

impl RetentionSettings {
    fn check(&self, problems: &mut Problems) {
        // A reservation that comes late has to find that it is closed: letters are kept for 30 days, and events that took
        // effect are known for 45.
        let long = self.released.is_none_or(|length| length.get().as_secs() >= 45 * 86_400);
        problems.ensure(long, "released", "use at least 45 days, or leave it out to keep them");
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            host: None,
            http: Http::on(8080),
            grpc: Grpc::on(50050),
            operations: Operations::default(),
            tls: TlsSettings::default(),
            database: Database::postgres("product_service"),
            kafka: Kafka::default(),
            payment: Neighbour::at("localhost:50052"),
            settlement: SettlementSettings::default(),
            retention: RetentionSettings::default(),
            identity: IdentitySettings::default(),
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
        let servers = Http::vars().into_iter().chain(Grpc::vars()).chain(Operations::vars()).chain(TlsSettings::vars());
        let database = Database::vars(Engine::Postgres);
        let payment =
            [Var::new("PAYMENT_SERVICE_URL", "payment.url", "host:port of the payment service's gRPC server")];
        servers
            .chain(database)
            .chain(payment)
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
        self.database.check("database", Engine::Postgres, problems);
        self.kafka.check("kafka", problems);
        self.payment.check("payment", problems);
        problems.within("settlement", |p| {
            p.ensure(!self.settlement.after.is_zero(), "after", "must be more than 0");
            p.ensure(!self.settlement.interval.is_zero(), "interval", "must be more than 0");
        });
        problems.within("retention", |p| self.retention.check(p));
        self.log.check("log", problems);
        self.otel.check("otel", problems);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_sound_once_it_is_said_who_may_call() {
        let mut problems = Problems::default();
        Config { identity: IdentitySettings::off(), ..Config::default() }.check(&mut problems);
        assert!(problems.is_empty(), "{problems:?}");
        Config::default().check(&mut problems);
        let said = problems.to_string();
        assert!(problems.len() == 1 && said.contains("IDENTITY_ISSUER"), "nobody did: {said}");
    }

    #[test]
    fn reservations_that_may_still_come_late_are_not_forgotten() {
        for (days, wrong) in [(None, 0), (Some(44), 1), (Some(45), 0)] {
            let retention = RetentionSettings { released: days.map(|days| Duration::secs(days * 86_400)) };
            let mut problems = Problems::default();
            Config { retention, identity: IdentitySettings::off(), ..Config::default() }.check(&mut problems);
            assert_eq!(problems.len(), wrong, "{days:?}: {problems:?}");
            assert_eq!(problems.to_string().contains("retention.released"), wrong == 1, "{problems:?}");
        }
    }

    #[test]
    fn a_store_that_is_none_of_ours_and_a_shared_port_are_refused() {
        let config = Config {
            database: Database::at("mysql://shop@localhost/shop"),
            grpc: Grpc::on(8080),
            identity: IdentitySettings::off(),
            ..Config::default()
        };
        let mut problems = Problems::default();
        config.check(&mut problems);
        assert_eq!(problems.len(), 2, "{problems:?}");
    }
}
