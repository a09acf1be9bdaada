//! What the catalogue hears: what became of reserved stock, and which payments went through.

use std::sync::Arc;

use async_trait::async_trait;
use shop_events::{Envelope, Event, HandleError, Handler, StockOperation, Subscription, Topic};
use shop_runtime::crash_point;

use crate::application::Commands;
use crate::domain::{Line, Movement, Settlement};

/// Who listens.
pub(crate) const GROUPS: [&str; 2] = ["product-stock", "product-sales"];

/// What is listened to, with the name of the task that does. Two groups, so that stock never waits for statistics.
pub(crate) fn subscriptions(commands: &Commands) -> [(&'static str, Subscription); 2] {
    let subscription =
        |group: &str, topic, handler| Subscription { group: group.to_owned(), topics: vec![topic], handler };
    let [stock_group, sales_group] = GROUPS;
    let stock: Arc<dyn Handler> = Arc::new(Stock(commands.clone()));
    let sales: Arc<dyn Handler> = Arc::new(Sales(commands.clone()));
    [
        ("stock events", subscription(stock_group, Topic::Stock, stock)),
        ("payment events", subscription(sales_group, Topic::Payment, sales)),
    ]
}

/// Applies `stock.updated` to reservations.
struct Stock(Commands);

#[async_trait]
impl Handler for Stock {
    async fn handle(&self, envelope: &Envelope) -> Result<(), HandleError> {
        let Event::StockUpdated(body) = &envelope.event else { return Ok(()) };
        let movement = match body.operation {
            StockOperation::Decrease => Movement::Sell,
            StockOperation::Release => Movement::Release,
            StockOperation::Increase => Movement::Restock,
        };
        let line = Line { product: body.product_id, quantity: body.quantity.into() };
        let settlement = Settlement { event: envelope.id, reservation: body.payment_id, line, movement };
        self.0.settle(settlement).await.map_err(HandleError::of)?;
        // The effect is stored, the bus does not know it yet: a restart gets the event again and must drop it.
        crash_point("product.after_effect");
        Ok(())
    }
}

/// Counts what `payment.completed` sold of reservations that the version before made; the others are counted as they leave
/// the shelf.
struct Sales(Commands);

#[async_trait]
impl Handler for Sales {
    async fn handle(&self, envelope: &Envelope) -> Result<(), HandleError> {
        let Event::PaymentCompleted(body) = &envelope.event else { return Ok(()) };
        let lines = body.items.iter().map(|item| Line { product: item.product_id, quantity: item.quantity.into() });
        self.0.count_sold(envelope.id, body.payment_id, lines).await.map_err(HandleError::of)
    }
}
