//! Events that change baskets: what was paid for leaves the basket.

use async_trait::async_trait;
use shop_events::{Envelope, Event, HandleError, Handler};
use shop_fault::Fault;

use crate::application::Commands;
use crate::domain::UserId;

/// Applies `basket.cleared`; every other event is none of ours.
pub(crate) struct Clearing {
    commands: Commands,
}

impl Clearing {
    /// Through these commands.
    pub(crate) fn new(commands: Commands) -> Self {
        Self { commands }
    }
}

#[async_trait]
impl Handler for Clearing {
    async fn handle(&self, envelope: &Envelope) -> Result<(), HandleError> {
        let Event::BasketCleared(cleared) = &envelope.event else { return Ok(()) };
        let user: UserId = cleared
            .user_id
            .parse()
            .map_err(|error| HandleError::Rejected(format!("user_id of the event: {error}").into()))?;
        let paid: Vec<(i64, u32)> = cleared.lines.iter().map(|line| (line.product_id, line.quantity)).collect();
        self.commands.subtract(envelope.id, &user, cleared.basket_id, &paid).await.map_err(|error| {
            let fault = Fault::from(error);
            if fault.kind().is_passing() {
                HandleError::Transient(fault.into())
            } else {
                HandleError::Rejected(fault.into())
            }
        })
    }
}
