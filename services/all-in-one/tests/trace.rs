//! One purchase is one trace: from the client through the gateway, HTTP, gRPC, outbox and bus to those who apply the events.

use reqwest::Method;
use serde_json::{Value, json};
use shop_testing::{Api, Collector, Process, Receiver, Traced, backend, collector, eventually, free_port};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

/// The client's own span.
const CLIENT: &str = "00f067aa0ba902b7";

/// Where the trace has to pass: the service, and the route of an access line of its or the kind of an event it applies.
const STATIONS: [(&str, &str); 12] = [
    ("gateway", "/api/baskets/*"),
    ("gateway", "/api/payments/*"),
    ("basket", "/baskets/{user_id}/items"),
    ("product", "/shop.product.v1.ProductService/GetProduct"),
    ("payment", "/payments"),
    ("basket", "/shop.basket.v1.BasketService/GetBasket"),
    ("product", "/shop.product.v1.StockService/ReserveStock"),
    ("payment", "/payments/{id}/process"),
    ("product", "stock.updated"),
    ("product", "payment.completed"),
    ("basket", "basket.cleared"),
    ("notification", "payment.completed"),
];

#[tokio::test]
async fn of_the_suite_in_one_process() {
    let Some(smtp) = backend::smtp(&[]).await else { return };
    let receiver = Receiver::start(&[]).await;
    let data = tempfile::tempdir().expect("a folder");
    let port = free_port();
    let mut shop = logging("shop").env("PORT", port.to_string()).env("ADMIN_PORT", "0");
    shop.set("SHOP_DATA", data.path().display().to_string());
    for section in ["PRODUCT", "BASKET", "PAYMENT", "NOTIFICATION"] {
        shop.set(&format!("SHOP_{section}__HTTP__PORT"), "0");
        shop.set(&format!("SHOP_{section}__GRPC__PORT"), "0");
    }
    let collector = Collector::start().await;
    shop.set("OTEL_EXPORTER_OTLP_ENDPOINT", collector.endpoint());
    shop.set("SMTP_URL", format!("smtp://127.0.0.1:{}", smtp.port()));
    tell(&mut shop, "NOTIFICATION__WEBHOOK", &receiver);
    shop.start(port).await;
    buy(port).await;
    passes_all_stations(&[(None, &shop)]).await;
    eventually!((smtp.mails().len(), receiver.got().len()) == (1, 1));
    assert!(shop.stop().await.success());
    Tree::of(&collector).is_one_purchase(&Stores { bus: "memory", ..Stores::default() });
}

#[tokio::test]
async fn of_services_in_processes_of_their_own_on_kafka() {
    let (Some(postgres), Some(mariadb)) = (backend::postgres().await, backend::mariadb().await) else { return };
    let (Some(redis), Some(kafka)) = (backend::redis().await, backend::kafka().await) else { return };
    let (Some(notices), Some(smtp)) = (backend::postgres().await, backend::smtp(&[]).await) else { return };
    let ports = [(); 10].map(|()| free_port());
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
        .env("SHOP_PROVIDER__SANDBOX", "true")
        .env("BASKET_SERVICE_URL", local(3))
        .env("PRODUCT_SERVICE_URL", local(1))
        .env("NOTIFICATION_SERVICE_URL", local(8));
    let mut notification = service("notification-service", 7)
        .env("DATABASE_URL", notices.url())
        .env("SMTP_URL", format!("smtp://127.0.0.1:{}", smtp.port()));
    let mut gateway = logging("gateway")
        .env("PORT", ports[6].to_string())
        .env("ADMIN_PORT", "0")
        .env("PRODUCT_SERVICE_URLS", local(0))
        .env("BASKET_SERVICE_URLS", local(2))
        .env("PAYMENT_SERVICE_URLS", local(4))
        .env("NOTIFICATION_SERVICE_URLS", local(7));
    let receiver = Receiver::start(&[]).await;
    tell(&mut notification, "WEBHOOK", &receiver);
    let collector = Collector::start().await;
    let all = [&mut product, &mut basket, &mut payment, &mut notification, &mut gateway];
    for (process, port) in all.into_iter().zip([0, 2, 4, 7, 6]) {
        process.set("OTEL_EXPORTER_OTLP_ENDPOINT", collector.endpoint());
        process.start(ports[port]).await;
    }
    let catalogue = Api::new(local(0));
    let lamp = json!({"name": "Lamp", "price": "19.90", "stock_quantity": 5, "category": "light"});
    // Of a trace that its caller does not record.
    let unrecorded = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00";
    let adding = catalogue.request(Method::POST, "/products").header("traceparent", unrecorded).json(&lamp);
    assert_eq!(catalogue.send(adding).await.status, 201);
    buy(ports[6]).await;
    let processes = [
        ("gateway", &gateway),
        ("product", &product),
        ("basket", &basket),
        ("payment", &payment),
        ("notification", &notification),
    ];
    passes_all_stations(&processes.map(|(name, process)| (Some(name), process))).await;
    eventually!((smtp.mails().len(), receiver.got().len()) == (1, 1));
    for mut process in [gateway, payment, basket, product, notification] {
        assert!(process.stop().await.success());
    }
    let stores = Stores { product: "postgresql", basket: "redis", payment: "mariadb", bus: "kafka", whole: None };
    Tree::of(&collector).is_one_purchase(&stores);
}

