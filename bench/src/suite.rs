//! The services as separate processes on real servers, in one of two shapes.

use std::path::Path;

use crate::baseline;
use crate::process::{Process, free_port};
use crate::stores::variable;

/// How the suite is set up, and how it is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Shape {
    /// Everything: a gateway in front, two of each service, notifications, an idempotency key with each call that makes
    /// or moves something.
    Whole,
    /// One each of product, basket and payment, called directly and without keys.
    Bare,
}

/// The stores of one suite; another run of it finds them again.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    pub(crate) product: String,
    pub(crate) notification: String,
    pub(crate) mariadb: String,
    prefix: String,
}

impl Place {
    /// Empty databases whose names end with `name`, and topics and keys that nobody else has.
    pub(crate) async fn make(name: &str) -> anyhow::Result<Self> {
        let (postgres, mariadb) = (variable("SHOP_TEST_POSTGRES_URL")?, variable("SHOP_TEST_MARIADB_URL")?);
        Ok(Self {
            product: baseline::database(&postgres, &format!("shop_bench_product_{name}")).await?,
            notification: baseline::database(&postgres, &format!("shop_bench_notification_{name}")).await?,
            mariadb: baseline::database(&mariadb, &format!("shop_bench_{name}")).await?,
            prefix: format!("bench-{}-{name}-", std::process::id()),
        })
    }
}

/// Processes that run; they end with this value.
pub(crate) struct Suite {
    pub(crate) processes: Vec<Process>,
    /// Where to call baskets, payments and products.
    pub(crate) hosts: [String; 3],
    pub(crate) shape: Shape,
}

/// The ports of one service: HTTP, gRPC.
type Ports = (u16, u16);

impl Suite {
    /// Starts the binaries in `folder`, and waits until all are ready.
    pub(crate) async fn start(folder: &Path, shape: Shape, place: &Place) -> anyhow::Result<Self> {
        let replicas = match shape {
            Shape::Whole => 2,
            Shape::Bare => 1,
        };
        let (products, baskets, payments) = (ports(replicas)?, ports(replicas)?, ports(replicas)?);
        let mut processes = Vec::new();
        for (&product, (&basket, &payment)) in products.iter().zip(baskets.iter().zip(&payments)) {
            let database = [("DATABASE_URL", place.product.clone())];
            processes.push(service(folder, "product-service", place, product, &database).await?);
            let neighbour = ("PRODUCT_SERVICE_URL", local(product.1));
            let redis = [
                ("REDIS_URL", variable("SHOP_TEST_REDIS_URL")?),
                ("SHOP_REDIS__KEY_PREFIX", place.prefix.clone()),
                neighbour.clone(),
            ];
            processes.push(service(folder, "basket-service", place, basket, &redis).await?);
            let own = [
                ("DATABASE_URL", place.mariadb.clone()),
                ("BASKET_SERVICE_URL", local(basket.1)),
                ("SHOP_PROVIDER__SANDBOX", "true".to_owned()),
                neighbour.clone(),
            ];
            processes.push(service(folder, "payment-service", place, payment, &own).await?);
        }
        let hosts = match shape {
            Shape::Bare => [&baskets, &payments, &products].map(|ports| local(ports[0].0)),
            Shape::Whole => {
                let notifications = ports(replicas)?;
                for &notification in &notifications {
                    let database = [("DATABASE_URL", place.notification.clone())];
                    let started = service(folder, "notification-service", place, notification, &database).await?;
                    processes.push(started);
                }
                let gateway = gateway(folder, [&products, &baskets, &payments, &notifications]).await?;
                let host = gateway.host.clone();
                processes.push(gateway);
                [host.clone(), host.clone(), host]
            }
        };
        Ok(Self { processes, hosts, shape })
    }

    /// Starts the product service alone; the address of its gRPC side is the second.
    pub(crate) async fn product(folder: &Path, place: &Place) -> anyhow::Result<(Process, String)> {
        let ports = (free_port()?, free_port()?);
        let database = [("DATABASE_URL", place.product.clone())];
        Ok((service(folder, "product-service", place, ports, &database).await?, local(ports.1)))
    }

    /// The first process of this name.
    pub(crate) fn process(&self, name: &str) -> Option<&Process> {
        self.processes.iter().find(|process| process.name == name)
    }
}

async fn service(
    folder: &Path,
    name: &'static str,
    place: &Place,
    (http, grpc): Ports,
    own: &[(&'static str, String)],
) -> anyhow::Result<Process> {
    let shared = [
        ("PORT", http.to_string()),
        ("GRPC_PORT", grpc.to_string()),
        ("KAFKA_BROKERS", variable("SHOP_TEST_KAFKA_BROKERS")?),
        ("SHOP_KAFKA__TOPIC_PREFIX", place.prefix.clone()),
        ("SHOP_KAFKA__GROUP_PREFIX", place.prefix.clone()),
        ("SHOP_KAFKA__REPLICATION", "1".to_owned()),
        ("LOG_LEVEL", "info".to_owned()),
        ("IDENTITY_MODE", "off".to_owned()),
    ];
    let variables: Vec<_> = own.iter().chain(&shared).cloned().collect();
    Ok(Process::start_from(folder, name, &[], &variables, local(http), "/health/ready").await?.0)
}

async fn gateway(folder: &Path, services: [&[Ports]; 4]) -> anyhow::Result<Process> {
    let port = free_port()?;
    let urls = |ports: &[Ports]| {
        ports.iter().map(|(http, _)| format!("http://{}", local(*http))).collect::<Vec<_>>().join(",")
    };
    let [products, baskets, payments, notifications] = services.map(urls);
    let variables = [
        ("PORT", port.to_string()),
        ("ADMIN_PORT", "0".to_owned()),
        ("PRODUCT_SERVICE_URLS", products),
        ("BASKET_SERVICE_URLS", baskets),
        ("PAYMENT_SERVICE_URLS", payments),
        ("NOTIFICATION_SERVICE_URLS", notifications),
        ("SHOP_RATE_LIMIT__ENABLED", "false".to_owned()),
        ("SHOP_LIMITS__CONNECTIONS_PER_ADDRESS", "0".to_owned()),
        ("SHOP_LIMITS__UNFINISHED_PER_ADDRESS", "0".to_owned()),
        ("LOG_LEVEL", "info".to_owned()),
        ("IDENTITY_MODE", "off".to_owned()),
    ];
    Ok(Process::start_from(folder, "gateway", &[], &variables, local(port), "/health/ready").await?.0)
}

fn ports(replicas: usize) -> anyhow::Result<Vec<Ports>> {
    (0..replicas).map(|_| Ok((free_port()?, free_port()?))).collect()
}

fn local(port: u16) -> String {
    format!("127.0.0.1:{port}")
}
