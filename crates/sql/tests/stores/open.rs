//! Fresh stores with the shared tables in them.

use std::path::Path;

use shop_config::Database;
use shop_sql::{Store, Tables, ddl};
use shop_testing::backend;
use sqlx::migrate::Migrator;
use tempfile::TempDir;

/// A fresh store, gone with this value.
pub(crate) struct Place {
    pub(crate) store: Store,
    pub(crate) engine: &'static str,
    home: Home,
}

enum Home {
    Folder { _kept: TempDir },
    Server(backend::Db),
}

/// One store per engine there is.
pub(crate) async fn places() -> Vec<Place> {
    let mut places = vec![sqlite().await];
    places.extend(servers().await);
    places
}

/// One store per server there is.
pub(crate) async fn servers() -> Vec<Place> {
    let places = empty_servers().await;
    for place in &places {
        place.migrate().await.expect("migrates");
    }
    places
}

/// The same without any table.
pub(crate) async fn empty_servers() -> Vec<Place> {
    let mut places = Vec::new();
    if let Some(db) = backend::postgres().await {
        let store = connect(&db.url()).await;
        places.push(Place { store, engine: "postgres", home: Home::Server(db) });
    }
    if let Some(db) = backend::mariadb().await {
        let store = connect(&db.url()).await;
        places.push(Place { store, engine: "mariadb", home: Home::Server(db) });
    }
    places
}

pub(crate) async fn sqlite() -> Place {
    let folder = tempfile::tempdir().expect("a folder");
    let store = shop_sql::sqlite(&folder.path().join("deep/store.db")).await.expect("opens").into();
    let place = Place { store, engine: "sqlite", home: Home::Folder { _kept: folder } };
    place.migrate().await.expect("migrates");
    place
}

async fn connect(url: &str) -> Store {
    let settings = Database::at(url);
    if url.starts_with("postgres") {
        shop_sql::postgres(&settings).await.expect("connects").into()
    } else {
        shop_sql::mariadb(&settings).await.expect("connects").into()
    }
}

impl Place {
    /// The same store as another replica sees it.
    pub(crate) async fn replica(&self) -> Store {
        match &self.home {
            Home::Server(db) => connect(&db.url()).await,
            Home::Folder { .. } => self.store.clone(),
        }
    }

    /// Brings the store to the present schema, like a service at its start.
    pub(crate) async fn migrate(&self) -> anyhow::Result<()> {
        let folder = tempfile::tempdir()?;
        let files = match self.engine {
            "postgres" => ddl::POSTGRES,
            "mariadb" => ddl::MARIADB,
            _ => ddl::SQLITE,
        };
        for (number, text) in files.iter().enumerate() {
            std::fs::write(folder.path().join(format!("{}_table.sql", number + 1)), text)?;
        }
        let migrator = Migrator::new(Path::new(folder.path())).await?;
        match &self.store {
            Store::Postgres(pool) => shop_sql::migrate(pool, &migrator).await,
            Store::MariaDb(pool) => shop_sql::migrate(pool, &migrator).await,
            Store::Sqlite(pools) => shop_sql::migrate(&pools.write, &migrator).await,
        }
    }
}

/// Runs `$work` on `$conn` in a transaction of the store, and commits.
macro_rules! in_transaction {
    ($store:expr, $conn:ident => $work:expr) => {
        match $store {
            shop_sql::Store::Postgres(pool) => {
                let mut tx = pool.begin().await.expect("begins");
                let $conn = &mut *tx;
                let result = $work;
                tx.commit().await.expect("commits");
                result
            }
            shop_sql::Store::MariaDb(pool) => {
                let mut tx = pool.begin().await.expect("begins");
                let $conn = &mut *tx;
                let result = $work;
                tx.commit().await.expect("commits");
                result
            }
            shop_sql::Store::Sqlite(pools) => {
                let mut tx = pools.begin().await.expect("begins");
                let $conn = &mut *tx;
                let result = $work;
                tx.commit().await.expect("commits");
                result
            }
        }
    };
}

pub(crate) use in_transaction;

/// Adds an event in a transaction that is then given up.
pub(crate) async fn append_and_roll_back(store: &Store, envelope: &shop_events::Envelope) {
    async fn append<C: Tables>(conn: &mut C, envelope: &shop_events::Envelope) {
        shop_sql::outbox::append(conn, std::slice::from_ref(envelope)).await.expect("appends");
    }
    match store {
        Store::Postgres(pool) => append(&mut *pool.begin().await.expect("begins"), envelope).await,
        Store::MariaDb(pool) => append(&mut *pool.begin().await.expect("begins"), envelope).await,
        Store::Sqlite(pools) => append(&mut *pools.begin().await.expect("begins"), envelope).await,
    }
}
