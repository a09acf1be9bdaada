//! Every route with what it answers.

use http::Method;
use serde_json::{Value, json};
use shop_testing::Reply;
use shop_testing::preconditions::{Operation, every_operation};

use crate::harness::{Running, desk, desk_with};

/// The answer without what differs from run to run.
fn steady(mut body: Value) -> Value {
    for member in ["created_at", "updated_at", "request_id"] {
        if let Some(value) = body.get_mut(member) {
            assert!(value.as_str().is_some_and(|text| !text.is_empty()), "{member}: {value}");
            *value = json!("…");
        }
    }
    body
}

async fn post(service: &Running, key: &str, body: &Value) -> Reply {
    let request = service.api.request(http::Method::POST, "/products").header("idempotency-key", key);
    service.api.send(request.json(body)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_product_is_made_read_replaced_and_removed() {
    let service = Running::start().await;
    let made = service.api.send(service.api.request(http::Method::POST, "/products").json(&desk())).await;
    assert_eq!((made.status, made.header("location"), made.header("etag")), (201, "/products/1", "\"v1\""));
    assert!(made.text.contains("\"price\":1299.50,"), "{}", made.text);
    insta::assert_json_snapshot!(steady(made.json()), @r#"
    {
      "available_quantity": 7,
      "category": "furniture",
      "created_at": "…",
      "currency": "USD",
      "description": "Oiled, two drawers.",
      "id": 1,
      "image_url": "https://images.example.com/desk.jpg",
      "name": "Walnut desk",
      "price": 1299.5,
      "stock_quantity": 7,
      "units_sold": 0,
      "updated_at": "…"
    }
    "#);
    assert_eq!(service.product(1).await, made.json());

    let wider = desk_with(&json!({"name": "Wide desk", "price": "990", "currency": "jpy", "image_url": null}));
    let request = service.api.request(http::Method::PUT, "/products/1").header("if-match", "\"v1\"");
    let replaced = service.api.send(request.json(&wider)).await;
    assert_eq!((replaced.status, replaced.header("etag")), (200, "\"v2\""));
    let body = replaced.json();
    assert_eq!(
        (&body["name"], &body["currency"], &body["image_url"]),
        (&json!("Wide desk"), &json!("JPY"), &Value::Null)
    );
    assert!(replaced.text.contains("\"price\":990,"), "{}", replaced.text);

    let late = service.api.request(http::Method::DELETE, "/products/1").header("if-match", "\"v1\"");
    let _ = service.api.send(late).await.problem(412, "precondition_failed");
    assert_eq!(service.api.delete("/products/1").await, (204, Value::Null));
    assert_eq!(service.api.delete("/products/1").await.0, 404);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_product_is_a_problem_that_names_it() {
    let service = Running::start().await;
    let (status, body) = service.api.get("/products/7").await;
    assert_eq!(status, 404);
    insta::assert_json_snapshot!(steady(body), @r#"
    {
      "code": "product_not_found",
      "detail": "product 7 does not exist",
      "instance": "/products/7",
      "request_id": "…",
      "status": 404,
      "title": "Not Found",
      "type": "about:blank"
    }
    "#);
    assert_eq!(service.api.put("/products/7", &desk()).await.0, 404);
    assert_eq!(service.api.get("/products/seven").await.0, 400);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_wrong_with_a_product_is_said_at_once() {
    let service = Running::start().await;
    let (status, body) = service.api.post("/products", &json!({"price": "1.005", "image_url": "ftp://x"})).await;
    assert_eq!(status, 422);
    insta::assert_json_snapshot!(body["errors"], @r#"
    [
      {
        "code": "required",
        "field": "name",
        "message": "must not be empty"
      },
      {
        "code": "required",
        "field": "category",
        "message": "must not be empty"
      },
      {
        "code": "too_many_decimals",
        "field": "price",
        "message": "USD has 2 decimals, `1.005` has more"
      },
      {
        "code": "required",
        "field": "stock_quantity",
        "message": "must be given"
      },
      {
        "code": "invalid",
        "field": "image_url",
        "message": "must be an http or https URL, or null"
      }
    ]
    "#);
    let (status, body) = service.api.post("/products", &desk_with(&json!({"colour": "red"}))).await;
    assert_eq!((status, &body["errors"][0]["field"]), (422, &json!("colour")));
    let (status, body) = service.api.post("/products", &desk_with(&json!({"stock_quantity": "7"}))).await;
    assert_eq!((status, &body["errors"][0]["field"]), (422, &json!("stock_quantity")));
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_makes_one_product_however_often_it_is_sent() {
    let service = Running::start().await;
    let first = post(&service, "k1", &desk()).await;
    let again = post(&service, "k1", &desk()).await;
    assert_eq!((first.status, again.status), (201, 201));
    assert_eq!(again.header("idempotency-replayed"), "true");
    assert_eq!((again.text, again.headers.get("location")), (first.text, first.headers.get("location")));
    let _ = post(&service, "k1", &desk_with(&json!({"name": "other"}))).await.problem(422, "idempotency_key_reused");
    assert_eq!(service.api.get("/products").await.1["count"], 1);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_is_filtered_sorted_and_paged() {
    let service = Running::start().await;
    for (name, price) in [("Oak desk", "300"), ("Walnut desk", "500"), ("Lamp", "40"), ("Pine desks", "100")] {
        service.add(&desk_with(&json!({"name": name, "price": price, "description": ""}))).await;
    }
    let names = |body: &Value| -> Vec<String> {
        let products = body["products"].as_array().expect("products").iter();
        products.map(|product| product["name"].as_str().expect("a name").to_owned()).collect()
    };
    let (status, first) = service.api.get("/products?q=desk&sort=-price&limit=2&min_price=50&in_stock=true").await;
    assert_eq!(
        (status, names(&first), &first["count"]),
        (200, vec!["Walnut desk".into(), "Oak desk".into()], &json!(2))
    );
    let cursor = first["next_cursor"].as_str().expect("a second page");
    let rest = format!("/products?q=desk&sort=-price&limit=2&min_price=50&in_stock=true&cursor={cursor}");
    let (_, second) = service.api.get(&rest).await;
    assert_eq!((names(&second), &second["next_cursor"]), (vec!["Pine desks".into()], &Value::Null));
    let (status, body) = service.api.get(&format!("/products?q=lamp&cursor={cursor}")).await;
    assert_eq!((status, &body["code"]), (400, &json!("invalid_cursor")));
    let (_, none) = service.api.get("/products?category=nothing").await;
    assert_eq!(none, json!({"products": [], "count": 0, "next_cursor": null}));
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_parameter_is_named() {
    let service = Running::start().await;
    for (query, name) in [
        ("limit=0", "limit"),
        ("limit=101", "limit"),
        ("limit=x", "limit"),
        ("sort=size", "sort"),
        ("min_price=1e", "min_price"),
        ("max_price=", "max_price"),
        ("in_stock=maybe", "in_stock"),
        ("colour=red", "colour"),
        ("q=a%00b", "q"),
        ("category=%0a%01", "category"),
        ("cursor=x", "cursor"),
    ] {
        let (status, body) = service.api.get(&format!("/products?{query}")).await;
        assert_eq!((status, &body["errors"][0]["field"]), (400, &json!(name)), "{query}: {body}");
    }
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_method_that_is_not_there_names_those_that_are() {
    let service = Running::start().await;
    let reply = service.api.send(service.api.request(http::Method::PATCH, "/products")).await;
    let _ = reply.problem(405, "method_not_allowed");
    assert!(reply.header("allow").contains("POST"), "{reply:?}");
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_service_documents_itself_and_says_how_it_is() {
    let service = Running::start().await;
    let (status, document) = service.api.get("/openapi.json").await;
    assert_eq!(status, 200);
    for (path, operations) in document["paths"].as_object().expect("paths") {
        for (method, operation) in operations.as_object().expect("operations") {
            let summary = &operation["summary"];
            assert!(summary.as_str().is_some_and(|text| !text.is_empty()), "{method} {path}: {document}");
        }
    }
    assert_eq!(service.api.get("/health/ready").await.0, 200);
    let metrics = service.api.send(service.api.request(http::Method::GET, "/metrics")).await;
    assert!(metrics.text.contains("http_server_requests_total"), "{}", metrics.text);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_operation_minds_what_is_expected() {
    let service = Running::start().await;
    let one = format!("/products/{}", service.add(&desk()).await);
    let operations = [
        Operation::new(Method::GET, "/products", "/products"),
        Operation::new(Method::POST, "/products", "/products").with(desk()),
        Operation::new(Method::GET, "/products/{id}", &one),
        Operation::new(Method::PUT, "/products/{id}", &one).with(desk()),
        Operation::new(Method::POST, "/products/{id}/stock-adjustments", format!("{one}/stock-adjustments"))
            .with(json!({"delta": 1, "reason": "delivery"})),
        Operation::new(Method::GET, "/products/{id}/stock-movements", format!("{one}/stock-movements")),
        Operation::new(Method::DELETE, "/products/{id}", &one),
    ];
    every_operation(&service.api, &operations).await;
    // One of several versions will do, and what is not there is 404 whatever is expected of it.
    let put = |path: &str, tags: &str| service.api.request(Method::PUT, path).json(&desk()).header("if-match", tags);
    assert_eq!(service.api.send(put(&one, "\"v9\", \"v1\"")).await.status, 200);
    for tags in ["*", "\"v1\"", "W/\"v1\""] {
        let _ = service.api.send(put("/products/999", tags)).await.problem(404, "product_not_found");
    }
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeat_under_a_key_may_be_written_otherwise() {
    let service = Running::start().await;
    let add = |body: &str| {
        let request = service.api.request(Method::POST, "/products").header("idempotency-key", "desk");
        service.api.send(request.header("content-type", "application/json").body(body.to_owned()))
    };
    let body = r#"{"name":"Desk","price":12.50,"stock_quantity":7,"category":"furniture","image_url":null}"#;
    let first = add(body).await;
    assert_eq!(first.status, 201, "{first:?}");
    for same in [
        r#"{"category":"furniture","stock_quantity":7,"price":12.5,"name":"Desk"}"#,
        r#"{"name":" Desk ","price":"12.500","currency":"USD","stock_quantity":7,"category":"furniture","description":""}"#,
    ] {
        let again = add(same).await;
        assert_eq!((again.header("idempotency-replayed"), &again.text), ("true", &first.text), "{same}");
    }
    for other in [
        r#"{"name":"Desk","price":12.51,"stock_quantity":7,"category":"furniture"}"#,
        r#"{"name":"Desk","price":12.5,"currency":"EUR","stock_quantity":7,"category":"furniture"}"#,
        r#"{"name":"Desk","price":12.5,"stock_quantity":7,"category":"furniture","description":"oak"}"#,
    ] {
        let _ = add(other).await.problem(422, "idempotency_key_reused");
    }
    service.stop().await;
}

/// Adds a product of this price, stock and currency, spelled so.
async fn spelled(service: &Running, price: &str, stock: &str, currency: &str) -> Reply {
    let body = format!(
        r#"{{"name": "Desk", "category": "desks", "price": {price}, "stock_quantity": {stock}, "currency": {currency}}}"#
    );
    let request = service.api.request(http::Method::POST, "/products").header("content-type", "application/json");
    service.api.send(request.body(body)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn numbers_are_taken_in_every_spelling_and_exactly() {
    let service = Running::start().await;
    for (price, stock, told) in [
        ("1E+2", "5", ("100.00", 5)),
        ("1.2e1", "5.0", ("12.00", 5)),
        ("\"12.50\"", "5e0", ("12.50", 5)),
        ("12.500", "1.2E+1", ("12.50", 12)),
        ("\"1250e-2\"", "0.0", ("12.50", 0)),
    ] {
        let made = spelled(&service, price, stock, "\"USD\"").await;
        assert_eq!(made.status, 201, "{}", made.text);
        assert!(made.text.contains(&format!("\"price\":{},", told.0)), "{price}: {}", made.text);
        assert_eq!(made.json()["stock_quantity"], told.1, "{stock}");
    }
    for (price, stock, field, code) in [
        ("1.005", "5", "price", "too_many_decimals"),
        ("1e-999999", "5", "price", "too_many_decimals"),
        ("1e999999", "5", "price", "out_of_range"),
        ("1e99999999999999999999999", "5", "price", "out_of_range"),
        ("10", "5.5", "stock_quantity", "invalid_type"),
        ("10", "5.00000000000000000000000001", "stock_quantity", "invalid_type"),
        ("10", "\"5\"", "stock_quantity", "invalid_type"),
        ("10", "1e999999", "stock_quantity", "invalid_value"),
        ("10", "1e10", "stock_quantity", "out_of_range"),
    ] {
        let refused = spelled(&service, price, stock, "\"USD\"").await.problem(422, "validation_failed");
        let error = &refused["errors"][0];
        assert_eq!((&error["field"], &error["code"]), (&json!(field), &json!(code)), "{price} {stock}: {refused}");
    }
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_a_currency_that_is_left_out_is_the_default() {
    let service = Running::start().await;
    assert_eq!(spelled(&service, "10", "1", "null").await.json()["currency"], "USD");
    assert_eq!(spelled(&service, "10", "1", "\" eur \"").await.json()["currency"], "EUR");
    for blank in ["\"\"", "\" \"", "\"\\u3000\""] {
        let refused = spelled(&service, "10", "1", blank).await.problem(422, "validation_failed");
        assert_eq!(refused["errors"][0]["field"], "currency", "{refused}");
    }
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_search_and_an_order_see_what_readers_see() {
    let service = Running::start().await;
    for name in ["Zebra", "Côtes du Rhône", "Coteau", "Żubr"] {
        service.add(&desk_with(&json!({"name": name, "category": "Café"}))).await;
    }
    let names = |body: Value| {
        let names = body["products"].as_array().expect("products").iter().map(|product| product["name"].clone());
        names.collect::<Vec<_>>()
    };
    for query in ["q=Co%CC%82tes", "q=C%C3%B4tes", "q=cotes+RHONE", "q=%EF%BD%83otes"] {
        assert_eq!(names(service.api.get(&format!("/products?{query}")).await.1), ["Côtes du Rhône"], "{query}");
    }
    assert_eq!(names(service.api.get("/products?category=Cafe%CC%81").await.1).len(), 4);
    let sorted = ["Coteau", "Côtes du Rhône", "Zebra", "Żubr"];
    assert_eq!(names(service.api.get("/products?sort=name").await.1), sorted);
    let (mut paged, mut next) = (Vec::new(), String::new());
    while let (200, body) = service.api.get(&format!("/products?sort=name&limit=1{next}")).await {
        let cursor = body["next_cursor"].as_str().map(|cursor| format!("&cursor={cursor}"));
        paged.extend(names(body));
        let Some(cursor) = cursor else { break };
        next = cursor;
    }
    assert_eq!(paged, sorted);
    assert_eq!(service.api.get("/products?sort=units_sold").await.0, 200);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_editor_who_did_not_look_again_brings_no_sold_unit_back() {
    let service = Running::start().await;
    let id = service.add(&desk()).await;
    let one = format!("/products/{id}");
    let (status, problem) = service.api.put(&one, &desk_with(&json!({"stock_quantity": 9}))).await;
    assert_eq!((status, &problem["code"]), (428, &json!("precondition_required")), "{problem}");
    assert!(problem["detail"].as_str().expect("a detail").contains("If-Match"), "{problem}");
    assert_eq!(service.api.put(&one, &desk_with(&json!({"name": "Wide desk"}))).await.0, 200, "the stock as it is");
    let request = service.api.request(http::Method::PUT, &one).header("if-match", "\"v2\"");
    let set = service.api.send(request.json(&desk_with(&json!({"stock_quantity": 9})))).await;
    assert_eq!((set.status, &set.json()["stock_quantity"]), (200, &json!(9)));
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delivery_is_counted_in_once_and_can_be_looked_up() {
    let service = Running::start().await;
    let id = service.add(&desk()).await;
    let path = format!("/products/{id}/stock-adjustments");
    let delivery = json!({"delta": 5, "reason": "delivery", "reference": "note 7"});
    for _ in 0..2 {
        let request = service.api.request(http::Method::POST, &path).header("idempotency-key", "note-7");
        let counted = service.api.send(request.json(&delivery)).await;
        assert_eq!((counted.status, counted.header("etag")), (200, "\"v2\""), "{counted:?}");
        assert_eq!(counted.json()["stock_quantity"], 12);
    }
    let (status, problem) = service.api.post(&path, &json!({"delta": -13, "reason": "count"})).await;
    assert_eq!((status, &problem["code"]), (409, &json!("stock_below_reserved")));
    let (status, problem) = service.api.post(&path, &json!({})).await;
    assert_eq!((status, problem["errors"].as_array().map(Vec::len)), (422, Some(2)), "{problem}");
    assert_eq!(service.api.post("/products/999/stock-adjustments", &delivery).await.0, 404);

    let list = format!("/products/{id}/stock-movements");
    let (_, first) = service.api.get(&format!("{list}?limit=1")).await;
    let newest = &first["movements"][0];
    assert_eq!((&newest["kind"], &newest["stock_delta"]), (&json!("adjustment"), &json!(5)));
    assert_eq!((&newest["reason"], &newest["reference"]), (&json!("delivery"), &json!("note 7")));
    let cursor = first["next_cursor"].as_str().expect("a second page");
    let (_, second) = service.api.get(&format!("{list}?limit=1&cursor={cursor}")).await;
    assert_eq!((&second["movements"][0]["stock_delta"], &second["next_cursor"]), (&json!(7), &Value::Null));
    assert_eq!(service.api.get("/products/999/stock-movements").await.0, 404);
    service.stop().await;
}
