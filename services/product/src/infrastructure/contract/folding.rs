//! Products that the version before this one wrote: before an upgrade, and beside it while replicas are replaced.

use std::borrow::Cow;

use shop_config::Database;
use shop_sql::{Store as Shared, migrate};
use shop_testing::backend;
use sqlx::AssertSqlSafe;
use sqlx::migrate::Migrator;

use super::super::{Opened, POSTGRES, SQLITE, open};
use crate::domain::{Filter, Listing, Order, Store};

/// The last version of the schema without words.
const BEFORE: i64 = 4;

/// What the version before adds: it knows neither words nor a folding.
fn insert(name: &str) -> String {
    format!(
        "INSERT INTO products (name, description, price, currency, stock_quantity, category, price_thousandths, \
         name_folded, operation, created_at, updated_at) VALUES ('{name}', '', 100, 'USD', 1, 'Cafe\u{301}', 1000, \
         '{}', {}, 1, 1)",
        name.to_lowercase(),
        "$operation"
    )
}

fn schema_before(migrations: &Migrator) -> Migrator {
    let known = migrations.iter().filter(|migration| migration.version <= BEFORE).cloned().collect();
    Migrator { migrations: Cow::Owned(known), ..Migrator::DEFAULT }
}

async fn run(store: &Shared, sql: &str) {
    match store {
        Shared::Postgres(pool) => {
            let sql = sql.replace("$operation", "gen_random_uuid()");
            sqlx::raw_sql(AssertSqlSafe(sql)).execute(pool).await.expect("runs");
        }
        Shared::Sqlite(pools) => {
            let sql = sql.replace("$operation", "randomblob(16)");
            sqlx::raw_sql(AssertSqlSafe(sql)).execute(&pools.write).await.expect("runs");
        }
        Shared::MariaDb(_) => unreachable!("no engine of the catalogue"),
    }
}

async fn found(store: &dyn Store, text: &str) -> Vec<String> {
    let filter = Filter { text: Some(text.to_owned()), ..Filter::default() };
    listed(store, filter).await
}

async fn listed(store: &dyn Store, filter: Filter) -> Vec<String> {
    let order = Order::named("name").expect("an order");
    let slice = store.list(&Listing { filter, order, limit: 1000, ..Listing::default() }).await.expect("answers");
    slice.items.into_iter().map(|product| product.details.name).collect()
}

async fn fold_all(store: &dyn Store) {
    while store.refold().await.expect("folds") > 0 {}
}

async fn after_an_upgrade(opened: Opened) {
    let store = opened.store.as_ref();
    // More than one batch of them.
    assert!(store.refold().await.expect("folds") < 251);
    fold_all(store).await;
    assert_eq!(found(store, "Lodz").await.len(), 1);
    assert_eq!(found(store, "kettles").await.len(), 250);
    let all = listed(store, Filter::default()).await;
    assert_eq!(
        (all.len(), all[99].as_str(), all[250].as_str()),
        (251, "kettle 188", "Łódź"),
        "in the order of their places"
    );
    let category = Filter { category: Some("Café".to_owned()), ..Filter::default() };
    assert_eq!(listed(store, category).await.len(), 251);

    // The version before goes on for a while.
    run(&opened.shared, &insert("Crème Brûlée")).await;
    run(&opened.shared, "UPDATE products SET name = 'Gdańsk', name_folded = 'gdańsk' WHERE name = 'Łódź'").await;
    if matches!(opened.shared, Shared::Postgres(_)) {
        fold_all(store).await;
        assert_eq!(found(store, "creme brulee").await, ["Crème Brûlée"]);
        assert_eq!(found(store, "gdansk").await, ["Gdańsk"]);
        assert_eq!(found(store, "lodz").await, Vec::<String>::new());
    }
    assert_eq!(store.refold().await.expect("folds"), usize::from(matches!(opened.shared, Shared::Sqlite(_))));
    let id = store.list(&Listing { limit: 1, ..Listing::default() }).await.expect("answers").items[0].id;
    store.remove(id, &|_| Ok(())).await.expect("is removed from every index");
}

async fn write_before(shared: &Shared) {
    run(shared, &insert("Łódź")).await;
    for n in 0..250 {
        run(shared, &insert(&format!("kettle {n}"))).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn products_in_sqlite_are_found_after_an_upgrade() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("product.db");
    let pools = shop_sql::sqlite(&path).await.expect("opens");
    migrate(&pools.write, &schema_before(&SQLITE)).await.expect("migrates");
    write_before(&pools.clone().into()).await;
    pools.close().await;
    after_an_upgrade(open(&Database::at(&format!("sqlite://{}", path.display()))).await.expect("opens")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn products_in_postgres_are_found_after_an_upgrade_and_beside_the_version_before() {
    let Some(database) = backend::postgres().await else { return };
    let settings = Database::at(&database.url());
    let pool = shop_sql::postgres(&settings).await.expect("connects");
    migrate(&pool, &schema_before(&POSTGRES)).await.expect("migrates");
    write_before(&pool.clone().into()).await;
    pool.close().await;
    after_an_upgrade(open(&settings).await.expect("opens")).await;
}
