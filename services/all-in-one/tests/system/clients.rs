//! Clients that are made from what the shop says of itself, as its users would make them: they compile, and they buy.

use std::time::Duration;

use reqwest::Method;
use serde_json::Value;
use shop_testing::{Program, backend};

use crate::shop::Shop;

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/clients/buy");

/// A compiler on a machine that builds and tests at once.
const PATIENCE: Duration = Duration::from_mins(5);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_in_typescript_made_from_the_document_buys() {
    Box::pin(buys("typescript")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_in_python_made_from_the_document_buys() {
    Box::pin(buys("python")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_in_go_made_from_the_protos_buys() {
    Box::pin(buys("go")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_in_python_made_from_the_protos_buys() {
    Box::pin(buys("python-grpc")).await;
}

async fn buys(language: &str) {
    let Some(tools) = backend::clients() else { return };
    let shop = Shop::embedded().await;
    let product = shop.product("A lamp", "12.50", 10).await;
    let folder = tempfile::tempdir().expect("a folder");
    let document = shop.call(Method::GET, "/openapi.json", Value::Null).await.json;
    std::fs::write(folder.path().join("openapi.json"), document.to_string()).expect("writes");
    let gateway = shop.at.gateway.expect("a gateway").to_string();
    let made = Program::new(SCRIPT)
        .arg(language)
        .arg(folder.path())
        .args([gateway, product.to_string(), language.to_owned()])
        .env("SHOP_TEST_CLIENTS", tools)
        .output();
    let made = tokio::time::timeout(PATIENCE, made).await.expect("is made in time");
    let (said, complained) = (String::from_utf8_lossy(&made.stdout), String::from_utf8_lossy(&made.stderr));
    assert!(made.status.success(), "{}\n{said}\n{complained}", made.status);

    let payment = shop.call(Method::GET, &format!("/api/payments/{}", said.trim()), Value::Null).await.json;
    assert_eq!((&payment["status"], &payment["user_id"]), (&"completed".into(), &language.into()), "{payment}");
    shop.eventually("the units are sold", async || shop.stock(product).await == (8, 8, 2)).await;
    shop.eventually("the basket is empty", async || shop.basket_items(language).await.is_empty()).await;
    shop.stop().await;
}
