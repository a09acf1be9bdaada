//! The settings of the notification service.

use std::net::IpAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use shop_config::{
    Database, Duration, Engine, Given, Grpc, Http, Kafka, Log, Operations, Otel, Problems, Secret, Settings, Stop, Var,
    check_servers, settle_hosts,
};
use shop_identity::IdentitySettings;
use shop_tls::TlsSettings;

use crate::domain::{Channels, HookUrl, Policy, Reach, SigningSecret};

/// Everything the notification service can be told.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Address that every listener has which is given none of its own; this machine alone by default.
    pub host: Option<IpAddr>,
    /// The HTTP server.
    pub http: Http,
    /// The gRPC server, which payment alone asks.
    pub grpc: Grpc,
    /// The listener of probes and Prometheus, where they could not ask the others.
    pub operations: Operations,
    /// TLS of the servers, and towards neighbours.
    pub tls: TlsSettings,
    /// Where notifications are kept: PostgreSQL or SQLite.
    pub database: Database,
    /// Where events come from.
    pub kafka: Kafka,
    /// E-mails to users.
    pub email: EmailSettings,
    /// Signed POSTs to other systems.
    pub webhook: WebhookSettings,
    /// Lines in the log.
    pub log_channel: LogChannelSettings,
    /// How often and how long sending is tried.
    pub delivery: DeliverySettings,
    /// How secrets lie in the store.
    pub secrets: SecretsSettings,
    /// Who may call.
    pub identity: IdentitySettings,
    /// Log lines.
    pub log: Log,
    /// Traces.
    pub otel: Otel,
    /// How the process stops.
    pub stop: Stop,
}

/// E-mails to users.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EmailSettings {
    /// `smtps://user:password@host:465` (TLS), `smtp://user:password@host:587?tls=required` (STARTTLS) or
    /// `smtp://host:25` (neither). A name after a `/`, as in `smtps://host/shop.example`, is what the service calls itself
    /// in EHLO; else it is the machine's. No e-mail is sent without it.
    pub smtp_url: Option<Secret>,
    /// PEM file with the authorities that the mail server's certificate may be from, instead of the public ones and those that
    /// this machine trusts. Read at the start.
    pub ca_file: Option<PathBuf>,
    /// Who it is from, such as `Shop <orders@shop.example>`.
    pub from: String,
    /// Folder with texts of your own, by the names of the built-in ones: `payment.completed.txt`, `.html`, `.subject`, …,
    /// `layout.html`, `items.txt`. What is not there is built in.
    pub templates: Option<PathBuf>,
    /// Longest wait for the mail server, for one e-mail.
    pub timeout: Duration,
}

/// Signed POSTs to other systems (<https://www.standardwebhooks.com/>).
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct WebhookSettings {
    /// An endpoint that gets every event, beside those added over the API.
    pub url: Option<String>,
    /// What is signed with for that endpoint: `whsec_` and the base64 of 24 to 64 random bytes.
    pub secret: Option<Secret>,
    /// Longest wait for a receiver's answer.
    pub timeout: Duration,
    /// How long a rotated secret still signs beside the new one.
    pub secret_overlap: Duration,
    /// Whether endpoints may lead to private, loopback and link-local addresses. Then whoever may add an endpoint may
    /// call the inside of the network.
    pub allow_private: bool,
    /// Whether endpoints may be without TLS.
    pub allow_http: bool,
}

/// Lines in the log.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LogChannelSettings {
    /// Whether every event becomes a line in this service's log.
    pub enabled: bool,
}

/// How often and how long sending is tried.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DeliverySettings {
    /// Longest pause between two looks for what is due; new events are sent at once.
    pub interval: Duration,
    /// Attempts under way at once, for each channel.
    pub concurrency: u32,
    /// Attempts under way at once to one endpoint or address, so that a slow one leaves room for others.
    pub concurrency_per_target: u32,
    /// Pause after the first failure; doubles from there, and up to half of it is left to chance.
    pub first_pause: Duration,
    /// The longest pause.
    pub longest_pause: Duration,
    /// How long after the event sending is given up.
    pub give_up_after: Duration,
    /// How long finished notifications are kept; they hold users' addresses and purchases.
    pub keep: Duration,
}

/// How secrets lie in the store.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SecretsSettings {
    /// Keys that the secrets of webhook endpoints are encrypted with (AES-256-GCM), one a line: the base64 of 32 random bytes.
    /// The first encrypts, all decrypt. With an SQLite store one is made beside it when this is not set.
    pub key_file: Option<PathBuf>,
}

impl Default for EmailSettings {
    fn default() -> Self {
        Self {
            smtp_url: None,
            ca_file: None,
            from: "Shop <no-reply@localhost>".to_owned(),
            templates: None,
            // Servers that look senders up take their time; still shorter than the grace of a stop.
            timeout: Duration::secs(20),
        }
    }
}