/// Lets `process` tell `receiver`, on this machine, what happens; `section` is where its settings of that are.
fn tell(process: &mut Process, section: &str, receiver: &Receiver) {
    process.set("WEBHOOK_URL", receiver.url());
    process.set("WEBHOOK_SECRET", "whsec_dGhlLWtleS1vZi10aGUtdHJhY2UtdGVzdHM=");
    for setting in ["ALLOW_PRIVATE", "ALLOW_HTTP"] {
        process.set(&format!("SHOP_{section}__{setting}"), "true");
    }
}

fn logging(name: &str) -> Process {
    Process::new(name).env("IDENTITY_MODE", "off").env("LOG_FORMAT", "json").env("LOG_LEVEL", "info,shop_events=debug")
}

/// Buys a unit of the first product; every call belongs to the trace, as those of one page of a shop do.
async fn buy(gateway: u16) {
    let api = Api::new(format_args!("127.0.0.1:{gateway}"));
    let traced =
        |method, path: &str| api.request(method, path).header("traceparent", format!("00-{TRACE}-{CLIENT}-01"));
    let call = async |path: &str, body: Value| {
        let reply = api.send(traced(Method::POST, path).json(&body)).await;
        assert!(matches!(reply.status, 200 | 201), "{path}: {} {}", reply.status, reply.text);
        reply.json()
    };
    let products = api.send(traced(Method::GET, "/api/products?limit=1")).await.json();
    let item = json!({"product_id": products["products"][0]["id"], "quantity": 1});
    call("/api/baskets/grace@shop.example/items", item).await;
    let payment = call("/api/payments", json!({"user_id": "grace@shop.example", "method": "paypal"})).await;
    let id = payment["id"].as_str().expect("an id");
    call(&format!("/api/payments/{id}/process"), json!({"payment_token": "tok_approve"})).await;
}

/// What the services keep to, as spans name it.
struct Stores {
    product: &'static str,
    basket: &'static str,
    payment: &'static str,
    bus: &'static str,
    /// The process that is all services.
    whole: Option<&'static str>,
}

impl Default for Stores {
    fn default() -> Self {
        Self { product: "sqlite", basket: "sqlite", payment: "sqlite", bus: "memory", whole: Some("shop") }
    }
}

