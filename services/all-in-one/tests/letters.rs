//! Dead letters of a real Kafka in the hands of a person: the program that gave an event up lists it, shows it, and tries it
//! again, and what it was to do is done once.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};
use shop_config::Kafka;
use shop_events::{Bus as _, Context, Envelope, Event, StockOperation, StockUpdated};
use shop_kafka::KafkaBus;
use shop_proto::product::v1::stock_service_client::StockServiceClient;
use shop_proto::product::v1::{ReserveStockRequest, StockLine};
use shop_telemetry::Metrics;
use shop_testing::{Api, Process, backend, eventually, free_port};
use uuid::Uuid;

const LONG: Duration = Duration::from_mins(1);

/// A product service on a Kafka of its own names.
struct Shelf {
    process: Process,
    api: Api,
    grpc: u16,
    bus: Arc<KafkaBus>,
    _store: backend::Db,
}

impl Shelf {
    async fn start() -> Option<Self> {
        let (kafka, store) = (backend::kafka().await?, backend::postgres().await?);
        let (http, grpc) = (free_port(), free_port());
        let mut process = Process::new("product-service")
            .env("IDENTITY_MODE", "off")
            .env("PORT", http.to_string())
            .env("GRPC_PORT", grpc.to_string())
            .env("DATABASE_URL", store.url())
            .env("KAFKA_BROKERS", kafka.brokers())
            .env("SHOP_KAFKA__TOPIC_PREFIX", kafka.prefix())
            .env("SHOP_KAFKA__GROUP_PREFIX", kafka.prefix())
            .env("SHOP_KAFKA__REPLICATION", "1")
            .env("SHOP_KAFKA__SESSION_TIMEOUT", "6s");
        process.start(http).await;
        let settings = Kafka {
            brokers: kafka.brokers().split(',').map(str::to_owned).collect(),
            topic_prefix: kafka.prefix().to_owned(),
            group_prefix: kafka.prefix().to_owned(),
            ..Kafka::default()
        };
        let bus = KafkaBus::open(&settings, "letters", &Metrics::new("letters")).expect("needs no broker");
        let api = Api::new(format_args!("127.0.0.1:{http}"));
        Some(Self { process, api, grpc, bus, _store: store })
    }

    /// `product-service dead-letters WORDS`: whether it went well, and all it said.
    async fn letters(&self, words: &[&str]) -> (bool, String) {
        let program = self.process.beside(&[&["dead-letters"], words].concat());
        let output = tokio::task::spawn_blocking(move || program.run()).await.expect("runs");
        let text = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
        (output.status.success(), text)
    }

    /// Those that `list` has, with these flags.
    async fn listed(&self, flags: &[&str]) -> Vec<Value> {
        let (well, said) = self.letters(&[&["list", "--json"], flags].concat()).await;
        assert!(well, "{said}");
        said.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("no JSON: {said}"))).collect()
    }

    async fn product(&self) -> i64 {
        let body = json!({"name": "Walnut desk", "price": 10, "stock_quantity": 10, "category": "tests"});
        let (status, made) = self.api.post("/products", &body).await;
        assert_eq!(status, 201, "{made}");
        made["id"].as_i64().expect("an id")
    }

    async fn reserve(&self, payment: Uuid, product_id: i64, quantity: u32) {
        let at = format!("http://127.0.0.1:{}", self.grpc);
        let mut stock = StockServiceClient::connect(at).await.expect("connects");
        let lines = vec![StockLine { product_id, quantity }];
        let reserve = ReserveStockRequest { reservation_id: payment.to_string(), lines, ..Default::default() };
        stock.reserve_stock(reserve).await.expect("is held");
    }

    /// Tells of stock that moves; the event's id.
    async fn tell(&self, product_id: i64, quantity: u32, operation: StockOperation, payment_id: Uuid) -> Uuid {
        let reason = "test".to_owned();
        let event = Event::StockUpdated(StockUpdated { product_id, quantity, operation, reason, payment_id });
        let (id, time, source) = (Uuid::new_v4(), SystemTime::now().into(), "payment-service".to_owned());
        let message = Envelope { id, time, source, event, context: Context::default() }.encode();
        self.bus.publish(&message).await.expect("is taken");
        id
    }

    async fn stock(&self, product: i64) -> Value {
        self.api.get(&format!("/products/{product}")).await.1["stock_quantity"].clone()
    }

    async fn sold(&self, product: i64) -> Value {
        self.api.get(&format!("/products/{product}")).await.1["units_sold"].clone()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_person_finds_what_was_given_up_and_gives_a_desk_back_once_however_often_he_tries() {
    let Some(mut shelf) = Shelf::start().await else { return };
    let (desk, payment) = (shelf.product().await, Uuid::new_v4());
    assert_eq!(shelf.letters(&["list"]).await, (true, "there are none\n".to_owned()));

    // It comes before what it belongs to, as after a store was restored.
    let event = shelf.tell(desk, 1, StockOperation::Increase, payment).await;
    let mut found;
    eventually!(within LONG, {
        found = shelf.listed(&[]).await;
        !found.is_empty()
    });
    let [letter] = found.as_slice() else { panic!("{found:?}") };
    assert_eq!((&letter["event_id"], &letter["type"]), (&json!(event), &json!("stock.updated")), "{letter}");
    assert!(letter["group"].as_str().is_some_and(|group| group.ends_with("product-stock")), "{letter}");
    assert_eq!((&letter["state"], &letter["body"]["payment_id"]), (&json!("open"), &json!(payment)), "{letter}");
    let id = letter["letter"].as_str().expect("a name");
    let (well, shown) = shelf.letters(&["show", id]).await;
    assert!(well && shown.contains(letter["reason"].as_str().expect("a reason")), "{shown}");
    assert!(shown.contains(&event.to_string()) && shown.contains("\"quantity\":1"), "{shown}");
    assert!(shelf.listed(&["--type", "payment.completed"]).await.is_empty());
    let (well, said) = shelf.letters(&["replay", "stock-events/0/99"]).await;
    assert!(!well && said.contains("there is no dead letter stock-events/0/99: see the list"), "{said}");

    // What was missing is there now: three are bought, and one of them comes back by the letter.
    shelf.reserve(payment, desk, 3).await;
    shelf.tell(desk, 3, StockOperation::Decrease, payment).await;
    eventually!(within LONG, shelf.stock(desk).await == json!(7));
    let (well, said) = shelf.letters(&["replay", id]).await;
    assert!(well && said.starts_with(&format!("{id} is tried again by ")), "{said}");
    eventually!(within LONG, shelf.stock(desk).await == json!(8));
    assert!(shelf.listed(&[]).await.is_empty());
    let all = shelf.listed(&["--all"]).await;
    assert_eq!(all.iter().map(|letter| letter["state"].clone()).collect::<Vec<_>>(), [json!("replayed")]);

    // Again, by whoever does not know of it; what is told after it tells that it was heard.
    let (well, said) = shelf.letters(&["replay", id]).await;
    assert!(well, "{said}");
    let other = Uuid::new_v4();
    shelf.reserve(other, desk, 2).await;
    shelf.tell(desk, 2, StockOperation::Decrease, other).await;
    eventually!(within LONG, shelf.sold(desk).await == json!(5));
    assert_eq!(shelf.stock(desk).await, json!(6), "one came back, and not two");
    assert!(shelf.listed(&[]).await.is_empty(), "nothing was given up a second time");
    assert!(shelf.process.stop().await.success());
}
