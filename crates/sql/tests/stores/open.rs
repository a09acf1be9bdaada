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
    places.extend(empty_mariadb().await);
    places
}

/// An empty MariaDB alone.
pub(crate) async fn empty_mariadb() -> Option<Place> {
    let db = backend::mariadb().await?;
    Some(Place { store: connect(&db.url()).await, engine: "mariadb", home: Home::Server(db) })
}

pub(crate) async fn sqlite() -> Place {
    let place = empty_sqlite().await;
    place.migrate().await.expect("migrates");
    place
}

/// The same without any table.
pub(crate) async fn empty_sqlite() -> Place {
    let folder = tempfile::tempdir().expect("a folder");
    let store = shop_sql::sqlite(&folder.path().join("deep/store.db")).await.expect("opens").into();
    Place { store, engine: "sqlite", home: Home::Folder { _kept: folder } }
}

pub(crate) async fn connect(url: &str) -> Store {
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

    /// Where the server has it.
    pub(crate) fn url(&self) -> String {
        match &self.home {
            Home::Server(db) => db.url(),
            Home::Folder { .. } => unreachable!("a server"),
        }
    }

    /// Brings the store to the present schema, like a service at its start.
    pub(crate) async fn migrate(&self) -> anyhow::Result<()> {
        migrate(&self.store).await
    }

    /// The same with files of its own.
    pub(crate) async fn migrate_with(&self, migrator: &Migrator) -> anyhow::Result<()> {
        migrate_with(&self.store, migrator).await
    }

    /// Runs statements that bring nothing back.
    pub(crate) async fn run(&self, sql: &str) -> sqlx::Result<()> {
        let sql = sqlx::raw_sql(sqlx::AssertSqlSafe(sql.to_owned()));
        match &self.store {
            Store::Postgres(pool) => sql.execute(pool).await.map(drop),
            Store::MariaDb(pool) => sql.execute(pool).await.map(drop),
            Store::Sqlite(pools) => sql.execute(&pools.write).await.map(drop),
        }
    }

    /// The texts in the one column that `sql` selects.
    pub(crate) async fn texts(&self, sql: &str) -> Vec<String> {
        texts(&self.store, sql).await
    }

    /// The same as another replica reads them.
    pub(crate) async fn texts_elsewhere(&self, sql: &str) -> Vec<String> {
        texts(&self.replica().await, sql).await
    }
}

async fn texts(store: &Store, sql: &str) -> Vec<String> {
    let sql = sqlx::AssertSqlSafe(sql.to_owned());
    let texts = match store {
        Store::Postgres(pool) => sqlx::query_scalar(sql).fetch_all(pool).await,
        Store::MariaDb(pool) => sqlx::query_scalar(sql).fetch_all(pool).await,
        Store::Sqlite(pools) => sqlx::query_scalar(sql).fetch_all(&pools.write).await,
    };
    texts.expect("selects")
}

/// Makes the shared tables, like a service at its start.
pub(crate) async fn migrate(store: &Store) -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let files = match store {
        Store::Postgres(_) => ddl::POSTGRES,
        Store::MariaDb(_) => ddl::MARIADB,
        Store::Sqlite(_) => ddl::SQLITE,
    };
    for (number, text) in files.iter().enumerate() {
        std::fs::write(folder.path().join(format!("{}_table.sql", number + 1)), text)?;
    }
    migrate_with(store, &Migrator::new(Path::new(folder.path())).await?).await
}

async fn migrate_with(store: &Store, migrator: &Migrator) -> anyhow::Result<()> {
    match store {
        Store::Postgres(pool) => shop_sql::migrate(pool, migrator).await,
        Store::MariaDb(pool) => shop_sql::migrate(pool, migrator).await,
        Store::Sqlite(pools) => shop_sql::migrate(&pools.write, migrator).await,
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
