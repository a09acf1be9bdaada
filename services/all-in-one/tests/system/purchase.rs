//! Buying, not buying, and changing one's mind.

use reqwest::Method;
use serde_json::json;

use crate::on_both;
use crate::shop::Shop;

on_both!(
    a_purchase_moves_stock_basket_and_payment,
    a_declined_payment_gives_the_stock_back,
    a_cancelled_payment_gives_the_stock_back,
    a_refund_with_restock_puts_the_units_back,
    a_price_that_moved_is_shown_before_it_is_charged,
    lines_added_after_checkout_stay_in_the_basket,
    the_same_key_pays_once,
    a_lost_reply_is_settled_by_asking_not_by_charging,
    requests_are_traceable_by_their_id,
);

async fn a_purchase_moves_stock_basket_and_payment(shop: &Shop) {
    let product = shop.product("Lamp", "19.90", 5).await;
    let basket = shop.add("ada", product, 2).await;
    assert_eq!(basket["total"], json!(39.80));

    let payment = shop.checkout("ada").await;
    assert_eq!((&payment["status"], &payment["amount"]), (&json!("pending"), &json!(39.80)));
    assert_eq!(shop.stock(product).await, (5, 3, 0), "reserved, not yet sold");

    let paid = shop.process(&payment, "tok_approve").await;
    assert_eq!((paid.status, &paid.json["status"]), (200, &json!("completed")));
    shop.eventually("stock is sold", async || shop.stock(product).await == (3, 3, 2)).await;
    shop.eventually("the basket is empty", async || shop.basket_items("ada").await.is_empty()).await;
}

async fn a_declined_payment_gives_the_stock_back(shop: &Shop) {
    for token in ["tok_decline", "tok_insufficient_funds"] {
        let product = shop.product("Chair", "49.00", 3).await;
        shop.add(token, product, 3).await;
        let payment = shop.checkout(token).await;
        let declined = shop.process(&payment, token).await;
        assert_eq!((declined.status, declined.code()), (402, "payment_declined"));
        assert_eq!(shop.payment(&payment).await["status"], "failed");
        shop.eventually("stock is free again", async || shop.stock(product).await == (3, 3, 0)).await;
        assert_eq!(shop.basket_items(token).await.len(), 1, "the basket waits for a better card");
    }
}

async fn a_cancelled_payment_gives_the_stock_back(shop: &Shop) {
    let product = shop.product("Desk", "210.00", 1).await;
    shop.add("bob", product, 1).await;
    let payment = shop.checkout("bob").await;
    assert_eq!(shop.stock(product).await, (1, 0, 0));
    let path = format!("/api/payments/{}/cancel", payment["id"].as_str().expect("an id"));
    let cancelled = shop.call(Method::POST, &path, json!({})).await;
    assert_eq!((cancelled.status, &cancelled.json["status"]), (200, &json!("cancelled")));
    shop.eventually("stock is free again", async || shop.stock(product).await == (1, 1, 0)).await;
    let late = shop.process(&payment, "tok_approve").await;
    assert_eq!((late.status, late.code()), (409, "invalid_state"));
}

async fn a_refund_with_restock_puts_the_units_back(shop: &Shop) {
    let product = shop.product("Kettle", "30.00", 4).await;
    shop.add("cleo", product, 4).await;
    let payment = shop.checkout("cleo").await;
    assert_eq!(shop.process(&payment, "tok_approve").await.status, 200);
    shop.eventually("stock is sold", async || shop.stock(product).await == (0, 0, 4)).await;
    let refunded = shop.refund(&payment, json!({"reason": "broken", "restock": true})).await;
    assert_eq!((refunded.status, &refunded.json["status"]), (200, &json!("refunded")));
    shop.eventually("the units are back", async || shop.stock(product).await == (4, 4, 4)).await;
    let again = shop.refund(&payment, json!({"amount": 0.01})).await;
    assert!(matches!(again.status, 409 | 422), "{again:?}");
}

async fn a_price_that_moved_is_shown_before_it_is_charged(shop: &Shop) {
    let product = shop.product("Vase", "10.00", 9).await;
    shop.add("dan", product, 1).await;
    shop.set_price(product, "12.00").await;
    for _ in 0..2 {
        let refused = shop.call(Method::POST, "/api/payments", json!({"user_id": "dan", "method": "paypal"})).await;
        assert_eq!((refused.status, refused.code()), (409, "basket_changed"), "{refused:?}");
        assert!(refused.json.to_string().contains("price"), "{refused:?}");
    }
    let refreshed = shop.call(Method::POST, "/api/baskets/dan/refresh", json!(null)).await;
    assert_eq!((refreshed.status, &refreshed.json["changes"][0]["change"]), (200, &json!("price")), "{refreshed:?}");
    let payment = shop.checkout("dan").await;
    assert_eq!(payment["amount"], json!(12.00));
}

async fn lines_added_after_checkout_stay_in_the_basket(shop: &Shop) {
    let (pen, ink) = (shop.product("Pen", "2.00", 50).await, shop.product("Ink", "7.50", 50).await);
    shop.add("eve", pen, 2).await;
    let payment = shop.checkout("eve").await;
    shop.add("eve", pen, 1).await;
    shop.add("eve", ink, 1).await;
    assert_eq!(shop.process(&payment, "tok_approve").await.status, 200);
    shop.eventually("only the paid quantity leaves", async || {
        let mut items = shop.basket_items("eve").await;
        items.sort_unstable();
        let mut left = vec![(pen, 1), (ink, 1)];
        left.sort_unstable();
        items == left
    })
    .await;
}

async fn the_same_key_pays_once(shop: &Shop) {
    let product = shop.product("Mug", "8.00", 10).await;
    shop.add("fay", product, 1).await;
    let body = json!({"user_id": "fay", "method": "credit_card"});
    let first = shop.keyed("/api/payments", "order-1", body.clone()).await;
    let second = shop.keyed("/api/payments", "order-1", body).await;
    assert_eq!((first.status, second.status), (201, 201));
    assert_eq!(first.json, second.json);
    assert_eq!(second.header("idempotency-replayed"), Some("true"));
    let other = shop.keyed("/api/payments", "order-1", json!({"user_id": "fay", "method": "paypal"})).await;
    assert_eq!((other.status, other.code()), (422, "idempotency_key_reused"));
    assert_eq!(shop.stock(product).await, (10, 9, 0), "one reservation");
}

async fn a_lost_reply_is_settled_by_asking_not_by_charging(shop: &Shop) {
    let product = shop.product("Rug", "99.00", 2).await;
    shop.add("gus", product, 1).await;
    let payment = shop.checkout("gus").await;
    let answer = shop.process(&payment, "tok_lost_reply").await;
    assert!(matches!(answer.status, 200 | 503 | 504), "{answer:?}");
    shop.eventually("the payment is settled", async || shop.payment(&payment).await["status"] == "completed").await;
    shop.eventually("stock is sold once", async || shop.stock(product).await == (1, 1, 1)).await;
}

async fn requests_are_traceable_by_their_id(shop: &Shop) {
    let answer = shop.call(Method::GET, "/api/products/999999999", json!(null)).await;
    assert_eq!((answer.status, answer.code()), (404, "product_not_found"));
    let id = answer.header("x-request-id").expect("a request id");
    assert_eq!(answer.json["request_id"], id);
    assert_eq!(answer.header("content-type"), Some("application/problem+json"));
}
