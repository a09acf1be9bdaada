//! One of two basket replicas dies while a payment asks it.

use std::time::Duration;

use reqwest::Method;
use serde_json::json;
use shop_testing::{Api, Cable, backend, eventually, free_port};

use crate::world::service;

/// How often it answered what a payment asks.
async fn answered(basket: &Api) -> u64 {
    let text = basket.send(basket.request(Method::GET, "/metrics")).await.text;
    let of_it = |line: &&str| line.starts_with("rpc_server_requests_total") && line.contains("GetBasket");
    let number = |line: &str| line.rsplit(' ').next().and_then(|number| number.parse::<u64>().ok()).unwrap_or_default();
    text.lines().filter(of_it).map(number).sum()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_buyer_hears_of_a_new_price_though_the_basket_replica_died_that_was_asked_for_it() {
    let Some(kafka) = backend::kafka().await else { return };
    let (Some(postgres), Some(mariadb)) = (backend::postgres().await, backend::mariadb().await) else { return };
    let Some(redis) = backend::redis().await else { return };
    let ports = [(); 8].map(|()| free_port());
    let service = |name: &str, index: usize| {
        service(name, &ports[2 * index..], kafka.brokers(), kafka.prefix())
            .env("PRODUCT_SERVICE_URL", format!("127.0.0.1:{}", ports[1]))
    };
    let mut product = service("product-service", 0).env("DATABASE_URL", postgres.url());
    product.unset("PRODUCT_SERVICE_URL");
    let replica = |index| {
        service("basket-service", index).env("REDIS_URL", redis.url()).env("SHOP_REDIS__KEY_PREFIX", redis.prefix())
    };
    let (mut first, mut second) = (replica(1), replica(2));
    let [grpc_of_first, grpc_of_second] = [3, 5].map(|port: usize| format!("127.0.0.1:{}", ports[port]));
    let cable = Cable::to(&grpc_of_first).await;
    let mut payment = service("payment-service", 3)
        .env("DATABASE_URL", mariadb.url())
        .env("SHOP_PROVIDER__SANDBOX", "true")
        .env("BASKET_SERVICE_URL", cable.at().to_string())
        .env("SHOP_BASKET__TIMEOUT", "30s");
    product.start(ports[0]).await;
    first.start(ports[2]).await;
    second.start(ports[4]).await;
    payment.start(ports[6]).await;
    let [catalogue, asked, other, till] =
        [0, 2, 4, 6].map(|port: usize| Api::new(format_args!("127.0.0.1:{}", ports[port])));

    let mut vase = json!({"name": "Vase", "price": 10, "stock_quantity": 9, "category": "tests"});
    let (status, made) = catalogue.post("/products", &vase).await;
    assert_eq!(status, 201, "{made}");
    let line = json!({"product_id": made["id"], "quantity": 1});
    assert_eq!(asked.post("/baskets/sue/items", &line).await.0, 200);
    vase["price"] = json!(12);
    let (status, changed) = catalogue.put(&format!("/products/{}", made["id"]), &vase).await;
    assert_eq!(status, 200, "{changed}");

    let order = json!({"user_id": "sue", "method": "credit_card"});
    cable.lose_answers();
    let death = async {
        eventually!(within Duration::from_mins(1), answered(&asked).await > 0);
        cable.lead_to(&grpc_of_second).await;
        first.kill();
    };
    let ((status, told), ()) = tokio::join!(till.post("/payments", &order), death);
    assert_eq!((status, &told["code"]), (409, &json!("basket_changed")), "{told}");
    assert_eq!(told["changes"][0]["change"], "price", "{told}");
    assert!(answered(&other).await > 0, "the other replica said so");
    assert_eq!(till.post("/payments", &order).await.0, 409, "until he takes it over");

    assert_eq!(other.post("/baskets/sue/refresh", &json!(null)).await.0, 200);
    let (status, paid) = till.post("/payments", &order).await;
    assert_eq!((status, &paid["amount"]), (201, &json!(12.00)), "{paid}");
    for process in [&mut payment, &mut second, &mut product] {
        assert!(process.stop().await.success());
    }
}
