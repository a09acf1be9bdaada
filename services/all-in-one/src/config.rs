//! Settings of the whole suite: what runs, on which bus, and each service's own section.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use shop_config::{
    Database, Given, Kafka, Log, Otel, Problems, Redis, Secret, Settings, Stop, Var, distinct_ports, settle_hosts,
};
use shop_identity::{IdentitySettings, Mode, Signer};

use crate::service::Service;
use crate::variables;

/// The suite's settings.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Folder of the embedded stores and the dead letters; made when absent.
    pub data: PathBuf,
    /// Which services run in this process.
    pub services: Vec<Service>,
    /// What carries events: this process itself or Kafka.
    pub bus: BusKind,
    /// Whether an empty catalogue gets ten demo products.
    pub demo: bool,
    /// Address that every listener has which is given none of its own; this machine alone by default.
    pub host: Option<IpAddr>,
    /// Who may call.
    pub identity: IdentitySettings,
    /// Kafka, when `bus = "kafka"`.
    pub kafka: Kafka,
    /// Logging of the process.
    pub log: Log,
    /// Traces of the process.
    pub otel: Otel,
    /// How the process stops.
    pub stop: Stop,
    /// The product service.
    pub product: shop_product::Config,
    /// The basket service.
    pub basket: shop_basket::Config,
    /// The payment service.
    pub payment: shop_payment::Config,
    /// The notification service.
    pub notification: shop_notification::Config,
    /// The gateway.
    pub gateway: shop_gateway::Config,
    /// Services whose store is a server that is given by its parts instead of a URL; filled in when settings are read.
    #[serde(skip)]
    pub on_servers: Vec<Service>,
}

/// What carries events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BusKind {
    /// The process itself: needs producer and consumers in it.
    Memory,
    /// Kafka.
    Kafka,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            data: "data".into(),
            services: Service::ALL.to_vec(),
            bus: BusKind::Memory,
            demo: true,
            host: None,
            identity: IdentitySettings::default(),
            kafka: Kafka::default(),
            log: Log::default(),
            otel: Otel::default(),
            stop: Stop::default(),
            product: shop_product::Config::default(),
            basket: shop_basket::Config::default(),
            payment: shop_payment::Config::default(),
            notification: shop_notification::Config::default(),
            gateway: shop_gateway::Config::default(),
            on_servers: Vec::new(),
        }
    }
}

impl Config {
    /// The folder of the dead letters of events that this process itself carries.
    pub fn dead_letters(&self) -> PathBuf {
        self.data.join("dead-letters")
    }

    /// Whether `service` runs in this process.
    pub fn runs(&self, service: Service) -> bool {
        self.services.contains(&service)
    }

    /// Fills in the embedded stores where no URL and no part of one chooses a server.
    pub(crate) fn embed(&mut self) {
        for (service, url) in [
            (Service::Product, &mut self.product.database.url),
            (Service::Basket, &mut self.basket.redis.url),
            (Service::Payment, &mut self.payment.database.url),
            (Service::Notification, &mut self.notification.database.url),
        ] {
            if url.is_none() && !self.on_servers.contains(&service) {
                let file = self.data.join(service.section()).with_extension("db");
                *url = Some(Secret::from(shop_config::sqlite(&file)));
                if service == Service::Payment {
                    // Who tries the shop has no provider, and moves no money.
                    let provider = &mut self.payment.provider;
                    provider.approves_without_token = *provider.sandbox.get_or_insert(true);
                }
            }
        }
    }

    /// Who may call, as every service of the process takes it. On one's own machine that is whoever has a token signed with
    /// a key in the data folder, which is made when it is not there.
    pub fn identity_here(&self) -> anyhow::Result<IdentitySettings> {
        if !self.is_at_home() {
            return Ok(self.identity.clone());
        }
        let file = self.data.join("identity.pem");
        Signer::make(&file)?;
        Ok(self.identity.at_home(file))
    }

    /// The settings as the services of this process get them.
    pub fn whole(mut self) -> anyhow::Result<Self> {
        self.embed();
        let identity = self.identity_here()?;
        self.share(&identity);
        Ok(self)
    }

