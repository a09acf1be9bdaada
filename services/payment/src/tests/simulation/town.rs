//! The neighbours: baskets and the shelf, as their contracts have it, and the way of the events to them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use shop_events::{Event, StockOperation};
use shop_fault::{Fault, Kind};
use tokio::sync::oneshot;
use tokio::time::timeout;
use uuid::Uuid;

use super::sky::Sky;
use super::stage::{Of, Stage};
use crate::domain::samples::basket;
use crate::domain::{
    Basket, BasketRecord, Baskets, Error, Item, Kept, Line, LineState, Payment, Reserved, Shortage, Stock, UserId,
    amiss,
};
use crate::infrastructure::memory::Memory;

/// How long the service waits for a neighbour.
const PATIENCE: Duration = Duration::from_secs(5);

/// What the neighbours keep.
#[derive(Default)]
struct Books {
    baskets: BTreeMap<String, Basket>,
    /// Units there are of each product, those held among them; sold ones are not.
    units: BTreeMap<i64, i64>,
    /// Lines of reservations.
    lines: BTreeMap<Uuid, Vec<Kept>>,
    /// Never to be held again.
    closed: BTreeSet<Uuid>,
    /// What cannot be.
    wrong: Option<String>,
}

/// The neighbours.
#[derive(Clone)]
pub(super) struct Town {
    books: Arc<Mutex<Books>>,
    sky: Arc<Sky>,
    stage: Arc<Stage>,
}

impl Town {
    /// With these buyers, each with the sample's basket, and so many units of each product.
    pub(super) fn of(buyers: &[&str], units: i64, sky: Arc<Sky>, stage: Arc<Stage>) -> Self {
        let baskets = (1u128..).zip(buyers).map(|(number, buyer)| {
            let id = Uuid::from_u128(5000 + number);
            ((*buyer).to_owned(), Basket { id, version: 1, ..basket() })
        });
        let units = basket().items.iter().map(|item| (item.product_id, units)).collect();
        let books = Books { baskets: baskets.collect(), units, ..Books::default() };
        Self { books: Arc::new(Mutex::new(books)), sky, stage }
    }

    /// A buyer puts one more of a product into his basket.
    pub(super) fn put_one_more(&self, buyer: &str) {
        let mut books = self.books.lock();
        let Some(basket) = books.baskets.get_mut(buyer) else { return };
        if let Some(item) = basket.items.first_mut() {
            item.quantity += 1;
            item.subtotal.minor += item.price.minor;
            basket.version += 1;
        }
    }

    /// Asks, over the network: what was sent is done, whether or not anybody still waits for the answer.
    async fn ask<T: Send + 'static>(&self, act: impl FnOnce(&mut Books) -> T + Send + 'static) -> Result<T, Error> {
        let away = || Error::from(Fault::new(Kind::Timeout, "neighbour_timeout", "the neighbour did not answer"));
        let (answer, answered) = oneshot::channel();
        let is_rough = !self.sky.is_calm();
        let (loses_request, loses_reply) = (is_rough && self.sky.one_in(40), is_rough && self.sky.one_in(40));
        let (books, sky) = (self.books.clone(), self.sky.clone());
        if !loses_request {
            self.stage.start(Of::World, "neighbour", async move {
                sky.travel().await;
                let told = act(&mut books.lock());
                sky.travel().await;
                if !loses_reply {
                    answer.send(told).ok();
                }
            });
        }
        match timeout(PATIENCE, answered).await {
            Ok(Ok(told)) => Ok(told),
            Ok(Err(_)) | Err(_) => Err(away()),
        }
    }

    /// Carries events to the neighbours: in order, and some of them twice.
    pub(super) async fn carry(self, store: Arc<Memory>, carried: Arc<Mutex<usize>>) {
        loop {
            let from = *carried.lock();
            for event in store.events(from) {
                self.sky.travel().await;
                for _ in 0..=u64::from(self.sky.one_in(8)) {
                    self.books.lock().hear(&event);
                }
                *carried.lock() += 1;
            }
            if *carried.lock() == store.events(0).len() {
                store.told.notified().await;
            }
        }
    }

    /// What is wrong with the reservations, given these payments in their last state.
    pub(super) fn amiss(&self, payments: &[Payment]) -> Option<String> {
        let books = self.books.lock();
        if let Some(wrong) = &books.wrong {
            return Some(wrong.clone());
        }
        for (id, lines) in &books.lines {
            let payment = payments.iter().find(|payment| payment.id == *id);
            if let Some(expected) = amiss(payment, lines) {
                return Some(format!("the reservation {id} has {lines:?} and should have {expected:?}: {payment:?}"));
            }
        }
        let is_sold =
            |payment: &&Payment| payment.captured_amount().minor > 0 && !books.lines.contains_key(&payment.id);
        payments.iter().find(is_sold).map(|payment| format!("{} is paid, and nothing was ever reserved", payment.id))
    }
}

