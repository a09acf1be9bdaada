//! The notification service: tells users and other systems what became of payments.
//!
//! Four layers: `domain` has the rules, `application` the commands and queries, `interface` the ways in (HTTP, events,
//! the rounds that send), `infrastructure` the stores and the ways out. This file wires them.

mod application;
mod config;
mod domain;
mod infrastructure;
mod interface;

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use anyhow::Context as _;
use futures_util::future::BoxFuture;
use salvo::Service;
use shop_clock::{SharedClock, SystemClock};
use shop_events::Bus;
use shop_runtime::{CancellationToken, Shutdown, Tasks};
use shop_telemetry::Metrics;
use shop_web::Health;

use application::{Commands, Configured, Delivery, Limits, Queries, Rules};
use domain::{Channel, Mail, SigningSecret};
use interface::Rounds;

pub use config::{Config, DeliverySettings, EmailSettings, LogChannelSettings, WebhookSettings};

/// The notification service, built and bound but not yet serving.
pub struct Notification {
    config: Config,
    http: (TcpListener, Service),
    http_addr: SocketAddr,
    events: BoxFuture<'static, ()>,
    heard: CancellationToken,
    rounds: Rounds,
    shared: shop_sql::Store,
    clock: SharedClock,
}

impl Notification {
    /// Takes the port (0 is any that is free) and goes on as [`Notification::build_behind`].
    pub async fn build(
        config: Config,
        bus: Arc<dyn Bus>,
        metrics: Metrics,
        shutdown: &Shutdown,
    ) -> anyhow::Result<Self> {
        let door = shop_runtime::listen(config.http.addr(), "http.port (PORT)").await?;
        Box::pin(Self::build_behind(door, config, bus, metrics, shutdown)).await
    }

    /// Opens the store at the present schema and subscribes to events. `door` is what it listens on.
    pub async fn build_behind(
        door: TcpListener,
        config: Config,
        bus: Arc<dyn Bus>,
        metrics: Metrics,
        shutdown: &Shutdown,
    ) -> anyhow::Result<Self> {
        let clock: SharedClock = Arc::new(SystemClock);
        let opened = infrastructure::open(&config.database).await?;
        shop_sql::watch(&metrics, &opened.shared)?;

        let commands = Commands {
            store: opened.store.clone(),
            clock: clock.clone(),
            rules: rules(&config),
            wake: tokio::sync::watch::Sender::new(()),
        };
        let queries = Queries { store: opened.store };
        let delivery = delivery(&config, commands.clone())?;
        let rounds = Rounds::new(delivery, queries.clone(), config.delivery.interval.get(), &metrics);
        let health = health(&opened.shared, &bus, shutdown);
        // Longer than any request may take, so that a key is free again only when its request is over.
        let lease = config.http.timeout.get() * 2;
        let keys = Arc::new(shop_sql::Idempotency::new(opened.shared.clone(), clock.clone()).with_lease(lease));
        let parts = shop_web::Parts { about: interface::http::ABOUT, metrics, health, settings: config.http.clone() };
        let service = shop_web::service(interface::http::router(commands.clone(), queries, keys), parts);
        let heard = shutdown.soft.clone();
        let subscription = interface::events::subscription(&commands);
        Ok(Self {
            http_addr: door.local_addr()?,
            http: (door, service),
            events: bus.subscribe(subscription, heard.clone()),
            heard,
            rounds,
            shared: opened.shared,
            clock,
            config,
        })
    }

    /// Where HTTP is served.
    pub fn http_addr(&self) -> SocketAddr {
        self.http_addr
    }

    /// Serves and sends until the soft stop, then finishes what is under way.
    pub async fn run(self, shutdown: Shutdown) -> anyhow::Result<()> {
        let tasks = Tasks::new();
        tasks.spawn("payment events", self.events);
        tasks.spawn("housekeeping", shop_sql::housekeeping(self.shared, self.clock, shutdown.soft.clone()));
        tasks.spawn("forgetting", self.rounds.clone().forget(shutdown.soft.clone()));
        for (name, channel) in [("e-mails", Channel::Email), ("webhooks", Channel::Webhook), ("log", Channel::Log)] {
            tasks.spawn(name, self.rounds.clone().run(channel, self.heard.clone()));
        }
        let (listener, service) = self.http;
        let http = shop_web::serve(listener, service, &self.config.http, shutdown.clone());
        tasks.underlie(&shutdown.soft, Box::pin(http)).await?;
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

/// What this service cannot work without, and the events, which it can: while no bus answers, it sends what it has.
fn health(store: &shop_sql::Store, bus: &Arc<dyn Bus>, shutdown: &Shutdown) -> Health {
    let health = Health::new(shutdown);
    let (store, bus) = (store.clone(), bus.clone());
    health.check("database", move || {
        let store = store.clone();
        async move { shop_sql::check(&store).await }
    });
    health.check_optional("events", move || {
        let bus = bus.clone();
        async move { bus.check().await.map_err(|error| error.to_string()) }
    });
    health
}
