//! Whose turn it is to migrate where locks do not reach: on another node of a cluster.

use std::path::Path;
use std::time::Duration;

use shop_sql::Store;
use shop_testing::eventually;
use sqlx::Executor as _;
use sqlx::migrate::Migrator;

use crate::open::{Place, empty_mariadb};

/// Longer than a row may stay as it is.
const LONGER: Duration = Duration::from_secs(14);

/// Files of these texts.
pub(crate) async fn files(texts: &[&str]) -> Migrator {
    let folder = tempfile::tempdir().expect("a folder");
    for (number, text) in texts.iter().enumerate() {
        std::fs::write(folder.path().join(format!("{}_file.sql", number + 1)), text).expect("writes it");
    }
    Migrator::new(Path::new(folder.path())).await.expect("reads the files")
}

/// A MariaDB that was migrated before, though no file was run.
async fn migrated() -> Option<Place> {
    let place = empty_mariadb().await?;
    place.migrate_with(&files(&[]).await).await.expect("migrates");
    place.run("CREATE TABLE gate (id INT PRIMARY KEY); CREATE TABLE log (holder VARCHAR(36))").await.expect("are made");
    Some(place)
}

#[tokio::test]
async fn the_turn_of_another_node_is_left_alone_while_it_shows_signs_of_life_and_taken_afterwards() {
    let Some(place) = migrated().await else { return };
    place.run("UPDATE _migration_turn SET holder = 'another', server = 'elsewhere:3306'").await.expect("is taken");
    let files = files(&["INSERT INTO log SELECT holder FROM _migration_turn"]).await;
    let migrates = place.migrate_with(&files);
    let lives = async {
        loop {
            place.run("UPDATE _migration_turn SET beat = beat + 1").await.expect("lives");
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    };
    tokio::pin!(migrates);
    tokio::select! {
        done = &mut migrates => panic!("the other one was still at it: {done:?}"),
        () = lives => {}
        () = tokio::time::sleep(LONGER) => {}
    }
    tokio::time::timeout(Duration::from_mins(1), migrates).await.expect("in time").expect("migrates");
    let log = place.texts("SELECT holder FROM log").await;
    assert!(log.len() == 1 && log[0] != "another", "{log:?}");
    assert_eq!(place.texts("SELECT holder FROM _migration_turn").await, [""], "is given back");
}

#[tokio::test]
async fn who_lost_the_turn_half_way_runs_nothing_until_it_is_had_again() {
    let Some(place) = migrated().await else { return };
    let Store::MariaDb(pool) = &place.store else { panic!("a MariaDB") };
    let files = files(&["INSERT INTO gate VALUES (1);\nINSERT INTO log SELECT holder FROM _migration_turn;\n"]).await;
    let mut shut = pool.begin().await.expect("begins");
    shut.execute("INSERT INTO gate VALUES (1)").await.expect("shuts the gate");
    let other = async {
        let at_the_gate = "SELECT 'waits' FROM information_schema.processlist \
                           WHERE db = DATABASE() AND id <> CONNECTION_ID() AND info LIKE 'INSERT INTO gate%'";
        eventually!(!place.texts(at_the_gate).await.is_empty());
        place.run("UPDATE _migration_turn SET holder = '', beat = beat + 2").await.expect("another came and went");
        shut.rollback().await.expect("opens the gate");
    };
    let (migrated, ()) = tokio::join!(place.migrate_with(&files), other);
    migrated.expect("goes on");
    let log = place.texts("SELECT holder FROM log").await;
    assert!(log.len() == 1 && log[0].len() == 36, "in its turn, and once: {log:?}");
}
