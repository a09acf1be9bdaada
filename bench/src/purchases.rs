//! What a purchase costs, over everything that works for it: each process with its children, stores included, until the last
//! consumer has done its part. Two builds may take turns in one run.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::ensure;
use serde_json::{Value, json};
use sqlx::{Connection as _, PgConnection};

use crate::client::{Connection, Load, load};
use crate::process::beside;
use crate::report::{self, note};
use crate::scenario::make_product;
use crate::stores::{self, Counts};
use crate::suite::{Place, Shape, Suite};

/// One of so many buyers is declined.
pub(crate) const DECLINED: usize = 10;

/// Purchases before those that count, so that pools, plans and assignments of topics are there.
pub(crate) const WARM_UP: usize = 100;

/// How long the suite is watched while nobody buys.
const IDLE: Duration = Duration::from_secs(4);

/// How often it is looked whether consumers are done, and how many looks without news mean that they are.
const LOOK: (Duration, usize) = (Duration::from_millis(100), 5);

/// What is measured.
#[derive(clap::Args, Clone)]
pub(crate) struct Plan {
    /// How the suite is set up.
    #[arg(long, value_enum, default_value_t = Shape::Whole)]
    shape: Shape,
    /// Purchases in each round.
    #[arg(long, default_value_t = 1_000)]
    purchases: usize,
    /// Buyers at once.
    #[arg(long, default_value_t = 12)]
    buyers: usize,
    /// Rounds; the table shows medians.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// A folder with the binaries of another build, which takes turns with the one of this program.
    #[arg(long)]
    before: Option<PathBuf>,
}

/// A build, and what its rounds came to.
struct Build {
    name: &'static str,
    folder: PathBuf,
    place: Place,
    products: Vec<i64>,
    rounds: Vec<Round>,
}

/// What one round came to.
struct Round {
    rate: f64,
    /// Milliseconds of CPU a purchase, by process.
    cpu: BTreeMap<&'static str, f64>,
    /// Milliseconds of CPU a second while nobody buys, by process.
    idle: BTreeMap<&'static str, f64>,
    /// What stores counted a purchase.
    counts: BTreeMap<String, f64>,
}

/// Measures, and prints tables.
pub(crate) async fn purchases(plan: Plan) -> anyhow::Result<()> {
    let mut builds = Vec::new();
    for (name, folder) in plan.before.iter().map(|folder| ("before", folder.clone())).chain([("now", beside()?)]) {
        builds.push(Build { name, folder, place: Place::make(name).await?, products: Vec::new(), rounds: Vec::new() });
    }
    for round in 0..plan.rounds.max(1) {
        // Who begins takes turns as well.
        let order: Vec<usize> =
            if round % 2 == 0 { (0..builds.len()).collect() } else { (0..builds.len()).rev().collect() };
        for index in order {
            let done = turn(&plan, &mut builds[index], round).await?;
            builds[index].rounds.push(done);
        }
    }
    print(&plan, &builds);
    Ok(())
}

/// One build's turn: its processes are there for that long only, so that the other's cost it nothing.
async fn turn(plan: &Plan, build: &mut Build, round: usize) -> anyhow::Result<Round> {
    let suite = Suite::start(&build.folder, plan.shape, &build.place).await?;
    if build.products.is_empty() {
        build.products = stock(&suite).await?;
    }
    let hosts: Vec<_> = suite.hosts.iter().map(String::as_str).collect();
    let buy = async |count: usize, what: &str| {
        load(&hosts, plan.buyers, count, async |c: &mut [Connection], n: usize| {
            let buyer = Buyer { shape: plan.shape, name: format!("{what}-{round}-{n}"), declined: n % DECLINED == 9 };
            buyer.purchase(c, build.products[n % build.products.len()]).await
        })
        .await
    };
    buy(WARM_UP, "early").await?;
    settled(&suite, &build.place).await?;
    let (before, counted) = (spent(&suite)?, stores::counts().await?);
    let load = buy(plan.purchases, "buyer").await?;
    let after = settled(&suite, &build.place).await?;
    let counts = stores::between(&counted, &stores::counts().await?);
    let quiet = spent(&suite)?;
    tokio::time::sleep(IDLE).await;
    let idle = spent(&suite)?;
    let each = |from: &Spent, to: &Spent, by: f64| {
        to.iter().map(|(name, cpu)| (*name, cpu.saturating_sub(from[name]).as_secs_f64() * 1e3 / by)).collect()
    };
    Ok(Round {
        rate: load.rate(),
        cpu: each(&before, &after, plan.purchases as f64),
        idle: each(&quiet, &idle, IDLE.as_secs_f64()),
        counts: per(counts, &load),
    })
}

