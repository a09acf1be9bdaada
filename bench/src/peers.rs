//! The suite beside Vendure: the same purchases in turns in one run, seven units wanted by forty buyers, and orders paid twice at once.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use futures_util::future::try_join_all;
use serde_json::{Value, json};
use shop_testing::Program;
use shop_testing::program::Child;
use sqlx::{Connection as _, PgConnection};

use crate::baseline;
use crate::client::{Connection, Load, load};
use crate::process::{self, beside, free_port};
use crate::purchases::{Buyer, DECLINED, WARM_UP, median, settled, spent, stock};
use crate::report::{self, note};
use crate::scenario::make_product;
use crate::stores::{self, variable};
use crate::suite::{Place, Shape, Suite};

/// Who wants how many units of one product.
const CROWD: usize = 40;
const UNITS: u32 = 7;

/// Orders that are paid twice at once.
const TWICE: usize = 20;

/// How long Vendure may take to make its tables and its catalogue.
const PREPARE: Duration = Duration::from_mins(5);

/// What is measured.
#[derive(clap::Args)]
pub(crate) struct Plan {
    /// The folder in which Vendure is installed, with `vendure.js`.
    #[arg(long)]
    vendure: PathBuf,
    /// Purchases in each round.
    #[arg(long, default_value_t = 200)]
    purchases: usize,
    /// Buyers at once.
    #[arg(long, default_value_t = 12)]
    buyers: usize,
    /// Rounds; the table shows medians.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
}

/// A shop that is bought from.
trait Shop {
    /// Where its buyers connect to.
    fn hosts(&self) -> Vec<&str>;
    /// A purchase of one that does not run out.
    async fn buy(&self, c: &mut [Connection], who: &str, n: usize) -> anyhow::Result<()>;
    /// A purchase of the one with [`UNITS`]; whether it was paid and taken.
    async fn snatch(&self, c: &mut [Connection], n: usize) -> anyhow::Result<bool>;
    /// An order that is paid by two requests at once; how many of them were taken.
    async fn pay_twice(&self, n: usize) -> anyhow::Result<usize>;
    /// The CPU of all that works for it, once nothing is left to do.
    async fn spent(&self) -> anyhow::Result<Duration>;
}

/// What a shop came to.
#[derive(Default)]
struct Column {
    cpu: Vec<f64>,
    rate: Vec<f64>,
}

/// Measures, and prints a table.
pub(crate) async fn peers(plan: Plan) -> anyhow::Result<()> {
    let place = Place::make("peers").await?;
    let (mut ours, mut theirs) = (Column::default(), Column::default());
    let vendure = Vendure::start(&plan).await?;
    let mut products = None;
    for round in 0..plan.rounds.max(1) {
        // One is there while the other is measured, and does nothing.
        vendure.process.signal("STOP");
        let suite = Ours::start(&place, &mut products).await?;
        turn(&plan, &suite, round, &mut ours).await?;
        drop(suite);
        vendure.process.signal("CONT");
        turn(&plan, &vendure, round, &mut theirs).await?;
    }
    let suite = Ours::start(&place, &mut products).await?;
    note(&format!(
        "{} buyers at once, {} purchases a round, one of {DECLINED} declined; medians of {} rounds",
        plan.buyers, plan.purchases, plan.rounds
    ));
    report::columns(&["", "the suite", "Vendure"]);
    let row = |what: &str, ours: String, theirs: String| report::cells(&[what.to_owned(), ours, theirs]);
    row("CPU ms a purchase", tenths(ours.cpu), tenths(theirs.cpu));
    row("purchases a second", tenths(ours.rate), tenths(theirs.rate));
    let (sold, theirs) = (crowd(&suite).await?, crowd(&vendure).await?);
    row(&format!("sold of {UNITS} to {CROWD} buyers at once"), sold.to_string(), theirs.to_string());
    let (ours, theirs) = (twice(&suite).await?, twice(&vendure).await?);
    row(&format!("of {TWICE} orders paid twice at once, taken twice"), ours.to_string(), theirs.to_string());
    Ok(())
}

