//! Puts the services together: stores, bus, neighbours, and the order in which they stop.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use shop_basket::Basket;
use shop_config::{Change, Sources};
use shop_events::{Bus, MemoryBus};
use shop_gateway::Gateway;
use shop_gateway::settings::{BackendUrl, Backends};
use shop_kafka::KafkaBus;
use shop_notification::Notification;
use shop_payment::Payment;
use shop_product::Product;
use shop_runtime::Shutdown;
use shop_telemetry::Metrics;

use crate::between::{Between, Nothing};
use crate::config::{BusKind, Config};
use crate::doors::Doors;
use crate::service::Service;

/// The services of this process, built and bound, not yet serving.
pub struct Suite {
    product: Option<Product>,
    basket: Option<Basket>,
    payment: Option<Payment>,
    notification: Option<Notification>,
    gateway: Option<Gateway>,
    /// Where the others call product, when something stands between.
    product_front: Option<(SocketAddr, SocketAddr)>,
    stages: Stages,
    /// How long the others may take to end when one has failed.
    grace: Duration,
}

/// One shutdown a stage: callers stop before those they call.
struct Stages {
    gateway: Shutdown,
    payment: Shutdown,
    basket: Shutdown,
    product: Shutdown,
    notification: Shutdown,
}

/// Where a suite listens.
#[derive(Debug, Clone, Copy, Default)]
pub struct Addresses {
    /// The gateway, HTTP and gRPC.
    pub gateway: Option<SocketAddr>,
    /// The gateway's listener of operators.
    pub gateway_admin: Option<SocketAddr>,
    /// The product service, HTTP.
    pub product: Option<SocketAddr>,
    /// The product service, gRPC.
    pub product_grpc: Option<SocketAddr>,
    /// The product service's listener of probes, if it has one.
    pub product_operations: Option<SocketAddr>,
    /// The basket service, HTTP.
    pub basket: Option<SocketAddr>,
    /// The basket service, gRPC.
    pub basket_grpc: Option<SocketAddr>,
    /// The basket service's listener of probes, if it has one.
    pub basket_operations: Option<SocketAddr>,
    /// The payment service, HTTP.
    pub payment: Option<SocketAddr>,
    /// The payment service, gRPC.
    pub payment_grpc: Option<SocketAddr>,
    /// The payment service's listener of probes, if it has one.
    pub payment_operations: Option<SocketAddr>,
    /// The notification service, HTTP.
    pub notification: Option<SocketAddr>,
    /// The notification service, gRPC.
    pub notification_grpc: Option<SocketAddr>,
    /// The notification service's listener of probes, if it has one.
    pub notification_operations: Option<SocketAddr>,
}

impl Addresses {
    /// Puts the services of this process behind `gateway`, over TLS those of them that began to listen with it.
    fn put_behind(&self, begun_with: &Config, gateway: &mut shop_gateway::Config) {
        for (service, http, grpc) in [
            (Service::Product, self.product, self.product_grpc),
            (Service::Basket, self.basket, self.basket_grpc),
            (Service::Payment, self.payment, self.payment_grpc),
            // What is asked of it over gRPC is none of clients' business.
            (Service::Notification, self.notification, None),
        ] {
            let tls = begun_with.is_encrypted(service);
            let Some(behind) = gateway.services.get_mut(service.section()) else { continue };
            if let Some(http) = http {
                behind.urls = backend(http, tls);
            }
            if let Some(grpc) = grpc {
                behind.grpc_urls = backend(grpc, tls);
            }
        }
    }
}

impl Suite {
    /// Takes every port (0 is any that is free), opens stores, migrates them and registers all consumers, so that
    /// no event can pass by before its consumer is there.
    pub async fn build(config: Config) -> anyhow::Result<Self> {
        Box::pin(Self::build_with(config, &Nothing)).await
    }

    /// The same with `between` between its parts.
    pub async fn build_with(config: Config, between: &dyn Between) -> anyhow::Result<Self> {
        let mut config = config.whole()?;
        let doors = Doors::open(&config).await?;
        let stages = Stages {
            gateway: Shutdown::new(),
            payment: Shutdown::new(),
            basket: Shutdown::new(),
            product: Shutdown::new(),
            notification: Shutdown::new(),
        };
        let memory = Arc::new(MemoryBus::new(Some(config.dead_letters())));
        let company = |service: Service, name: &'static str| -> anyhow::Result<(Arc<dyn Bus>, Metrics)> {
            let metrics = Metrics::new(name);
            let bus: Arc<dyn Bus> = match config.bus {
                BusKind::Memory => memory.counted(&metrics),
                BusKind::Kafka => KafkaBus::open(&config.kafka, name, &metrics)?,
            };
            Ok((between.bus(service, bus), metrics))
        };