/// CPU so far, by the name of the process; replicas together.
pub(crate) type Spent = BTreeMap<&'static str, Duration>;

pub(crate) fn spent(suite: &Suite) -> anyhow::Result<Spent> {
    let mut spent = Spent::new();
    for (name, cpu) in stores::cpu(&stores::processes()?) {
        *spent.entry(name).or_default() += cpu;
    }
    for process in &suite.processes {
        *spent.entry(process.name.trim_end_matches("-service")).or_default() += process.tree_cpu();
    }
    Ok(spent)
}

/// Waits until consumers have nothing more to do; the CPU when the last of it was done.
pub(crate) async fn settled(suite: &Suite, place: &Place) -> anyhow::Result<Spent> {
    let mut urls = vec![&place.product];
    if suite.shape == Shape::Whole {
        urls.push(&place.notification);
    }
    let mut connections = Vec::new();
    for url in urls {
        connections.push(PgConnection::connect(url).await?);
    }
    let (mut seen, mut quiet, mut cpu) = (-1, 0, spent(suite)?);
    while quiet < LOOK.1 {
        tokio::time::sleep(LOOK.0).await;
        let mut now = 0;
        for connection in &mut connections {
            now += sqlx::query_scalar::<_, i64>("SELECT COUNT(*) FROM inbox").fetch_one(connection).await?;
        }
        if now == seen {
            quiet += 1;
        } else {
            (seen, quiet, cpu) = (now, 0, spent(suite)?);
        }
    }
    Ok(cpu)
}

/// A catalogue of a hundred products that do not run out.
pub(crate) async fn stock(suite: &Suite) -> anyhow::Result<Vec<i64>> {
    let host = &suite.process("product-service").map(|process| process.host.clone()).unwrap_or_default();
    let mut catalogue = Connection::open(host).await?;
    let mut products = Vec::new();
    for number in 0..100 {
        products.push(make_product(&mut catalogue, number, 1_000_000).await?);
    }
    Ok(products)
}

/// Somebody who buys one thing.
pub(crate) struct Buyer {
    pub(crate) shape: Shape,
    pub(crate) name: String,
    pub(crate) declined: bool,
}

impl Buyer {
    /// Looks, puts it into the basket, opens a payment, pays.
    pub(crate) async fn purchase(&self, c: &mut [Connection], product: i64) -> anyhow::Result<()> {
        let made = self.order(c, product).await?;
        said(&made, 201)?;
        let paid = self.pay(&mut c[1], &made.1, "pay").await?;
        said(&paid, if self.declined { 402 } else { 200 })
    }

    /// All of it up to the payment; what `POST /payments` answered.
    pub(crate) async fn order(&self, c: &mut [Connection], product: i64) -> anyhow::Result<(u16, bytes::Bytes)> {
        let name = &self.name;
        let looked = c[2].call("GET", &self.path(&format!("/products/{product}")), "").await?;
        said(&looked, 200)?;
        let line = json!({"product_id": product, "quantity": 1});
        said(&self.post(&mut c[0], &format!("/baskets/{name}/items"), "add", &line).await?, 200)?;
        let order = json!({"user_id": name, "method": "credit_card"});
        self.post(&mut c[1], "/payments", "open", &order).await
    }

    /// Pays what `POST /payments` answered, in a request of this name.
    pub(crate) async fn pay(
        &self,
        connection: &mut Connection,
        made: &[u8],
        request: &str,
    ) -> anyhow::Result<(u16, bytes::Bytes)> {
        let made: Value = serde_json::from_slice(made)?;
        let payment = made["id"].as_str().unwrap_or_default();
        let token = json!({"payment_token": if self.declined { "tok_decline" } else { "tok_approve" }});
        self.post(connection, &format!("/payments/{payment}/process"), request, &token).await
    }