fn tenths(values: Vec<f64>) -> String {
    format!("{:.1}", median(values))
}

async fn turn(plan: &Plan, shop: &impl Shop, round: usize, column: &mut Column) -> anyhow::Result<()> {
    let hosts = shop.hosts();
    let buy = async |count: usize, who: String| -> anyhow::Result<Load> {
        let one = async |c: &mut [Connection], n: usize| shop.buy(c, &format!("{who}-{n}"), n).await;
        load(&hosts, plan.buyers, count, one).await
    };
    buy(WARM_UP.min(plan.purchases), format!("early-{round}")).await?;
    let before = shop.spent().await?;
    let load = buy(plan.purchases, format!("buyer-{round}")).await?;
    let after = shop.spent().await?;
    column.rate.push(load.rate());
    column.cpu.push(after.saturating_sub(before).as_secs_f64() * 1e3 / plan.purchases as f64);
    Ok(())
}

async fn crowd(shop: &impl Shop) -> anyhow::Result<usize> {
    let sold = std::sync::atomic::AtomicUsize::new(0);
    let one = async |c: &mut [Connection], n: usize| {
        let taken = shop.snatch(c, n).await?;
        sold.fetch_add(taken.into(), std::sync::atomic::Ordering::Relaxed);
        Ok(())
    };
    load(&shop.hosts(), CROWD, CROWD, one).await?;
    Ok(sold.into_inner())
}

async fn twice(shop: &impl Shop) -> anyhow::Result<usize> {
    let mut twice = 0;
    for n in 0..TWICE {
        twice += usize::from(shop.pay_twice(n).await? > 1);
    }
    Ok(twice)
}

/// The suite, whole.
struct Ours<'a> {
    suite: Suite,
    place: &'a Place,
    products: Vec<i64>,
}

impl<'a> Ours<'a> {
    /// Starts it; the first time it gets its catalogue, with the scarce product at the end.
    async fn start(place: &'a Place, products: &mut Option<Vec<i64>>) -> anyhow::Result<Self> {
        let suite = Suite::start(&beside()?, Shape::Whole, place).await?;
        if products.is_none() {
            let mut made = stock(&suite).await?;
            let host = &suite.process("product-service").context("product-service was not started")?.host;
            made.push(make_product(&mut Connection::open(host).await?, 100, UNITS).await?);
            *products = Some(made);
        }
        Ok(Self { suite, place, products: products.clone().unwrap_or_default() })
    }

    fn buyer(name: String, declined: bool) -> Buyer {
        Buyer { shape: Shape::Whole, name, declined }
    }
}

impl Shop for Ours<'_> {
    fn hosts(&self) -> Vec<&str> {
        self.suite.hosts.iter().map(String::as_str).collect()
    }

    async fn buy(&self, c: &mut [Connection], who: &str, n: usize) -> anyhow::Result<()> {
        Self::buyer(who.to_owned(), n % DECLINED == 9).purchase(c, self.products[n % (self.products.len() - 1)]).await
    }

    async fn snatch(&self, c: &mut [Connection], n: usize) -> anyhow::Result<bool> {
        let buyer = Self::buyer(format!("crowd-{n}"), false);
        // Refused where it is put into the basket, or where it is ordered.
        let Ok((201, made)) = buyer.order(c, self.products[self.products.len() - 1]).await else { return Ok(false) };
        Ok(buyer.pay(&mut c[1], &made, "pay").await?.0 == 200)
    }

    async fn pay_twice(&self, n: usize) -> anyhow::Result<usize> {
        let buyer = Self::buyer(format!("twice-{n}"), false);
        let mut c = Vec::new();
        for host in self.hosts() {
            c.push(Connection::open(host).await?);
        }
        let (status, made) = buyer.order(&mut c, self.products[0]).await?;
        ensure!(status == 201, "POST /payments answered {status}");
        let (one, two) = c.split_at_mut(1);
        let (one, two) = tokio::try_join!(buyer.pay(&mut one[0], &made, "one"), buyer.pay(&mut two[0], &made, "two"))?;
        Ok([one.0, two.0].iter().filter(|status| **status == 200).count())
    }

    async fn spent(&self) -> anyhow::Result<Duration> {
        settled(&self.suite, self.place).await?;
        Ok(spent(&self.suite)?.values().sum())
    }
}

