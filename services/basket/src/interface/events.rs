//! Events that change baskets: what was paid for leaves the basket.

use std::sync::Arc;

use async_trait::async_trait;
use shop_events::{Envelope, Event, HandleError, Handler, Subscription, Topic};

use crate::application::{Commands, Subtract};
use crate::domain::UserId;

/// Who listens.
pub(crate) const GROUPS: [&str; 1] = ["basket"];

/// What is listened to, with the name of the task that does.
pub(crate) fn subscriptions(commands: &Commands) -> [(&'static str, Subscription); 1] {
    let handler = Arc::new(Clearing(commands.clone()));
    let subscription = Subscription { group: GROUPS[0].to_owned(), topics: vec![Topic::Basket], handler };
    [("basket events", subscription)]
}

/// Applies `basket.cleared`; every other event is none of ours.
struct Clearing(Commands);

#[async_trait]
impl Handler for Clearing {
    async fn handle(&self, envelope: &Envelope) -> Result<(), HandleError> {
        let Event::BasketCleared(cleared) = &envelope.event else { return Ok(()) };
        let user: UserId = cleared
            .user_id
            .parse()
            .map_err(|error| HandleError::Rejected(format!("user_id of the event: {error}").into()))?;
        let paid = cleared.lines.iter().map(|line| (line.product_id, line.quantity)).collect();
        let (event, basket, payment) = (envelope.id, cleared.basket_id, cleared.payment_id);
        self.0.subtract(Subtract { event, user, basket, payment, paid }).await.map_err(HandleError::of)
    }
}