impl Default for WebhookSettings {
    fn default() -> Self {
        Self {
            url: None,
            secret: None,
            // Within the 15 to 30 seconds that Standard Webhooks asks receivers to be given.
            timeout: Duration::secs(15),
            // A day is enough to roll a new secret out, and what others promise.
            secret_overlap: Duration::secs(24 * 3600),
            allow_private: false,
            allow_http: false,
        }
    }
}

impl Default for LogChannelSettings {
    fn default() -> Self {
        Self { enabled: true }
    }
}

impl Default for DeliverySettings {
    fn default() -> Self {
        Self {
            // A second is nothing beside the pauses; the look is one index read.
            interval: Duration::secs(1),
            // Attempts wait, they do not compute.
            concurrency: 32,
            concurrency_per_target: 8,
            first_pause: Duration::secs(5),
            // So that a receiver that is back is told within the same working day.
            longest_pause: Duration::secs(6 * 3600),
            // Outlasts a weekend.
            give_up_after: Duration::secs(72 * 3600),
            // Long enough for questions about a purchase, short enough for data protection.
            keep: Duration::secs(90 * 24 * 3600),
        }
    }
}

impl WebhookSettings {
    /// How far webhooks may reach.
    pub(crate) fn reach(&self) -> Reach {
        Reach { private: self.allow_private, plain: self.allow_http }
    }

    fn check(&self, problems: &mut Problems) {
        problems.ensure(!self.timeout.is_zero(), "timeout", "must be more than 0");
        let short = self.secret_overlap.get().as_secs() <= 30 * 86_400;
        problems.ensure(short, "secret_overlap", "use at most 30 days");
        match (&self.url, &self.secret) {
            (None, _) => {}
            (Some(_), None) => problems.add("secret", "set it (WEBHOOK_SECRET): what goes to webhook.url is signed"),
            (Some(url), Some(secret)) => {
                if let Err(message) = HookUrl::parse(url, self.reach()) {
                    problems.add("url", format!("{message} (see webhook.allow_private and webhook.allow_http)"));
                }
                if let Err(message) = SigningSecret::parse(secret.expose()) {
                    problems.add("secret", message);
                }
            }
        }
    }
}

impl DeliverySettings {
    /// How often and how long is tried.
    pub(crate) fn policy(&self) -> Policy {
        Policy {
            first: self.first_pause.get(),
            longest: self.longest_pause.get(),
            give_up_after: self.give_up_after.get(),
        }
    }

    fn check(&self, problems: &mut Problems) {
        problems.ensure(!self.interval.is_zero(), "interval", "must be more than 0");
        problems.ensure(self.concurrency > 0, "concurrency", "use at least 1");
        let within = (1..=self.concurrency).contains(&self.concurrency_per_target);
        problems.ensure(within, "concurrency_per_target", "use at least 1 and at most delivery.concurrency");
        let few = self.concurrency <= 1000;
        problems.ensure(few, "concurrency", "use at most 1000: each attempt is a connection");
        let bounds = [("give_up_after", self.give_up_after, 30), ("keep", self.keep, 3650)];
        for (key, length, days) in bounds {
            problems.ensure(length.get().as_secs() <= days * 86_400, key, format!("use at most {days} days"));
        }
        problems.ensure(!self.first_pause.is_zero(), "first_pause", "must be more than 0");
        let grows = self.longest_pause.get() >= self.first_pause.get();
        problems.ensure(grows, "longest_pause", "must not be shorter than delivery.first_pause");
    }
}

impl Config {
    /// Which channels there are.
    pub(crate) fn channels(&self) -> Channels {
        Channels {
            email: self.email.smtp_url.is_some(),
            webhook: self.webhook.url.is_some(),
            log: self.log_channel.enabled,
        }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            host: None,
            http: Http::on(8084),
            grpc: Grpc::on(50053),
            operations: Operations::default(),
            tls: TlsSettings::default(),
            database: Database::postgres("notification_service"),
            kafka: Kafka::default(),
            email: EmailSettings::default(),
            webhook: WebhookSettings::default(),
            log_channel: LogChannelSettings::default(),
            delivery: DeliverySettings::default(),
            secrets: SecretsSettings::default(),
            identity: IdentitySettings::default(),
            log: Log::default(),
            otel: Otel::default(),
            stop: Stop::default(),
        }
    }
}

impl Settings for Config {
    const NAME: &'static str = "notification-service";
    const ABOUT: &'static str = "Tells users and other systems what became of payments";

