//! What is measured.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use futures_util::lock::Mutex;
use serde_json::{Value, json};

use crate::Size;
use crate::baseline;
use crate::client::{Connection, load};
use crate::process::{Process, beside, free_port};
use crate::report::{heading, measured, note, peer, row};
use crate::stores::variable;
use crate::suite::{Place, Shape, Suite};

/// The separate services on real servers.
#[expect(clippy::too_many_lines, reason = "the list of what is measured, in order")]
pub(crate) async fn services(size: Size) -> anyhow::Result<()> {
    let Size { requests, connections } = size;
    let postgres = variable("SHOP_TEST_POSTGRES_URL")?;
    let pgbench_db = baseline::database(&postgres, "shop_pgbench").await?;
    let place = Place::make("services").await?;
    let suite = Suite::start(&beside()?, Shape::Bare, &place).await?;
    let named = |name: &str| suite.process(name).with_context(|| format!("{name} was not started"));
    let (product, basket, payment) = (named("product-service")?, named("basket-service")?, named("payment-service")?);
    let ports: Vec<u16> = (0..2).map(|_| free_port()).collect::<Result<_, _>>()?;
    let local = |port: u16| format!("127.0.0.1:{port}");

    let mut catalogue = Connection::open(&product.host).await?;
    let mut products = Vec::new();
    for number in 0..100 {
        products.push(make_product(&mut catalogue, number, 1_000_000).await?);
    }
    let scarce = make_product(&mut catalogue, 1000, 1_000_000).await?;

    heading(&format!("Single calls, {connections} connections, {requests} requests each"));
    let sample = tempfile::NamedTempFile::new()?;
    let (_, bytes) = catalogue.call("GET", &format!("/products/{}", products[0]), "").await?;
    std::fs::write(sample.path(), &bytes)?;
    let file = sample.path().display().to_string();
    let (bare, _) =
        Process::start("shop-bench", &["bare", &ports[0].to_string(), &file], &[], local(ports[0]), "/").await?;
    let (bare_load, bare_cpu) = measured(
        &[&bare],
        load(&[&bare.host], connections, requests, async |c: &mut [Connection], _| {
            expect(c[0].call("GET", "/", "").await?, 200)
        }),
    )
    .await?;
    row("bare salvo handler, same bytes", &bare_load, &bare_cpu);
    let (reader, _) = Process::start(
        "shop-bench",
        &["bare", &ports[1].to_string(), &file, &place.product],
        &[],
        local(ports[1]),
        "/",
    )
    .await?;
    let (reader_load, reader_cpu) = measured(
        &[&reader],
        load(&[&reader.host], connections, requests, async |c: &mut [Connection], _| {
            expect(c[0].call("GET", "/", "").await?, 200)
        }),
    )
    .await?;
    row("the same after one read by sqlx", &reader_load, &reader_cpu);

    let all = [product, basket, payment];
    let ids = products.clone();
    let (get_load, get_cpu) = measured(
        &all[..1],
        load(&[&product.host], connections, requests, async move |c: &mut [Connection], n| {
            expect(c[0].call("GET", &format!("/products/{}", ids[n % ids.len()]), "").await?, 200)
        }),
    )
    .await?;
    row("GET /products/{id}", &get_load, &get_cpu);
    let select = baseline::pgbench(&pgbench_db, connections, requests, false).await?;
    peer("pgbench -S -M prepared", select);
    let update = baseline::pgbench(&pgbench_db, connections, requests, true).await?;
    peer("pgbench, single-row updates", update);

    let ids = products.clone();
    let (add_load, add_cpu) = measured(
        &all[..2],
        load(&[&basket.host], connections, requests, async move |c: &mut [Connection], n| {
            // A user of its own for every few calls: baskets stay small, as they are in life.
            let body = format!(r#"{{"product_id":{},"quantity":1}}"#, ids[n % ids.len()]);
            expect(c[0].call("POST", &format!("/baskets/adder-{}/items", n / 4), &body).await?, 200)
        }),
    )
    .await?;
    row("POST /baskets/{user}/items", &add_load, &add_cpu);
    for (name, rate) in baseline::redis_benchmark(&variable("SHOP_TEST_REDIS_URL")?, connections, requests).await? {
        peer(&format!("redis-benchmark {name}"), rate);
    }

    let orders = (requests / 10).max(connections);
    let hosts = [basket.host.as_str(), payment.host.as_str(), product.host.as_str()];
    let made: Arc<Mutex<Vec<String>>> = Arc::default();
    let (ids, keep) = (products.clone(), made.clone());
    let (create_load, create_cpu) = measured(
        &all,
        load(&hosts, connections, orders, async move |c: &mut [Connection], n| {
            fill(&mut c[0], &format!("payer-{n}"), ids[n % ids.len()]).await?;
            let payment = checkout(&mut c[1], &format!("payer-{n}")).await?;
            keep.lock().await.push(payment);
            Ok(())
        }),
    )
    .await?;
    row("add + POST /payments", &create_load, &create_cpu);
    let pending = Arc::new(std::mem::take(&mut *made.lock().await));
    let (process_load, process_cpu) = measured(
        &all,
        load(&[&payment.host], connections, pending.len(), async move |c: &mut [Connection], n| {
            expect(c[0].call("POST", &format!("/payments/{}/process", pending[n]), "{}").await?, 200)
        }),
    )
    .await?;
    row("POST /payments/{id}/process", &process_load, &process_cpu);
    let inserts = baseline::mariadb_inserts(&place.mariadb, connections, orders).await?;
    row("MariaDB durable single-row inserts", &inserts, &[]);

    heading(&format!("The purchase path (browse, add, pay, process), {connections} connections, {orders} purchases"));
    for (what, contended) in [("100 products", false), ("1 product", true)] {
        let ids = if contended { vec![scarce] } else { products.clone() };
        let buy = load(&hosts, connections, orders, async move |c: &mut [Connection], n| {
            purchase(c, &format!("buyer-{contended}-{n}"), ids[n % ids.len()]).await
        });
        let (buy_load, buy_cpu) = measured(&all, buy).await?;
        row(what, &buy_load, &buy_cpu);
    }

    for process in all {
        let (now, peak) = (process.memory_kib("VmRSS") / 1024, process.memory_kib("VmHWM") / 1024);
        note(&format!("{}: {now} MiB resident, {peak} MiB at the peak", process.name));
    }
    let each = |cpu: &[(&str, Duration)], count: usize| cpu[0].1.as_secs_f64() * 1e6 / count as f64;
    let (ours, bare, read) =
        (each(&get_cpu, requests), each(&bare_cpu, requests), each(&reader_cpu, requests) - each(&bare_cpu, requests));
    note(&format!(
        "GET /products/{{id}}: {ours:.1} µs against 2 × {bare:.1} of a bare handler + {read:.1} for a round trip to the store: {:.2}; \
         {:.2} × the rate of pgbench -S",
        ours / (2.0 * bare + read),
        get_load.rate() / select
    ));
    note(&format!("POST …/process: {:.2} × the rate of single durable inserts", process_load.rate() / inserts.rate()));
    Ok(())
}

/// The all-in-one process on embedded stores.
pub(crate) async fn shop(size: Size) -> anyhow::Result<()> {
    let Size { requests, connections } = size;
    let data = tempfile::tempdir()?;
    let ports: Vec<u16> = (0..9).map(|_| free_port()).collect::<Result<_, _>>()?;
    let port = |key: &'static str, index: usize| (key, ports[index].to_string());
    let variables = [
        ("SHOP_DATA", data.path().display().to_string()),
        ("IDENTITY_MODE", "off".to_owned()),
        ("SHOP_GATEWAY__RATE_LIMIT__ENABLED", "false".to_owned()),
        ("SHOP_GATEWAY__LIMITS__CONNECTIONS_PER_ADDRESS", "0".to_owned()),
        ("SHOP_GATEWAY__LIMITS__UNFINISHED_PER_ADDRESS", "0".to_owned()),
        port("SHOP_GATEWAY__HTTP__PORT", 0),
        ("ADMIN_PORT", "0".to_owned()),
        port("SHOP_PRODUCT__HTTP__PORT", 1),
        port("SHOP_PRODUCT__GRPC__PORT", 2),
        port("SHOP_BASKET__HTTP__PORT", 3),
        port("SHOP_BASKET__GRPC__PORT", 4),
        port("SHOP_PAYMENT__HTTP__PORT", 5),
        port("SHOP_PAYMENT__GRPC__PORT", 6),
        port("SHOP_NOTIFICATION__HTTP__PORT", 7),
        port("SHOP_NOTIFICATION__GRPC__PORT", 8),
    ];
    let host = format!("127.0.0.1:{}", ports[0]);
    let start = async || Process::start("shop", &[], &variables, host.clone(), "/health/ready").await;
    drop(start().await?);
    let (shop, took) = start().await?;
    note(&format!("shop: ready {} ms after its start (warm binary)", took.as_millis()));
    note(&format!("shop: {} MiB resident when idle", shop.memory_kib("VmRSS") / 1024));

    heading(&format!("shop, through the gateway, {connections} connections"));
    let mut catalogue = Connection::open(&host).await?;
    let listed = catalogue.json("GET", "/api/products?limit=100", "").await?;
    let ids: Vec<i64> =
        listed["products"].as_array().into_iter().flatten().filter_map(|product| product["id"].as_i64()).collect();
    ensure!(!ids.is_empty(), "the catalogue is empty");
    let (browse_load, browse_cpu) = measured(
        &[&shop],
        load(&[&host], connections, 100_000.max(requests), async move |c: &mut [Connection], n| {
            expect(c[0].call("GET", &format!("/api/products/{}", ids[n % ids.len()]), "").await?, 200)
        }),
    )
    .await?;
    row("GET /api/products/{id}", &browse_load, &browse_cpu);
    note(&format!("shop: {} MiB resident after these requests", shop.memory_kib("VmRSS") / 1024));
    Ok(())
}

pub(crate) fn expect((status, body): (u16, bytes::Bytes), wanted: u16) -> anyhow::Result<()> {
    ensure!(status == wanted, "answered {status} instead of {wanted}: {}", String::from_utf8_lossy(&body));
    Ok(())
}

pub(crate) async fn make_product(connection: &mut Connection, number: usize, stock: u32) -> anyhow::Result<i64> {
    let body = json!({"name": format!("Product {number}"), "description": "measured", "price": "19.90",
        "stock_quantity": stock, "category": "bench", "image_url": null});
    let made = connection.json("POST", "/products", &body.to_string()).await?;
    made["id"].as_i64().context("a product without an id")
}

async fn fill(basket: &mut Connection, user: &str, product: i64) -> anyhow::Result<Value> {
    basket
        .json("POST", &format!("/baskets/{user}/items"), &json!({"product_id": product, "quantity": 1}).to_string())
        .await
}

async fn checkout(payment: &mut Connection, user: &str) -> anyhow::Result<String> {
    let body = json!({"user_id": user, "method": "credit_card"}).to_string();
    let made = payment.json("POST", "/payments", &body).await?;
    Ok(made["id"].as_str().context("a payment without an id")?.to_owned())
}

/// Browse, add, pay, process: connections are basket, payment, product.
async fn purchase(c: &mut [Connection], user: &str, product: i64) -> anyhow::Result<()> {
    expect(c[2].call("GET", &format!("/products/{product}"), "").await?, 200)?;
    fill(&mut c[0], user, product).await?;
    let payment = checkout(&mut c[1], user).await?;
    expect(c[1].call("POST", &format!("/payments/{payment}/process"), "{}").await?, 200)
}