    async fn post(
        &self,
        connection: &mut Connection,
        path: &str,
        what: &str,
        body: &Value,
    ) -> anyhow::Result<(u16, bytes::Bytes)> {
        let key = (self.shape == Shape::Whole).then(|| format!("{}-{what}", self.name));
        let key = key.as_deref().map(|key| ("idempotency-key", key));
        let answer = connection.post(&self.path(path), &body.to_string(), key).await?;
        Ok((answer.status().as_u16(), answer.into_body()))
    }

    fn path(&self, path: &str) -> String {
        match self.shape {
            Shape::Whole => format!("/api{path}"),
            Shape::Bare => path.to_owned(),
        }
    }
}

fn said((status, body): &(u16, bytes::Bytes), wanted: u16) -> anyhow::Result<()> {
    ensure!(*status == wanted, "answered {status} instead of {wanted}: {}", String::from_utf8_lossy(body));
    Ok(())
}

fn per(counts: Counts, load: &Load) -> BTreeMap<String, f64> {
    let purchases = load.times.len().max(1) as f64;
    counts.into_iter().map(|(name, count)| (name, count as f64 / purchases)).collect()
}

fn print(plan: &Plan, builds: &[Build]) {
    note(&format!(
        "A purchase ({:?}): {} buyers at once, {} purchases a round, one of {DECLINED} declined; medians of {} rounds",
        plan.shape, plan.buyers, plan.purchases, plan.rounds
    ));
    let heads: Vec<_> = builds.iter().map(|build| build.name).collect();
    let titled = |title| [&[title], heads.as_slice()].concat();
    let rows = |of: fn(&Round) -> BTreeMap<String, f64>, least: f64| {
        let columns: Vec<_> =
            builds.iter().map(|build| medians(&build.rounds.iter().map(of).collect::<Vec<_>>())).collect();
        let mut names: Vec<_> = columns.iter().flat_map(BTreeMap::keys).collect();
        names.sort_unstable();
        names.dedup();
        for name in names {
            let values: Vec<_> = columns.iter().map(|column| column.get(name).copied().unwrap_or_default()).collect();
            if values.iter().any(|value| *value >= least) {
                row(name, &values);
            }
        }
    };
    report::columns(&titled("CPU ms a purchase"));
    let sum = |cpu: &BTreeMap<&'static str, f64>| cpu.values().sum::<f64>();
    rows(|round| named(&round.cpu), 0.0);
    row("all", &of_all(builds, |round| sum(&round.cpu)));
    row("purchases a second", &of_all(builds, |round| round.rate));
    report::columns(&titled("CPU ms a second while nobody buys"));
    rows(|round| named(&round.idle), 0.0);
    row("all", &of_all(builds, |round| sum(&round.idle)));
    report::columns(&titled("statements a purchase"));
    rows(|round| round.counts.clone(), 0.05);
}

fn named(values: &BTreeMap<&'static str, f64>) -> BTreeMap<String, f64> {
    values.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect()
}

fn row(name: &str, values: &[f64]) {
    let values = values.iter().map(|value| format!("{value:.2}"));
    report::cells(&std::iter::once(name.to_owned()).chain(values).collect::<Vec<_>>());
}

fn of_all(builds: &[Build], of: impl Fn(&Round) -> f64) -> Vec<f64> {
    builds.iter().map(|build| median(build.rounds.iter().map(&of).collect())).collect()
}

/// The median of each name over the rounds; what a round does not name is nothing.
fn medians(rounds: &[BTreeMap<String, f64>]) -> BTreeMap<String, f64> {
    let names: Vec<_> = rounds.iter().flat_map(BTreeMap::keys).cloned().collect();
    let of = |name: &String| median(rounds.iter().map(|round| round.get(name).copied().unwrap_or_default()).collect());
    names.into_iter().map(|name| (name.clone(), of(&name))).collect()
}

pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}