/// Vendure: one process, and PostgreSQL.
struct Vendure {
    process: Child,
    postgres: Vec<(&'static str, u32)>,
    host: String,
    database: String,
    /// `many`, `seven` and `twice`, as `vendure.js` writes them.
    catalogue: Value,
}

impl Vendure {
    async fn start(plan: &Plan) -> anyhow::Result<Self> {
        let database = baseline::database(&variable("SHOP_TEST_POSTGRES_URL")?, "shop_bench_vendure").await?;
        let folder = tempfile::tempdir()?;
        let (catalogue, log) =
            (folder.path().join("catalogue.json"), std::env::temp_dir().join("shop-bench-vendure.log"));
        let port = free_port()?;
        let output = std::fs::File::create(&log)?;
        let mut process = Program::new("node")
            .arg(plan.vendure.join("vendure.js"))
            .env("DATABASE_URL", &database)
            .env("PORT", port.to_string())
            .env("CATALOGUE", &catalogue)
            .env("NODE_ENV", "production")
            .stdout(output.try_clone()?)
            .stderr(output)
            .spawn();
        let mut poll = tokio::time::interval(Duration::from_millis(100));
        let until = std::time::Instant::now() + PREPARE;
        let catalogue = loop {
            poll.tick().await;
            if let Some(status) = process.exited() {
                bail!("Vendure ended with {status}; see {}", log.display());
            }
            if let Ok(text) = std::fs::read_to_string(&catalogue) {
                break serde_json::from_str(&text)?;
            }
            ensure!(std::time::Instant::now() < until, "Vendure is not ready after {PREPARE:?}; see {}", log.display());
        };
        let postgres = stores::processes()?.into_iter().filter(|(name, _)| *name == "postgres").collect();
        Ok(Self { process, postgres, host: format!("127.0.0.1:{port}"), database, catalogue })
    }

    /// Looks, puts it into the order, and goes through all that Vendure wants before a payment; the session.
    async fn order(&self, connection: &mut Connection, who: &str, variant: &Value) -> anyhow::Result<Option<Session>> {
        let mut session = Session(None);
        let looked = "query($id: ID!) { product(id: $id) { id name description variants { id price stockLevel } } }";
        session.ask(connection, looked, json!({"id": variant})).await?;
        let add = "mutation($id: ID!) { addItemToOrder(productVariantId: $id, quantity: 1) { __typename } }";
        if !session.did(connection, add, json!({"id": variant}), &["addItemToOrder"]).await? {
            return Ok(None);
        }
        // In one request, which is kind to it: a storefront makes several.
        let ready = "mutation($email: String!) { \
            setCustomerForOrder(input: {firstName: \"Ada\", lastName: \"L\", emailAddress: $email}) { __typename } \
            setOrderShippingAddress(input: {fullName: \"Ada\", streetLine1: \"1 Way\", city: \"Town\", \
                postalCode: \"12345\", countryCode: \"DE\"}) { __typename } \
            setOrderShippingMethod(shippingMethodId: [\"1\"]) { __typename } \
            transitionOrderToState(state: \"ArrangingPayment\") { __typename } }";
        let steps =
            ["setCustomerForOrder", "setOrderShippingAddress", "setOrderShippingMethod", "transitionOrderToState"];
        let email = json!({"email": format!("{who}@example.com")});
        Ok(session.did(connection, ready, email, &steps).await?.then_some(session))
    }
}

/// Whose order it is.
#[derive(Clone)]
struct Session(Option<String>);

impl Session {
    async fn ask(&mut self, connection: &mut Connection, query: &str, variables: Value) -> anyhow::Result<Value> {
        let token = self.0.as_ref().map(|token| format!("Bearer {token}"));
        let body = json!({"query": query, "variables": variables}).to_string();
        let header = token.as_deref().map(|token| ("authorization", token));
        let answer = connection.post("/shop-api", &body, header).await?;
        if let Some(token) = answer.headers().get("vendure-auth-token") {
            self.0 = Some(token.to_str()?.to_owned());
        }
        let answer: Value = serde_json::from_slice(answer.body())?;
        ensure!(answer["errors"].is_null(), "Vendure answered {answer}");
        Ok(answer)
    }