    fn vars() -> Vec<Var> {
        let channels = [
            Var::new("SMTP_URL", "email.smtp_url", "mail server, smtps://user:password@host; no e-mail when unset"),
            Var::new("SMTP_CA_FILE", "email.ca_file", "PEM file with the authorities of the mail server's certificate"),
            Var::new("WEBHOOK_URL", "webhook.url", "endpoint that gets every event; none when unset"),
            Var::new("WEBHOOK_SECRET", "webhook.secret", "what is signed with for it: whsec_ and base64"),
            Var::new(
                "SECRETS_KEY_FILE",
                "secrets.key_file",
                "keys that webhook secrets are encrypted with in the store",
            ),
        ];
        let servers = Http::vars().into_iter().chain(Grpc::vars()).chain(Operations::vars()).chain(TlsSettings::vars());
        servers
            .chain(Database::vars(Engine::Postgres))
            .chain(Kafka::vars())
            .chain(channels)
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
        self.log.check("log", problems);
        self.otel.check("otel", problems);
        problems.within("email", |problems| self.email.check(problems));
        problems.within("webhook", |problems| self.webhook.check(problems));
        problems.within("delivery", |problems| self.delivery.check(problems));
    }
}

#[cfg(test)]
mod tests {
    use shop_config::{Sources, load};

    use shop_config::Target;

    use super::*;

    const SECRET: &str = "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=";

    fn with(variables: &[(&str, &str)]) -> Sources {
        let variables = variables.iter().chain(&[("IDENTITY_MODE", "off")]);
        let env = variables.map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Sources { env, ..Sources::default() }
    }

    #[test]
    fn nothing_set_means_lines_in_the_log_and_nothing_else() {
        let config = load::<Config>(&with(&[])).expect("valid").settings;
        assert_eq!((config.http.port, config.grpc.port), (8084, 50053));
        let url = "postgres://postgres:password@localhost:5432/notification_service?sslmode=disable";
        assert_eq!(config.database.target(), Ok(Target::Postgres(url.to_owned())));
        assert_eq!(config.channels(), Channels { email: false, webhook: false, log: true });
    }

    #[test]
    fn every_variable_is_heard() {
        let variables = [
            ("PORT", "1"),
            ("GRPC_PORT", "2"),
            ("DB_HOST", "db"),
            ("DB_PORT", "3"),
            ("DB_USER", "u"),
            ("DB_PASSWORD", "p"),
            ("DB_NAME", "n"),
            ("DB_SSL_MODE", "require"),
            ("KAFKA_BROKERS", "a:1,b:2"),
            ("SMTP_URL", "smtps://u:p@mail.example"),
            ("WEBHOOK_URL", "https://shop.example/hooks"),
            ("WEBHOOK_SECRET", SECRET),
            ("SECRETS_KEY_FILE", "/run/keys"),
            ("LOG_LEVEL", "debug"),
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4317"),
            ("OTEL_TRACES_SAMPLER", "always_off"),
            ("OTEL_TRACES_SAMPLER_ARG", "0.5"),
        ];
        let config = load::<Config>(&with(&variables)).expect("valid").settings;
        assert_eq!(config.http.port, 1);
        assert_eq!(config.database.target(), Ok(Target::Postgres("postgres://u:p@db:3/n?sslmode=require".to_owned())));
        assert_eq!((config.kafka.brokers.len(), config.log.level.as_str()), (2, "debug"));
        assert_eq!(config.channels(), Channels { email: true, webhook: true, log: true });
        assert_eq!(config.webhook.secret.as_ref().map(Secret::expose), Some(SECRET));
        assert_eq!(config.secrets.key_file.as_deref(), Some(std::path::Path::new("/run/keys")));
        assert_eq!(config.otel.endpoint.as_deref(), Some("http://collector:4317"));
        assert_eq!((config.otel.sampler, config.otel.sample_ratio), (shop_config::Sampler::AlwaysOff, 0.5));
    }

    #[test]
    fn what_cannot_work_is_reported_all_at_once() {
        let wrong = [
            ("DATABASE_URL", "mysql://a@b/c"),
            ("SMTP_URL", "http://mail.example"),
            ("WEBHOOK_URL", "https://10.0.0.1/hooks"),
            ("WEBHOOK_SECRET", "hunter2"),
            ("SHOP_WEBHOOK__SECRET_OVERLAP", "31d"),
            ("SHOP_DELIVERY__CONCURRENCY", "1001"),
            ("SHOP_DELIVERY__KEEP", "99999d"),
            ("SHOP_DELIVERY__LONGEST_PAUSE", "1s"),
        ];
        let problems = load::<Config>(&with(&wrong)).map(drop).expect_err("refused");
        let keys: Vec<_> = problems.iter().map(|problem| problem.key.as_str()).collect();
        assert_eq!(
            keys,
            [
                "database.url",
                "email.smtp_url",
                "webhook.secret_overlap",
                "webhook.url",
                "webhook.secret",
                "delivery.concurrency",
                "delivery.keep",
                "delivery.longest_pause",
            ]
        );
    }

    #[test]
    fn a_webhook_needs_something_to_sign_with() {
        let problems = load::<Config>(&with(&[("WEBHOOK_URL", "https://a.example/")])).map(drop).expect_err("refused");
        assert_eq!(problems.iter().map(|problem| problem.key.as_str()).collect::<Vec<_>>(), ["webhook.secret"]);
    }
}
