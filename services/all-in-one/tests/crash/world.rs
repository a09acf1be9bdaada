//! The processes, one of which is going to die, and the stores behind them.

use std::collections::BTreeMap;
use std::time::Duration;

use reqwest::Method;
use serde_json::Value;
use shop_testing::{Api, Process, backend, free_port};
use sqlx::Connection as _;
use tempfile::TempDir;
use uuid::Uuid;

/// A suite in processes of its own.
pub(crate) struct World {
    victim: Process,
    victim_port: u16,
    others: Vec<(Process, u16)>,
    apis: Apis,
    books: String,
    _data: TempDir,
    _stores: Option<(backend::Db, backend::Db, backend::Db, backend::Keys)>,
}

/// Where the services answer.
#[derive(Clone)]
pub(crate) struct Apis {
    pub(crate) product: Api,
    pub(crate) basket: Api,
    pub(crate) payment: Api,
    pub(crate) notification: Api,
}

/// A payment left half way is settled within seconds. A key left in flight is free again within seconds whatever is set.
pub(crate) const IMPATIENT: [(&str, &str); 3] =
    [("RECOVERY__INTERVAL", "200ms"), ("RECOVERY__SETTLE_AFTER", "3s"), ("PROVIDER__TIMEOUT", "1s")];

/// What a process that died was about to send is sent by the next one within seconds.
const QUICK: [(&str, &str); 2] = [("EMAIL__TIMEOUT", "1s"), ("WEBHOOK__TIMEOUT", "1s")];

impl World {
    /// Everything in one process, on SQLite.
    #[expect(clippy::unused_async, reason = "made like the others")]
    pub(crate) async fn embedded() -> Option<Self> {
        let data = tempfile::tempdir().expect("a folder");
        let ports = [(); 8].map(|()| free_port());
        let mut shop = Process::new("shop")
            .env("IDENTITY_MODE", "off")
            .env("SHOP_DATA", data.path().display().to_string())
            .env("SHOP_DEMO", "false")
            .env("SHOP_GATEWAY__HTTP__PORT", ports[6].to_string())
            .env("ADMIN_PORT", "0");
        for (name, value) in IMPATIENT {
            shop.set(&format!("SHOP_PAYMENT__{name}"), value);
        }
        for (index, service) in ["PRODUCT", "BASKET", "PAYMENT"].into_iter().enumerate() {
            shop.set(&format!("SHOP_{service}__HTTP__PORT"), ports[2 * index].to_string());
            shop.set(&format!("SHOP_{service}__GRPC__PORT"), ports[2 * index + 1].to_string());
        }
        for (name, value) in QUICK {
            shop.set(&format!("SHOP_NOTIFICATION__{name}"), value);
        }
        shop.set("SHOP_NOTIFICATION__HTTP__PORT", ports[7].to_string());
        shop.set("SHOP_NOTIFICATION__GRPC__PORT", "0");
        let books = format!("sqlite://{}", data.path().join("payment.db").display());
        let apis = Apis::at([ports[0], ports[2], ports[4], ports[7]]);
        Some(Self { victim: shop, victim_port: ports[4], others: Vec::new(), apis, books, _data: data, _stores: None })
    }

    /// Four processes on real servers; the payment service is the one to die.
    pub(crate) async fn real_payment() -> Option<Self> {
        Self::real("payment-service").await
    }

    /// The same; the notification service is the one to die.
    pub(crate) async fn real_notification() -> Option<Self> {
        Self::real("notification-service").await
    }

    /// The same; the product service is the one to die.
    pub(crate) async fn real_product() -> Option<Self> {
        Self::real("product-service").await
    }

    async fn real(victim: &str) -> Option<Self> {
        let kafka = backend::kafka().await?;
        Self::on_kafka(victim, kafka.brokers(), kafka.prefix()).await
    }

    /// The same on a Kafka of the test's choice.
    pub(crate) async fn on_kafka(victim: &str, brokers: &str, prefix: &str) -> Option<Self> {
        let (postgres, notices) = (backend::postgres().await?, backend::postgres().await?);
        let (mariadb, redis) = (backend::mariadb().await?, backend::redis().await?);
        let ports = [(); 8].map(|()| free_port());
        let service = |name: &str, index: usize| {
            service(name, &ports[2 * index..], brokers, prefix).env("SHOP_KAFKA__SESSION_TIMEOUT", "6s")
        };
        let product = service("product-service", 0).env("DATABASE_URL", postgres.url());
        let basket = service("basket-service", 1)
            .env("REDIS_URL", redis.url())
            .env("SHOP_REDIS__KEY_PREFIX", redis.prefix())
            .env("PRODUCT_SERVICE_URL", format!("127.0.0.1:{}", ports[1]));
        let mut payment = service("payment-service", 2)
            .env("DATABASE_URL", mariadb.url())
            .env("SHOP_PROVIDER__SANDBOX", "true")
            .env("BASKET_SERVICE_URL", format!("127.0.0.1:{}", ports[3]))
            .env("PRODUCT_SERVICE_URL", format!("127.0.0.1:{}", ports[1]))
            .env("NOTIFICATION_SERVICE_URL", format!("127.0.0.1:{}", ports[7]));
        for (name, value) in IMPATIENT {
            payment.set(&format!("SHOP_{name}"), value);
        }
        let mut notification = service("notification-service", 3).env("DATABASE_URL", notices.url());
        for (name, value) in QUICK {
            notification.set(&format!("SHOP_{name}"), value);
        }
        let mut processes =
            vec![(product, ports[0]), (basket, ports[2]), (payment, ports[4]), (notification, ports[6])];
        let (victim, victim_port) = processes.remove(match victim {
            "product-service" => 0,
            "basket-service" => 1,
            "payment-service" => 2,
            _ => 3,
        });
        let apis = Apis::at([ports[0], ports[2], ports[4], ports[6]]);
        let data = tempfile::tempdir().expect("a folder");
        let books = mariadb.url();
        let stores = Some((postgres, notices, mariadb, redis));
        Some(Self { victim, victim_port, others: processes, apis, books, _data: data, _stores: stores })
    }