    /// Whether nobody said whose tokens are trusted, nobody else reaches this process, and none of those that trust each
    /// other runs elsewhere, with another key.
    fn is_at_home(&self) -> bool {
        let are_here = [Service::Product, Service::Basket, Service::Payment].iter().all(|service| self.runs(*service));
        are_here && self.identity.is_at_home(&self.hosts())
    }

    /// Whether `service` listens with TLS.
    pub(crate) fn is_encrypted(&self, service: Service) -> bool {
        match service {
            Service::Product => self.product.tls.is_on(),
            Service::Basket => self.basket.tls.is_on(),
            Service::Payment => self.payment.tls.is_on(),
            Service::Notification => self.notification.tls.is_on(),
            Service::Gateway => self.gateway.tls.is_on(),
        }
    }

    /// What the HTTP listeners of product, basket, payment and notification speak: `http` or `https`.
    #[must_use]
    pub fn schemes(&self) -> [&'static str; 4] {
        [Service::Product, Service::Basket, Service::Payment, Service::Notification]
            .map(|service| if self.is_encrypted(service) { "https" } else { "http" })
    }

    /// Where `service` of this process is called that listens at `addr`.
    pub(crate) fn neighbour_url(&self, service: Service, addr: SocketAddr) -> String {
        let scheme = if self.is_encrypted(service) { "https" } else { "http" };
        format!("{scheme}://{addr}")
    }

    /// Lets the services of this process call each other as they listen; where, is known later.
    fn call_over_tls(&mut self) {
        let somewhere = SocketAddr::from(([127, 0, 0, 1], 1));
        let url = |service: Service| {
            (self.runs(service) && self.is_encrypted(service)).then(|| self.neighbour_url(service, somewhere))
        };
        let [product, basket, payment, notification] =
            [Service::Product, Service::Basket, Service::Payment, Service::Notification].map(url);
        for (neighbour, url) in [
            (&mut self.basket.product, product.clone()),
            (&mut self.payment.product, product),
            (&mut self.payment.basket, basket),
            (&mut self.payment.notification, notification),
            (&mut self.product.payment, payment),
        ] {
            if let Some(url) = url {
                neighbour.url = url;
            }
        }
    }

    /// Gives every service what the process has one of.
    pub(crate) fn share(&mut self, identity: &IdentitySettings) {
        for theirs in [
            &mut self.product.identity,
            &mut self.basket.identity,
            &mut self.payment.identity,
            &mut self.notification.identity,
            &mut self.gateway.identity,
        ] {
            theirs.clone_from(identity);
        }
    }

    /// Where this process listens, by the keys of addresses.
    fn hosts(&self) -> Vec<(&'static str, SocketAddr)> {
        let listeners = [
            (Service::Product, "product.http.host", self.product.http.addr()),
            (Service::Product, "product.grpc.host", self.product.grpc.addr()),
            (Service::Basket, "basket.http.host", self.basket.http.addr()),
            (Service::Basket, "basket.grpc.host", self.basket.grpc.addr()),
            (Service::Payment, "payment.http.host", self.payment.http.addr()),
            (Service::Payment, "payment.grpc.host", self.payment.grpc.addr()),
            (Service::Notification, "notification.http.host", self.notification.http.addr()),
            (Service::Notification, "notification.grpc.host", self.notification.grpc.addr()),
            (Service::Gateway, "gateway.http.host", self.gateway.http.addr()),
        ];
        let named = self.gateway.listeners.values();
        let named = named.map(|listener| (Service::Gateway, "gateway.listeners", listener.address.0));
        let all = listeners.into_iter().chain(named);
        all.filter(|(service, ..)| self.runs(*service)).map(|(_, key, addr)| (key, addr)).collect()
    }

    fn check_identity(&self, problems: &mut Problems) {
        if self.is_at_home() {
            self.identity.check_values(problems);
        } else {
            self.identity.check(&self.hosts(), problems);
        }
    }

