//! What the service does when events come, come again, and cannot be applied.

use serde_json::{Value, json};
use shop_events::{
    Bus, Context, Envelope, Event, Item, LetterFiles, LetterState, Letters as _, PaymentCompleted, REPLAY_FOR,
    StockOperation, StockUpdated,
};
use shop_proto::product::v1::{ReserveStockRequest, StockLine};
use shop_testing::eventually;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::harness::{Running, desk};

fn envelope(event: Event) -> Envelope {
    let time = OffsetDateTime::UNIX_EPOCH;
    Envelope { id: Uuid::new_v4(), time, source: "payment-service".to_owned(), event, context: Context::default() }
}

fn stock(product_id: i64, quantity: u32, operation: StockOperation, payment_id: Uuid) -> Envelope {
    envelope(Event::StockUpdated(StockUpdated {
        product_id,
        quantity,
        operation,
        reason: "test".to_owned(),
        payment_id,
    }))
}

fn completed(payment_id: Uuid, product_id: i64, quantity: u32) -> Envelope {
    let price: shop_money::Decimal = "1299.50".parse().expect("a decimal");
    let item = Item {
        product_id,
        name: "Walnut desk".to_owned(),
        quantity,
        price: price.clone(),
        subtotal: price.clone(),
        category: "furniture".to_owned(),
    };
    envelope(Event::PaymentCompleted(PaymentCompleted {
        payment_id,
        user_id: "ada".to_owned(),
        basket_id: None,
        amount: price,
        currency: shop_money::Currency::USD,
        items: vec![item],
        metadata: std::collections::BTreeMap::default(),
    }))
}

fn numbers(product: &Value) -> [i64; 3] {
    ["stock_quantity", "available_quantity", "units_sold"].map(|member| product[member].as_i64().expect("a number"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_purchase_and_its_refund_move_stock_once_however_often_they_are_told() {
    let mut service = Running::start().await;
    let id = service.add(&desk()).await;
    let payment = Uuid::new_v4();
    let lines = vec![StockLine { product_id: id, quantity: 3 }];
    let reserve = ReserveStockRequest { reservation_id: payment.to_string(), lines, ..Default::default() };
    service.stock.reserve_stock(reserve).await.expect("is held");
    assert_eq!(numbers(&service.product(id).await), [7, 4, 0]);

    let sold = [stock(id, 3, StockOperation::Decrease, payment), completed(payment, id, 3)].map(|event| event.encode());
    for message in sold.iter().chain(&sold) {
        service.bus.publish(message).await.expect("takes effect");
    }
    assert_eq!(numbers(&service.product(id).await), [4, 4, 3]);

    let back = stock(id, 2, StockOperation::Increase, payment).encode();
    for _ in 0..2 {
        service.bus.publish(&back).await.expect("takes effect");
    }
    assert_eq!(numbers(&service.product(id).await), [6, 6, 3]);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_fits_nothing_is_a_dead_letter_and_the_next_one_is_handled() {
    let service = Running::start().await;
    let id = service.add(&desk()).await;
    let poison = stock(id, 3, StockOperation::Decrease, Uuid::new_v4()).encode();
    service.bus.publish(&poison).await.expect("is put aside");
    service.bus.publish(&completed(Uuid::new_v4(), id, 1).encode()).await.expect("takes effect");
    assert_eq!(numbers(&service.product(id).await), [7, 7, 1]);
    let letters = std::fs::read_to_string(service.folder.path().join("stock-events.dlq.jsonl")).expect("a dead letter");
    let letter: Value = serde_json::from_str(letters.trim()).expect("JSON");
    assert_eq!((&letter["group"], &letter["key"]), (&json!("product-stock"), &json!(id.to_string())));
    assert!(letter["reason"].as_str().expect("a reason").contains("no such line"), "{letter}");
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_only_the_mailer_gave_up_counts_no_unit_as_sold_again_on_day_nine_or_ever() {
    let service = Running::start().await;
    let id = service.add(&desk()).await;
    let event = completed(Uuid::new_v4(), id, 1);
    service.bus.publish(&event.encode()).await.expect("takes effect");
    assert_eq!(numbers(&service.product(id).await), [7, 7, 1]);
    // Everything the service remembers of it is gone: it comes as a new one would.
    let mut replay = Envelope { id: Uuid::new_v4(), ..event }.encode();
    replay.headers.push((REPLAY_FOR.to_owned(), "notification".to_owned()));
    service.bus.publish(&replay).await.expect("is passed over");
    assert_eq!(numbers(&service.product(id).await), [7, 7, 1]);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn stock_that_a_reservation_lacked_is_sold_by_a_replay_once() {
    let mut service = Running::start().await;
    let id = service.add(&desk()).await;
    let payment = Uuid::new_v4();
    let sold = stock(id, 3, StockOperation::Decrease, payment).encode();
    service.bus.publish(&sold).await.expect("is put aside");
    let lines = vec![StockLine { product_id: id, quantity: 3 }];
    let reserve = ReserveStockRequest { reservation_id: payment.to_string(), lines, ..Default::default() };
    service.stock.reserve_stock(reserve).await.expect("is held");

    let letters = LetterFiles::new(service.folder.path().to_owned());
    for _ in 0..2 {
        let letter = letters.read().await.expect("reads").remove(0);
        letters.replay(&letter).await.expect("is asked for");
        eventually!(letters.read().await.expect("reads")[0].state == LetterState::Replayed);
        let [stock, available, _] = numbers(&service.product(id).await);
        assert_eq!([stock, available], [4, 4]);
    }
    service.stop().await;
}
