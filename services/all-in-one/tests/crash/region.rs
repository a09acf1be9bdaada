//! A region for a while: two gateways before two of each service, on stores of which each is more than one server. Buyers buy without
//! a pause, while by chance from the seed a process is killed or paused, a store loses a server and goes on with another, or what
//! is sent between two of them is lost. Then all is mended, and every book has to agree with every other and with what buyers
//! were told.
//!
//! Each process has a place in a network of its own, where such can be made; elsewhere cables lead to what a cable can lead to.
//!
//! Twenty seconds unless `SHOP_TEST_SOAK_SECONDS` says otherwise, as `make soak` does. How long nobody was served, by fault, is printed.

mod books;
mod faults;
mod mariadb;
mod shoppers;
mod stores;
mod watch;

use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::future::join_all;
use serde_json::json;
use shop_testing::backend::Pair;
use shop_testing::{Api, Network, Place, Process, free_port};
use tokio::time::Instant;

use self::faults::{Line, Way};
use self::shoppers::{Told, buy, insist};
use self::stores::Stores;
use self::watch::{OPERATIONS, report, watch};
use crate::chance::Chance;
use crate::world::{IMPATIENT, service};

const BUYERS: usize = 5;
const STOCK: i64 = 1_000_000;

/// How long a buyer insists, and how long what is left may take when all is mended: longer than any fault.
const PATIENCE: Duration = Duration::from_mins(3);

const SERVICES: [&str; 4] = ["product", "basket", "payment", "notification"];

/// A process of the region.
struct Replica {
    name: String,
    process: Process,
    /// Of HTTP and of gRPC; a gateway has the first alone.
    ports: [u16; 2],
    place: Option<Place>,
}

impl Replica {
    /// One of its ports, the first for HTTP and the second for gRPC.
    fn at(&self, port: usize) -> String {
        let host = self.place.as_ref().map_or_else(|| "127.0.0.1".to_owned(), |place| place.address().to_string());
        format!("{host}:{}", self.ports[port])
    }

    fn set(&mut self, name: &str, value: impl Into<String>) {
        self.process.set(name, value);
    }

    async fn start(&mut self) {
        self.process.start(self.ports[0]).await;
    }

    /// Asks it to end, and sees it end well.
    async fn stop(&mut self) {
        assert_eq!(self.process.exited(), None, "{} ended by itself:\n{}", self.name, self.process.output());
        let status = self.process.stop().await;
        assert!(status.success(), "{}: {status}\n{}", self.name, self.process.output());
    }
}

struct Region {
    stores: Stores,
    /// Services, the first of each and then the second of each, and gateways.
    replicas: Vec<Replica>,
    lines: Vec<Line>,
    doors: [Api; 2],
    /// Gone after those that are in it.
    network: Option<Network>,
}

impl Region {
    /// Everything, ready; `None` where tests do without real servers.
    async fn start(kind: mariadb::Kind) -> Option<Self> {
        let network = Network::make();
        let stores = Stores::start(network.as_ref(), kind).await?;
        let doors = ["a", "b"].map(Api::new);
        let mut region = Self { stores, replicas: Vec::new(), lines: Vec::new(), doors, network };
        for half in 1..=2 {
            for name in SERVICES {
                let (ports, place) = ([free_port(), free_port()], region.place());
                let process = service(&format!("{name}-service"), &ports, &region.stores.brokers(), "region.")
                    .env("SHOP_KAFKA__REPLICATION", "3")
                    .env("SHOP_KAFKA__SESSION_TIMEOUT", "6s");
                region.add(format!("{name} {half}"), process, ports, place);
            }
        }
        for half in 0..2 {
            region.connect(4 * half).await;
        }
        for half in 1..=2 {
            let (ports, place) = ([free_port(), 0], region.place());
            let mut gateway = Process::new("gateway")
                .env("IDENTITY_MODE", "off")
                .env("PORT", ports[0].to_string())
                .env("ADMIN_PORT", "0")
                .env("SHOP_RATE_LIMIT__ENABLED", "false");
            for (index, name) in SERVICES.into_iter().enumerate() {
                let urls = [index, index + 4].map(|index| format!("http://{}", region.replicas[index].at(0)));
                gateway.set(&format!("{}_SERVICE_URLS", name.to_uppercase()), urls.join(","));
            }
            region.add(format!("gateway {half}"), gateway, ports, place);
            let gateway = region.replicas.len() - 1;
            region.doors[half - 1] = Api::new(format_args!("{}/api", region.replicas[gateway].at(0)));
            for index in 0..2 * SERVICES.len() {
                region.path(gateway, &format!("one {}", SERVICES[index % 4]), Way::between(gateway, index));
            }
        }
        for replica in &mut region.replicas {
            replica.start().await;
        }
        Some(region)
    }

    /// A place of its own, where there is a network.
    fn place(&self) -> Option<Place> {
        self.network.as_ref().map(Network::place)
    }

