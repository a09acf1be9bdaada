//! What the catalogue hears: what became of reserved stock, and which payments went through.

use std::sync::Arc;

use async_trait::async_trait;
use shop_events::{Envelope, Event, HandleError, Handler, Item, StockOperation, Subscription, Topic};
use shop_runtime::crash_point;

use crate::application::Commands;
use crate::domain::{Line, Movement, Sale, Settlement};

/// Who listens.
pub(crate) const GROUPS: [&str; 2] = ["product-stock", "product-sales"];

/// Events that are applied in one transaction. Their rows stay locked for that long, so it is not what could wait.
const AT_ONCE: usize = 32;

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
        self.handle_all(std::slice::from_ref(envelope)).await
    }

    fn at_once(&self) -> usize {
        AT_ONCE
    }

    async fn handle_all(&self, envelopes: &[Envelope]) -> Result<(), HandleError> {
        let settlements: Vec<_> = envelopes.iter().filter_map(settlement).collect();
        self.0.settle(&settlements).await.map_err(HandleError::of)?;
        // The effect is stored, the bus does not know it yet: a restart gets the event again and must drop it.
        crash_point("product.after_effect");
        Ok(())
    }
}

fn settlement(envelope: &Envelope) -> Option<Settlement> {
    let Event::StockUpdated(body) = &envelope.event else { return None };
    let movement = match body.operation {
        StockOperation::Decrease => Movement::Sell,
        StockOperation::Release => Movement::Release,
        StockOperation::Increase => Movement::Restock,
    };
    let line = Line { product: body.product_id, quantity: body.quantity.into() };
    Some(Settlement { event: envelope.id, reservation: body.payment_id, line, movement })
}

/// Counts what `payment.completed` sold of reservations that the version before made; the others are counted as they leave
/// the shelf.
struct Sales(Commands);

#[async_trait]
impl Handler for Sales {
    async fn handle(&self, envelope: &Envelope) -> Result<(), HandleError> {
        self.handle_all(std::slice::from_ref(envelope)).await
    }

    fn at_once(&self) -> usize {
        AT_ONCE
    }

    async fn handle_all(&self, envelopes: &[Envelope]) -> Result<(), HandleError> {
        let sales: Vec<_> = envelopes.iter().filter_map(sale).collect();
        self.0.count_sold(&sales).await.map_err(HandleError::of)
    }
}

fn sale(envelope: &Envelope) -> Option<Sale> {
    let Event::PaymentCompleted(body) = &envelope.event else { return None };
    let line = |item: &Item| Line { product: item.product_id, quantity: item.quantity.into() };
    Some(Sale { event: envelope.id, reservation: body.payment_id, lines: body.items.iter().map(line).collect() })
}