    fn check_ports(&self, problems: &mut Problems) {
        let tls = SocketAddr::new(self.gateway.http.host, self.gateway.tls.port);
        let listeners = [
            (Service::Product, "product.http.port", self.product.http.addr()),
            (Service::Product, "product.grpc.port", self.product.grpc.addr()),
            (Service::Basket, "basket.http.port", self.basket.http.addr()),
            (Service::Basket, "basket.grpc.port", self.basket.grpc.addr()),
            (Service::Payment, "payment.http.port", self.payment.http.addr()),
            (Service::Payment, "payment.grpc.port", self.payment.grpc.addr()),
            (Service::Notification, "notification.http.port", self.notification.http.addr()),
            (Service::Notification, "notification.grpc.port", self.notification.grpc.addr()),
            (Service::Gateway, "gateway.http.port", self.gateway.http.addr()),
            (Service::Gateway, "gateway.tls.port", tls),
            (Service::Gateway, "gateway.admin.port", self.gateway.admin.addr()),
        ];
        let is_used =
            |service: Service, key: &str| self.runs(service) && (key != "gateway.tls.port" || self.gateway.tls.is_on());
        let mut used: Vec<_> = listeners
            .into_iter()
            .filter(|(service, key, _)| is_used(*service, key))
            .map(|(_, key, addr)| (key, addr))
            .collect();
        let operations = [
            (Service::Product, "product.operations.port", &self.product.operations),
            (Service::Basket, "basket.operations.port", &self.basket.operations),
            (Service::Payment, "payment.operations.port", &self.payment.operations),
            (Service::Notification, "notification.operations.port", &self.notification.operations),
        ];
        let operations = operations.into_iter().filter(|(service, ..)| self.runs(*service));
        used.extend(operations.filter_map(|(_, key, operations)| Some((key, operations.addr()?))));
        distinct_ports(&used, problems);
        if self.runs(Service::Gateway) {
            // Those of the gateway it compares itself.
            let others: Vec<_> = used.into_iter().filter(|(key, _)| !key.starts_with("gateway.")).collect();
            for (name, listener) in &self.gateway.listeners {
                let key = format!("gateway.listeners.{name}.address");
                for other in &others {
                    distinct_ports(&[*other, (&key, listener.address.0)], problems);
                }
            }
        }
    }

    /// The sections of a service's settings, without its neighbours: a variable that names one names it for all.
    fn keys_of(&self, service: Service) -> Vec<String> {
        let settings = match service {
            Service::Product => section(&self.product),
            Service::Basket => section(&self.basket),
            Service::Payment => section(&self.payment),
            Service::Notification => section(&self.notification),
            Service::Gateway => section(&self.gateway),
        };
        let keys = settings.as_object().into_iter().flat_map(serde_json::Map::keys);
        keys.filter(|key| !Service::ALL.iter().any(|other| *other != service && other.section() == *key))
            .cloned()
            .collect()
    }

    /// What can be set and does nothing in this process.
    fn check_effect(&self, problems: &mut Problems) {
        if self.bus == BusKind::Memory {
            problems.useless("kafka", "has no effect with bus = memory; set bus = kafka (SHOP_BUS=kafka)");
        }
        for service in Service::ALL {
            let section = service.section();
            if !self.runs(service) {
                for key in self.keys_of(service) {
                    let key = format!("{section}.{key}");
                    problems.useless(
                        &key,
                        format!("has no effect: {section} does not run in this process, see `services`"),
                    );
                }
            } else if service != Service::Gateway {
                let here = format!("has no effect: {section} runs in this process, where it is found by itself");
                for key in ["urls", "grpc_urls"] {
                    problems.useless(&format!("gateway.services.{section}.{key}"), &here);
                }
                for caller in ["product", "basket", "payment"] {
                    problems.useless(&format!("{caller}.{section}.url"), &here);
                }
            }
        }
    }
}

impl Settings for Config {
    const NAME: &'static str = "shop";
    const ABOUT: &'static str =
        "The whole shop in one process: products, baskets, payments, notifications, and the gateway in front.";

    fn vars() -> Vec<Var> {
        variables::all()
    }

    fn unheard() -> Vec<(&'static str, Vec<String>)> {
        variables::unheard()
    }

    fn gone() -> Vec<(&'static str, &'static str)> {
        shop_gateway::Config::gone()
    }