/// Who makes a span: kind, name, service.
type Who = (&'static str, &'static str, &'static str);

type Attributes = Vec<(&'static str, &'static str)>;

/// All spans that a collector got.
struct Tree(Vec<Traced>);

impl Tree {
    fn of(collector: &Collector) -> Self {
        Self(collector.spans())
    }

    /// One trace without a gap, in which nothing failed and every station has its place.
    fn is_one_purchase(&self, stores: &Stores) {
        let tree = collector::tree(&self.0);
        for span in &self.0 {
            assert_eq!(span.trace, TRACE, "{span:?} is of another trace\n{tree}");
            assert!(!span.failed, "{span:?}\n{tree}");
            let parent = self.0.iter().find(|parent| parent.id == span.parent);
            assert!(parent.is_some() || span.parent == CLIENT, "{span:?} has no parent\n{tree}");
            assert!(
                parent.is_none_or(|parent| parent.time.0 <= span.time.0),
                "{span:?} begins before its parent\n{tree}"
            );
            assert!(!span.resource["service.version"].is_empty(), "{span:?}");
            let mut telling =
                span.attributes.iter().filter(|(name, _)| !matches!(name.as_str(), "url.path" | "url.full"));
            // No id in hexadecimal digits has this by chance.
            assert!(telling.all(|(_, value)| !value.contains("grace")), "{span:?} names the user");
        }
        assert_eq!(self.0.iter().filter(|span| span.parent == CLIENT).count(), 4, "a root a call\n{tree}");
        for (parent, child, attributes) in expected(stores) {
            let found = self.0.iter().any(|span| {
                is(span, child, stores)
                    && self.0.iter().any(|above| above.id == span.parent && is(above, parent, stores))
                    && attributes.iter().all(|(name, value)| span.get(name) == *value)
            });
            assert!(found, "no {child:?} with {attributes:?} below {parent:?}\n{tree}");
        }
    }
}

fn is(span: &Traced, (kind, name, service): Who, stores: &Stores) -> bool {
    span.kind == kind && span.name == name && span.service == stores.whole.unwrap_or(service)
}

/// Some of the tree, parent by parent.
fn expected(stores: &Stores) -> Vec<(Who, Who, Attributes)> {
    const GATE: &str = "gateway";
    const PRODUCT: &str = "product-service";
    const BASKET: &str = "basket-service";
    const PAYMENT: &str = "payment-service";
    const NOTIFICATION: &str = "notification-service";
    const RESERVE: &str = "shop.product.v1.StockService/ReserveStock";
    let sql = |system| vec![("db.system.name", system)];
    let filled = ("SERVER", "POST /baskets/{user_id}/items", BASKET);
    let made = ("SERVER", "POST /payments", PAYMENT);
    let paid = ("SERVER", "POST /payments/{id}/process", PAYMENT);
    let http = |route, status| {
        vec![
            ("http.request.method", "POST"),
            ("http.route", route),
            ("http.response.status_code", status),
            ("url.scheme", "http"),
            ("server.address", "127.0.0.1"),
        ]
    };
    let rpc = |method| vec![("rpc.system.name", "grpc"), ("rpc.method", method), ("rpc.response.status_code", "OK")];
    let message = |topic, operation| {
        vec![
            ("messaging.system", stores.bus),
            ("messaging.destination.name", topic),
            ("messaging.operation.name", operation),
            ("messaging.operation.type", operation),
        ]
    };
    let mut expected = vec![
        (("CLIENT", "GET", GATE), ("SERVER", "GET /products", PRODUCT), vec![("url.path", "/products")]),
        (
            ("SERVER", "POST /api/baskets/*", GATE),
            ("CLIENT", "POST", GATE),
            vec![("http.request.method", "POST"), ("http.response.status_code", "200")],
        ),
        (("CLIENT", "POST", GATE), filled, http("/baskets/{user_id}/items", "200")),
        (
            filled,
            ("CLIENT", "shop.product.v1.ProductService/GetProduct", BASKET),
            vec![("server.address", "127.0.0.1")],
        ),
        (("CLIENT", "POST", GATE), made, http("/payments", "201")),
        (("CLIENT", "POST", GATE), paid, http("/payments/{id}/process", "200")),
        (made, ("CLIENT", RESERVE, PAYMENT), rpc(RESERVE)),
        (("CLIENT", RESERVE, PAYMENT), ("SERVER", RESERVE, PRODUCT), rpc(RESERVE)),
        (("SERVER", RESERVE, PRODUCT), ("CLIENT", "INSERT reservations", PRODUCT), sql(stores.product)),
        (paid, ("CLIENT", "UPDATE payments", PAYMENT), sql(stores.payment)),
    ];
    if stores.payment == "mariadb" {
        let whole = "UPDATE payments INSERT outbox COMMIT";
        expected.push((paid, ("CLIENT", whole, PAYMENT), sql(stores.payment)));
    } else {
        expected.push((paid, ("CLIENT", "INSERT outbox", PAYMENT), vec![("db.collection.name", "outbox")]));
        expected.push((paid, ("CLIENT", "COMMIT", PAYMENT), sql(stores.payment)));
    }
    for (topic, send, process, service) in [
        ("payment-events", "send payment-events", "process payment-events", PRODUCT),
        ("stock-events", "send stock-events", "process stock-events", PRODUCT),
        ("basket-events", "send basket-events", "process basket-events", BASKET),
        ("payment-events", "send payment-events", "process payment-events", NOTIFICATION),
    ] {
        expected.push((paid, ("PRODUCER", send, PAYMENT), message(topic, "send")));
        let processed = ("CONSUMER", process, service);
        expected.push((("PRODUCER", send, PAYMENT), processed, message(topic, "process")));
        let write = match (service, topic) {
            (BASKET, _) if stores.basket == "redis" => "EVALSHA",
            // The sale counts what is sold: of the payment there is nothing to write.
            (PRODUCT, "payment-events") => "SELECT reservations",
            _ => "INSERT inbox",
        };
        let system = if service == BASKET { stores.basket } else { stores.product };
        expected.push((processed, ("CLIENT", write, service), sql(system)));
    }
    let told = ("CONSUMER", "process payment-events", NOTIFICATION);
    expected.push((told, ("CLIENT", "INSERT notifications", NOTIFICATION), sql(stores.product)));
    for (send, channel) in [("send email", "email"), ("send log", "log"), ("send webhook", "webhook")] {
        expected.push((told, ("CLIENT", send, NOTIFICATION), vec![("shop.notification.channel", channel)]));
    }
    let called = vec![
        ("http.request.method", "POST"),
        ("http.response.status_code", "204"),
        ("url.scheme", "http"),
        ("server.address", "127.0.0.1"),
    ];
    expected.push((("CLIENT", "send webhook", NOTIFICATION), ("CLIENT", "POST", NOTIFICATION), called));
    let write = if stores.basket == "redis" { "EVALSHA" } else { "INSERT baskets" };
    expected.push((filled, ("CLIENT", write, BASKET), sql(stores.basket)));
    expected
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
