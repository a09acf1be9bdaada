//! A region for a while: two gateways before two of each service, on stores of their own. Buyers buy without a pause, while by chance
//! from the seed a process is killed or paused, a store is killed, or a cable between two of them is cut. Then all is mended, and
//! every book has to agree with every other and with what buyers were told.
//!
//! Twenty seconds unless `SHOP_TEST_SOAK_SECONDS` says otherwise, as `make soak` does. How long nobody was served, by fault, is printed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};
use shop_testing::{Api, Cable, Process, Reply, backend::Own, eventually, free_port};
use sqlx::{AssertSqlSafe, Connection as _, Executor as _};
use tokio::time::Instant;
use uuid::Uuid;

use crate::buyers::cents;
use crate::chance::Chance;
use crate::world::{IMPATIENT, service};

const BUYERS: usize = 5;
const STOCK: i64 = 1_000_000;

/// How long a buyer insists, and how long what is left may take when all is mended: longer than any fault.
const PATIENCE: Duration = Duration::from_mins(3);

/// A process of the region.
struct Replica {
    name: String,
    process: Process,
    port: u16,
}

/// What leads to a server: its name, itself, and where the server is.
struct Line {
    name: String,
    cable: Cable,
    server: String,
}

struct Region {
    stores: Vec<(&'static str, Own)>,
    replicas: Vec<Replica>,
    lines: Vec<Line>,
    doors: [Api; 2],
    books: String,
}

/// What buyers did and were told.
#[derive(Default)]
struct Told {
    /// The number of requests to pay that were answered: a payment each.
    payments: Mutex<BTreeSet<String>>,
    /// Payments that were said to be completed.
    completed: Mutex<BTreeSet<String>>,
    closed: AtomicBool,
}

/// The host and port of a store's URL.
fn place(url: &str) -> String {
    let place = url.rsplit_once('@').or_else(|| url.split_once("://")).map_or(url, |(_, place)| place);
    place.split(['/', '?']).next().unwrap_or_default().to_owned()
}

impl Region {
    /// Everything, ready; `None` where tests do without real servers.
    async fn start() -> Option<Self> {
        let own = join_all(
            ["postgres", "mariadb", "redis", "kafka"].map(|name| async move { (name, Own::start(name).await) }),
        );
        let mut stores = Vec::new();
        for (name, own) in own.await {
            stores.push((name, own?));
        }
        let variable = |index: usize, name: &str| stores[index].1.variable(name).to_owned();
        let (postgres, mariadb) = (variable(0, "SHOP_TEST_POSTGRES_URL"), variable(1, "SHOP_TEST_MARIADB_URL"));
        let (redis, brokers) = (variable(2, "SHOP_TEST_REDIS_URL"), variable(3, "SHOP_TEST_KAFKA_BROKERS"));
        let mut databases = Vec::new();
        for name in ["region_product", "region_notification"] {
            let mut server = sqlx::PgConnection::connect(&postgres).await.expect("connects");
            server.execute(AssertSqlSafe(format!("CREATE DATABASE {name}"))).await.expect("makes a database");
            let (address, rest) = postgres.rsplit_once('/').expect("names a database");
            let parameters = rest.split_once('?').map_or(String::new(), |(_, parameters)| format!("?{parameters}"));
            databases.push(format!("{address}/{name}{parameters}"));
        }
        let mut region = Self {
            stores,
            replicas: Vec::new(),
            lines: Vec::new(),
            doors: ["a", "b"].map(Api::new),
            books: mariadb.clone(),
        };
        let mut ports = Vec::new();
        for half in 1..=2 {
            let own = [(); 8].map(|()| free_port());
            let service = |name: &str, index: usize| {
                service(name, &own[2 * index..], &brokers, "region.").env("SHOP_KAFKA__SESSION_TIMEOUT", "6s")
            };
            let neighbour = |index: usize| format!("127.0.0.1:{}", own[2 * index + 1]);
            let database = region.line(half, "product", "PostgreSQL", &databases[0]).await;
            let product = service("product-service", 0).env("DATABASE_URL", database);
            let (store, asked) = (
                region.line(half, "basket", "Redis", &redis).await,
                region.line(half, "basket", "product", &neighbour(0)).await,
            );
            let basket = service("basket-service", 1).env("REDIS_URL", store).env("PRODUCT_SERVICE_URL", asked);
            let (database, asked, also) = (
                region.line(half, "payment", "MariaDB", &mariadb).await,
                region.line(half, "payment", "product", &neighbour(0)).await,
                region.line(half, "payment", "basket", &neighbour(1)).await,
            );
            let mut payment = service("payment-service", 2)
                .env("DATABASE_URL", database)
                .env("SHOP_PROVIDER__SANDBOX", "true")
                .env("PRODUCT_SERVICE_URL", asked)
                .env("BASKET_SERVICE_URL", also);
            for (name, value) in IMPATIENT {
                payment.set(&format!("SHOP_{name}"), value);
            }
            let database = region.line(half, "notification", "PostgreSQL", &databases[1]).await;
            let notification = service("notification-service", 3).env("DATABASE_URL", database);
            for (index, process) in [product, basket, payment, notification].into_iter().enumerate() {
                let name = ["product", "basket", "payment", "notification"][index];
                region.replicas.push(Replica { name: format!("{name} {half}"), process, port: own[2 * index] });
            }
            ports.push(own);
        }
        for (half, door) in (1..=2).zip([free_port(), free_port()]) {
            let urls = |index: usize| {
                format!("http://127.0.0.1:{},http://127.0.0.1:{}", ports[0][2 * index], ports[1][2 * index])
            };
            let gateway = Process::new("gateway")
                .env("IDENTITY_MODE", "off")
                .env("PORT", door.to_string())
                .env("ADMIN_PORT", "0")
                .env("PRODUCT_SERVICE_URLS", urls(0))
                .env("BASKET_SERVICE_URLS", urls(1))
                .env("PAYMENT_SERVICE_URLS", urls(2))
                .env("NOTIFICATION_SERVICE_URLS", urls(3))
                .env("SHOP_RATE_LIMIT__ENABLED", "false");
            region.replicas.push(Replica { name: format!("gateway {half}"), process: gateway, port: door });
            region.doors[half - 1] = Api::new(format_args!("127.0.0.1:{door}/api"));
        }
        for replica in &mut region.replicas {
            replica.process.start(replica.port).await;
        }
        Some(region)
    }