        // Product and payment ask each other: where payment will listen is known before it is there.
        if let Some(doors) = &doors.payment {
            let at = doors.grpc.local_addr().context("payment's port is not known")?;
            config.product.payment.url = config.neighbour_url(Service::Payment, loopback(at));
        }
        if let Some(doors) = &doors.notification {
            let at = doors.grpc.local_addr().context("notification's port is not known")?;
            config.payment.notification.url = config.neighbour_url(Service::Notification, loopback(at));
        } else if config.bus == BusKind::Memory {
            // Nobody elsewhere hears of payments.
            config.payment.notification.url.clear();
        }
        let product = if let Some(doors) = doors.product {
            let (bus, metrics) = company(Service::Product, "product-service")?;
            let built = Box::pin(Product::build(doors, config.product.clone(), bus, metrics, &stages.product));
            let product = built.await.context("product cannot start")?;
            if config.demo {
                product.seed_demo().await.context("the demo products cannot be added")?;
            }
            Some(product)
        } else {
            None
        };
        let mut product_front = None;
        if let Some(product) = &product {
            let front = |at| between.product(loopback(at)).context("nothing can be put before product");
            let (http, grpc) = (front(product.http_addr())?, front(product.grpc_addr())?);
            product_front = Some((http, grpc));
            let url = config.neighbour_url(Service::Product, grpc);
            (config.basket.product.url, config.payment.product.url) = (url.clone(), url);
        }

        let basket = if let Some(doors) = doors.basket {
            let (bus, metrics) = company(Service::Basket, "basket-service")?;
            let built = Box::pin(Basket::build(doors, config.basket.clone(), bus, metrics, &stages.basket));
            Some(built.await.context("basket cannot start")?)
        } else {
            None
        };
        if let Some(basket) = &basket {
            config.payment.basket.url = config.neighbour_url(Service::Basket, loopback(basket.grpc_addr()));
        }

        let payment = if let Some(doors) = doors.payment {
            let (bus, metrics) = company(Service::Payment, "payment-service")?;
            let built = Box::pin(Payment::build(doors, config.payment.clone(), bus, metrics, &stages.payment));
            Some(built.await.context("payment cannot start")?)
        } else {
            None
        };

        let notification = if let Some(doors) = doors.notification {
            let (bus, metrics) = company(Service::Notification, "notification-service")?;
            let config = config.notification.clone();
            let built = Box::pin(Notification::build(doors, config, bus, metrics, &stages.notification));
            Some(built.await.context("notification cannot start")?)
        } else {
            None
        };

