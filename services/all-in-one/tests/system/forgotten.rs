//! What a person may ask for: to be told everything, and to be nowhere any more.

use reqwest::Method;
use serde_json::{Value, json};
use shop_testing::Api;

use crate::on_both;
use crate::shop::Shop;

on_both!(one_who_asks_gets_everything_and_one_who_is_forgotten_is_nowhere_found);

/// Nobody else's name has it in it.
const ADA: &str = "ada.lovelace@shop.example";

/// What she has, beside a pending payment: a purchase with a refund and notes, a basket, preferences, notifications.
async fn lives_here(shop: &Shop, product: i64) -> Value {
    let notification = Api::new(shop.at.notification.expect("a notification service"));
    let wants = json!({"email": ADA, "email_enabled": true});
    assert_eq!(notification.put(&format!("/users/{ADA}/notification-preferences"), &wants).await.0, 200);
    shop.add(ADA, product, 2).await;
    let order =
        json!({"user_id": ADA, "method": "credit_card", "description": "for Byron", "metadata": {"gift": "yes"}});
    let payment = shop.call(Method::POST, "/api/payments", order).await.json;
    assert_eq!(shop.process(&payment, "tok_approve").await.status, 200);
    shop.eventually("what was bought leaves the basket", async || shop.basket_items(ADA).await.is_empty()).await;
    let refund = json!({"amount": "1.50", "reason": "Byron has one"});
    assert_eq!(shop.refund(&payment, refund).await.status, 200);
    shop.add(ADA, product, 1).await;
    let told = format!("/api/notifications?user_id={ADA}");
    shop.eventually("she is told", async || {
        // A line in the log for the purchase and for the refund.
        shop.call(Method::GET, &told, Value::Null).await.json["notifications"]
            .as_array()
            .is_some_and(|all| all.len() == 2)
    })
    .await;
    payment
}

fn data() -> String {
    format!("/api/users/{ADA}/data")
}

async fn one_who_asks_gets_everything_and_one_who_is_forgotten_is_nowhere_found(shop: &Shop) {
    let product = shop.product("Lamp", "19.90", 9).await;
    let payment = lives_here(shop, product).await;
    shop.add("grace", product, 1).await;

    let told = shop.call(Method::GET, &data(), Value::Null).await;
    assert_eq!(told.status, 200, "{told:?}");
    let told = told.json;
    assert_eq!((&told["user_id"], &told["notification_preferences"]["email"]), (&json!(ADA), &json!(ADA)));
    assert_eq!(told["basket"]["items"][0]["product_id"], json!(product));
    let paid = &told["payments"][0];
    assert_eq!((&paid["id"], &paid["description"]), (&payment["id"], &json!("for Byron")));
    assert_eq!((&paid["metadata"], &paid["refunds"][0]["reason"]), (&json!({"gift": "yes"}), &json!("Byron has one")));
    assert_eq!(told["notifications"].as_array().map(Vec::len), Some(2), "{told}");
    assert!(shop.knows(ADA).await.len() > 3, "what looks for her finds her where she is");

    let open = shop.checkout(ADA).await;
    let refused = shop.call(Method::DELETE, &data(), Value::Null).await;
    assert_eq!((refused.status, refused.code(), &refused.json["payment_id"]), (409, "payment_open", &open["id"]));
    let cancel = format!("/api/payments/{}/cancel", open["id"].as_str().expect("an id"));
    assert_eq!(shop.call(Method::POST, &cancel, Value::Null).await.status, 200);

    let before = shop.payment(&payment).await;
    for _ in 0..2 {
        assert_eq!(shop.call(Method::DELETE, &data(), Value::Null).await.status, 204);
    }
    shop.eventually("she is nowhere", async || shop.knows(ADA).await.is_empty()).await;
    assert_eq!(shop.knows("Byron").await, [""; 0], "nor is what she noted");

    let kept = shop.payment(&payment).await;
    for member in ["amount", "refunded_amount", "status", "items", "provider_id", "created_at"] {
        assert_eq!(kept[member], before[member], "{member}");
    }
    shop.eventually("stock is what was sold", async || shop.stock(product).await == (7, 7, 2)).await;
    let left = shop.call(Method::GET, &data(), Value::Null).await.json;
    assert_eq!([&left["payments"], &left["basket"], &left["notifications"]], [&json!([]), &json!(null), &json!([])]);
    assert_eq!(left["notification_preferences"]["updated_at"], json!(null), "she has said nothing");
    assert_eq!(shop.basket_items("grace").await, [(product, 1)], "others are as they were");

    // She comes back one day, and is somebody new.
    shop.add(ADA, product, 1).await;
    let again = shop.checkout(ADA).await;
    assert_eq!(shop.process(&again, "tok_approve").await.status, 200);
    shop.eventually("she is told of it", async || {
        let told = shop.call(Method::GET, &data(), Value::Null).await.json;
        let count = |list: &str| told[list].as_array().map(Vec::len);
        (count("payments"), count("notifications")) == (Some(1), Some(1))
    })
    .await;
}
