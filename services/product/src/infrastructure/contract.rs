//! What every store must do. The same tests run on SQLite and, where there is one, on a real PostgreSQL.

mod aged;
mod entity;
mod folding;
mod ledger;
mod listing;
mod products;
mod reads;
mod reservations;
mod resolve;

use shop_config::Database;
use shop_money::{Currency, Money};
use shop_testing::backend;
use time::OffsetDateTime;
use uuid::Uuid;

use super::Opened;
use crate::domain::{Details, Hold, Line, Movement, Product, Result, Sale, Settlement, Store};

/// Runs each of these functions on a fresh store of either engine, and behind a pooler that gives each transaction another
/// connection.
macro_rules! contract {
    ($($name:ident),* $(,)?) => {
        mod sqlite {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $name() {
                let folder = tempfile::tempdir().expect("a folder");
                super::$name(super::super::sqlite(folder.path()).await.store.as_ref()).await;
            })*
        }
        mod postgres {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $name() {
                let Some((_database, opened)) = super::super::postgres().await else { return };
                super::$name(opened.store.as_ref()).await;
            })*
        }
        mod pooled {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $name() {
                let Some((_database, _pooler, opened)) = super::super::pooled().await else { return };
                super::$name(opened.store.as_ref()).await;
            })*
        }
    };
}
use contract;

async fn sqlite(folder: &std::path::Path) -> Opened {
    let url = format!("sqlite://{}", folder.join("product.db").display());
    super::open(&Database::at(&url)).await.expect("opens")
}

async fn postgres() -> Option<(backend::Db, Opened)> {
    let database = backend::postgres().await?;
    let opened = super::open(&Database::at(&database.url())).await.expect("opens");
    Some((database, opened))
}

async fn pooled() -> Option<(backend::Db, backend::Pooler, Opened)> {
    let database = backend::postgres().await?;
    let pooler = backend::Pooler::carrying(&database).await?;
    let opened = super::open(&Database::at(pooler.url())).await.expect("opens");
    Some((database, pooler, opened))
}

fn at(seconds: i64) -> OffsetDateTime {
    OffsetDateTime::UNIX_EPOCH + time::Duration::seconds(seconds)
}

pub(super) fn details(name: &str, stock: i64) -> Details {
    Details {
        name: name.to_owned(),
        description: String::new(),
        price: Money::new(1250, Currency::USD),
        stock_quantity: stock,
        category: "things".to_owned(),
        image_url: None,
    }
}

async fn add(store: &dyn Store, details: &Details) -> Product {
    store.add(Uuid::new_v4(), details, at(1)).await.expect("is added")
}

/// The product's stock on hand and what is reserved of it.
async fn stock(store: &dyn Store, id: i64) -> (i64, i64) {
    let product = store.get(id).await.expect("is there");
    (product.details.stock_quantity, product.reserved_quantity)
}

fn line(product: &Product, quantity: i64) -> Line {
    Line { product: product.id, quantity }
}

fn hold<const N: usize>(id: Uuid, lines: [Line; N]) -> Hold {
    Hold::parse(id, None, lines.to_vec()).expect("valid lines")
}

fn settlement(reservation: Uuid, line: Line, movement: Movement) -> Settlement {
    Settlement { event: Uuid::new_v4(), reservation, line, movement }
}

/// Applies one event alone.
async fn settle(store: &dyn Store, settlement: &Settlement, now: OffsetDateTime) -> Result<()> {
    store.settle(std::slice::from_ref(settlement), now).await
}

/// Counts one payment alone.
async fn count_sold(
    store: &dyn Store,
    event: Uuid,
    reservation: Uuid,
    lines: &[Line],
    now: OffsetDateTime,
) -> Result<()> {
    store.count_sold(&[Sale { event, reservation, lines: lines.to_vec() }], now).await
}
