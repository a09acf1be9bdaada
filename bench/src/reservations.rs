//! Reservations of one product by many callers: as product-service makes them, together, beside the same rows written by one
//! transaction for each. Both on the same server, in turns, each commit as durable as the other.

use anyhow::{Context as _, ensure};
use serde_json::json;
use shop_proto::product::v1::stock_service_client::StockServiceClient;
use shop_proto::product::v1::{ReserveStockRequest, StockLine};
use sqlx::{Connection as _, Executor as _, PgConnection};
use tonic::transport::{Channel, Endpoint};
use uuid::Uuid;

use crate::client::{self, Connection, Load};
use crate::process::{Process, beside};
use crate::report;
use crate::suite::{Place, Suite};

/// How many reservations, and by how many at once.
#[derive(clap::Args)]
pub(crate) struct Plan {
    /// Callers at once, each with a connection of its own.
    #[arg(long, default_value_t = 64)]
    callers: usize,
    /// Reservations in a turn of either kind.
    #[arg(long, default_value_t = 5_000)]
    reservations: usize,
    /// Rounds that count, one turn of each kind in each; one more goes before them.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
}

/// Measures both in turns, and prints a table.
pub(crate) async fn reservations(plan: Plan) -> anyhow::Result<()> {
    let Plan { callers, reservations, rounds } = plan;
    let place = Place::make("reservations").await?;
    let (product, grpc) = Suite::product(&beside()?, &place).await?;
    // One product for each kind, so that neither waits for the other's row to be cleaned up.
    let (together, alone) = (stocked(&product).await?, stocked(&product).await?);
    report::heading(&format!("{callers} callers reserve one unit each of one product, {reservations} in a turn"));
    let mut ratios = Vec::new();
    for round in 0..=rounds {
        let (service, spent) =
            report::measured(&[&product], by_service(&grpc, together, callers, reservations)).await?;
        let single = by_transactions(&place.product, alone, callers, reservations).await?;
        // The first fills caches and prepares statements.
        if round > 0 {
            report::row("ReserveStock", &service, &spent);
            report::row("one a transaction", &single, &[]);
            ratios.push(service.rate() / single.rate());
        }
    }
    all_are_held(&place.product, (rounds + 1) * reservations, [together, alone]).await?;
    ratios.sort_unstable_by(f64::total_cmp);
    let median = ratios.get(ratios.len() / 2).context("--rounds must be at least 1")?;
    let (least, most) = (ratios.first().unwrap_or(median), ratios.last().unwrap_or(median));
    report::note(&format!("Together it is {median:.1} times the rate (median; {least:.1} to {most:.1})."));
    Ok(())
}

/// A product with more units than anybody will reserve.
async fn stocked(product: &Process) -> anyhow::Result<i64> {
    let body = json!({"name": "desk", "price": 10, "stock_quantity": 1_000_000_000, "category": "bench"});
    let made = Connection::open(&product.host).await?.json("POST", "/products", &body.to_string()).await?;
    made["id"].as_i64().context("the product has no id")
}

async fn by_service(grpc: &str, product: i64, callers: usize, count: usize) -> anyhow::Result<Load> {
    let mut clients = Vec::new();
    for _ in 0..callers {
        let channel: Channel = Endpoint::from_shared(format!("http://{grpc}"))?.connect().await?;
        clients.push(StockServiceClient::new(channel));
    }
    let reserve = async |client: &mut StockServiceClient<Channel>, _| {
        let request = ReserveStockRequest {
            reservation_id: Uuid::now_v7().to_string(),
            lines: vec![StockLine { product_id: product, quantity: 1 }],
            replaces: String::new(),
        };
        let answer = client.reserve_stock(request).await?.into_inner();
        ensure!(answer.created, "the reservation was there already");
        Ok(())
    };
    client::spread(clients, count, reserve).await
}

/// The statements of a reservation by itself, on connections that have them prepared.
async fn by_transactions(url: &str, product: i64, callers: usize, count: usize) -> anyhow::Result<Load> {
    let mut connections = Vec::new();
    for _ in 0..callers {
        connections.push(PgConnection::connect(url).await?);
    }
    let reserve = async |connection: &mut PgConnection, _| {
        let id = Uuid::now_v7();
        connection.execute("BEGIN").await?;
        for sql in [
            "INSERT INTO reservations (id, state, created_at, updated_at, sale_counts) VALUES ($1, 'open', $2, $2, 1)",
            "SELECT stock_quantity - reserved_quantity FROM products WHERE id = $2 AND $1::uuid IS NOT NULL FOR UPDATE",
            "INSERT INTO reservation_lines (reservation_id, product_id, quantity, state) VALUES ($1, $2, 1, 'held')",
            "UPDATE products SET reserved_quantity = reserved_quantity + 1, moves = moves + 1 \
             WHERE id = $2 AND $1::uuid IS NOT NULL",
            "INSERT INTO stock_movements (product_id, kind, stock_delta, reserved_delta, reservation_id, created_at) \
             VALUES ($2, 'reservation', 0, 1, $1, 0)",
        ] {
            sqlx::query(sql).bind(id).bind(product).execute(&mut *connection).await?;
        }
        connection.execute("COMMIT").await?;
        Ok(())
    };
    client::spread(connections, count, reserve).await
}

/// A rate counts only if every reservation was kept.
async fn all_are_held(url: &str, each: usize, products: [i64; 2]) -> anyhow::Result<()> {
    let mut server = PgConnection::connect(url).await?;
    for product in products {
        let sql = "SELECT reserved_quantity FROM products WHERE id = $1";
        let held: i64 = sqlx::query_scalar(sql).bind(product).fetch_one(&mut server).await?;
        ensure!(usize::try_from(held)? == each, "{each} units of product {product} were reserved, and {held} are held");
    }
    Ok(())
}
