//! The whole service on ports of its own, beside a product service that tests play.

#[path = "service/access.rs"]
mod access;
#[path = "service/product.rs"]
mod product;

use std::sync::Arc;
use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::json;
use shop_basket::{Basket, Config};
use shop_config::{Grpc, Http, Neighbour, Redis};
use shop_events::{BasketCleared, BasketLine, Bus, Context, Envelope, Event, MemoryBus};
use shop_identity::IdentitySettings;
use shop_proto::basket::v1 as proto;
use shop_proto::basket::v1::BasketChangeKind::{Availability, Gone, Price};
use shop_proto::basket::v1::basket_service_client::BasketServiceClient;
use shop_runtime::Shutdown;
use shop_telemetry::Metrics;
use shop_testing::preconditions::{Operation, every_operation};
use shop_testing::{Api, hostile};
use shop_web::Doors;
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tonic::transport::Channel;
use tonic::{Code, Status};
use tonic_types::StatusExt;
use uuid::Uuid;

use self::product::Shelf;

/// The service and what it talks to.
struct Running {
    api: Api,
    rpc: BasketServiceClient<Channel>,
    shelf: Shelf,
    bus: Arc<MemoryBus>,
    shutdown: Shutdown,
    serving: JoinHandle<anyhow::Result<()>>,
    _folder: TempDir,
}

impl Running {
    async fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let url = format!("sqlite://{}", folder.path().join("basket.db").display());
        Self::start_on(Redis::at(&url), IdentitySettings::off(), folder).await
    }

    async fn start_on(redis: Redis, identity: IdentitySettings, folder: TempDir) -> Self {
        let shelf = Shelf::serve().await;
        let timeout = shop_config::Duration::millis(500);
        let product = Neighbour { timeout, ..Neighbour::at(shelf.address().to_string()) };
        // A spare connection of the client that never sent a byte would hold up the end for so long.
        let header_timeout = shop_config::Duration::millis(500);
        let (http, grpc) = (Http { header_timeout, ..Http::on(0) }, Grpc::on(0));
        let config = Config { http, grpc, redis, product, identity, ..Config::default() };
        let (bus, shutdown) = (Arc::new(MemoryBus::new(None)), Shutdown::new());
        let metrics = Metrics::new("basket-service");
        let doors = Doors::of_process(&config.http, &config.grpc, &config.operations).await.expect("two ports");
        let basket = Basket::build(doors, config, bus.clone(), metrics, &shutdown).await.expect("the service builds");
        let (http, grpc) = (basket.http_addr().port(), basket.grpc_addr().port());
        let serving = tokio::task::spawn(basket.run(shutdown.clone()));
        let rpc = BasketServiceClient::connect(format!("http://127.0.0.1:{grpc}")).await.expect("connected");
        Self { api: Api::new(format!("127.0.0.1:{http}")), rpc, shelf, bus, shutdown, serving, _folder: folder }
    }

    async fn add(&self, product: i64, quantity: u32) -> (u16, serde_json::Value) {
        self.api.post("/baskets/ann/items", &json!({ "product_id": product, "quantity": quantity })).await
    }

    async fn stop(self) {
        self.shutdown.soft.cancel();
        self.serving.await.expect("no panic").expect("a clean end");
    }
}

fn code(status: &Status) -> (Code, String) {
    (status.code(), status.get_details_error_info().map(|info| info.reason).unwrap_or_default())
}

