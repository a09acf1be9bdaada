//! Every route: what it answers, and what it refuses.

use super::*;
use crate::application::AddItem;
use crate::domain::{Error, Expected, Quantity};

#[tokio::test]
async fn a_basket_is_filled_changed_and_emptied() {
    let stage = Stage::new().await;
    let made = stage.post("/baskets", r#"{"user_id":"ann"}"#).await;
    assert_eq!((made.status, made.location.as_deref()), (201, Some("/baskets/ann")));
    let again = stage.post("/baskets", r#"{"user_id":" ann "}"#).await;
    assert_eq!((again.status, again.location.as_deref(), &again.text), (200, None, &made.text));

    stage.post("/baskets/ann/items", r#"{"product_id":2,"quantity":3}"#).await;
    stage.clock.advance(Duration::from_mins(1));
    stage.post("/baskets/ann/items", r#"{"product_id":1,"quantity":1}"#).await;
    let filled = stage.post("/baskets/ann/items", r#"{"product_id":2,"quantity":1}"#).await;
    insta::assert_snapshot!(filled.shown(), @r#"
    200
    {"id":"[uuid]",
    "user_id":"ann",
    "items":[{"id":"[uuid]",
    "product_id":2,
    "name":"tea no. 2",
    "quantity":4,
    "price":10.02,
    "subtotal":40.08,
    "category":"tea",
    "created_at":"2026-01-02T12:00:00.000Z"},
    {"id":"[uuid]",
    "product_id":1,
    "name":"tea no. 1",
    "quantity":1,
    "price":10.01,
    "subtotal":10.01,
    "category":"tea",
    "created_at":"2026-01-02T12:01:00.000Z"}],
    "item_count":5,
    "total":50.09,
    "currency":"USD",
    "created_at":"2026-01-02T12:00:00.000Z",
    "updated_at":"2026-01-02T12:01:00.000Z",
    "expires_at":"2026-01-03T12:01:00.000Z",
    "version":1767355200003}
    "#);
    assert_eq!(stage.get("/baskets/ann").await.text, filled.text);

    let set = stage.put("/baskets/ann/items/2", r#"{"quantity":10}"#).await;
    assert_eq!((set.status, set.lines()), (200, vec![(2, 10), (1, 1)]));
    let removed = stage.put("/baskets/ann/items/2", r#"{"quantity":0}"#).await;
    assert_eq!((removed.status, removed.lines()), (200, vec![(1, 1)]));
    let removed = stage.delete("/baskets/ann/items/1").await;
    assert_eq!((removed.status, removed.lines()), (200, vec![]));
    stage.post("/baskets/ann/items", r#"{"product_id":3,"quantity":1}"#).await;
    let empty = stage.delete("/baskets/ann/items").await;
    insta::assert_snapshot!(empty.shown(), @r#"
    200
    {"id":"[uuid]",
    "user_id":"ann",
    "items":[],
    "item_count":0,
    "total":0.00,
    "currency":"USD",
    "created_at":"2026-01-02T12:00:00.000Z",
    "updated_at":"2026-01-02T12:01:00.000Z",
    "expires_at":"2026-01-03T12:01:00.000Z",
    "version":1767355200008}
    "#);
    let gone = stage.delete("/baskets/ann").await;
    assert_eq!((gone.status, gone.text.as_str()), (204, ""));
    assert_eq!(stage.get("/baskets/ann").await.code(), (404, "basket_not_found".to_owned()));
}

#[tokio::test]
async fn what_is_not_there_is_not_found() {
    let stage = Stage::new().await;
    for (method, path, body) in [
        (Method::GET, "/baskets/bob", None),
        (Method::DELETE, "/baskets/bob", None),
        (Method::DELETE, "/baskets/bob/items", None),
        (Method::DELETE, "/baskets/bob/items/1", None),
        (Method::PUT, "/baskets/bob/items/1", Some(r#"{"quantity":1}"#)),
        (Method::PUT, "/baskets/bob/items/1", Some(r#"{"quantity":0}"#)),
    ] {
        let answer = stage.call(method.clone(), path, &[], body).await;
        assert_eq!(answer.code(), (404, "basket_not_found".to_owned()), "{method} {path}");
    }
    stage.post("/baskets", r#"{"user_id":"bob"}"#).await;
    assert_eq!(stage.delete("/baskets/bob/items/1").await.code(), (404, "item_not_found".to_owned()));
    assert_eq!(stage.put("/baskets/bob/items/1", r#"{"quantity":1}"#).await.code(), (404, "item_not_found".to_owned()));
    let missing = stage.post("/baskets/bob/items", r#"{"product_id":99,"quantity":1}"#).await;
    insta::assert_snapshot!(missing.shown(), @r#"
    404
    {"type":"about:blank",
    "title":"Not Found",
    "status":404,
    "detail":"product 99 does not exist",
    "instance":"/baskets/bob/items",
    "code":"product_not_found",
    "request_id":"[uuid]"}
    "#);
    assert_eq!(stage.put("/baskets/bob/items/99", r#"{"quantity":1}"#).await.code().1, "product_not_found");
    assert_eq!(stage.get("/baskets/bob/items").await.code(), (405, "method_not_allowed".to_owned()));
}

#[tokio::test]
async fn more_than_the_shelf_holds_is_refused_with_figures() {
    let stage = Stage::new().await;
    stage.post("/baskets/ann/items", r#"{"product_id":1,"quantity":8}"#).await;
    let short = stage.post("/baskets/ann/items", r#"{"product_id":1,"quantity":3}"#).await;
    insta::assert_snapshot!(short.shown(), @r#"
    409
    {"type":"about:blank",
    "title":"Conflict",
    "status":409,
    "detail":"product 1 has only 10 left, 11 are asked for",
    "instance":"/baskets/ann/items",
    "code":"insufficient_stock",
    "request_id":"[uuid]",
    "violations":[{"type":"insufficient_stock",
    "subject":"products/1",
    "description":"11 asked for, 10 available"}],
    "available_quantity":10,
    "product_id":1,
    "requested_quantity":11}
    "#);
    let short = stage.put("/baskets/ann/items/1", r#"{"quantity":11}"#).await;
    assert_eq!(short.code(), (409, "insufficient_stock".to_owned()));
    assert_eq!(stage.get("/baskets/ann").await.lines(), [(1, 8)]);
    let none = stage.post("/baskets/bob/items", r#"{"product_id":1,"quantity":11}"#).await;
    assert_eq!(none.status, 409);
    assert_eq!(stage.get("/baskets/bob").await.status, 404, "a refused first item makes no basket");
}

#[tokio::test]
async fn one_basket_holds_one_currency() {
    let stage = Stage::new().await;
    stage.shelf.set(2, |product| product.price.currency = "JPY".parse().expect("JPY"));
    stage.post("/baskets/ann/items", r#"{"product_id":1,"quantity":1}"#).await;
    let mixed = stage.post("/baskets/ann/items", r#"{"product_id":2,"quantity":1}"#).await;
    assert_eq!(mixed.code(), (409, "currency_mismatch".to_owned()));
    let yen = stage.post("/baskets/bob/items", r#"{"product_id":2,"quantity":3}"#).await;
    assert!(yen.text.contains(r#""total":3006,"currency":"JPY""#), "{}", yen.text);
}

#[tokio::test]
async fn every_field_at_fault_is_named() {
    let stage = Stage::new().await;
    let both = stage.post("/baskets/ann/items", r#"{"product_id":0,"quantity":1000}"#).await;
    insta::assert_snapshot!(both.shown(), @r#"
    422
    {"type":"about:blank",
    "title":"Unprocessable Content",
    "status":422,
    "detail":"2 fields are not valid",
    "instance":"/baskets/ann/items",
    "code":"validation_failed",
    "request_id":"[uuid]",
    "errors":[{"field":"product_id",
    "code":"out_of_range",
    "message":"must be 1 or more"},
    {"field":"quantity",
    "code":"out_of_range",
    "message":"must be 1 to 999"}]}
    "#);
    for (path, body, status, code) in [
        ("/baskets/ann/items", r#"{"product_id":1}"#, 422, "validation_failed"),
        ("/baskets/ann/items", r#"{"product_id":1,"quantity":0}"#, 422, "validation_failed"),
        ("/baskets/ann/items", r#"{"product_id":1,"quantity":-1}"#, 422, "validation_failed"),
        ("/baskets/ann/items", r#"{"product_id":1,"quantity":1.5}"#, 422, "validation_failed"),
        ("/baskets/ann/items", r#"{"product_id":"1","quantity":1}"#, 422, "validation_failed"),
        ("/baskets/ann/items", r#"{"product_id":1,"quantity":1,"price":0}"#, 422, "validation_failed"),
        ("/baskets/ann/items", r#"{"product_id":1,"#, 400, "malformed_json"),
        ("/baskets/a%20b/items", r#"{"product_id":1,"quantity":1}"#, 400, "invalid_parameter"),
        ("/baskets", r#"{"user_id":"a b"}"#, 422, "validation_failed"),
        ("/baskets", r#"{"user_id":""}"#, 422, "validation_failed"),
        ("/baskets", "[]", 422, "validation_failed"),
    ] {
        let answer = stage.post(path, body).await;
        assert_eq!(answer.code(), (status, code.to_owned()), "{path} {body}");
    }
    assert_eq!(stage.put("/baskets/ann/items/x", r#"{"quantity":1}"#).await.code().1, "invalid_parameter");
    assert_eq!(stage.put("/baskets/ann/items/1", r#"{"quantity":1000}"#).await.status, 422);
    assert_eq!(stage.shelf.calls(), 0, "nothing was looked up for them");
}

#[tokio::test]
async fn while_the_catalogue_is_away_what_needs_no_look_up_goes_on() {
    let stage = Stage::new().await;
    stage.post("/baskets/ann/items", r#"{"product_id":1,"quantity":2}"#).await;
    stage.shelf.close();
    let away = stage.post("/baskets/ann/items", r#"{"product_id":1,"quantity":1}"#).await;
    assert_eq!(away.code(), (503, "product_service_unavailable".to_owned()));
    assert!(away.retry_after.is_some());
    assert_eq!(stage.put("/baskets/ann/items/1", r#"{"quantity":1}"#).await.status, 503);
    assert_eq!(stage.get("/baskets/ann").await.lines(), [(1, 2)]);
    assert_eq!(stage.put("/baskets/ann/items/1", r#"{"quantity":0}"#).await.lines(), []);
}

#[tokio::test]
async fn a_stale_version_changes_nothing() {
    let stage = Stage::new().await;
    let first = stage.post("/baskets/ann/items", r#"{"product_id":1,"quantity":1}"#).await;
    let outdated = first.etag.expect("an etag");
    let second = stage.put("/baskets/ann/items/1", r#"{"quantity":2}"#).await;
    let fresh = second.etag.expect("an etag");
    assert_ne!(outdated, fresh);
    for (method, path, body) in [
        (Method::PUT, "/baskets/ann/items/1", Some(r#"{"quantity":3}"#)),
        (Method::PUT, "/baskets/ann/items/1", Some(r#"{"quantity":0}"#)),
        (Method::DELETE, "/baskets/ann/items/1", None),
        (Method::DELETE, "/baskets/ann/items", None),
        (Method::DELETE, "/baskets/ann", None),
    ] {
        let refused = stage.call(method.clone(), path, &[("if-match", &outdated)], body).await;
        assert_eq!(refused.code(), (412, "precondition_failed".to_owned()), "{method} {path}");
    }
    let held = stage.get("/baskets/ann").await;
    assert_eq!((held.etag.as_deref(), held.lines()), (Some(fresh.as_str()), vec![(1, 2)]));
    let known = stage.call(Method::GET, "/baskets/ann", &[("if-none-match", &fresh)], None).await;
    assert_eq!((known.status, known.text.as_str()), (304, ""));
    let gone = stage.call(Method::DELETE, "/baskets/ann", &[("if-match", &fresh)], None).await;
    assert_eq!(gone.status, 204);
}

#[tokio::test]
async fn an_item_sent_twice_under_one_key_is_added_once() {
    let stage = Stage::new().await;
    let body = r#"{"product_id":1,"quantity":1}"#;
    let send = async |key: &str, body: &str| {
        stage.call(Method::POST, "/baskets/ann/items", &[("idempotency-key", key)], Some(body)).await
    };
    let first = send("k1", body).await;
    let second = send("k1", body).await;
    assert_eq!((first.replayed.as_deref(), second.replayed.as_deref()), (None, Some("true")));
    assert_eq!((&first.text, &first.etag), (&second.text, &second.etag));
    assert_eq!(stage.get("/baskets/ann").await.lines(), [(1, 1)]);
    let other = send("k1", r#"{"product_id":1,"quantity":2}"#).await;
    assert_eq!(other.code(), (422, "idempotency_key_reused".to_owned()));
    send("k2", body).await;
    stage.post("/baskets/ann/items", body).await;
    assert_eq!(stage.get("/baskets/ann").await.lines(), [(1, 3)]);
}

#[tokio::test]
async fn a_repeat_whose_answer_was_not_kept_is_answered_though_the_product_is_gone() {
    let stage = Stage::new().await;
    let quantity = Quantity::new(2).expect("a quantity");
    let operation = Some(uuid::Uuid::now_v7());
    let add = async |operation| {
        let (user, expected) = ("ann".parse().expect("a user"), Expected::default());
        stage.commands.add(AddItem { user, product: 1, quantity, operation, expected }).await
    };
    let first = add(operation).await.expect("is added");
    stage.shelf.take_out(1);
    assert_eq!(add(operation).await.expect("was added"), first);
    assert!(matches!(add(Some(uuid::Uuid::now_v7())).await, Err(Error::NoProduct(1))));
    stage.shelf.close();
    assert_eq!(add(operation).await.expect("was added"), first);
}

#[tokio::test]
async fn a_typo_in_what_to_put_in_is_mended_under_the_same_key() {
    let stage = Stage::new().await;
    let send = async |body: &str| {
        stage.call(Method::POST, "/baskets/ann/items", &[("idempotency-key", "k")], Some(body)).await
    };
    assert_eq!(send(r#"{"product_id":11,"quantity":1}"#).await.code(), (404, "product_not_found".to_owned()));
    assert_eq!(send(r#"{"product_id":1,"quantity":99}"#).await.code(), (409, "insufficient_stock".to_owned()));
    let mended = send(r#"{"product_id":1,"quantity":1}"#).await;
    assert_eq!((mended.status, mended.replayed.as_deref(), mended.lines()), (200, None, vec![(1, 1)]));
    assert_eq!(send(r#"{"product_id":1,"quantity":1}"#).await.replayed.as_deref(), Some("true"));
}

#[tokio::test]
async fn a_basket_made_under_a_key_is_answered_alike_the_second_time() {
    let stage = Stage::new().await;
    let send = async |body: &str| stage.call(Method::POST, "/baskets", &[("idempotency-key", "k")], Some(body)).await;
    let (first, second) = (send(r#"{"user_id":"ann"}"#).await, send(r#"{"user_id":"ann"}"#).await);
    assert_eq!((first.status, second.status, second.replayed.as_deref()), (201, 201, Some("true")));
    assert_eq!(send(r#"{"user_id":"bob"}"#).await.code(), (422, "idempotency_key_reused".to_owned()));
}

#[tokio::test]
async fn a_day_without_change_empties_the_shelf_of_the_store() {
    let stage = Stage::new().await;
    stage.post("/baskets/ann/items", r#"{"product_id":1,"quantity":1}"#).await;
    stage.clock.advance(Duration::from_hours(23));
    let slid = stage.post("/baskets/ann/items", r#"{"product_id":1,"quantity":1}"#).await;
    assert_eq!(slid.json()["expires_at"], "2026-01-04T11:00:00.000Z");
    stage.clock.advance(Duration::from_hours(24));
    assert_eq!(stage.get("/baskets/ann").await.status, 404);
    assert_eq!(stage.baskets.sweep().await.expect("swept"), 1);
}

#[tokio::test]
async fn the_interface_describes_itself() {
    let stage = Stage::new().await;
    let document = stage.get("/openapi.json").await.json();
    let paths = document["paths"].as_object().expect("paths");
    let calls: Vec<String> = paths
        .iter()
        .flat_map(|(path, calls)| {
            calls.as_object().into_iter().flatten().map(move |(call, _)| format!("{call} {path}"))
        })
        .filter(|call| call.contains("/baskets"))
        .collect();
    assert_eq!(calls.len(), 9, "{calls:?}");
    assert!(document["components"]["schemas"]["Basket"]["properties"]["expires_at"].is_object(), "{document:#}");
}

#[tokio::test]
async fn a_whole_number_is_one_in_every_spelling() {
    let stage = Stage::new().await;
    stage.post("/baskets/ann/items", r#"{"product_id":1.0,"quantity":2e0}"#).await;
    let set = stage.put("/baskets/ann/items/1", r#"{"quantity":3.00}"#).await;
    assert_eq!((set.status, set.lines()), (200, vec![(1, 3)]));
    for quantity in ["2.5", "\"2\"", "1e999999", "-1", "null"] {
        let refused = stage.put("/baskets/ann/items/1", &format!("{{\"quantity\":{quantity}}}")).await;
        assert_eq!(refused.code(), (422, "validation_failed".to_owned()), "{quantity}");
    }
}
