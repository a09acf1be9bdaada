//! Stores that vanish without a word in the middle of a sale, and whose names lead to healthy ones afterwards.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use shop_testing::{Api, Cable, eventually, variable};

use crate::shop::Shop;

/// Until people buy again, once there are stores.
const WELL: Duration = Duration::from_secs(25);

/// A cable to a server of the tests, and what to put in place of its address.
struct End {
    server: String,
    cable: Cable,
}

impl End {
    async fn of(server: &str) -> Option<Self> {
        let url = variable(server)?;
        let place = url.rsplit_once('@').map_or(url.as_str(), |(_, place)| place);
        let server = place.split('/').next().expect("a place").to_owned();
        Some(Self { cable: Cable::to(&server).await, server })
    }

    fn through(&self, url: &shop_config::Secret) -> shop_config::Secret {
        url.expose().replace(&self.server, &self.cable.at().to_string()).into()
    }
}

/// What the buyers came to.
#[derive(Default)]
struct Sold {
    paid: Mutex<Vec<Value>>,
    failed: Mutex<Vec<u16>>,
    closed: AtomicBool,
}

impl Sold {
    fn paid(&self) -> usize {
        self.paid.lock().expect("no panic").len()
    }

    fn failed(&self) -> usize {
        self.failed.lock().expect("no panic").len()
    }
}

/// Buys one unit after the other, each as somebody else, and takes no failure to heart.
async fn buy(shop: &Shop, buyer: usize, product: i64, sold: &Sold) {
    // All buyers together fit on one page of payments.
    for n in 0..24 {
        if sold.closed.load(Ordering::SeqCst) {
            return;
        }
        let user = format!("buyer-{buyer}-{n}");
        let bought = async {
            let line = json!({"product_id": product, "quantity": 1});
            let added = shop.call(Method::POST, &format!("/api/baskets/{user}/items"), line).await;
            let order = json!({"user_id": user, "method": "credit_card"});
            let payment =
                if added.status == 200 { shop.call(Method::POST, "/api/payments", order).await } else { added };
            if payment.status == 201 { shop.process(&payment.json, "tok_approve").await } else { payment }
        };
        let paid = bought.await;
        if paid.status == 200 && paid.json["status"] == "completed" {
            sold.paid.lock().expect("no panic").push(paid.json);
        } else {
            sold.failed.lock().expect("no panic").push(paid.status);
        }
    }
}

async fn health(service: Option<std::net::SocketAddr>, what: &str) -> u16 {
    let api = Api::new(service.expect("is there"));
    let request = api.request(Method::GET, &format!("/health/{what}")).timeout(Duration::from_secs(20));
    api.try_send(request).await.map_or(0, |reply| reply.status)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sale_goes_on_after_all_its_stores_vanished_and_keeps_what_it_acknowledged() {
    let (Some(postgres), Some(mariadb), Some(redis)) = (
        End::of("SHOP_TEST_POSTGRES_URL").await,
        End::of("SHOP_TEST_MARIADB_URL").await,
        End::of("SHOP_TEST_REDIS_URL").await,
    ) else {
        return;
    };
    let ends = [&postgres, &mariadb, &redis];
    let shop = Shop::real_with(|config| {
        for (end, url) in [
            (&postgres, &mut config.product.database.url),
            (&postgres, &mut config.notification.database.url),
            (&mariadb, &mut config.payment.database.url),
            (&redis, &mut config.basket.redis.url),
        ] {
            *url = url.as_ref().map(|url| end.through(url));
        }
    });
    let Some(shop) = Box::pin(shop).await else { return };
    let product = shop.product("Kettle", "9.90", 500).await;
    let sold = Sold::default();
    let buyers = futures_util::future::join_all((0..4).map(|buyer| buy(&shop, buyer, product, &sold)));
    let story = async {
        eventually!(within Duration::from_mins(1), sold.paid() > 8);
        for end in ends {
            end.cable.go_silent();
        }
        eventually!(within Duration::from_mins(1), sold.failed() > 3);
        for service in [shop.at.product, shop.at.basket, shop.at.payment, shop.at.notification] {
            assert_eq!((health(service, "ready").await, health(service, "live").await), (503, 200));
        }
        for end in ends {
            end.cable.lead_to(&end.server).await;
        }
        let before = sold.paid();
        eventually!(within WELL, sold.paid() > before + 3);
        for service in [shop.at.product, shop.at.basket, shop.at.payment, shop.at.notification] {
            eventually!(within WELL, health(service, "ready").await == 200);
        }
        sold.closed.store(true, Ordering::SeqCst);
    };
    tokio::join!(buyers, story);

    let acknowledged = sold.paid.lock().expect("no panic").clone();
    for payment in &acknowledged {
        assert_eq!(shop.payment(payment).await["status"], "completed", "was acknowledged");
    }
    let count = async |status: &str| {
        let listed = shop.call(Method::GET, &format!("/api/payments?status={status}&limit=100"), Value::Null).await;
        listed.json["payments"].as_array().map_or(usize::MAX, Vec::len)
    };
    shop.eventually("recovery settles what was under way", async || count("processing").await == 0).await;
    let paid = count("completed").await;
    let paid = i64::try_from(paid).expect("few");
    shop.eventually("every sale reached the shelf", async || {
        let (on_hand, _, units_sold) = shop.stock(product).await;
        (on_hand, units_sold) == (500 - paid, paid)
    })
    .await;
    shop.stop().await;
}