#[tokio::test(flavor = "multi_thread")]
async fn both_interfaces_show_one_basket() {
    let mut service = Running::start().await;
    let (user_id, product_id) = ("ann".to_owned(), 1);
    let made = service.rpc.create_basket(proto::CreateBasketRequest { user_id: user_id.clone() }).await;
    assert!(made.expect("made").into_inner().created);
    let request = proto::AddItemRequest { user_id: user_id.clone(), product_id, quantity: 2 };
    let added = service.rpc.add_item(request).await.expect("added").into_inner().basket.expect("a basket");
    let (_, shown) = service.api.get("/baskets/ann").await;
    assert_eq!((shown["id"].as_str(), shown["total"].as_f64()), (Some(added.id.as_str()), Some(20.02)));
    assert_eq!((added.total.map(|total| total.minor_units), added.item_count), (Some(2002), 2));

    let stale = Some(added.version - 1);
    let request =
        proto::UpdateItemRequest { user_id: user_id.clone(), product_id, quantity: 1, expected_version: stale };
    let refused = service.rpc.update_item(request.clone()).await.expect_err("stale");
    assert_eq!(code(&refused), (Code::Aborted, "precondition_failed".to_owned()));
    let request = proto::UpdateItemRequest { expected_version: Some(added.version), ..request };
    let updated = service.rpc.update_item(request).await.expect("updated").into_inner().basket.expect("a basket");
    assert_eq!(updated.items[0].quantity, 1);

    let request = proto::AddItemRequest { user_id: "a b".to_owned(), product_id: 0, quantity: 0 };
    let refused = service.rpc.add_item(request).await.expect_err("nothing of it is valid");
    assert_eq!(code(&refused), (Code::InvalidArgument, "validation_failed".to_owned()));
    assert_eq!(refused.get_details_bad_request().map(|bad| bad.field_violations.len()), Some(3));
    let request = proto::AddItemRequest { user_id: user_id.clone(), product_id, quantity: 99 };
    let refused = service.rpc.add_item(request).await.expect_err("too many");
    assert_eq!(code(&refused), (Code::FailedPrecondition, "insufficient_stock".to_owned()));
    assert!(refused.get_details_precondition_failure().is_some());

    let request = proto::RemoveItemRequest { user_id: user_id.clone(), product_id, expected_version: None };
    let empty = service.rpc.remove_item(request).await.expect("removed").into_inner().basket.expect("a basket");
    assert_eq!(empty.items, []);
    let request = proto::ClearItemsRequest { user_id: user_id.clone(), expected_version: None };
    service.rpc.clear_items(request).await.expect("cleared");
    let request = proto::DeleteBasketRequest { user_id: user_id.clone(), expected_version: None };
    service.rpc.delete_basket(request).await.expect("deleted");
    let request = proto::GetBasketRequest { user_id, refresh: true };
    let gone = service.rpc.get_basket(request).await.expect_err("gone");
    assert_eq!(code(&gone), (Code::NotFound, "basket_not_found".to_owned()));
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_is_repeated_under_its_key_takes_effect_once() {
    let mut service = Running::start().await;
    let keyed = |quantity| {
        let mut request =
            tonic::Request::new(proto::AddItemRequest { user_id: "ann".to_owned(), product_id: 1, quantity });
        request.metadata_mut().insert("idempotency-key", "tea-1".parse().expect("a key"));
        request
    };
    let first = service.rpc.add_item(keyed(2)).await.expect("added").into_inner();
    let again = service.rpc.add_item(keyed(2)).await.expect("the same answer");
    assert!(again.metadata().contains_key("idempotency-replayed"));
    assert_eq!(again.into_inner(), first);
    let other = service.rpc.add_item(keyed(3)).await.expect_err("another request");
    assert_eq!(code(&other), (Code::InvalidArgument, "idempotency_key_reused".to_owned()));
    assert_eq!(service.api.get("/baskets/ann").await.1["item_count"], 2);

    let create = || {
        let mut request = tonic::Request::new(proto::CreateBasketRequest { user_id: "bob".to_owned() });
        request.metadata_mut().insert("idempotency-key", "bob-1".parse().expect("a key"));
        request
    };
    for _ in 0..2 {
        assert!(service.rpc.create_basket(create()).await.expect("made").into_inner().created);
    }
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refresh_lists_what_moved() {
    let mut service = Running::start().await;
    for product in [1, 2, 3] {
        assert_eq!(service.add(product, 2).await.0, 200);
    }
    service.shelf.set(1, |product| product.price.as_mut().expect("a price").minor_units = 900);
    service.shelf.set(2, |product| product.available_quantity = 1);
    service.shelf.take_out(3);
    let request = proto::GetBasketRequest { user_id: "ann".to_owned(), refresh: true };
    let compared = service.rpc.get_basket(request).await.expect("is compared").into_inner();
    assert_eq!(service.api.get("/baskets/ann").await.1["total"].as_f64(), Some(60.12), "as it was");
    let request = proto::RefreshBasketRequest { user_id: "ann".to_owned(), expected_version: None };
    let answer = service.rpc.refresh_basket(request).await.expect("refreshed").into_inner();
    assert_eq!(answer.changes, compared.changes);
    let kinds: Vec<_> = answer.changes.iter().map(|change| (change.product_id, change.kind())).collect();
    assert_eq!(kinds, [(1, Price), (2, Availability), (3, Gone)]);
    let price = &answer.changes[0];
    let minor = |money: &Option<shop_proto::common::v1::Money>| money.as_ref().map(|money| money.minor_units);
    assert_eq!((minor(&price.old_price), minor(&price.new_price)), (Some(1001), Some(900)));
    assert_eq!((answer.changes[1].quantity, answer.changes[1].available_quantity), (2, 1));
    assert_eq!(service.api.get("/baskets/ann").await.1["total"].as_f64(), Some(18.0 + 20.04));
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_product_service_that_stumbles_is_asked_again_and_one_that_is_down_is_said_to_be() {
    let service = Running::start().await;
    service.shelf.fail(vec![Status::unavailable("starting"), Status::unavailable("starting")]);
    assert_eq!(service.add(1, 1).await.0, 200, "two stumbles are ridden out");

    for failure in [Status::unavailable("down"), Status::internal("broken"), Status::resource_exhausted("busy")] {
        service.shelf.fail(vec![failure; 3]);
        let request = service.api.request(reqwest::Method::POST, "/baskets/ann/items");
        let reply = service.api.send(request.json(&json!({ "product_id": 1, "quantity": 1 }))).await;
        let problem = reply.problem(503, "product_service_unavailable");
        assert!(!reply.header("retry-after").is_empty() && !problem.to_string().contains("broken"), "{problem}");
        service.shelf.fail(Vec::new());
    }

    service.shelf.hang();
    let started = Instant::now();
    let (status, problem) = service.add(1, 1).await;
    assert_eq!((status, problem["code"].as_str()), (503, Some("product_service_unavailable")));
    assert!(started.elapsed() < Duration::from_secs(2), "the deadline is half a second");
    assert_eq!(service.api.get("/baskets/ann").await.1["item_count"], 1);
    assert_eq!(service.add(99, 1).await.1["code"], "product_service_unavailable");
    service.shelf.go_on();
    assert_eq!(service.add(99, 1).await.1["code"], "product_not_found");
    let (status, problem) = service.api.put("/baskets/ann/items/99", &json!({ "quantity": 1 })).await;
    assert_eq!((status, problem["code"].as_str()), (404, Some("product_not_found")));
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_buyers_in_one_basket_lose_nothing_on_redis() {
    let Some(keys) = shop_testing::backend::redis().await else { return };
    let redis = Redis { key_prefix: keys.prefix().to_owned(), ..Redis::at(&keys.url()) };
    let service = Running::start_on(redis, IdentitySettings::off(), tempfile::tempdir().expect("a folder")).await;
    service.shelf.set(1, |product| product.available_quantity = 100);
    let adding = (0..50).map(|_| service.add(1, 1));
    for (status, body) in futures_util::future::join_all(adding).await {
        assert_eq!(status, 200, "{body}");
    }
    assert_eq!(service.api.get("/baskets/ann").await.1["item_count"], 50);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_paid_leaves_the_basket_by_event_once() {
    let service = Running::start().await;
    service.add(1, 3).await;
    let (_, basket) = service.add(2, 1).await;
    let basket_id = basket["id"].as_str().and_then(|id| id.parse().ok()).expect("an id");
    let lines = vec![BasketLine { product_id: 1, quantity: 2 }, BasketLine { product_id: 2, quantity: 1 }];
    let (user_id, payment_id) = ("ann".to_owned(), Uuid::now_v7());
    let event = BasketCleared { user_id, basket_id, lines, reason: "paid".to_owned(), payment_id };
    let envelope = Envelope {
        id: Uuid::now_v7(),
        time: time::macros::datetime!(2026-01-02 12:00 UTC),
        source: "payment-service".to_owned(),
        event: Event::BasketCleared(event),
        context: Context::default(),
    };
    for _ in 0..2 {
        service.bus.publish(&envelope.encode()).await.expect("taken");
    }
    let (_, left) = service.api.get("/baskets/ann").await;
    assert_eq!((&left["item_count"], &left["items"][0]["product_id"]), (&json!(1), &json!(1)));
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_process_tells_how_it_is() {
    let service = Running::start().await;
    let (status, health) = service.api.get("/health/ready").await;
    assert_eq!((status, health["checks"]["store"]["status"].as_str()), (200, Some("up")), "{health}");
    service.add(1, 1).await;
    let metrics = service.api.send(service.api.request(reqwest::Method::GET, "/metrics")).await.text;
    for name in [
        r#"http_server_requests_total{method="POST",route="/baskets/{user_id}/items",status="200"}"#,
        "store_pool_connections",
    ] {
        assert!(metrics.contains(name), "{name} is missing:\n{metrics}");
    }
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_field_refuses_in_words_for_people() {
    let service = Running::start().await;
    hostile::every_field(&service.api).await;
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_operation_minds_what_is_expected() {
    let service = Running::start().await;
    service.add(1, 2).await;
    let (basket, items, item) =
        ("/baskets/{user_id}", "/baskets/{user_id}/items", "/baskets/{user_id}/items/{product_id}");
    let merge = "/baskets/{user_id}/merge";
    let operations = [
        Operation::new(Method::POST, "/guests", "/guests"),
        Operation::new(Method::POST, "/baskets/{user_id}/refresh", "/baskets/ann/refresh"),
        Operation::new(Method::POST, merge, "/baskets/ann/merge").with(json!({ "guest_token": "guest-1" })),
        Operation::new(Method::POST, "/baskets", "/baskets").with(json!({ "user_id": "ann" })),
        Operation::new(Method::GET, basket, "/baskets/ann"),
        Operation::new(Method::POST, items, "/baskets/ann/items").with(json!({ "product_id": 2, "quantity": 1 })),
        Operation::new(Method::PUT, item, "/baskets/ann/items/1").with(json!({ "quantity": 1 })),
        Operation::new(Method::DELETE, item, "/baskets/ann/items/1"),
        Operation::new(Method::DELETE, items, "/baskets/ann/items"),
        Operation::new(Method::DELETE, basket, "/baskets/ann"),
    ];
    every_operation(&service.api, &operations).await;
    // The first item makes the basket, so it can be asked for only then.
    let add = |user: &str, name: &str, tags: &str| {
        let request = service.api.request(Method::POST, &format!("/baskets/{user}/items")).header(name, tags);
        service.api.send(request.json(&json!({ "product_id": 2, "quantity": 1 })))
    };
    let _ = add("bob", "if-match", "*").await.problem(412, "precondition_failed");
    assert_eq!(add("bob", "if-none-match", "*").await.status, 200);
    let _ = add("bob", "if-none-match", "*").await.problem(412, "precondition_failed");
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_of_any_kind_is_reached_by_the_location_that_was_given() {
    let service = Running::start().await;
    let long = "x".repeat(255);
    for user in ["a", "ada+shop@x.example", "auth0|5f7c8ec7", "google-oauth2|113", "urn:x:1", "...", ".a", &long] {
        let made =
            service.api.send(service.api.request(Method::POST, "/baskets").json(&json!({ "user_id": user }))).await;
        assert_eq!(made.status, 201, "{user}: {made:?}");
        let place = made.header("location").to_owned();
        let (status, basket) = service.api.get(&place).await;
        assert_eq!((status, basket["user_id"].as_str()), (200, Some(user)), "{place}");
        assert_eq!(service.api.delete(&place).await.0, 204, "{place}");
    }
    for user in [".", "..", "a/b", "a;b", "a%2Fb", "//", "", "a b", "\u{e9}", &format!("{long}x")] {
        let (status, refused) = service.api.post("/baskets", &json!({ "user_id": user })).await;
        assert_eq!((status, refused["errors"][0]["field"].as_str()), (422, Some("user_id")), "{user}");
    }
    service.stop().await;
}
