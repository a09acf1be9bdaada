//! Comparing and refreshing a basket, and events that take out what was paid for.

use std::sync::Arc;

use shop_events::{BasketCleared, BasketLine, Context, Envelope, Event, HandleError, Handler, UserErased};
use uuid::Uuid;

use super::*;
use crate::application::Commands;
use crate::application::Refreshed;
use crate::domain::{Difference, Error, Expected, Finding};
use crate::interface;

impl Stage {
    async fn refresh(&self, user: &str) -> Result<Refreshed, Error> {
        self.commands.refresh(&user.parse().expect("a user"), &Expected::default()).await
    }
}

#[tokio::test]
async fn a_refresh_stores_what_changed_in_one_look_up() {
    let stage = Stage::new().await;
    for product in [1, 2, 3, 4] {
        stage.post("/baskets/ann/items", &format!(r#"{{"product_id":{product},"quantity":2}}"#)).await;
    }
    let before = stage.get("/baskets/ann").await;
    let same = stage.refresh("ann").await.expect("refreshed");
    assert_eq!(same.differences, []);
    assert_eq!(stage.get("/baskets/ann").await, before, "nothing different, nothing written");

    stage.shelf.set(1, |product| product.price.minor = 1500);
    stage.shelf.set(2, |product| product.available = 1);
    stage.shelf.set(3, |product| product.name = "green tea".to_owned());
    stage.shelf.take_out(4);
    stage.clock.advance(Duration::from_mins(1));
    let calls = stage.shelf.calls();
    let refreshed = stage.refresh("ann").await.expect("refreshed");
    assert_eq!(stage.shelf.calls(), calls + 1);
    let kinds: Vec<_> = refreshed.differences.iter().map(|d| (d.product, d.finding)).collect();
    assert!(matches!(
        kinds[..],
        [(1, Finding::Price { .. }), (2, Finding::Availability), (3, Finding::Name), (4, Finding::Gone)]
    ));
    let after = stage.get("/baskets/ann").await;
    assert_eq!(after.lines(), [(1, 2), (2, 2), (3, 2)]);
    assert_eq!(after.json()["updated_at"], "2026-01-02T12:01:00.000Z");

    let again = stage.refresh("ann").await.expect("refreshed");
    assert_eq!(again.differences.len(), 1, "what is short stays short: {:?}", again.differences);
    assert_eq!(stage.get("/baskets/ann").await, after);
}

#[tokio::test]
async fn a_buyer_is_told_of_a_new_price_as_often_as_anybody_asks_until_he_takes_it_over() {
    let stage = Stage::new().await;
    stage.post("/baskets/ann/items", r#"{"product_id":1,"quantity":2}"#).await;
    let seen = stage.get("/baskets/ann").await;
    stage.shelf.set(1, |product| product.price.minor = 1500);
    for _ in 0..3 {
        let compared = stage.queries.compared(&"ann".parse().expect("a user")).await.expect("is compared");
        assert!(matches!(compared.differences[..], [Difference { finding: Finding::Price { .. }, .. }]));
        assert_eq!(compared.basket.lines[0].price.minor, 1001, "as he saw it");
    }
    assert_eq!(stage.get("/baskets/ann").await, seen, "nothing is written");

    let headers = [("if-match", "\"1\"")];
    let late = stage.call(Method::POST, "/baskets/ann/refresh", &headers, None).await;
    assert_eq!((late.status, stage.get("/baskets/ann").await), (412, seen.clone()), "not what he has in front of him");
    let taken = stage.post("/baskets/ann/refresh", "").await;
    assert_eq!((taken.status, &taken.json()["changes"][0]["change"]), (200, &"price".into()));
    assert_eq!(taken.json()["changes"][0]["new_price"], 15.0);
    let now = stage.get("/baskets/ann").await;
    assert_eq!((&taken.json()["basket"], taken.etag), (&now.json(), now.etag.clone()));
    assert_eq!(now.json()["version"].as_i64(), seen.json()["version"].as_i64().map(|version| version + 1));
    let compared = stage.queries.compared(&"ann".parse().expect("a user")).await.expect("is compared");
    assert_eq!(compared.differences, []);
    assert_eq!(stage.post("/baskets/bob/refresh", "").await.status, 404);
}

#[tokio::test]
async fn a_refresh_of_nothing_asks_nobody() {
    let stage = Stage::new().await;
    assert!(stage.refresh("ann").await.is_err());
    stage.post("/baskets", r#"{"user_id":"ann"}"#).await;
    assert_eq!(stage.refresh("ann").await.expect("refreshed").differences, []);
    assert_eq!(stage.shelf.calls(), 0);
}

fn cleared(user: &str, basket: Uuid, lines: &[(i64, u32)]) -> Envelope {
    let lines = lines.iter().map(|&(product_id, quantity)| BasketLine { product_id, quantity }).collect();
    Envelope {
        id: Uuid::now_v7(),
        time: datetime!(2026-01-02 12:00 UTC),
        source: "payment-service".to_owned(),
        event: Event::BasketCleared(BasketCleared {
            user_id: user.to_owned(),
            basket_id: basket,
            lines,
            reason: "payment completed".to_owned(),
            payment_id: Uuid::now_v7(),
        }),
        context: Context::default(),
    }
}

async fn id_of(stage: &Stage) -> Uuid {
    stage.get("/baskets/ann").await.json()["id"].as_str().and_then(|id| id.parse().ok()).expect("an id")
}

fn handler(commands: &Commands) -> Arc<dyn Handler> {
    let [(_, subscription)] = interface::subscriptions(commands);
    subscription.handler
}

#[tokio::test]
async fn what_was_paid_leaves_once_and_what_came_since_stays() {
    let stage = Stage::new().await;
    stage.post("/baskets/ann/items", r#"{"product_id":1,"quantity":5}"#).await;
    stage.post("/baskets/ann/items", r#"{"product_id":2,"quantity":1}"#).await;
    let event = cleared("ann", id_of(&stage).await, &[(1, 2), (2, 1)]);
    let handler = handler(&stage.commands);
    for _ in 0..3 {
        handler.handle(&event).await.expect("applied");
    }
    assert_eq!(stage.get("/baskets/ann").await.lines(), [(1, 3)]);
    let Event::BasketCleared(cleared) = &event.event else { unreachable!("made so") };
    let basket = stage.queries.basket(&"ann".parse().expect("a user")).await.expect("is there");
    assert_eq!(basket.cleared_by, Some(cleared.payment_id), "who pays next knows that it has left");
}

#[tokio::test]
async fn another_basket_of_the_user_and_a_missing_one_stay_as_they_are() {
    let stage = Stage::new().await;
    let handler = handler(&stage.commands);
    let early = cleared("ann", Uuid::now_v7(), &[(1, 1)]);
    handler.handle(&early).await.expect("applied");
    stage.post("/baskets/ann/items", r#"{"product_id":1,"quantity":1}"#).await;
    handler.handle(&early).await.expect("applied");
    handler.handle(&cleared("ann", Uuid::now_v7(), &[(1, 1)])).await.expect("applied");
    assert_eq!(stage.get("/baskets/ann").await.lines(), [(1, 1)]);
}

#[tokio::test]
async fn who_is_forgotten_has_no_basket_whatever_comes_late() {
    let stage = Stage::new().await;
    stage.post("/baskets/ann/items", r#"{"product_id":1,"quantity":2}"#).await;
    let late = cleared("ann", id_of(&stage).await, &[(1, 1)]);
    let erased = |time| {
        let event = Event::UserErased(UserErased { user_id: "ann".to_owned() });
        Envelope { id: Uuid::now_v7(), time, event, ..late.clone() }
    };
    let handler = handler(&stage.commands);
    handler.handle(&erased(datetime!(2020-01-01 0:00 UTC))).await.expect("applied");
    assert_eq!(stage.get("/baskets/ann").await.lines(), [(1, 2)], "a basket of after that stays");
    for _ in 0..2 {
        handler.handle(&erased(datetime!(2100-01-01 0:00 UTC))).await.expect("applied");
        handler.handle(&late).await.expect("applied");
        assert_eq!(stage.get("/baskets/ann").await.status, 404);
    }
}

#[tokio::test]
async fn an_event_for_no_possible_user_is_rejected() {
    let stage = Stage::new().await;
    let outcome = handler(&stage.commands).handle(&cleared("a b", Uuid::now_v7(), &[])).await;
    assert!(matches!(outcome, Err(HandleError::Rejected(_))));
}
