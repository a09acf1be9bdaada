//! Who gets hold of the store gets no secret, and keys can be changed under way.

use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use shop_config::Database;
use shop_sql::Store as Shared;

use super::endpoint;
use crate::config::SecretsSettings;
use crate::domain::Expected;
use crate::infrastructure::{Opened, open};

/// Runs this with the URL of a fresh store of either engine, and a folder.
macro_rules! sealed {
    ($($name:ident),* $(,)?) => {
        mod sqlite {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $name() {
                let folder = tempfile::tempdir().expect("a folder");
                let url = format!("sqlite://{}", folder.path().join("notification.db").display());
                super::$name(&url, folder.path()).await;
            })*
        }
        mod postgres {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $name() {
                let Some(database) = shop_testing::backend::postgres().await else { return };
                let folder = tempfile::tempdir().expect("a folder");
                super::$name(&database.url(), folder.path()).await;
            })*
        }
    };
}

sealed!(a_store_in_strange_hands_tells_no_secret, keys_are_changed_one_after_the_other);

fn keys(folder: &Path, keys: &[u8]) -> PathBuf {
    let lines: Vec<_> = keys.iter().map(|key| STANDARD.encode([*key; 32])).collect();
    let file = folder.join("keys");
    std::fs::write(&file, lines.join("\n")).expect("is written");
    file
}

async fn opened(url: &str, folder: &Path, lines: &[u8]) -> anyhow::Result<Opened> {
    open(&Database::at(url), &SecretsSettings { key_file: Some(keys(folder, lines)) }).await
}

/// The secrets as they lie in the store.
async fn lying(opened: &Opened) -> Vec<String> {
    let sql = "SELECT secret FROM webhook_endpoints UNION ALL \
               SELECT old_secret FROM webhook_endpoints WHERE old_secret IS NOT NULL";
    let found = match &opened.shared {
        Shared::Postgres(pool) => sqlx::query_scalar(sql).fetch_all(pool).await,
        Shared::Sqlite(pools) => sqlx::query_scalar(sql).fetch_all(&pools.read).await,
        Shared::MariaDb(_) => unreachable!("notifications are on no MariaDB"),
    };
    found.expect("is read")
}

/// As a version before this one left it.
async fn unseal(opened: &Opened, secret: &str) {
    let sql = "UPDATE webhook_endpoints SET secret = $1, rotations = NULL";
    match &opened.shared {
        Shared::Postgres(pool) => drop(sqlx::query(sql).bind(secret).execute(pool).await.expect("is written")),
        Shared::Sqlite(pools) => drop(sqlx::query(sql).bind(secret).execute(&pools.write).await.expect("is written")),
        Shared::MariaDb(_) => unreachable!("notifications are on no MariaDB"),
    }
}

async fn a_store_in_strange_hands_tells_no_secret(url: &str, folder: &Path) {
    let first = opened(url, folder, &[1]).await.expect("opens");
    let made = first.store.add_endpoint(&endpoint(1)).await.expect("is added");
    let next = endpoint(2).secret;
    let rotate = |endpoint: &mut crate::domain::Endpoint| {
        endpoint.rotate(made.id, &Expected::default(), next.clone(), time::Duration::DAY, super::at(2))
    };
    let rotated = first.store.change_endpoint(made.id, &rotate).await.expect("is rotated");
    let kept = lying(&first).await;
    assert!(kept.len() == 2 && kept.iter().all(|text| text.starts_with("v1.") && !text.contains("whsec_")), "{kept:?}");

    // Rows of a version before this one are sealed by the next start.
    unseal(&first, rotated.secret.expose()).await;
    let second = opened(url, folder, &[1]).await.expect("opens");
    assert!(lying(&second).await.iter().all(|text| text.starts_with("v1.")));
    let read = second.store.endpoint(made.id).await.expect("is there");
    assert_eq!((read.secret, read.old_secret, read.version), (rotated.secret, rotated.old_secret, rotated.version));
}

async fn keys_are_changed_one_after_the_other(url: &str, folder: &Path) {
    let made = endpoint(1);
    opened(url, folder, &[1]).await.expect("opens").store.add_endpoint(&made).await.expect("is added");
    let refused = opened(url, folder, &[2]).await.err().expect("its key is gone");
    assert!(format!("{refused:#}").contains("secrets.key_file"), "{refused:#}");
    let unset = open(&Database::at(url), &SecretsSettings::default()).await.err().expect("no key of ours");
    assert!(format!("{unset:#}").contains("put its line back"), "{unset:#}");
    for lines in [&[2, 1], &[2][..]] {
        let opened = opened(url, folder, lines).await.expect("opens");
        assert_eq!(opened.store.endpoint(made.id).await.expect("is there"), made, "with {lines:?}");
    }
}
