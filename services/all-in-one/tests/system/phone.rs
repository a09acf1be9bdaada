//! A phone in a tunnel: what it asks arrives, the answers do not, and it asks again without a key.

use reqwest::Method;
use serde_json::{Value, json};
use shop_testing::{Api, Cable};

use crate::on_both;
use crate::shop::Shop;

on_both!(a_phone_that_asks_again_after_each_lost_answer_is_charged_once);

/// Asks, and hears nothing; goes on when it took effect.
async fn lost(shop: &Shop, phone: &Api, path: &str, body: &Value, what: &str, effect: impl AsyncFn() -> bool) {
    let asked = phone.try_send(phone.request(Method::POST, path).json(body));
    tokio::select! {
        answer = asked => panic!("an answer: {answer:?}"),
        () = shop.eventually(what, effect) => {}
    }
}

async fn a_phone_that_asks_again_after_each_lost_answer_is_charged_once(shop: &Shop) {
    let product = shop.product("Lantern", "15.00", 5).await;
    shop.add("rosa", product, 2).await;
    let cable = Cable::to(&shop.at.gateway.expect("a gateway").to_string()).await;
    let phone = Api::new(cable.at());
    let payments = async || {
        let listed = shop.call(Method::GET, "/api/users/rosa/payments", Value::Null).await;
        listed.json["payments"].as_array().expect("payments").clone()
    };
    let order = json!({"user_id": "rosa", "method": "credit_card"});
    cable.lose_answers();
    let is_held = async || shop.stock(product).await == (5, 3, 0);
    lost(shop, &phone, "/api/payments", &order, "two are held", is_held).await;
    cable.mend();
    let (status, made) = phone.post("/api/payments", &order).await;
    assert_eq!((status, &made["status"], &made["amount"]), (200, &json!("pending"), &json!(30.00)), "{made}");

    cable.lose_answers();
    let process = format!("/api/payments/{}/process", made["id"].as_str().expect("an id"));
    let token = json!({"payment_token": "tok_approve"});
    let is_paid = async || payments().await.iter().any(|payment| payment["status"] == "completed");
    lost(shop, &phone, &process, &token, "it is paid", is_paid).await;
    cable.mend();
    let (status, late) = phone.post(&process, &token).await;
    assert_eq!((status, &late["code"]), (409, &json!("invalid_state")), "{late}");
    assert_eq!(late["payment_status"], "completed", "what the phone wants to know");
    let (status, again) = phone.post("/api/payments", &order).await;
    assert_eq!(status, 409, "paid, or empty by now: {again}");

    shop.eventually("two are sold", async || shop.stock(product).await == (3, 3, 2)).await;
    assert_eq!(payments().await.len(), 1, "one payment, whatever was asked");
}
