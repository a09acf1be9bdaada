//! The notification service: tells users and other systems what became of payments.
//!
//! Four layers: `domain` has the rules, `application` the commands and queries, `interface` the ways in (HTTP, gRPC, events,
//! the worker that sends), `infrastructure` the stores and the ways out. This file wires them.

mod application;
mod config;
mod domain;
mod infrastructure;
mod interface;

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context as _;
use futures_util::future::BoxFuture;
use shop_clock::{SharedClock, SystemClock};
use shop_events::Bus;
use shop_idempotency::Keys;
use shop_identity::Identity;
use shop_proto::FILE_DESCRIPTOR_SET;
use shop_proto::notification::v1::personal_service_server::PersonalServiceServer;
use shop_runtime::{CancellationToken, Shutdown, Tasks};
use shop_servers::{Parts, Servers};
use shop_sql::Idempotency;
use shop_telemetry::Metrics;
use shop_web::Doors;
use tonic::service::Routes;

use self::application::{Commands, Configured, Delivery, Limits, Queries, Rules};
use self::domain::{Channel, Mail, SigningSecret};
use self::interface::{Api, PersonalGrpc, Worker};

pub use self::config::{Config, DeliverySettings, EmailSettings, LogChannelSettings, SecretsSettings, WebhookSettings};

/// The notification service, built and bound but not yet serving.
pub struct Notification {
    servers: Servers,
    events: [(&'static str, BoxFuture<'static, ()>); 1],
    worker: Worker,
    shared: shop_sql::Store,
    clock: SharedClock,
    keys: Keys,
    identity: Identity,
}

impl Notification {
    /// The groups of its consumers.
    pub const GROUPS: [&str; 1] = interface::GROUPS;

    /// Opens the store at the present schema and subscribes to events. `doors` are what it listens on.
    pub async fn build(
        doors: Doors,
        config: Config,
        bus: Arc<dyn Bus>,
        metrics: Metrics,
        shutdown: &Shutdown,
    ) -> anyhow::Result<Self> {
        let clock: SharedClock = Arc::new(SystemClock);
        let opened = infrastructure::open(&config.database, &config.secrets).await?;
        shop_sql::watch(&metrics, &opened.shared)?;
        // What this service cannot work without is its store. While no bus answers, it sends what it has.
        let checked = opened.shared.clone();
        let health = shop_servers::health(move || shop_sql::check(checked.clone()), bus.clone(), shutdown);
        let identity = Identity::open(&config.identity, "notification")?;
        identity.watch(&health);

        let keys = Keys::new(Arc::new(Idempotency::new(opened.shared.clone(), clock.clone())));
        let api = Api {
            commands: Commands::new(opened.store.clone(), clock.clone(), rules(&config)),
            queries: Queries::new(opened.store),
            keys: keys.clone(),
            clock: clock.clone(),
        };
        let events = interface::subscriptions(&api.commands)
            .map(|(name, subscription)| (name, bus.subscribe(subscription, shutdown.soft.clone())));
        let delivery = delivery(&config, api.commands.clone())?;
        let worker = Worker::new(delivery, api.queries.clone(), config.delivery.interval.get(), &metrics);
        let guard = identity.guard(interface::ACCESS);
        let parts = Parts { about: interface::ABOUT, metrics, health, guard, tls: config.tls };
        let calls = PersonalServiceServer::new(PersonalGrpc::new(&api));
        let calls = Routes::new(calls.max_decoding_message_size(config.grpc.message_bytes()));
        let http = (interface::routes(&api), config.http);
        let servers = Servers::new(doors, http, (calls, FILE_DESCRIPTOR_SET, config.grpc), parts)?;
        Ok(Self { servers, events, worker, shared: opened.shared, clock, keys, identity })
    }

    /// Where HTTP is served.
    pub fn http_addr(&self) -> SocketAddr {
        self.servers.http_addr()
    }

    /// Where gRPC is served.
    pub fn grpc_addr(&self) -> SocketAddr {
        self.servers.grpc_addr()
    }

    /// Where probes are served, if they are apart.
    pub fn operations_addr(&self) -> Option<SocketAddr> {
        self.servers.operations_addr()
    }

    /// Serves and sends until the soft stop, then finishes what is under way.
    pub async fn run(self, shutdown: Shutdown) -> anyhow::Result<()> {
        let (tasks, served) = (Tasks::new(), CancellationToken::new());
        tasks.spawn("keys", self.keys.run(served.clone()));
        for (name, events) in self.events {
            tasks.spawn(name, events);
        }
        tasks.spawn("identity", self.identity.run(shutdown.soft.clone()));
        tasks.spawn("housekeeping", shop_sql::housekeeping(self.shared, self.clock, shutdown.soft.clone()));
        tasks.spawn("forgetting", self.worker.clone().forget(shutdown.soft.clone()));
        tasks.spawn("looking", self.worker.clone().look(shutdown.soft.clone()));
        for (name, channel) in [("e-mails", Channel::Email), ("webhooks", Channel::Webhook), ("log", Channel::Log)] {
            tasks.spawn(name, self.worker.clone().run(channel, shutdown.soft.clone()));
        }
        tasks.underlie(&shutdown.soft, Box::pin(self.servers.run(shutdown.clone()))).await?;
        served.cancel();
        tasks.wait(&shutdown.hard).await
    }
}

fn rules(config: &Config) -> Rules {
    Rules {
        channels: config.channels(),
        policy: config.delivery.policy(),
        reach: config.webhook.reach(),
        secret_overlap: config.webhook.secret_overlap.get(),
        new_secret: infrastructure::new_secret,
    }
}

fn delivery(config: &Config, commands: Commands) -> anyhow::Result<Delivery> {
    let mail: Option<Arc<dyn Mail>> =
        if config.channels().email { Some(Arc::new(infrastructure::SmtpMail::open(&config.email)?)) } else { None };
    let configured = match (&config.webhook.url, &config.webhook.secret) {
        (Some(url), Some(secret)) => {
            let secret = SigningSecret::parse(secret.expose()).map_err(anyhow::Error::msg).context("webhook.secret")?;
            Some(Configured { url: url.clone(), secret })
        }
        _ => None,
    };
    let slowest = config.email.timeout.get().max(config.webhook.timeout.get());
    Ok(Delivery {
        commands,
        limits: Limits {
            concurrency: config.delivery.concurrency as usize,
            per_target: config.delivery.concurrency_per_target as usize,
            // With room for a store that is slow to keep the outcome.
            lease: slowest * 2 + std::time::Duration::from_secs(10),
            keep: config.delivery.keep.get(),
        },
        mail,
        hooks: Arc::new(infrastructure::HttpHooks::open(&config.webhook)?),
        configured,
    })
}
