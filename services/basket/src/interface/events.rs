//! Events that change baskets: what was paid for leaves the basket, and who is to be forgotten leaves with it.

use std::sync::Arc;

use async_trait::async_trait;
use shop_events::{Envelope, Event, HandleError, Handler, Subscription, Topic};

use crate::application::{Commands, Subtract};
use crate::domain::UserId;

/// Who listens.
pub(crate) const GROUPS: [&str; 1] = ["basket"];

/// What is listened to, with the name of the task that does.
pub(crate) fn subscriptions(commands: &Commands) -> [(&'static str, Subscription); 1] {
    let handler = Arc::new(Ears(commands.clone()));
    let subscription = Subscription { group: GROUPS[0].to_owned(), topics: vec![Topic::Basket, Topic::User], handler };
    [("basket events", subscription)]
}

/// Applies `basket.cleared` and `user.erased`; every other event is none of ours.
struct Ears(Commands);

#[async_trait]
impl Handler for Ears {
    async fn handle(&self, envelope: &Envelope) -> Result<(), HandleError> {
        let cleared = match &envelope.event {
            Event::BasketCleared(cleared) => cleared,
            Event::UserErased(erased) => {
                let forgotten = self.0.forget(&named(&erased.user_id)?, envelope.time).await;
                return forgotten.map_err(HandleError::of);
            }
            _ => return Ok(()),
        };
        let user = named(&cleared.user_id)?;
        let paid = cleared.lines.iter().map(|line| (line.product_id, line.quantity)).collect();
        let (event, basket, payment) = (envelope.id, cleared.basket_id, cleared.payment_id);
        self.0.subtract(Subtract { event, user, basket, payment, paid }).await.map_err(HandleError::of)
    }
}

fn named(user: &str) -> Result<UserId, HandleError> {
    user.parse().map_err(|error| HandleError::Rejected(format!("user_id of the event: {error}").into()))
}
