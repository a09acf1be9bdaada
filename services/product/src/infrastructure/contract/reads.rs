//! Many readers at once: each gets its own product, and none depends on another.

use std::sync::Arc;

use sqlx::Connection;
use tokio::task::JoinSet;

use super::{add, details};
use crate::domain::{Error, Store};

/// Two hundred readers of five products and of one that is missing; a third of them go away at once.
async fn a_crowd_of_readers(store: Arc<dyn Store>) {
    let mut ids = Vec::new();
    for n in 0..5 {
        ids.push(add(store.as_ref(), &details(&format!("desk {n}"), n)).await.id);
    }
    let mut readers = JoinSet::new();
    for n in 0..200 {
        let (store, at) = (store.clone(), n % 6);
        let id = ids.get(at).copied().unwrap_or(999);
        let reader = readers.spawn(async move { (at, store.get(id).await) });
        if n % 3 == 0 {
            reader.abort();
        }
    }
    let mut answers = 0;
    while let Some(ended) = readers.join_next().await {
        let Ok((at, answer)) = ended else { continue };
        answers += 1;
        match answer {
            Ok(product) => assert_eq!(product.details.name, format!("desk {at}")),
            Err(error) => assert!(at == 5 && matches!(error, Error::NotFound(999)), "{error}"),
        }
    }
    assert!(answers >= 133, "{answers}");
}

#[tokio::test(flavor = "multi_thread")]
async fn readers_on_sqlite_get_their_own() {
    let folder = tempfile::tempdir().expect("a folder");
    a_crowd_of_readers(super::sqlite(folder.path()).await.store).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn readers_on_postgres_get_their_own() {
    let Some((_database, opened)) = super::postgres().await else { return };
    a_crowd_of_readers(opened.store).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_does_not_notice_that_its_connection_broke() {
    let Some((database, opened)) = super::postgres().await else { return };
    let made = add(opened.store.as_ref(), &details("desk", 1)).await;
    opened.store.get(made.id).await.expect("opens a connection");
    let mut other = sqlx::PgConnection::connect(&database.url()).await.expect("connects");
    let cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
               WHERE datname = current_database() AND pid <> pg_backend_pid()";
    sqlx::query(cut).fetch_all(&mut other).await.expect("cuts all others");
    assert_eq!(opened.store.get(made.id).await.expect("connects again"), made);
}
