//! One purchase is one trace: from the client through the gateway, HTTP, gRPC, outbox and bus to those who apply the events.

use reqwest::Method;
use serde_json::{Value, json};
use shop_testing::{Api, Process, backend, eventually, free_port};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

/// Where the trace has to pass: the service, and the route of an access line of its or the kind of an event it applies.
const STATIONS: [(&str, &str); 11] = [
    ("gateway", "/api/baskets/*"),
    ("gateway", "/api/payments/*"),
    ("basket", "/baskets/{user_id}/items"),
    ("product", "/shop.product.v1.ProductService/GetProduct"),
    ("payment", "/payments"),
    ("basket", "/shop.basket.v1.BasketService/GetBasket"),
    ("product", "/shop.product.v1.ProductService/ReserveStock"),
    ("payment", "/payments/{id}/process"),
    ("product", "stock.updated"),
    ("product", "payment.completed"),
    ("basket", "basket.cleared"),
];

#[tokio::test]
async fn of_the_suite_in_one_process() {
    let data = tempfile::tempdir().expect("a folder");
    let port = free_port();
    let mut shop = logging("shop").env("PORT", port.to_string()).env("SHOP_DATA", data.path().display().to_string());
    for section in ["PRODUCT", "BASKET", "PAYMENT"] {
        shop.set(&format!("SHOP_{section}__HTTP__PORT"), "0");
        shop.set(&format!("SHOP_{section}__GRPC__PORT"), "0");
    }
    shop.start(port).await;
    buy(port).await;
    passes_all_stations(&[(None, &shop)]).await;
    assert!(shop.stop().await.success());
}

#[tokio::test]
async fn of_services_in_processes_of_their_own_on_kafka() {
    let (Some(postgres), Some(mariadb)) = (backend::postgres().await, backend::mariadb().await) else { return };
    let (Some(redis), Some(kafka)) = (backend::redis().await, backend::kafka().await) else { return };
    let ports = [(); 7].map(|()| free_port());
    let local = |index: usize| format!("127.0.0.1:{}", ports[index]);
    let service = |name: &str, index: usize| {
        logging(name)
            .env("PORT", ports[index].to_string())
            .env("GRPC_PORT", ports[index + 1].to_string())
            .env("KAFKA_BROKERS", kafka.brokers())
            .env("SHOP_KAFKA__TOPIC_PREFIX", kafka.prefix())
            .env("SHOP_KAFKA__GROUP_PREFIX", kafka.prefix())
            .env("SHOP_KAFKA__REPLICATION", "1")
    };
    let mut product = service("product-service", 0).env("DATABASE_URL", postgres.url());
    let mut basket = service("basket-service", 2)
        .env("REDIS_URL", redis.url())
        .env("SHOP_REDIS__KEY_PREFIX", redis.prefix())
        .env("PRODUCT_SERVICE_URL", local(1));
    let mut payment = service("payment-service", 4)
        .env("DATABASE_URL", mariadb.url())
        .env("BASKET_SERVICE_URL", local(3))
        .env("PRODUCT_SERVICE_URL", local(1));
    let mut gateway = logging("gateway")
        .env("PORT", ports[6].to_string())
        .env("PRODUCT_SERVICE_URLS", local(0))
        .env("BASKET_SERVICE_URLS", local(2))
        .env("PAYMENT_SERVICE_URLS", local(4));
    for (process, port) in [(&mut product, 0), (&mut basket, 2), (&mut payment, 4), (&mut gateway, 6)] {
        process.start(ports[port]).await;
    }
    let catalogue = Api::new(local(0));
    let lamp = json!({"name": "Lamp", "price": "19.90", "stock_quantity": 5, "category": "light"});
    assert_eq!(catalogue.post("/products", &lamp).await.0, 201);
    buy(ports[6]).await;
    let processes = [("gateway", &gateway), ("product", &product), ("basket", &basket), ("payment", &payment)];
    passes_all_stations(&processes.map(|(name, process)| (Some(name), process))).await;
    for mut process in [gateway, payment, basket, product] {
        assert!(process.stop().await.success());
    }
}

fn logging(name: &str) -> Process {
    Process::new(name).env("LOG_FORMAT", "json").env("LOG_LEVEL", "info,shop_events=debug")
}

/// Buys a unit of the first product; every call belongs to the trace, as those of one page of a shop do.
async fn buy(gateway: u16) {
    let api = Api::new(format_args!("127.0.0.1:{gateway}"));
    let call = async |path: &str, body: Value| {
        let request = api.request(Method::POST, path).header("traceparent", format!("00-{TRACE}-00f067aa0ba902b7-01"));
        let reply = api.send(request.json(&body)).await;
        assert!(matches!(reply.status, 200 | 201), "{path}: {} {}", reply.status, reply.text);
        reply.json()
    };
    let products = api.get("/api/products?limit=1").await.1;
    let item = json!({"product_id": products["products"][0]["id"], "quantity": 1});
    call("/api/baskets/ada/items", item).await;
    let payment = call("/api/payments", json!({"user_id": "ada", "method": "paypal"})).await;
    let id = payment["id"].as_str().expect("an id");
    call(&format!("/api/payments/{id}/process"), json!({})).await;
}

/// Events are applied after the answer, so this may take a moment. Without a name a process is all services.
async fn passes_all_stations(processes: &[(Option<&str>, &Process)]) {
    eventually!({
        let missing = STATIONS.iter().find(|(service, station)| {
            let mut theirs = processes.iter().filter(|(name, _)| name.is_none_or(|name| name == *service));
            !theirs.any(|(_, process)| passes(&process.output(), station))
        });
        missing.map_or(Ok(()), |station| Err(format!("the trace does not reach {station:?}")))
    });
}

fn passes(output: &str, station: &str) -> bool {
    let mut lines = output.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    lines.any(|line| {
        line["trace_id"] == TRACE && (["route", "method", "event.kind"].iter().any(|field| line[*field] == station))
    })
}