impl Books {
    fn held(&self, product: i64) -> i64 {
        let all = self.lines.values().flatten().filter(|line| line.product_id == product);
        all.filter(|line| line.state == LineState::Held).map(|line| i64::from(line.quantity)).sum()
    }

    fn reserve(&mut self, id: Uuid, lines: &[Line], replaces: Option<Uuid>) -> Reserved {
        if let Some(replaced) = replaces {
            self.release(replaced);
        }
        let short = |product: i64| Shortage { subject: format!("products/{product}"), description: String::new() };
        if self.closed.contains(&id) {
            return Reserved::Short(lines.iter().map(|line| short(line.product_id)).collect());
        }
        if self.lines.contains_key(&id) {
            return Reserved::Held;
        }
        let is_short = |line: &&Line| {
            let free = self.units.get(&line.product_id).copied().unwrap_or_default() - self.held(line.product_id);
            free < i64::from(line.quantity)
        };
        let missing: Vec<_> = lines.iter().filter(is_short).map(|line| short(line.product_id)).collect();
        if !missing.is_empty() {
            return Reserved::Short(missing);
        }
        let held = |line: &Line| Kept {
            product_id: line.product_id,
            quantity: line.quantity,
            state: LineState::Held,
            restocked: 0,
        };
        self.lines.insert(id, lines.iter().map(held).collect());
        Reserved::Held
    }

    fn release(&mut self, id: Uuid) {
        self.closed.insert(id);
        for line in self.lines.entry(id).or_default() {
            if line.state == LineState::Held {
                line.state = LineState::Released;
            }
        }
    }

    fn hear(&mut self, event: &Event) {
        match event {
            Event::BasketCleared(cleared) => {
                if let Some(basket) = self.baskets.get_mut(&cleared.user_id)
                    && basket.cleared_by != Some(cleared.payment_id)
                {
                    basket.items = Vec::<Item>::new();
                    (basket.cleared_by, basket.version) = (Some(cleared.payment_id), basket.version + 1);
                }
            }
            Event::StockUpdated(update) => {
                let lines = self.lines.entry(update.payment_id).or_default();
                let line = lines.iter_mut().find(|line| line.product_id == update.product_id);
                let units = self.units.entry(update.product_id).or_default();
                self.closed.insert(update.payment_id);
                match (update.operation, line) {
                    (StockOperation::Decrease, Some(line)) if line.state == LineState::Held => {
                        line.state = LineState::Sold;
                        *units -= i64::from(line.quantity);
                    }
                    (StockOperation::Release, Some(line)) if line.state == LineState::Held => {
                        line.state = LineState::Released;
                    }
                    (StockOperation::Increase, Some(line)) if line.state == LineState::Sold && line.restocked == 0 => {
                        line.restocked = line.quantity;
                        *units += i64::from(line.quantity);
                    }
                    (StockOperation::Decrease | StockOperation::Increase, Some(line))
                        if line.state == LineState::Sold => {}
                    (StockOperation::Release, Some(line)) if line.state == LineState::Released => {}
                    (StockOperation::Release, None) => {}
                    (operation, line) => {
                        let wrong = format!("{operation:?} of {line:?} for payment {}", update.payment_id);
                        self.wrong.get_or_insert(wrong);
                    }
                }
            }
            _ => {}
        }
    }
}

#[async_trait]
impl Baskets for Town {
    async fn compared(&self, user: &UserId) -> Result<Option<Basket>, Error> {
        let user = user.as_str().to_owned();
        self.ask(move |books| books.baskets.get(&user).cloned()).await
    }

    async fn kept(&self, _: &UserId) -> Result<Option<BasketRecord>, Error> {
        unreachable!("who pays asks for no more than to pay")
    }
}

#[async_trait]
impl Stock for Town {
    async fn reserve(&self, reservation: Uuid, lines: &[Line], replaces: Option<Uuid>) -> Result<Reserved, Error> {
        let lines = lines.to_vec();
        self.ask(move |books| books.reserve(reservation, &lines, replaces)).await
    }

    async fn release(&self, reservation: Uuid) -> Result<(), Error> {
        self.ask(move |books| books.release(reservation)).await
    }
}