    /// Starts everything; the victim with orders to die there, if any.
    pub(crate) async fn start(&mut self, crash_at: Option<&str>) {
        for (process, port) in &mut self.others {
            process.start(*port).await;
        }
        if let Some(point) = crash_at {
            self.victim.set("SHOP_CRASH_AT", point);
        }
        self.victim.start(self.victim_port).await;
        self.victim.unset("SHOP_CRASH_AT");
    }

    /// Brings the victim back to life while `work` goes on; answers how often it died.
    pub(crate) async fn supervise(&mut self, work: impl Future<Output = ()>) -> u32 {
        let mut deaths = 0;
        let mut work = std::pin::pin!(work);
        loop {
            tokio::select! {
                biased;
                () = &mut work => break,
                () = Self::death(&mut self.victim) => {}
            }
            deaths += 1;
            tokio::select! {
                () = self.victim.start(self.victim_port) => {}
                // Only calls that do not need the victim can end here, and then it is still to be started.
                () = &mut work => {
                    self.victim.kill();
                    self.victim.start(self.victim_port).await;
                    return deaths;
                }
            }
        }
        // A point after the last answer, such as the relay's, may be reached only now.
        let last = tokio::time::timeout(Duration::from_secs(20), Self::death(&mut self.victim));
        if deaths == 0 && last.await.is_ok() {
            deaths += 1;
            self.victim.start(self.victim_port).await;
        }
        deaths
    }

    async fn death(victim: &mut Process) {
        while victim.exited().is_none() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        victim.kill();
    }

    /// Asks everything to end, and sees it end well.
    pub(crate) async fn stop(mut self) {
        assert!(self.victim.stop().await.success());
        for (process, _) in self.others.iter_mut().rev() {
            assert!(process.stop().await.success());
        }
    }

    /// Where the services answer.
    pub(crate) fn apis(&self) -> Apis {
        self.apis.clone()
    }

    /// The keys of all charges that the provider approved.
    pub(crate) async fn approved_charges(&self) -> Vec<String> {
        let sql = "SELECT charge_key FROM sandbox_charges WHERE outcome = 'approved'";
        let keys: Vec<Uuid> = if self.books.starts_with("sqlite") {
            let mut books = sqlx::SqliteConnection::connect(&self.books).await.expect("opens the books");
            sqlx::query_scalar(sql).fetch_all(&mut books).await.expect("reads the charges")
        } else {
            let mut books = sqlx::MySqlConnection::connect(&self.books).await.expect("opens the books");
            sqlx::query_scalar(sql).fetch_all(&mut books).await.expect("reads the charges")
        };
        keys.iter().map(Uuid::to_string).collect()
    }

    /// What the provider paid back, by charge, in minor units.
    pub(crate) async fn paid_back(&self) -> BTreeMap<String, i64> {
        let sql = "SELECT charge_key, amount FROM sandbox_refunds";
        let rows: Vec<(Uuid, i64)> = if self.books.starts_with("sqlite") {
            let mut books = sqlx::SqliteConnection::connect(&self.books).await.expect("opens the books");
            sqlx::query_as(sql).fetch_all(&mut books).await.expect("reads the refunds")
        } else {
            let mut books = sqlx::MySqlConnection::connect(&self.books).await.expect("opens the books");
            sqlx::query_as(sql).fetch_all(&mut books).await.expect("reads the refunds")
        };
        let mut sums = BTreeMap::new();
        for (charge, amount) in rows {
            *sums.entry(charge.to_string()).or_default() += amount;
        }
        sums
    }
}

impl Apis {
    fn at(ports: [u16; 4]) -> Self {
        let [product, basket, payment, notification] = ports.map(|port| Api::new(format_args!("127.0.0.1:{port}")));
        Self { product, basket, payment, notification }
    }

    /// Whether every event has been handed to the bus.
    pub(crate) async fn outbox_is_empty(&self) -> Result<(), String> {
        let request = self.payment.request(Method::GET, "/metrics");
        let text = self.payment.try_send(request).await.map_err(|error| error.to_string())?.text;
        let line = text.lines().find(|line| line.starts_with("payment_outbox_pending")).unwrap_or("no such metric");
        if line.ends_with(" 0") { Ok(()) } else { Err(line.to_owned()) }
    }

    /// All payments.
    pub(crate) async fn payments(&self) -> Vec<Value> {
        let (status, page) = self.payment.get("/payments?limit=100").await;
        assert_eq!((status, &page["next_cursor"]), (200, &Value::Null), "{page}");
        page["payments"].as_array().expect("payments").clone()
    }
}

/// A service of its own process: on the first two of `ports`, HTTP and gRPC, and on this Kafka.
pub(crate) fn service(name: &str, ports: &[u16], brokers: &str, prefix: &str) -> Process {
    Process::new(name)
        .env("IDENTITY_MODE", "off")
        .env("PORT", ports[0].to_string())
        .env("GRPC_PORT", ports[1].to_string())
        .env("KAFKA_BROKERS", brokers)
        .env("SHOP_KAFKA__TOPIC_PREFIX", prefix)
        .env("SHOP_KAFKA__GROUP_PREFIX", prefix)
        .env("SHOP_KAFKA__REPLICATION", "1")
}
