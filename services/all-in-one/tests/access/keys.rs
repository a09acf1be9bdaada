//! Who loses an answer can ask again: every operation honours an idempotency key, unless doing it twice is doing it once.

use crate::shop::{self, Shop};

/// Operations that say where it ends, not how to get there: read, set, take away.
const VERBS: [&str; 6] = ["Get", "List", "Update", "Delete", "Remove", "Clear"];

/// Others of which a second one changes nothing, and why.
const SAFE: [(&str, &str); 9] = [
    ("CreateGuest", "nothing is kept of a guest before he fills a basket"),
    ("POST /guests", "the same"),
    ("ReserveStock", "a reservation is named by who makes it"),
    ("ReleaseStock", "the same"),
    ("SettleReservation", "a reservation is brought to one state, and is there already"),
    ("ExportUserData", "it reads"),
    ("EraseUserData", "who is forgotten stays forgotten"),
    ("CheckStock", "what is mended is right already"),
    ("POST /notifications/{id}/retry", "what is due already stays due"),
];

fn is_safe(name: &str) -> bool {
    let method = name.rsplit('/').next().unwrap_or_default();
    let is_set = VERBS.iter().any(|verb| method.starts_with(verb))
        || ["GET ", "PUT ", "DELETE "].iter().any(|m| name.starts_with(m));
    is_set || SAFE.iter().any(|(safe, _)| *safe == name || *safe == method)
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_creates_or_moves_honours_a_key() {
    let shop = Shop::start().await;
    let mut without = Vec::new();
    let mut with = 0;
    for operation in shop.http_operations().await.iter().filter(|operation| !is_safe(&operation.to_string())) {
        with += 1;
        if !shop.reads_keys_http(operation).await {
            without.push(operation.to_string());
        }
    }
    for operation in shop::grpc_operations().iter().filter(|operation| !is_safe(&operation.to_string())) {
        with += 1;
        if !shop.reads_keys_grpc(operation).await {
            without.push(operation.to_string());
        }
    }
    shop.stop().await;
    assert!(without.is_empty(), "honour a key, or say in this table why a second one does nothing: {without:?}");
    assert!(with >= 20, "only {with} operations create or move");
}