        let grace = config.stop.grace.get();
        let mut suite = Self { product, basket, payment, notification, gateway: None, product_front, stages, grace };
        if let Some(doors) = doors.gateway {
            let mut gateway = config.gateway.clone();
            suite.called_at().put_behind(&config, &mut gateway);
            let built = Gateway::build_behind(doors, gateway, Metrics::new("gateway"), &suite.stages.gateway);
            suite.gateway = Some(Box::pin(built).await.context("gateway cannot start")?);
        }
        Ok(suite)
    }

    /// Where the services listen.
    pub fn addresses(&self) -> Addresses {
        Addresses {
            gateway: self.gateway.as_ref().map(Gateway::http_addr),
            gateway_admin: self.gateway.as_ref().map(Gateway::admin_addr),
            product: self.product.as_ref().map(Product::http_addr),
            product_grpc: self.product.as_ref().map(Product::grpc_addr),
            product_operations: self.product.as_ref().and_then(Product::operations_addr),
            basket: self.basket.as_ref().map(Basket::http_addr),
            basket_grpc: self.basket.as_ref().map(Basket::grpc_addr),
            basket_operations: self.basket.as_ref().and_then(Basket::operations_addr),
            payment: self.payment.as_ref().map(Payment::http_addr),
            payment_grpc: self.payment.as_ref().map(Payment::grpc_addr),
            payment_operations: self.payment.as_ref().and_then(Payment::operations_addr),
            notification: self.notification.as_ref().map(Notification::http_addr),
            notification_grpc: self.notification.as_ref().map(Notification::grpc_addr),
            notification_operations: self.notification.as_ref().and_then(Notification::operations_addr),
        }
    }

    /// Where the services call each other.
    fn called_at(&self) -> Addresses {
        let (product, product_grpc) = self.product_front.unzip();
        Addresses { product, product_grpc, ..self.addresses() }
    }

    /// Reads the settings again on SIGHUP and when a file of theirs changes. The gateway takes on what is new; all else
    /// that differs from `begun_with` is logged as waiting for a restart. Does nothing where there is no gateway.
    pub fn follow(
        &self,
        begun_with: Config,
        sources: Sources,
        shutdown: Shutdown,
    ) -> anyhow::Result<impl Future<Output = Infallible> + use<>> {
        let (handle, at) = (self.gateway.as_ref().map(Gateway::handle), self.called_at());
        let identity = begun_with.identity_here()?;
        let take = move |mut config: Config| {
            let waits = |change: &Change| !change.key.starts_with("gateway.");
            let others = shop_config::diff(&begun_with, &config).into_iter().filter(waits).collect();
            at.put_behind(&begun_with, &mut config.gateway);
            // The services keep theirs, too.
            config.gateway.identity.clone_from(&identity);
            (config.gateway, others)
        };
        let follow = handle.map(|handle| shop_gateway::follow(handle, sources, take, shutdown)).transpose()?;
        Ok(async move {
            match follow {
                Some(follow) => follow.await,
                None => std::future::pending().await,
            }
        })
    }

    /// Serves until `shutdown`, then drains from the front to the back: nobody loses the neighbour that a
    /// request in flight still needs. A service that fails stops the others and is the error.
    #[expect(clippy::disallowed_methods, reason = "each service's task is waited for here, in the order of the stages")]
    pub async fn run(self, shutdown: Shutdown) -> anyhow::Result<()> {
        let Stages { gateway, payment, basket, product, notification } = self.stages;
        let parts = [
            self.gateway.map(|part| (gateway.clone(), tokio::task::spawn(part.run(gateway.clone())))),
            self.payment.map(|part| (payment.clone(), tokio::task::spawn(part.run(payment.clone())))),
            self.basket.map(|part| (basket.clone(), tokio::task::spawn(part.run(basket.clone())))),
            self.product.map(|part| (product.clone(), tokio::task::spawn(part.run(product.clone())))),
            self.notification.map(|part| (notification.clone(), tokio::task::spawn(part.run(notification.clone())))),
        ];
        let mut parts: Vec<_> = parts.into_iter().flatten().collect();

        let ended = futures_util::future::select_all(parts.iter_mut().map(|(_, task)| task));
        let first = tokio::select! {
            () = shutdown.soft.cancelled() => None,
            (result, index, _) = ended => Some((result, index)),
        };
        if first.is_some() {
            shutdown.stop(self.grace);
        }
        let hard = tokio::spawn({
            let stages: Vec<_> = parts.iter().map(|(stage, _)| stage.clone()).collect();
            async move {
                shutdown.hard.cancelled().await;
                for stage in &stages {
                    stage.hard.cancel();
                }
            }
        });
        let mut outcome = match first {
            Some((result, index)) => {
                drop(parts.remove(index));
                result.unwrap_or_else(|panic| Err(panic.into()))
            }
            None => Ok(()),
        };
        for (stage, task) in parts {
            stage.soft.cancel();
            outcome = outcome.and(task.await.unwrap_or_else(|panic| Err(panic.into())));
        }
        hard.abort();
        outcome
    }
}

/// The groups of all consumers.
pub fn groups() -> Vec<&'static str> {
    [&Product::GROUPS[..], &Basket::GROUPS, &Notification::GROUPS].concat()
}

fn backend(at: SocketAddr, tls: bool) -> Backends {
    let at = loopback(at);
    vec![BackendUrl { tls, ..BackendUrl::new(at.ip().to_string(), at.port()) }].into()
}

/// The address to reach a listener of this process: one bound to every interface is called on loopback.
fn loopback(mut at: SocketAddr) -> SocketAddr {
    if at.ip().is_unspecified() {
        at.set_ip(if at.is_ipv4() { [127, 0, 0, 1].into() } else { std::net::Ipv6Addr::LOCALHOST.into() });
    }
    at
}