    /// Whether each of `steps` answered with an order.
    async fn did(
        &mut self,
        connection: &mut Connection,
        query: &str,
        variables: Value,
        steps: &[&str],
    ) -> anyhow::Result<bool> {
        let answer = self.ask(connection, query, variables).await?;
        Ok(steps.iter().all(|step| answer["data"][step]["__typename"] == "Order"))
    }

    async fn pay(&mut self, connection: &mut Connection, declined: bool) -> anyhow::Result<bool> {
        let pay = "mutation($metadata: JSON!) { addPaymentToOrder(input: {method: \"dummy\", metadata: $metadata}) \
            { __typename ... on Order { code state } } }";
        let metadata = json!({"metadata": {"shouldDecline": declined}});
        self.did(connection, pay, metadata, &["addPaymentToOrder"]).await
    }
}

impl Shop for Vendure {
    fn hosts(&self) -> Vec<&str> {
        vec![&self.host]
    }

    async fn buy(&self, c: &mut [Connection], who: &str, n: usize) -> anyhow::Result<()> {
        let declined = n % DECLINED == 9;
        let order = self.order(&mut c[0], who, &self.catalogue["many"][n % 100]).await?;
        let paid = order.context("Vendure did not take an order")?.pay(&mut c[0], declined).await?;
        ensure!(paid != declined, "Vendure's payment went the other way");
        Ok(())
    }

    async fn snatch(&self, c: &mut [Connection], n: usize) -> anyhow::Result<bool> {
        match self.order(&mut c[0], &format!("crowd-{n}"), &self.catalogue["seven"]).await? {
            Some(mut session) => session.pay(&mut c[0], false).await,
            None => Ok(false),
        }
    }

    async fn pay_twice(&self, n: usize) -> anyhow::Result<usize> {
        let mut c = try_join_all([Connection::open(&self.host), Connection::open(&self.host)]).await?;
        let order = self.order(&mut c[0], &format!("twice-{n}"), &self.catalogue["twice"]).await?;
        let mut session = order.context("Vendure did not take an order")?;
        let mut other = session.clone();
        let (one, two) = c.split_at_mut(1);
        // A refusal is an answer as well.
        let (one, two) = tokio::join!(session.pay(&mut one[0], false), other.pay(&mut two[0], false));
        Ok([one, two].into_iter().filter(|paid| matches!(paid, Ok(true))).count())
    }

    async fn spent(&self) -> anyhow::Result<Duration> {
        let mut database = PgConnection::connect(&self.database).await?;
        let mut poll = tokio::time::interval(Duration::from_millis(200));
        let waiting = "SELECT COUNT(*) FROM job_record WHERE NOT \"isSettled\"";
        loop {
            poll.tick().await;
            if sqlx::query_scalar::<_, i64>(waiting).fetch_one(&mut database).await? == 0 {
                break;
            }
        }
        let stores: Duration = stores::cpu(&self.postgres).into_iter().map(|(_, cpu)| cpu).sum();
        Ok(stores + process::tree_cpu(self.process.id()))
    }
}