    /// A cable from a replica to what is at `url`; the URL that leads through it.
    async fn line(&mut self, half: usize, from: &str, to: &str, url: &str) -> String {
        let server = place(url);
        let cable = Cable::to(&server).await;
        let through = url.replace(&server, &cable.at().to_string());
        self.lines.push(Line { name: format!("{from} {half} to {to}"), cable, server });
        through
    }

    /// One thing goes wrong, for a while; then it is mended. What it was.
    async fn fault(&mut self, chance: &mut Chance) -> String {
        let mut below = |limit: usize| usize::try_from(chance.below(limit as u64)).expect("small");
        let (kind, lasts) = (below(10), Duration::from_millis(500 + 100 * below(55) as u64));
        let (replica, line, store) = (below(self.replicas.len()), below(self.lines.len()), below(self.stores.len()));
        match kind {
            0..=2 => {
                let Replica { name, process, port } = &mut self.replicas[replica];
                process.kill();
                tokio::time::sleep(lasts).await;
                process.start(*port).await;
                format!("{} is killed", kind_of(name))
            }
            3..=4 => {
                let Replica { name, process, .. } = &self.replicas[replica];
                process.signal("STOP");
                tokio::time::sleep(lasts).await;
                process.signal("CONT");
                format!("{} is paused", kind_of(name))
            }
            5..=8 => {
                let Line { name, cable, server } = &self.lines[line];
                match kind {
                    5 | 6 => cable.go_silent(),
                    7 => cable.refuse(),
                    _ => cable.lose_answers(),
                }
                tokio::time::sleep(lasts).await;
                cable.lead_to(server).await;
                let how = ["is silent", "is silent", "is refused", "loses answers"][kind - 5];
                format!("{} {how}", name.replace(" 1", "").replace(" 2", ""))
            }
            _ => {
                let (name, own) = &self.stores[store];
                own.kill().await;
                tokio::time::sleep(lasts).await;
                own.resume().await;
                format!("{name} is killed")
            }
        }
    }

    /// Nothing is left over that was not handed to the bus, at either payment service.
    async fn outboxes_are_empty(&self) -> Result<(), String> {
        for replica in self.replicas.iter().filter(|replica| replica.name.starts_with("payment")) {
            let api = Api::new(format_args!("127.0.0.1:{}", replica.port));
            let text =
                api.try_send(api.request(Method::GET, "/metrics")).await.map_err(|error| error.to_string())?.text;
            let line = text.lines().find(|line| line.starts_with("payment_outbox_pending")).unwrap_or("no such metric");
            if !line.ends_with(" 0") {
                return Err(line.to_owned());
            }
        }
        Ok(())
    }