    fn add(&mut self, name: String, mut process: Process, ports: [u16; 2], place: Option<Place>) {
        if let Some(place) = &place {
            process = process
                .within(place)
                .env("SHOP_HTTP__HOST", place.address().to_string())
                .env("SHOP_IDENTITY__ALLOW_ANONYMOUS", "true");
            if ports[1] != 0 {
                process.set("SHOP_GRPC__HOST", place.address().to_string());
            }
        }
        self.replicas.push(Replica { name, process, ports, place });
    }

    /// Tells the four services from `first` on where their stores and each other are.
    async fn connect(&mut self, first: usize) {
        let [product, basket, payment, notification] = [0, 1, 2, 3].map(|index| first + index);
        let url = self.database(product, stores::POSTGRES, "region_product").await;
        self.replicas[product].set("DATABASE_URL", url);
        let url = self.database(notification, stores::POSTGRES, "region_notification").await;
        self.replicas[notification].set("DATABASE_URL", url);
        let url = self.database(payment, stores::MARIADB, "region_payment").await;
        self.replicas[payment].set("DATABASE_URL", url);
        // Who is the master is said by sentinels, so no cable can lead there.
        let redis = self.stores.redis.url().to_owned();
        self.replicas[basket].set("REDIS_URL", redis);
        // What is acknowledged is there after a failover.
        self.replicas[basket].set("SHOP_REDIS__WAIT_REPLICAS", "1");
        self.path(basket, "Redis", Way::store(basket, stores::REDIS, 0));
        for index in [product, basket, payment, notification] {
            for broker in 0..3 {
                self.path(index, "one Kafka", Way::store(index, stores::KAFKA, broker));
            }
        }
        for (from, to, variable) in [
            (basket, product, "PRODUCT_SERVICE_URL"),
            (payment, product, "PRODUCT_SERVICE_URL"),
            (payment, basket, "BASKET_SERVICE_URL"),
        ] {
            let name = SERVICES[to - first];
            let at = self.replicas[to].at(1);
            let at = self.line(from, name, &at, Way::between(from, to)).await;
            self.replicas[from].set(variable, at);
        }
        self.replicas[payment].set("SHOP_PROVIDER__SANDBOX", "true");
        for (name, value) in IMPATIENT {
            self.replicas[payment].set(&format!("SHOP_{name}"), value);
        }
    }

    /// The URL of a database of all servers of `store`, for one of the replicas.
    async fn database(&mut self, replica: usize, store: usize, name: &str) -> String {
        let mut places = Vec::new();
        for (server, at) in self.stores.places(store).into_iter().enumerate() {
            let to = format!("one {}", self.stores.name(store));
            places.push(self.line(replica, &to, &at, Way::store(replica, store, server)).await);
        }
        let scheme = if store == stores::POSTGRES { "postgres" } else { "mysql" };
        format!("{scheme}://{}@{}/{name}", Pair::WRITER, places.join(","))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_region_in_which_things_go_wrong_keeps_its_books() {
    let mut chance = Chance::from_environment("region");
    let kind = mariadb::Kind::choose(&mut chance);
    let Some(mut region) = Box::pin(Region::start(kind)).await else { return };
    let seconds = shop_testing::variable("SHOP_TEST_SOAK_SECONDS").map_or(20, |text| text.parse().expect("a number"));
    let body =
        json!({"name": "Anvil", "description": "", "price": "12.50", "stock_quantity": STOCK, "category": "smithy"});
    let (status, made) = region.doors[0].post("/products", &body).await;
    assert_eq!(status, 201, "{made}");
    let product = made["id"].as_i64().expect("an id");
    let line = json!({"product_id": product, "quantity": 1});
    assert_eq!(insist(&region.doors, "/baskets/watcher/items", "watcher", &line).await.status, 200);

    let (doors, told) = (region.doors.clone(), Told::default());
    let mut faults = Vec::new();
    let story = async {
        let end = Instant::now() + Duration::from_secs(seconds);
        while Instant::now() < end {
            tokio::time::sleep(Duration::from_millis(chance.below(2_000))).await;
            let began = Instant::now();
            faults.push((began, region.fault(&mut chance).await));
        }
        told.closed.store(true, Ordering::SeqCst);
    };
    let buyers = join_all((0..BUYERS).map(|number| buy(&doors, number, product, &told)));
    let watchers = join_all(OPERATIONS.map(|operation| watch(operation, &doors, product, &told)));
    let (gaps, ..) = tokio::join!(watchers, story, buyers);
    let gaps: Vec<_> = gaps.into_iter().flatten().collect();
    report(&faults, &gaps, &told);
    books::agree(&region, product, &told).await;
    for replica in region.replicas.iter_mut().rev() {
        replica.stop().await;
    }
    chance.tell("region kept its books");
}
