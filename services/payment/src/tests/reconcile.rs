//! Books are mended while the shop is open: what becomes of payments meanwhile is not undone.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::application::Reconcile;
use crate::domain::samples::{NOON, numbered};
use crate::domain::{Error, Kept, Line, LineState, Miscount, Payment, Payments, Reservation, Shelf, Status, amiss};
use crate::infrastructure::contract::{Place, approve, asked, on_each_store};

on_each_store! {
    units_that_are_paid_for_while_they_are_mended_stay_sold
    units_that_come_back_while_another_payment_is_mended_are_back
    one_that_cannot_be_mended_keeps_nobody_from_hearing_of_the_others
}

/// A shelf that lost its reservations. While it is first told what to do, a payment moves on, and its events take effect.
struct Lost {
    payments: Arc<dyn Payments>,
    lines: Mutex<BTreeMap<Uuid, Vec<Kept>>>,
    moves_on: Mutex<Option<Uuid>>,
    /// Cannot be told what to do with this one.
    stuck: Option<Uuid>,
}

impl Lost {
    fn lines(&self, id: Uuid) -> Vec<Kept> {
        self.lines.lock().get(&id).cloned().unwrap_or_default()
    }

    fn bring(&self, id: Uuid, payment: Option<&Payment>) {
        if let Some(expected) = amiss(payment, &self.lines(id)) {
            self.lines.lock().insert(id, expected);
        }
    }
}

#[async_trait]
impl Shelf for Lost {
    async fn reservations(&self, _: Option<Uuid>, _: OffsetDateTime) -> Result<(Vec<Reservation>, bool), Error> {
        Ok((Vec::new(), false))
    }

    async fn reservations_of(&self, ids: &[Uuid]) -> Result<Vec<Reservation>, Error> {
        Ok(ids.iter().map(|id| Reservation { id: *id, lines: self.lines(*id) }).collect())
    }

    async fn settle(&self, id: Uuid, payment: Option<&Payment>) -> Result<Vec<Line>, Error> {
        if self.stuck == Some(id) {
            return Err(Error::Contended);
        }
        let moves_on = self.moves_on.lock().take();
        if let Some(other) = moves_on {
            let after = self.payments.change(other, &move_on).await?;
            self.bring(other, Some(&after));
        }
        self.bring(id, payment);
        Ok(Vec::new())
    }

    async fn miscounts(&self, _: bool) -> Result<Vec<Miscount>, Error> {
        Ok(Vec::new())
    }
}

/// What is charged is paid, and what is paid goes back with its units.
fn move_on(payment: &mut Payment) -> Result<Vec<shop_events::Event>, Error> {
    if payment.status == Status::Processing {
        return approve(payment);
    }
    let back = crate::domain::Refunding { amount: None, restock: true, ..asked(77, 1) };
    payment.request_refund(&back, NOON)?;
    payment.settle_refund(back.id, crate::domain::Paid::Back, NOON)
}

/// Payments that are being charged, by their numbers.
async fn charging<const N: usize>(place: &Place, numbers: [u128; N]) -> [Uuid; N] {
    for number in numbers {
        let payment = numbered(number);
        assert!(place.opened.store.add(&payment).await.expect("kept"));
        let begin = |payment: &mut Payment| payment.begin(Uuid::from_u128(9), NOON);
        place.opened.store.change(payment.id, &begin).await.expect("begun");
    }
    numbers.map(|number| numbered(number).id)
}

/// Mends everything while a payment moves on; the states of the lines of that one, and how much of each is back.
async fn mended(place: &Place, moves_on: Uuid) -> Vec<(LineState, bool)> {
    let payments = place.opened.store.clone();
    let lines = Mutex::default();
    let shelf = Lost { payments: payments.clone(), lines, moves_on: Mutex::new(Some(moves_on)), stuck: None };
    let shelf = Arc::new(shelf);
    let books = Reconcile::new(payments, shelf.clone());
    let report = books.run(NOON - time::Duration::DAY, Duration::ZERO, true).await.expect("compares");
    assert_eq!(report.left, 0, "{report:?}");
    shelf.lines(moves_on).iter().map(|line| (line.state, line.restocked == line.quantity)).collect()
}

async fn units_that_are_paid_for_while_they_are_mended_stay_sold(place: Place) {
    let [id] = charging(&place, [1]).await;
    let lines = mended(&place, id).await;
    assert!(!lines.is_empty() && lines.iter().all(|line| *line == (LineState::Sold, false)), "{lines:?}");
}

async fn units_that_come_back_while_another_payment_is_mended_are_back(place: Place) {
    let ids = charging(&place, [1, 2]).await;
    for id in ids {
        place.opened.store.change(id, &approve).await.expect("paid");
    }
    let lines = mended(&place, ids[1]).await;
    assert!(!lines.is_empty() && lines.iter().all(|line| *line == (LineState::Sold, true)), "{lines:?}");
}

async fn one_that_cannot_be_mended_keeps_nobody_from_hearing_of_the_others(place: Place) {
    let ids = charging(&place, [1, 2, 3]).await;
    let payments = place.opened.store.clone();
    let shelf =
        Lost { payments: payments.clone(), lines: Mutex::default(), moves_on: Mutex::default(), stuck: Some(ids[1]) };
    let books = Reconcile::new(payments, Arc::new(shelf));
    let report = books.run(NOON - time::Duration::DAY, Duration::ZERO, true).await.expect("compares");
    let told: Vec<_> = report.drifts.iter().map(|drift| (drift.reservation, drift.mended)).collect();
    assert_eq!((told, report.left), (vec![(ids[0], true), (ids[1], false), (ids[2], true)], 1));
}
