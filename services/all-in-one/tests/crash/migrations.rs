//! A service that is killed while it brings its store to the present schema, at every moment there is, comes up in the end.

use std::time::Duration;

use reqwest::Method;
use shop_testing::{Api, Process, backend, eventually, free_port};
use sqlx::{Connection as _, Executor as _};

/// More starts than any service's migrations need.
const MOST: u32 = 100;

/// A server on its own: nobody it would need is there.
pub(crate) fn service(name: &str, url: &str, port: u16) -> Process {
    Process::new(name)
        .env("IDENTITY_MODE", "off")
        .env("PORT", port.to_string())
        .env("GRPC_PORT", free_port().to_string())
        .env("DATABASE_URL", url)
        .env("KAFKA_BROKERS", "127.0.0.1:1")
        .env("BASKET_SERVICE_URL", "127.0.0.1:1")
        .env("PRODUCT_SERVICE_URL", "127.0.0.1:1")
}

/// Whether it serves.
pub(crate) async fn is_up(port: u16) -> bool {
    let api = Api::new(format_args!("127.0.0.1:{port}"));
    let request = api.request(Method::GET, "/health/live").timeout(Duration::from_secs(1));
    api.try_send(request).await.is_ok_and(|reply| reply.status == 200)
}

/// Starts it again and again, each time to die a statement later, until nothing is left to die in; how often it died.
async fn comes_up(mut service: Process, port: u16) -> u32 {
    for deaths in 0..MOST {
        service.set("SHOP_CRASH_AT", format!("migrate.statement:{}", deaths + 1));
        service.spawn();
        let came_up = eventually!(within Duration::from_mins(1), {
            if is_up(port).await {
                Some(true)
            } else {
                service.exited().map(|_| false)
            }
        });
        service.kill();
        if came_up {
            return deaths;
        }
    }
    panic!("it never came up:\n{}", service.output());
}

#[tokio::test]
async fn payment_killed_while_it_migrates_mariadb_comes_up() {
    let Some(db) = backend::mariadb().await else { return };
    let port = free_port();
    let deaths = comes_up(service("payment-service", &db.url(), port), port).await;
    assert!(deaths > 3, "died {deaths} times");
    let mut store = sqlx::MySqlConnection::connect(&db.url()).await.expect("connects");
    store.execute("SELECT COUNT(*) FROM outbox_relay").await.expect("is whole");
}

#[tokio::test]
async fn product_killed_while_it_migrates_postgresql_comes_up() {
    let Some(db) = backend::postgres().await else { return };
    let port = free_port();
    let deaths = comes_up(service("product-service", &db.url(), port), port).await;
    assert!(deaths > 3, "died {deaths} times");
    let mut store = sqlx::PgConnection::connect(&db.url()).await.expect("connects");
    store.execute("SELECT words FROM products").await.expect("is whole");
}

#[tokio::test]
async fn the_suite_killed_while_it_migrates_its_files_comes_up() {
    let data = tempfile::tempdir().expect("a folder");
    let port = free_port();
    let mut shop = Process::new("shop")
        .env("IDENTITY_MODE", "off")
        .env("SHOP_DATA", data.path().display().to_string())
        .env("SHOP_DEMO", "false")
        .env("SHOP_GATEWAY__HTTP__PORT", port.to_string())
        .env("ADMIN_PORT", "0");
    for section in ["PRODUCT", "BASKET", "PAYMENT", "NOTIFICATION"] {
        shop.set(&format!("SHOP_{section}__HTTP__PORT"), "0");
        shop.set(&format!("SHOP_{section}__GRPC__PORT"), "0");
    }
    let deaths = comes_up(shop, port).await;
    assert!(deaths > 3, "died {deaths} times");
}
