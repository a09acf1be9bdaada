//! Kafka is away, and people pay, change their minds and sign in: what the events would have told is known in time all the same.

use futures_util::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};
use shop_testing::{Cable, backend};

use crate::shop::Shop;

/// A shop on real servers, and the cable to a Kafka of its own.
async fn shop() -> Option<(Shop, Cable, backend::Own)> {
    let cable = Cable::to("127.0.0.1:1").await;
    let own = backend::Own::kafka_at(cable.at()).await?;
    cable.lead_to(own.variable("SHOP_TEST_KAFKA_BROKERS")).await;
    let brokers = vec![cable.at().to_string()];
    let shop = Box::pin(Shop::real_with(|config| config.kafka.brokers = brokers)).await?;
    Some((shop, cable, own))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_guest_who_pays_and_signs_in_pays_once_though_his_basket_has_not_heard_of_it() {
    let Some((shop, cable, _kafka)) = shop().await else { return };
    let (globe, atlas) = (shop.product("Globe", "20.00", 9).await, shop.product("Atlas", "5.00", 9).await);
    let made = shop.call(Method::POST, "/api/guests", Value::Null).await;
    assert_eq!(made.status, 201, "{made:?}");
    let guest = made.json["user_id"].as_str().expect("a name");
    shop.add(guest, globe, 2).await;
    shop.add("nina", atlas, 1).await;
    let payment = shop.checkout(guest).await;
    cable.refuse();
    assert_eq!(shop.process(&payment, "tok_approve").await.status, 200);

    let token = json!({"guest_token": made.json["access_token"]});
    let merged = shop.call(Method::POST, "/api/baskets/nina/merge", token).await;
    assert_eq!(merged.status, 200, "{merged:?}");
    assert_eq!(shop.basket_items("nina").await, [(atlas, 1), (globe, 2)], "the basket has not heard of it");
    let order = || json!({"user_id": "nina", "method": "credit_card"});
    for _ in 0..2 {
        let again = shop.call(Method::POST, "/api/payments", order()).await;
        assert_eq!((again.status, again.code()), (409, "basket_paid"), "{again:?}");
        assert_eq!(again.json["payment_id"], payment["id"]);
    }

    cable.mend();
    shop.eventually("what was paid leaves", async || shop.basket_items("nina").await == [(atlas, 1)]).await;
    let rest = shop.checkout("nina").await;
    assert_eq!(rest["amount"], json!(5.00), "what is hers");
    shop.eventually("two globes are sold", async || shop.stock(globe).await == (7, 7, 2)).await;
    shop.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_buyer_who_clicks_twice_is_charged_once_and_what_he_gives_up_is_free_for_others_at_once() {
    let Some((shop, cable, _kafka)) = shop().await else { return };
    let product = shop.product("Sextant", "50.00", 3).await;
    shop.add("otto", product, 2).await;
    shop.add("pia", product, 3).await;
    cable.refuse();
    let order = |user: &str| json!({"user_id": user, "method": "credit_card"});
    let clicks = join_all((0..2).map(|_| shop.call(Method::POST, "/api/payments", order("otto")))).await;
    let mut statuses: Vec<_> = clicks.iter().map(|click| click.status).collect();
    statuses.sort_unstable();
    assert_eq!((statuses, &clicks[0].json["id"]), (vec![200, 201], &clicks[1].json["id"]), "{clicks:?}");
    assert_eq!(shop.stock(product).await, (3, 1, 0));
    assert_eq!(shop.process(&clicks[0].json, "tok_decline").await.code(), "payment_declined");
    shop.eventually("all are free again", async || shop.stock(product).await == (3, 3, 0)).await;

    let payment = shop.checkout("pia").await;
    let paid = join_all((0..2).map(|_| shop.process(&payment, "tok_approve"))).await;
    assert_eq!(paid.iter().filter(|click| click.status == 200).count(), 1, "{paid:?}");
    let again = shop.call(Method::POST, "/api/payments", order("pia")).await;
    assert_eq!((again.status, again.code()), (409, "basket_paid"), "{again:?}");

    cable.mend();
    shop.eventually("three are sold", async || shop.stock(product).await == (0, 0, 3)).await;
    shop.eventually("the basket is empty", async || shop.basket_items("pia").await.is_empty()).await;
    let listed = shop.call(Method::GET, "/api/payments?status=completed", Value::Null).await;
    assert_eq!(listed.json["payments"].as_array().map(Vec::len), Some(1), "{listed:?}");
    shop.stop().await;
}