    fn settle(&mut self, given: &Given<'_>) {
        let server = |section: &str, keys: &[&str]| keys.iter().any(|key| given.has(&format!("{section}.{key}")));
        for (service, section, keys) in [
            (Service::Product, "product.database", Database::PARTS),
            (Service::Basket, "basket.redis", Redis::PARTS),
            (Service::Payment, "payment.database", Database::PARTS),
            (Service::Notification, "notification.database", Database::PARTS),
        ] {
            if server(section, keys) {
                self.on_servers.push(service);
            }
        }
        let Self { product, basket, payment, notification, gateway, .. } = self;
        settle_hosts(
            self.host,
            given,
            [
                ("product.http.host", &mut product.http.host),
                ("product.grpc.host", &mut product.grpc.host),
                ("basket.http.host", &mut basket.http.host),
                ("basket.grpc.host", &mut basket.grpc.host),
                ("payment.http.host", &mut payment.http.host),
                ("payment.grpc.host", &mut payment.grpc.host),
                ("notification.http.host", &mut notification.http.host),
                ("notification.grpc.host", &mut notification.grpc.host),
                ("gateway.http.host", &mut gateway.http.host),
            ],
        );
    }

    fn check(&self, problems: &mut Problems) {
        problems.ensure(
            !self.data.as_os_str().is_empty(),
            "data",
            "name a folder (SHOP_DATA), such as data; leave it out for that one",
        );
        problems.ensure(
            !self.services.is_empty(),
            "services",
            "name at least one of product, basket, payment, notification, gateway",
        );
        let whole = [Service::Product, Service::Basket, Service::Payment].map(|service| self.runs(service));
        let split = whole.contains(&true) && whole.contains(&false);
        problems.ensure(
            self.bus == BusKind::Kafka || !split,
            "bus",
            "use kafka: product, basket and payment share events, and not all of them run in this process",
        );
        let deaf = self.runs(Service::Notification) && !self.runs(Service::Payment);
        problems.ensure(
            self.bus == BusKind::Kafka || !deaf,
            "bus",
            "use kafka: notification hears of payments, and payment does not run in this process",
        );
        if self.bus == BusKind::Kafka {
            self.kafka.check("kafka", problems);
        }
        self.log.check("log", problems);
        self.otel.check("otel", problems);
        // The process has one log, one bus and one way to stop: a service's own section would silently do nothing.
        for (service, ours, theirs) in [
            ("product", section(&self.product), section(&shop_product::Config::default())),
            ("basket", section(&self.basket), section(&shop_basket::Config::default())),
            ("payment", section(&self.payment), section(&shop_payment::Config::default())),
            ("notification", section(&self.notification), section(&shop_notification::Config::default())),
            ("gateway", section(&self.gateway), section(&shop_gateway::Config::default())),
        ] {
            for shared in ["host", "identity", "kafka", "log", "otel", "stop"] {
                let same = ours.get(shared) == theirs.get(shared);
                problems.ensure(
                    same,
                    &format!("{service}.{shared}"),
                    format!("set `{shared}` at the top level: the services of one process share it"),
                );
            }
        }
        self.check_identity(problems);
        let mut effective = self.clone();
        effective.embed();
        effective.share(&looked_at(self.identity.mode));
        effective.call_over_tls();
        problems.within("product", |problems| effective.product.check(problems));
        problems.within("basket", |problems| effective.basket.check(problems));
        problems.within("payment", |problems| effective.payment.check(problems));
        problems.within("notification", |problems| effective.notification.check(problems));
        problems.within("gateway", |problems| effective.gateway.check(problems));
        self.check_ports(problems);
        self.check_effect(problems);
    }
}

/// In the place of the identity that a service gets, which was looked at already, by the keys that it has here.
fn looked_at(mode: Mode) -> IdentitySettings {
    let (issuer, audience) = ("https://localhost".to_owned(), "shop".to_owned());
    IdentitySettings { mode, allow_anonymous: true, issuer, audience, ..IdentitySettings::default() }
}

/// A service's settings, to compare parts of them.
fn section<T: Serialize>(settings: &T) -> serde_json::Value {
    serde_json::to_value(settings).unwrap_or_default()
}
