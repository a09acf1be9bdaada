//! The HTTP API, answer by answer.

use std::sync::atomic::Ordering;
use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use shop_proto::basket::v1::{BasketChange, BasketChangeKind};
use shop_proto::common::v1::Money;
use shop_testing::eventually;
use shop_testing::preconditions::{Operation, every_operation};

use crate::neighbours::{BASKET, hanging, short};
use crate::world::{World, steady};

#[tokio::test]
async fn a_payment_is_made_from_the_basket_and_read_back() {
    let world = World::new().await;
    let order = json!({
        "user_id": "ada", "basket_id": BASKET, "method": "credit_card", "provider": "sandbox", "currency": "USD",
        "description": "  first order ☕ ", "metadata": {"order": "17"},
    });
    let made = world.post("/payments", &order).await;
    assert_eq!((made.status, made.header("etag")), (201, "\"v1\""));
    assert!(made.text.starts_with(r#"{"id":""#), "the id comes first: {}", made.text);
    assert!(
        made.text.contains(r#""amount":27.00,"captured_amount":0.00,"refunded_amount":0.00,"#),
        "exact decimals: {}",
        made.text
    );
    let payment = made.json();
    assert_eq!(made.header("location"), format!("/payments/{}", payment["id"].as_str().expect("an id")));
    insta::assert_json_snapshot!(steady(payment.clone()), @r#"
    {
      "amount": 27.0,
      "attempts": 0,
      "authorised_until": null,
      "basket_id": "<id>",
      "capture": "automatic",
      "captured_amount": 0.0,
      "created_at": "2026-03-01T12:00:00.000Z",
      "currency": "USD",
      "description": "first order ☕",
      "dispute": null,
      "expires_at": "2026-03-01T12:30:00.000Z",
      "failure": null,
      "id": "<id>",
      "items": [
        {
          "category": "computers",
          "created_at": "2026-03-01T12:00:00.000Z",
          "id": "<id>",
          "name": "Laptop",
          "price": 12.0,
          "product_id": 3,
          "quantity": 2,
          "subtotal": 24.0
        },
        {
          "category": "computers",
          "created_at": "2026-03-01T12:00:00.000Z",
          "id": "<id>",
          "name": "Mouse",
          "price": 3.0,
          "product_id": 4,
          "quantity": 1,
          "subtotal": 3.0
        }
      ],
      "last_failure": null,
      "metadata": {
        "order": "17"
      },
      "method": "credit_card",
      "next_action": null,
      "processed_at": null,
      "provider": "sandbox",
      "provider_id": null,
      "refunded_amount": 0.0,
      "refunds": [],
      "status": "pending",
      "updated_at": "2026-03-01T12:00:00.000Z",
      "user_id": "ada"
    }
    "#);
    let (status, read) = world.api.get(made.header("location")).await;
    assert_eq!((status, read), (200, payment));
    assert_eq!(world.neighbours.reservations.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_payment_that_was_not_changed_is_not_sent_again() {
    let world = World::new().await;
    let path = format!("/payments/{}", world.pending().await);
    let request = world.api.request(reqwest::Method::GET, &path).header("if-none-match", "\"v1\"");
    let reply = world.api.send(request).await;
    assert_eq!((reply.status, reply.text.as_str()), (304, ""));
}

#[tokio::test]
async fn what_cannot_be_paid_says_why() {
    let world = World::new().await;
    let order = |user: &str| json!({"user_id": user, "method": "paypal"});
    let _ = world.post("/payments", &order("nobody")).await.problem(404, "basket_not_found");
    let _ = world.post("/payments", &order("empty")).await.problem(409, "basket_empty");
    let mut other = order("ada");
    other["basket_id"] = json!("0190f8a0-5a3e-7c11-8d5b-3f6a2c1e4dff");
    let _ = world.post("/payments", &other).await.problem(404, "basket_not_found");
    let mut euros = order("ada");
    euros["currency"] = json!("EUR");
    let _ = world.post("/payments", &euros).await.problem(409, "currency_mismatch");
    let unknown = json!({"user_id": "ada", "method": "paypal", "amount": 1});
    let problem = world.post("/payments", &unknown).await.problem(422, "validation_failed");
    assert_eq!(problem["errors"][0]["field"], "amount");
    assert!(world.events.kinds().is_empty());
}

#[tokio::test]
async fn every_wrong_field_is_named_at_once() {
    let world = World::new().await;
    let order = json!({"user_id": "a b", "method": "cash", "provider": "acme", "currency": "XXX"});
    let problem = world.post("/payments", &order).await.problem(422, "validation_failed");
    insta::assert_json_snapshot!(problem["errors"], @r#"
    [
      {
        "code": "invalid",
        "field": "user_id",
        "message": "must be 1 to 255 letters, digits or any of @ . _ - + : |, and not . or .."
      },
      {
        "code": "unknown",
        "field": "method",
        "message": "must be one of credit_card, debit_card, paypal, stripe, bank_transfer, crypto"
      },
      {
        "code": "unknown",
        "field": "provider",
        "message": "must be sandbox or stripe"
      },
      {
        "code": "unknown",
        "field": "currency",
        "message": "must be an ISO 4217 currency code such as USD"
      }
    ]
    "#);
}

#[tokio::test]
async fn a_basket_that_moved_lists_its_changes() {
    let world = World::new().await;
    let money = |minor_units| Some(Money { minor_units, currency: "USD".to_owned() });
    *world.neighbours.changes.lock().expect("no panic") = vec![
        BasketChange {
            product_id: 3,
            kind: BasketChangeKind::Price.into(),
            name: "Laptop".to_owned(),
            old_price: money(1200),
            new_price: money(1250),
            ..BasketChange::default()
        },
        BasketChange {
            product_id: 4,
            kind: BasketChangeKind::Availability.into(),
            name: "Mouse".to_owned(),
            quantity: 2,
            available_quantity: 1,
            ..BasketChange::default()
        },
        BasketChange {
            product_id: 5,
            kind: BasketChangeKind::Gone.into(),
            name: "Lamp".to_owned(),
            ..BasketChange::default()
        },
    ];
    let reply = world.post("/payments", &json!({"user_id": "ada", "method": "paypal"})).await;
    let mut problem = steady(reply.problem(409, "basket_changed"));
    problem["request_id"] = Value::Null;
    insta::assert_json_snapshot!(problem, @r#"
    {
      "changes": [
        {
          "change": "price",
          "name": "Laptop",
          "new_price": 12.5,
          "old_price": 12.0,
          "product_id": 3
        },
        {
          "available_quantity": 1,
          "change": "availability",
          "name": "Mouse",
          "product_id": 4,
          "quantity": 2
        },
        {
          "change": "gone",
          "name": "Lamp",
          "product_id": 5
        }
      ],
      "code": "basket_changed",
      "detail": "the catalogue is not what the basket says; refresh the basket, look at it, and pay again",
      "instance": "/payments",
      "request_id": null,
      "status": 409,
      "title": "Conflict",
      "type": "about:blank",
      "violations": [
        {
          "description": "the price moved from 12.00 to 12.50",
          "subject": "products/3",
          "type": "basket_changed"
        },
        {
          "description": "2 asked for, 1 available",
          "subject": "products/4",
          "type": "basket_changed"
        },
        {
          "description": "the product is no longer sold",
          "subject": "products/5",
          "type": "basket_changed"
        }
      ]
    }
    "#);
}

#[tokio::test]
async fn a_new_name_alone_does_not_stand_in_the_way() {
    let world = World::new().await;
    let kind = BasketChangeKind::Name.into();
    *world.neighbours.changes.lock().expect("no panic") =
        vec![BasketChange { product_id: 3, kind, name: "Laptop 2".to_owned(), ..BasketChange::default() }];
    world.pending().await;
}

#[tokio::test]
async fn stock_that_is_short_fails_the_payment_and_tells_which() {
    let world = World::new().await;
    *world.neighbours.refusal.lock().expect("no panic") = Some(short);
    let reply = world.post("/payments", &json!({"user_id": "ada", "method": "crypto"})).await;
    let problem = reply.problem(409, "insufficient_stock");
    assert_eq!(problem["violations"][0]["subject"], "products/3");
    let path = format!("/payments/{}", problem["payment_id"].as_str().expect("an id"));
    let (_, payment) = world.api.get(&path).await;
    assert_eq!((&payment["status"], &payment["failure"]["code"]), (&json!("failed"), &json!("insufficient_stock")));
    eventually!(world.events.kinds() == ["Release 1x4", "Release 2x3", "payment.failed"]);
}

#[tokio::test]
async fn a_short_outage_of_a_neighbour_is_no_lost_order() {
    let world = World::new().await;
    let order = json!({"user_id": "ada", "method": "crypto"});
    *world.neighbours.refusal.lock().expect("no panic") = Some(hanging);
    for _ in 0..2 {
        let reply = world.post_once("/payments", "order-1", &order).await;
        assert_eq!(reply.header("retry-after"), "1");
        let _ = reply.problem(503, "reservation_unknown");
    }
    *world.neighbours.refusal.lock().expect("no panic") = None;
    let made = world.post_once("/payments", "order-1", &order).await;
    assert_eq!((made.status, &made.json()["status"]), (201, &json!("pending")));
    assert_eq!(world.events.kinds(), [""; 0], "nothing was given up");
}

#[tokio::test]
async fn card_numbers_are_refused_wherever_they_are_and_never_echoed() {
    let world = World::new().await;
    let id = world.completed().await;
    let pending = world.pending().await;
    let card = "4242 4242 4242 4242";
    let order = |more: Value| {
        let mut order = json!({"user_id": "ada", "method": "credit_card"});
        order.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        order
    };
    for (path, body) in [
        ("/payments".to_owned(), order(json!({"description": card}))),
        ("/payments".to_owned(), order(json!({"metadata": {"card": card}}))),
        ("/payments".to_owned(), order(json!({"metadata": {"4242424242424242": "x"}}))),
        (format!("/payments/{pending}/process"), json!({"payment_token": "4242424242424242"})),
        (format!("/payments/{id}/refund"), json!({"reason": card})),
    ] {
        let reply = world.post(&path, &body).await;
        assert!(!reply.text.contains("4242 4242") && !reply.text.contains("42424242"), "{reply:?}");
        let _ = reply.problem(422, "card_data_not_accepted");
    }
    for body in
        [json!({"payment_token": 4_242_424_242_424_242_u64}), json!({"payment_token": [4_242_424_242_424_242_u64]})]
    {
        let reply = world.post(&format!("/payments/{pending}/process"), &body).await;
        assert!(!reply.text.contains("4242 4242") && !reply.text.contains("42424242"), "{reply:?}");
        let _ = reply.problem(422, "validation_failed");
    }
}

#[tokio::test]
async fn lists_are_paged_newest_first() {
    let world = World::new().await;
    let mut made = Vec::new();
    for _ in 0..3 {
        made.insert(0, world.pending().await);
        world.clock.advance(Duration::from_millis(1));
    }
    let done = world.completed().await;
    let ids = |page: &Value| {
        let payments = page["payments"].as_array().expect("a list").iter();
        payments.map(|payment| payment["id"].as_str().expect("an id").to_owned()).collect::<Vec<_>>()
    };
    let (status, first) = world.api.get("/payments?user_id=ada&status=pending&limit=2").await;
    assert_eq!((status, &first["count"], ids(&first)), (200, &json!(2), made[..2].to_vec()));
    let cursor = first["next_cursor"].as_str().expect("a cursor");
    let (_, last) = world.api.get(&format!("/payments?status=pending&user_id=ada&limit=2&cursor={cursor}")).await;
    assert_eq!((ids(&last), &last["next_cursor"]), (made[2..].to_vec(), &Value::Null));
    let (status, problem) = world.api.get(&format!("/payments?limit=2&cursor={cursor}")).await;
    assert_eq!((status, &problem["code"]), (400, &json!("invalid_cursor")));
    let (_, users) = world.api.get("/users/ada/payments?limit=1").await;
    assert_eq!(ids(&users), [done]);
    assert_eq!(
        world.api.get("/users/bob/payments").await,
        (200, json!({"payments": [], "count": 0, "next_cursor": null}))
    );
    for path in
        ["/payments?limit=0", "/payments?limit=101", "/payments?status=paid", "/payments?x=1", "/users/a%20b/payments"]
    {
        let (status, problem) = world.api.get(path).await;
        assert_eq!((status, &problem["code"]), (400, &json!("invalid_parameter")), "{path}");
    }
}

#[tokio::test]
async fn what_does_not_exist_is_a_problem_document() {
    let world = World::new().await;
    let missing = "/payments/0190f8a0-5a3e-7c11-8d5b-3f6a2c1e4d70";
    assert_eq!(world.api.get(missing).await.1["code"], "payment_not_found");
    for step in ["process", "cancel", "refund"] {
        let _ = world.post(&format!("{missing}/{step}"), &json!({})).await.problem(404, "payment_not_found");
    }
    assert_eq!(world.api.get("/payments/7").await.1["code"], "invalid_parameter");
    assert_eq!(world.api.delete(missing).await.0, 405);
    assert_eq!(world.api.get("/nowhere").await.1["code"], "not_found");
}

#[tokio::test]
async fn the_interface_describes_itself() {
    let world = World::new().await;
    let (status, document) = world.api.get("/openapi.json").await;
    assert_eq!(status, 200);
    let paths: Vec<_> = document["paths"].as_object().expect("paths").keys().collect();
    assert_eq!(
        paths,
        [
            "/payments",
            "/payments/{id}",
            "/payments/{id}/cancel",
            "/payments/{id}/capture",
            "/payments/{id}/process",
            "/payments/{id}/refund",
            "/users/{user_id}/data",
            "/users/{user_id}/payments"
        ]
    );
    assert_eq!(world.api.get("/health/ready").await.0, 200);
}

#[tokio::test]
async fn every_operation_minds_what_is_expected() {
    let world = World::new().await;
    let (pending, paid) =
        (format!("/payments/{}", world.pending().await), format!("/payments/{}", world.completed().await));
    let held = format!("/payments/{}", world.charged_with("tok_authorise").await);
    let order = json!({"user_id": "ada", "method": "credit_card"});
    let operations = [
        Operation::new(Method::GET, "/payments", "/payments"),
        Operation::new(Method::POST, "/payments", "/payments").with(order),
        Operation::new(Method::GET, "/payments/{id}", &pending),
        Operation::new(Method::POST, "/payments/{id}/process", format!("{pending}/process")).with(json!({})),
        Operation::new(Method::POST, "/payments/{id}/capture", format!("{held}/capture")).with(json!({})),
        Operation::new(Method::POST, "/payments/{id}/cancel", format!("{pending}/cancel")),
        Operation::new(Method::POST, "/payments/{id}/refund", format!("{paid}/refund")).with(json!({})),
        Operation::new(Method::GET, "/users/{user_id}/payments", "/users/ada/payments"),
        Operation::new(Method::GET, "/users/{user_id}/data", "/users/ada/data"),
        Operation::new(Method::DELETE, "/users/{user_id}/data", "/users/grace/data"),
    ];
    every_operation(&world.api, &operations).await;
    let process = |tags: &str| {
        let request = world.api.request(Method::POST, &format!("{pending}/process")).header("if-match", tags);
        world.api.send(request.json(&json!({})))
    };
    assert_eq!(process("\"v7\", \"v1\"").await.status, 200);
    // It would be refused without any condition, so that is what is said (RFC 9110, section 13.2.1).
    let _ = process("\"v1\"").await.problem(409, "invalid_state");
}

#[tokio::test]
async fn a_repeat_under_a_key_may_be_written_otherwise() {
    let world = World::new().await;
    let send = |path: &str, key: &str, body: &str| {
        let request = world.api.request(Method::POST, path).header("idempotency-key", key);
        world.api.send(request.header("content-type", "application/json").body(body.to_owned()))
    };
    let first = send("/payments", "k", r#"{"user_id": "ada", "method": "paypal"}"#).await;
    assert_eq!(first.status, 201, "{first:?}");
    for same in [
        r#"{"method":"paypal","user_id":"ada"}"#,
        r#"{"method":"paypal","user_id":"ada","description":null,"provider":"sandbox","metadata":{}}"#,
    ] {
        let again = send("/payments", "k", same).await;
        assert_eq!((again.header("idempotency-replayed"), &again.text), ("true", &first.text), "{same}");
    }
    let other = send("/payments", "k", r#"{"method":"stripe","user_id":"ada"}"#).await;
    let _ = other.problem(422, "idempotency_key_reused");
    let twice = r#"{"method":"paypal","user_id":"ada","metadata":{"a":"1","a":"2"}}"#;
    let refused = send("/payments", "l", twice).await.problem(422, "validation_failed");
    assert_eq!(refused["errors"][0]["field"], "metadata");

    let paid = format!("/payments/{}/refund", world.completed().await);
    let refunded = send(&paid, "r", r#"{"amount": 1.50, "reason": "a scratch"}"#).await;
    assert_eq!(refunded.status, 200, "{refunded:?}");
    for same in
        [r#"{"reason":"a scratch","amount":"1.5"}"#, r#"{"reason":" a scratch","amount":1.500,"restock":false}"#]
    {
        assert_eq!(send(&paid, "r", same).await.text, refunded.text, "{same}");
    }
    let _ = send(&paid, "r", r#"{"amount": 1.05, "reason": "a scratch"}"#).await.problem(422, "idempotency_key_reused");
}
