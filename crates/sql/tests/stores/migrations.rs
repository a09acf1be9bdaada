//! Releases forth and back over one store, and migrations that were cut short.

use std::path::PathBuf;

use futures_util::future::join_all;
use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::{Connection as _, MySqlConnection, PgConnection, SqlStr};

use crate::open::{Place, empty_mariadb, empty_servers, empty_sqlite};
use crate::released;

/// A migration that only a later release has.
const LATER: i64 = 9999;

/// Every service's migrations on every engine, each with a store that has none of them.
async fn services() -> Vec<(released::Folder, Place)> {
    let mut services = Vec::new();
    for folder in released::folders() {
        let place = match folder.engine.as_str() {
            "sqlite" => Some(empty_sqlite().await),
            engine => empty_servers().await.into_iter().find(|place| place.engine == engine),
        };
        services.extend(place.map(|place| (folder, place)));
    }
    services
}

async fn files(folder: &released::Folder) -> Migrator {
    Migrator::new(PathBuf::from(&folder.path).as_path()).await.expect("reads the files")
}

/// What the release before had of them.
fn released(all: &Migrator, folder: &released::Folder) -> Migrator {
    let files = all.iter().filter(|file| folder.released.contains(&file.version));
    Migrator::with_migrations(files.cloned().collect())
}

#[tokio::test]
async fn a_store_of_the_release_before_is_brought_to_this_one() {
    for (folder, place) in services().await {
        let all = files(&folder).await;
        place.migrate_with(&released(&all, &folder)).await.expect("the release before");
        place.run("UPDATE inbox SET received_at = 0").await.expect("has its tables");
        place.migrate_with(&all).await.unwrap_or_else(|error| panic!("{}: {error:#}", folder.name));
        let noted = place.texts("SELECT description FROM _sqlx_migrations WHERE success").await;
        assert_eq!(noted.len(), all.iter().count(), "{}", folder.name);
    }
}

#[tokio::test]
async fn the_release_before_starts_on_the_store_of_this_one_and_this_one_on_that_of_the_next() {
    for (folder, place) in services().await {
        let all = files(&folder).await;
        place.migrate_with(&all).await.expect("this release");
        place.migrate_with(&released(&all, &folder)).await.unwrap_or_else(|error| panic!("{}: {error:#}", folder.name));

        let checksum = if place.engine == "postgres" { "'\\x00'" } else { "x'00'" };
        place.run("ALTER TABLE inbox ADD COLUMN later INTEGER").await.expect("the next release adds a column");
        let note = format!(
            "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
             VALUES ({LATER}, 'later', TRUE, {checksum}, 1)"
        );
        place.run(&note).await.expect("and notes it");
        place.migrate_with(&all).await.unwrap_or_else(|error| panic!("{}: {error:#}", folder.name));
    }
}

/// As a `kill -9` leaves it: the note that the file was begun, and each statement before the cut.
#[tokio::test]
async fn a_migration_that_was_killed_half_way_on_mariadb_is_made_good_by_the_next_start() {
    let shape = "SELECT CONCAT_WS(' ', table_name, column_name, column_type, is_nullable, column_default) \
                 FROM information_schema.columns WHERE table_schema = DATABASE() ORDER BY 1";
    for folder in released::folders().into_iter().filter(|folder| folder.engine == "mariadb") {
        let all = files(&folder).await;
        let Some(place) = empty_mariadb().await else { return };
        place.migrate_with(&all).await.expect("all at once");
        let whole = place.texts(shape).await;
        for file in all.iter() {
            let statements: Vec<_> = file.sql.as_str().split(";\n").filter(|text| !text.trim().is_empty()).collect();
            for cut in 0..=statements.len() {
                let place = empty_mariadb().await.expect("is there");
                let before = all.iter().filter(|other| other.version < file.version).cloned().collect();
                place.migrate_with(&Migrator::with_migrations(before)).await.expect("the files before");
                let note = format!(
                    "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
                     VALUES ({}, 'cut', FALSE, x'00', -1)",
                    file.version
                );
                place.run(&note).await.expect("notes that it began");
                for statement in &statements[..cut] {
                    place.run(statement).await.expect("runs");
                }
                let at = format!("{} {} cut behind {cut}", folder.name, file.version);
                place.migrate_with(&all).await.unwrap_or_else(|error| panic!("{at}: {error:#}"));
                assert_eq!(place.texts(shape).await, whole, "{at}");
            }
        }
    }
}

/// Reads the table `t` and forgets to end the transaction, until this is dropped.
async fn forgotten(place: &Place) -> Box<dyn Send> {
    let read = sqlx::raw_sql("BEGIN; SELECT count(*) FROM t");
    if place.engine == "postgres" {
        let mut reader = PgConnection::connect(&place.url()).await.expect("connects");
        read.execute(&mut reader).await.expect("reads");
        return Box::new(reader);
    }
    let mut reader = MySqlConnection::connect(&place.url()).await.expect("connects");
    read.execute(&mut reader).await.expect("reads");
    Box::new(reader)
}

#[tokio::test]
async fn a_table_that_a_forgotten_transaction_has_fails_the_start_and_nobody_queues_behind_it_for_long() {
    let file = |version, name: &'static str, sql| {
        Migration::new(version, name.into(), MigrationType::Simple, SqlStr::from_static(sql), false)
    };
    let (first, later) =
        (file(1, "first", "CREATE TABLE t (id INT)"), file(2, "later", "ALTER TABLE t ADD COLUMN at INT"));
    let (before, all) = (vec![first.clone()], vec![first, later]);
    let (before, all) = (&Migrator::with_migrations(before), &Migrator::with_migrations(all));
    join_all(empty_servers().await.iter().map(|place| async move {
        place.migrate_with(before).await.expect("has the table");
        let reader = forgotten(place).await;
        let refused = place.migrate_with(all).await.expect_err("the table is not to be had");
        let told = format!("{refused:#}");
        assert!(told.contains("later") && told.contains("timeout"), "{}: {told}", place.engine);
        place.run("DELETE FROM t").await.expect("nobody queues");
        drop(reader);
        place.migrate_with(all).await.unwrap_or_else(|error| panic!("{}: {error:#}", place.engine));
    }))
    .await;
}
