//! What the service hears: what became of payments, and who is to be forgotten.

use std::sync::Arc;

use async_trait::async_trait;
use shop_events::{Envelope, HandleError, Handler, Subscription, Topic};
use shop_runtime::crash_point;

use crate::application::Commands;

/// Who listens.
pub(crate) const GROUPS: [&str; 1] = ["notification"];

/// Events that are announced in one transaction.
const AT_ONCE: usize = 32;

/// What is listened to, with the name of the task that does. One group: its members share the payments.
pub(crate) fn subscriptions(commands: &Commands) -> [(&'static str, Subscription); 1] {
    let handler = Arc::new(Ears(commands.clone()));
    let subscription = Subscription { group: GROUPS[0].to_owned(), topics: vec![Topic::Payment, Topic::User], handler };
    [("events", subscription)]
}

/// Makes notifications of payment events, and forgets.
struct Ears(Commands);

#[async_trait]
impl Handler for Ears {
    async fn handle(&self, envelope: &Envelope) -> Result<(), HandleError> {
        self.handle_all(std::slice::from_ref(envelope)).await
    }

    fn at_once(&self) -> usize {
        AT_ONCE
    }

    async fn handle_all(&self, envelopes: &[Envelope]) -> Result<(), HandleError> {
        self.0.hear(envelopes).await.map_err(HandleError::of)?;
        // The effect is stored, the bus does not know it yet: a restart gets the event again and must drop it.
        crash_point("notification.after_effect");
        Ok(())
    }
}
