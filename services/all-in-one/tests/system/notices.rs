//! Who hears of a purchase: the buyer by e-mail, another system by webhook.

use reqwest::Method;
use serde_json::{Value, json};
use shop::Config;
use shop_testing::backend::{self, Smtp};
use shop_testing::{Receiver, eventually};

use crate::shop::Shop;

const SECRET: &str = "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_purchase_is_an_email_and_a_signed_webhook_on_embedded_stores() {
    let Some(smtp) = backend::smtp(&[]).await else { return };
    let receiver = Receiver::start(&[]).await;
    let shop = Shop::embedded_with(|config| tell(config, &smtp, &receiver)).await;
    a_purchase_is_told(&shop, &smtp, &receiver).await;
    shop.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_purchase_is_an_email_and_a_signed_webhook_on_kafka() {
    let Some(smtp) = backend::smtp(&[]).await else { return };
    let receiver = Receiver::start(&[]).await;
    let Some(shop) = Box::pin(Shop::real_with(|config| tell(config, &smtp, &receiver))).await else { return };
    a_purchase_is_told(&shop, &smtp, &receiver).await;
    shop.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mail_server_that_was_away_gets_every_email_once_it_is_back() {
    let Some(mut smtp) = backend::smtp(&[]).await else { return };
    let receiver = Receiver::start(&[]).await;
    let shop = Shop::embedded_with(|config| tell(config, &smtp, &receiver)).await;
    smtp.kill();
    let product = shop.product("Lamp", "19.90", 50).await;
    for number in 0..5 {
        buy(&shop, product, &format!("buyer{number}@shop.example")).await;
    }
    eventually!(receiver.got().len() == 5);
    let waiting = "/api/notifications?channel=email&status=pending";
    eventually!({
        let page = shop.call(Method::GET, waiting, Value::Null).await.json;
        let tried = page["notifications"].as_array().is_some_and(|all| all.iter().all(|one| one["attempts"] != 0));
        if tried && page["count"] == 5 { Ok(()) } else { Err(format!("{page}")) }
    });
    smtp.resume().await;
    eventually!(smtp.mails().len() == 5);
    let mut to: Vec<_> = smtp.mails().into_iter().flat_map(|mail| mail.to).collect();
    to.sort();
    assert_eq!(to, [0, 1, 2, 3, 4].map(|number| format!("buyer{number}@shop.example")));
    shop.stop().await;
}

/// E-mails and webhooks of this suite go to the test.
fn tell(config: &mut Config, smtp: &Smtp, receiver: &Receiver) {
    let notification = &mut config.notification;
    notification.email.smtp_url = Some(format!("smtp://127.0.0.1:{}", smtp.port()).into());
    notification.email.from = String::from("Shop <orders@shop.example>");
    (notification.webhook.url, notification.webhook.secret) = (Some(receiver.url()), Some(SECRET.into()));
    (notification.webhook.allow_private, notification.webhook.allow_http) = (true, true);
    notification.delivery.first_pause = shop_config::Duration::millis(50);
    notification.delivery.longest_pause = shop_config::Duration::millis(500);
}

async fn buy(shop: &Shop, product: i64, user: &str) -> Value {
    shop.add(user, product, 2).await;
    let payment = shop.checkout(user).await;
    let paid = shop.process(&payment, "tok_approve").await;
    assert_eq!(paid.status, 200, "{paid:?}");
    payment
}

async fn a_purchase_is_told(shop: &Shop, smtp: &Smtp, receiver: &Receiver) {
    let product = shop.product("Lamp <b>", "19.90", 5).await;
    let payment = buy(shop, product, "ada@shop.example").await;

    eventually!(smtp.mails().len() == 1);
    let mail = smtp.mails().remove(0);
    assert_eq!((mail.from.as_str(), mail.to), ("orders@shop.example", vec!["ada@shop.example".to_owned()]));
    let list = "/api/notifications?user_id=ada@shop.example&channel=email";
    let listed = shop.call(Method::GET, list, Value::Null).await.json;
    let id = listed["notifications"][0]["id"].as_str().expect("an id").to_owned();
    assert_eq!(mail.text.matches(&format!("<{id}@shop.example>")).count(), 1, "{}", mail.text);
    assert!(mail.text.contains("39.80"), "{}", mail.text);

    eventually!(receiver.got().len() == 1);
    let hook = receiver.got().remove(0);
    assert!(hook.is_signed_with(SECRET));
    let body = hook.json();
    assert_eq!((&body["type"], &body["data"]["payment_id"]), (&json!("payment.completed"), &payment["id"]));

    let refunded = shop.refund(&payment, json!({"amount": "5.00"})).await;
    assert_eq!(refunded.status, 200, "{refunded:?}");
    eventually!(smtp.mails().len() == 2);
    eventually!(receiver.got().len() == 2);
    assert_eq!(receiver.got()[1].json()["type"], "payment.refunded");
}
