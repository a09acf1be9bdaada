//! A basket is paid once, and at what its buyer saw.

use futures_util::future::join_all;
use reqwest::Method;
use serde_json::json;

use crate::on_both;
use crate::shop::Shop;

on_both!(
    two_tabs_and_eight_clicks_are_one_payment,
    one_more_in_the_basket_is_paid_for_in_the_place_of_the_first,
    a_total_that_the_buyer_did_not_see_is_not_charged,
);

async fn two_tabs_and_eight_clicks_are_one_payment(shop: &Shop) {
    let product = shop.product("Globe", "20.00", 5).await;
    shop.add("tess", product, 2).await;
    let first = shop.checkout("tess").await;
    let body = json!({"user_id": "tess", "method": "credit_card"});
    let clicks = join_all((0..8).map(|_| shop.call(Method::POST, "/api/payments", body.clone()))).await;
    for click in &clicks {
        assert_eq!((click.status, &click.json["id"]), (200, &first["id"]), "{click:?}");
    }
    assert_eq!(shop.stock(product).await, (5, 3, 0), "reserved once");
    let paid = join_all((0..2).map(|_| shop.process(&first, "tok_approve"))).await;
    assert_eq!(paid.iter().filter(|tab| tab.status == 200).count(), 1, "{paid:?}");
    shop.eventually("two units are sold", async || shop.stock(product).await == (3, 3, 2)).await;
}

async fn one_more_in_the_basket_is_paid_for_in_the_place_of_the_first(shop: &Shop) {
    let product = shop.product("Atlas", "30.00", 10).await;
    shop.add("uma", product, 2).await;
    let first = shop.checkout("uma").await;
    shop.add("uma", product, 1).await;
    let second = shop.checkout("uma").await;
    assert_ne!(first["id"], second["id"]);
    assert_eq!(second["amount"], json!(90.00));
    let replaced = shop.payment(&first).await;
    assert_eq!((&replaced["status"], &replaced["failure"]["code"]), (&json!("cancelled"), &json!("superseded")));
    assert_eq!(shop.stock(product).await, (10, 7, 0), "three are held, not five");
    let late = shop.process(&first, "tok_approve").await;
    assert_eq!((late.status, late.code(), &late.json["payment_id"]), (409, "payment_superseded", &second["id"]));
    assert_eq!(shop.process(&second, "tok_approve").await.status, 200);
    shop.eventually("three are sold", async || shop.stock(product).await == (7, 7, 3)).await;
}

async fn a_total_that_the_buyer_did_not_see_is_not_charged(shop: &Shop) {
    let product = shop.product("Sextant", "50.00", 4).await;
    let basket = shop.add("vic", product, 1).await;
    let pay = |total: &str, version: &serde_json::Value| {
        let seen = json!({"user_id": "vic", "method": "paypal", "expected_total": total, "basket_version": version});
        shop.call(Method::POST, "/api/payments", seen)
    };
    let other = pay("45.00", &basket["version"]).await;
    assert_eq!((other.status, other.code(), &other.json["total"]), (409, "total_changed", &json!(50.00)), "{other:?}");
    let older = pay("50.00", &json!(1)).await;
    assert_eq!((older.status, older.code()), (409, "basket_changed"), "{older:?}");
    assert_eq!(shop.stock(product).await, (4, 4, 0), "nothing is held for it");
    assert_eq!(pay("50.00", &basket["version"]).await.status, 201);
}
