//! Many at once: nothing is sold twice, nothing goes below zero, nobody is charged twice.

use futures_util::future::join_all;
use reqwest::Method;
use serde_json::json;

use crate::on_both;
use crate::shop::Shop;

on_both!(
    forty_buyers_and_seven_units_make_seven_sales,
    sixteen_process_calls_make_one_charge,
    twenty_partial_refunds_never_exceed_the_amount,
    thirty_adders_to_one_basket_lose_nothing,
    two_tabs_that_both_pay_are_charged_once,
);

async fn forty_buyers_and_seven_units_make_seven_sales(shop: &Shop) {
    let product = shop.product("Console", "499.00", 7).await;
    let outcomes = join_all((0..40).map(|buyer| async move {
        let user = format!("buyer-{buyer}");
        let path = format!("/api/baskets/{user}/items");
        let added = shop.call(Method::POST, &path, json!({"product_id": product, "quantity": 1})).await;
        if added.status == 409 {
            return false;
        }
        assert_eq!(added.status, 200, "{added:?}");
        let made = shop.call(Method::POST, "/api/payments", json!({"user_id": user, "method": "credit_card"})).await;
        if made.status == 409 {
            assert!(matches!(made.code(), "insufficient_stock" | "basket_changed"), "{made:?}");
            return false;
        }
        assert_eq!(made.status, 201, "{made:?}");
        let paid = shop.process(&made.json, "tok_approve").await;
        assert_eq!((paid.status, &paid.json["status"]), (200, &json!("completed")));
        true
    }))
    .await;
    assert_eq!(outcomes.iter().filter(|bought| **bought).count(), 7);
    shop.eventually("seven units are sold", async || shop.stock(product).await == (0, 0, 7)).await;
}

/// A flash sale: all have it in their baskets, and all check out at once.
#[tokio::test(flavor = "multi_thread")]
async fn five_hundred_buyers_of_a_hundred_units_are_served_or_told_that_it_is_sold_out() {
    // On a machine that builds and tests at once neither the provider, nor a neighbour, nor a connection is late for that.
    let patient = |config: &mut shop::Config| {
        config.payment.product.timeout = shop_config::Duration::secs(15);
        config.payment.basket.timeout = shop_config::Duration::secs(15);
        config.payment.provider.timeout = shop_config::Duration::secs(15);
        config.payment.recovery.settle_after = shop_config::Duration::secs(60);
        for database in [&mut config.product.database, &mut config.payment.database] {
            database.pool.acquire_timeout = shop_config::Duration::secs(15);
        }
    };
    let Some(shop) = Box::pin(Shop::real_with(patient)).await else { return };
    let shop = &shop;
    let product = shop.product("Sneaker", "99.00", 100).await;
    join_all((0..500).map(|buyer| async move { shop.add(&format!("flash-{buyer}"), product, 1).await })).await;
    let outcomes = join_all((0..500).map(|buyer| async move {
        let order = json!({"user_id": format!("flash-{buyer}"), "method": "credit_card"});
        let mut made = shop.call(Method::POST, "/api/payments", order.clone()).await;
        // So starved a machine may be that his basket is not reached in time; he asks again, as he is told to.
        while made.code() == "basket_service_unavailable" {
            made = shop.call(Method::POST, "/api/payments", order.clone()).await;
        }
        if made.status == 409 {
            // Whoever looks into the basket after the last unit went is told there.
            assert!(matches!(made.code(), "insufficient_stock" | "basket_changed"), "{made:?}");
            return false;
        }
        assert_eq!(made.status, 201, "{made:?}");
        let paid = shop.process(&made.json, "tok_approve").await;
        assert_eq!((paid.status, &paid.json["status"]), (200, &json!("completed")), "{paid:?}");
        true
    }))
    .await;
    assert_eq!(outcomes.iter().filter(|bought| **bought).count(), 100);
    shop.eventually("a hundred units are sold", async || shop.stock(product).await == (0, 0, 100)).await;
}

async fn sixteen_process_calls_make_one_charge(shop: &Shop) {
    let product = shop.product("Phone", "700.00", 20).await;
    shop.add("hal", product, 1).await;
    let payment = shop.checkout("hal").await;
    let answers = join_all((0..16).map(|_| shop.process(&payment, "tok_approve"))).await;
    let charged = answers.iter().filter(|answer| answer.status == 200).count();
    assert_eq!(charged, 1, "{answers:?}");
    for refused in answers.iter().filter(|answer| answer.status != 200) {
        assert_eq!(refused.status, 409, "{refused:?}");
        assert!(matches!(refused.code(), "payment_unsettled" | "invalid_state"), "{refused:?}");
    }
    shop.eventually("one unit is sold", async || shop.stock(product).await == (19, 19, 1)).await;
}

async fn twenty_partial_refunds_never_exceed_the_amount(shop: &Shop) {
    let product = shop.product("Tent", "100.00", 5).await;
    shop.add("ida", product, 1).await;
    let payment = shop.checkout("ida").await;
    assert_eq!(shop.process(&payment, "tok_approve").await.status, 200);
    let answers = join_all((0..20).map(|_| shop.refund(&payment, json!({"amount": 9}))).collect::<Vec<_>>()).await;
    let accepted = answers.iter().filter(|answer| answer.status == 200).count();
    assert_eq!(accepted, 11, "11 × 9 fit into 100: {answers:?}");
    for refused in answers.iter().filter(|answer| answer.status != 200) {
        assert_eq!((refused.status, refused.code()), (422, "refund_exceeds_payment"));
    }
    let payment = shop.payment(&payment).await;
    assert_eq!((&payment["refunded_amount"], &payment["status"]), (&json!(99.00), &json!("partially_refunded")));
    assert_eq!(payment["refunds"].as_array().map(Vec::len), Some(11));
}

async fn thirty_adders_to_one_basket_lose_nothing(shop: &Shop) {
    let product = shop.product("Nail", "0.05", 500).await;
    join_all((0..30).map(|_| shop.add("jan", product, 2))).await;
    assert_eq!(shop.basket_items("jan").await, [(product, 60)]);
}

async fn two_tabs_that_both_pay_are_charged_once(shop: &Shop) {
    let product = shop.product("Stove", "89.00", 2).await;
    shop.add("kit", product, 2).await;
    let order = || json!({"user_id": "kit", "method": "credit_card"});
    let tabs = join_all((0..8).map(|tab| async move {
        let made = shop.keyed("/api/payments", &format!("kit-{tab}"), order()).await;
        let paid = if made.json["id"].is_string() { shop.process(&made.json, "tok_approve").await.status } else { 409 };
        (made, paid)
    }))
    .await;
    let made = tabs.iter().map(|(made, _)| made);
    assert!(made.clone().all(|made| matches!(made.status, 200 | 201) || made.code() == "basket_paid"), "{tabs:?}");
    assert_eq!(made.filter(|made| made.status == 201).count(), 1, "{tabs:?}");
    assert_eq!(tabs.iter().filter(|(_, paid)| *paid == 200).count(), 1, "{tabs:?}");
    shop.eventually("two units are sold", async || shop.stock(product).await == (0, 0, 2)).await;
    shop.eventually("the basket is empty", async || shop.basket_items("kit").await.is_empty()).await;
    let next = shop.call(Method::POST, "/api/payments", order()).await;
    assert_eq!((next.status, next.code()), (409, "basket_empty"), "the next purchase begins: {next:?}");
}
