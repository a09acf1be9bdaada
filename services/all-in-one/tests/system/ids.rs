//! Whatever has an id is reached by it, through the gateway, in the one spelling there is.

use reqwest::Method;
use serde_json::{Value, json};

use crate::on_both;
use crate::shop::Shop;

on_both!(what_was_made_is_found_where_it_was_said_to_be, users_of_every_kind_can_buy, an_id_has_one_spelling,);

const NONE: Value = Value::Null;

/// Makes something and says where it is, by the answer's `Location`.
async fn made(shop: &Shop, path: &str, body: Value) -> String {
    let made = shop.call(Method::POST, path, body).await;
    assert_eq!(made.status, 201, "{path}: {made:?}");
    made.header("location").expect("a location").to_owned()
}

async fn what_was_made_is_found_where_it_was_said_to_be(shop: &Shop) {
    let lamp = json!({"name": "Lamp", "price": "9.90", "stock_quantity": 3, "category": "tests"});
    let product = made(shop, "/api/products", lamp).await;
    assert_eq!(shop.call(Method::GET, &product, NONE).await.json["name"], "Lamp");
    let id = product.rsplit('/').next().and_then(|id| id.parse().ok()).expect("a number");

    shop.add("ada", id, 1).await;
    let payment = made(shop, "/api/payments", json!({"user_id": "ada", "method": "paypal"})).await;
    assert_eq!(shop.call(Method::GET, &payment, NONE).await.json["user_id"], "ada");
    let upper = payment.replace("/api/payments/", "").to_uppercase();
    assert_eq!(shop.call(Method::GET, &format!("/api/payments/{upper}"), NONE).await.status, 200, "RFC 9562");
    assert_eq!(shop.call(Method::POST, &format!("{payment}/cancel"), NONE).await.status, 200);

    shop.eventually("the reservation is released", async || shop.stock(id).await == (3, 3, 0)).await;
    assert_eq!(shop.call(Method::DELETE, &product, NONE).await.status, 204);
    assert_eq!(shop.call(Method::GET, &product, NONE).await.status, 404);
}

async fn users_of_every_kind_can_buy(shop: &Shop) {
    let product = shop.product("Pen", "1.20", 100).await;
    let long = "x".repeat(255);
    for user in ["a", "ada+shop@x.example", "auth0|5f7c8ec7", "google-oauth2|113", "urn:x:1", "...", ".a", "-", &long] {
        let basket = made(shop, "/api/baskets", json!({ "user_id": user })).await;
        let added = json!({"product_id": product, "quantity": 1});
        assert_eq!(shop.call(Method::POST, &format!("{basket}/items"), added).await.status, 200, "{basket}");
        let payment = shop.checkout(user).await;
        assert_eq!(payment["user_id"], user);
        let theirs = basket.replace("/api/baskets/", "/api/users/") + "/payments";
        assert_eq!(shop.call(Method::GET, &theirs, NONE).await.json["count"], 1, "{theirs}");
        assert_eq!(shop.process(&payment, "tok_approve").await.status, 200, "{user}");
        shop.eventually("the basket is empty", async || {
            shop.call(Method::GET, &basket, NONE).await.json["item_count"] == 0
        })
        .await;
        let query = user.bytes().fold(String::new(), |text, byte| format!("{text}%{byte:02X}"));
        shop.eventually("they are told", async || {
            shop.call(Method::GET, &format!("/api/notifications?user_id={query}"), NONE).await.json["count"] != 0
        })
        .await;
        assert_eq!(shop.call(Method::DELETE, &basket, NONE).await.status, 204, "{basket}");
        assert_eq!(shop.call(Method::GET, &basket, NONE).await.status, 404, "{basket}");
    }
    for user in [".", "..", "a/b", "a;b", "a%2Fb", "//", "", "a b", "a?b", "a#b", "é"] {
        for (path, body) in [
            ("/api/baskets", json!({ "user_id": user })),
            ("/api/payments", json!({"user_id": user, "method": "paypal"})),
        ] {
            let refused = shop.call(Method::POST, path, body).await;
            assert_eq!(
                (refused.status, &refused.json["errors"][0]["field"]),
                (422, &json!("user_id")),
                "{path} {user}"
            );
        }
    }
}

async fn an_id_has_one_spelling(shop: &Shop) {
    let product = shop.product("Cup", "2.00", 5).await;
    assert_eq!(shop.call(Method::GET, &format!("/api/products/{product}"), NONE).await.status, 200);
    for other in
        [format!("+{product}"), format!("0{product}"), format!("{product}.0"), "%D9%A3".to_owned(), "%ff".to_owned()]
    {
        let refused = shop.call(Method::GET, &format!("/api/products/{other}"), NONE).await;
        assert_eq!((refused.status, refused.code()), (400, "invalid_parameter"), "{other}");
    }
    let id = "01890a5d-ac96-774b-bcce-b302099a8057";
    for path in ["/api/payments/", "/api/notifications/"] {
        assert_eq!(shop.call(Method::GET, &format!("{path}{id}"), NONE).await.status, 404, "{path}");
        for other in [id.replace('-', ""), format!("%7B{id}%7D"), format!("urn:uuid:{id}")] {
            let refused = shop.call(Method::GET, &format!("{path}{other}"), NONE).await;
            assert_eq!((refused.status, refused.code()), (400, "invalid_parameter"), "{path}{other}");
        }
    }
    for (path, parameter) in [
        ("/api/products?q=%ff", "q"),
        ("/api/payments?user_id=%c3", "user_id"),
        ("/api/notifications?cursor=%ff", "cursor"),
    ] {
        let refused = shop.call(Method::GET, path, NONE).await;
        assert_eq!((refused.status, &refused.json["errors"][0]["field"]), (400, &json!(parameter)), "{path}");
    }
}