    /// All entries of a list, page by page.
    async fn all(&self, path: &str, member: &str) -> Vec<Value> {
        let (mut all, mut cursor) = (Vec::new(), String::new());
        loop {
            let (status, page) = self.doors[0].get(&format!("{path}{cursor}")).await;
            assert_eq!(status, 200, "{page}");
            all.extend(page[member].as_array().expect("a list").iter().cloned());
            match page["next_cursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => return all,
            }
        }
    }
}

/// A replica's name without its number.
fn kind_of(name: &str) -> &str {
    name.split(' ').next().unwrap_or(name)
}

/// By either door, until it is answered for good.
async fn insist(doors: &[Api; 2], path: &str, key: &str, body: &Value) -> Reply {
    let mut turn = key.len();
    eventually!(within PATIENCE, {
        turn += 1;
        let door = &doors[turn % 2];
        let request = door.request(Method::POST, path).header("idempotency-key", key).json(body);
        match door.try_send(request.timeout(Duration::from_secs(10))).await {
            Ok(reply) if reply.status < 500 && reply.header("retry-after").is_empty() => Ok(reply),
            other => Err(format!("{path}: {other:?}")),
        }
    })
}

/// One purchase after the other, each as somebody else.
async fn buy(doors: &[Api; 2], number: usize, product: i64, told: &Told) {
    for n in 0.. {
        if told.closed.load(Ordering::SeqCst) {
            return;
        }
        let user = format!("buyer-{number}-{n}");
        let line = json!({"product_id": product, "quantity": 1 + n % 3});
        let added = insist(doors, &format!("/baskets/{user}/items"), &format!("{user}-add"), &line).await;
        assert_eq!(added.status, 200, "{added:?}");
        let order = json!({"user_id": user, "method": "credit_card"});
        let made = insist(doors, "/payments", &format!("{user}-pay"), &order).await;
        assert_eq!(made.status, 201, "{made:?}");
        let id = made.json()["id"].as_str().expect("an id").to_owned();
        told.payments.lock().expect("no panic").insert(id.clone());
        if n % 11 == 7 {
            insist(doors, &format!("/payments/{id}/cancel"), &format!("{user}-cancel"), &json!({})).await;
            continue;
        }
        let token = ["tok_approve", "tok_decline", "tok_lost_reply"]
            [if n % 10 == 9 { 1 } else { 2 * usize::from(n % 10 == 3) }];
        let token = json!({"payment_token": token});
        let paid = insist(doors, &format!("/payments/{id}/process"), &format!("{user}-go"), &token).await;
        if paid.status == 200 && paid.json()["status"] == "completed" {
            told.completed.lock().expect("no panic").insert(id);
        }
    }
}

/// When something that buyers read was answered by neither door, for how long, and what was said instead.
struct Gap {
    at: Instant,
    lasted: Duration,
    why: String,
}

/// Looks every 50 ms whether buyers can read.
async fn watch(doors: &[Api; 2], product: i64, told: &Told) -> Vec<Gap> {
    let mut gaps = Vec::new();
    let mut clock = tokio::time::interval(Duration::from_millis(50));
    clock.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    while !told.closed.load(Ordering::SeqCst) {
        clock.tick().await;
        let at = Instant::now();
        let mut why = String::new();
        for path in [&format!("/products/{product}"), "/baskets/watcher", "/payments?user_id=watcher"] {
            let ask = async |door: &Api| {
                let request = door.request(Method::GET, path).timeout(Duration::from_secs(2));
                match door.try_send(request).await {
                    Ok(reply) if reply.status == 200 => None,
                    Ok(reply) => Some(format!("{path}: {} {}", reply.status, reply.json()["code"])),
                    Err(error) => {
                        Some(format!("{path}: {}", if error.is_timeout() { "no answer" } else { "no connection" }))
                    }
                }
            };
            if let (Some(first), Some(second)) = (ask(&doors[0]).await, ask(&doors[1]).await) {
                why = format!("{first}, {second}");
            }
        }
        if !why.is_empty() {
            gaps.push(Gap { at, lasted: at.elapsed().max(Duration::from_millis(50)), why });
        }
    }
    gaps
}

/// How long nobody was served, by fault: how often, the median and the longest; and what was said instead.
#[expect(clippy::print_stderr, reason = "the figures are for whoever reads the run")]
fn report(faults: &[(Instant, String)], gaps: &[Gap], told: &Told) {
    let count = |set: &Mutex<BTreeSet<String>>| set.lock().expect("no panic").len();
    let (payments, completed) = (count(&told.payments), count(&told.completed));
    eprintln!("region: {} faults, {payments} payments, {completed} of them said to be completed", faults.len());
    let mut by_kind = BTreeMap::<&str, Vec<Duration>>::new();
    for (index, (began, kind)) in faults.iter().enumerate() {
        let is_of_it = |at: Instant| at >= *began && faults.get(index + 1).is_none_or(|(next, _)| at < *next);
        let of_it = gaps.iter().filter(|gap| is_of_it(gap.at));
        by_kind.entry(kind).or_default().push(of_it.map(|gap| gap.lasted).sum());
    }
    for (kind, mut times) in by_kind {
        times.sort_unstable();
        let (median, longest) = (times[times.len() / 2], times[times.len() - 1]);
        eprintln!("region: {kind}: {} times, reads not served for {median:.1?}, at most {longest:.1?}", times.len());
    }
    let mut reasons = BTreeMap::<&str, Duration>::new();
    for gap in gaps {
        *reasons.entry(&gap.why).or_default() += gap.lasted;
    }
    for (why, lasted) in reasons {
        eprintln!("region: {lasted:.1?} of {why}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_region_in_which_things_go_wrong_keeps_its_books() {
    let Some(mut region) = Region::start().await else { return };
    let mut chance = Chance::from_environment("region");
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
    let (gaps, ..) = tokio::join!(watch(&doors, product, &told), story, buyers);
    report(&faults, &gaps, &told);
    agree(&mut region, product, &told).await;
    for replica in region.replicas.iter_mut().rev() {
        let status = replica.process.stop().await;
        let said = replica.process.output();
        let last: Vec<_> = said.lines().rev().take(20).collect();
        assert!(status.success(), "{}: {status}\n{}", replica.name, last.join("\n"));
    }
}

/// Every book agrees with every other, and with what buyers were told.
async fn agree(region: &mut Region, product: i64, told: &Told) {
    let (asked, completed) =
        (told.payments.lock().expect("no panic").clone(), told.completed.lock().expect("no panic").clone());
    assert!(completed.len() > BUYERS, "people bought: {completed:?}");
    eventually!(within PATIENCE, region.outboxes_are_empty().await);
    let settled = |payment: &Value| !matches!(payment["status"].as_str(), Some("pending" | "processing"));
    let payments = eventually!(within PATIENCE, {
        let payments = region.all("/payments?limit=100", "payments").await;
        let open = payments.iter().find(|payment| !settled(payment)).cloned();
        open.map_or(Ok(payments), |payment| Err(format!("{payment}")))
    });
    let id = |payment: &Value| payment["id"].as_str().expect("an id").to_owned();
    let known: BTreeSet<_> = payments.iter().map(id).collect();
    assert_eq!((payments.len(), &known), (asked.len(), &asked), "one payment for each that was asked for");
    let paid: Vec<_> = payments.iter().filter(|payment| payment["status"] == "completed").collect();
    let paid_ids: BTreeSet<_> = paid.iter().map(|payment| id(payment)).collect();
    let lost: Vec<_> = completed.difference(&paid_ids).collect();
    assert!(lost.is_empty(), "buyers were told that these are paid: {lost:?}");

    let mut books = sqlx::MySqlConnection::connect(&region.books).await.expect("opens the books");
    let sql = "SELECT charge_key FROM sandbox_charges WHERE outcome = 'approved'";
    let charges: Vec<Uuid> = sqlx::query_scalar(sql).fetch_all(&mut books).await.expect("reads the charges");
    let approved: BTreeSet<_> = charges.iter().map(Uuid::to_string).collect();
    assert_eq!((charges.len(), &approved), (paid.len(), &paid_ids), "a charge for each payment, and no other");

    let units = |payment: &&Value| {
        payment["items"].as_array().expect("items").iter().filter_map(|item| item["quantity"].as_i64()).sum::<i64>()
    };
    let sold: i64 = paid.iter().map(units).sum();
    assert_eq!(paid.iter().map(|payment| cents(&payment["amount"])).sum::<i64>(), 1250 * sold);
    eventually!(within PATIENCE, {
        let (_, now) = region.doors[0].get(&format!("/products/{product}")).await;
        let left = STOCK - sold;
        let is_settled = now["units_sold"] == sold && now["stock_quantity"] == left && now["available_quantity"] == left;
        if is_settled { Ok(()) } else { Err(format!("{sold} were sold, but {now}")) }
    });
    eventually!(within PATIENCE, {
        let notices = region.all("/notifications?channel=log&limit=100", "notifications").await;
        let mut told: Vec<_> = notices.iter().filter(|one| one["event_type"] == "payment.completed").map(|one| one["payment_id"].as_str().unwrap_or_default().to_owned()).collect();
        told.sort_unstable();
        if told.iter().eq(&paid_ids) { Ok(()) } else { Err(format!("{} were told of {} payments", told.len(), paid_ids.len())) }
    });
    let payment = region.replicas.iter().find(|replica| replica.name.starts_with("payment")).expect("is there");
    let output = payment.process.beside(&["reconcile", "--json", "--wait", "2s"]).run();
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stdout));
}
