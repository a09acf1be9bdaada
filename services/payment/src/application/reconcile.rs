//! Compares payments with what the shelf made of them, finds what differs, and mends it by the payments' word.
//!
//! Beside running services: what differs is looked at again after a while, since what happens meanwhile is on its way. A page of
//! reservations is read before the payments that belong to it, which are stored first.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use shop_fault::Fault;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::domain::{Error, Kept, Line, Miscount, Payment, Payments, Reservation, Shelf, Status, amiss};

/// Payments read at a time.
const BATCH: u32 = 500;

/// The two sets of books.
pub(crate) struct Reconcile {
    payments: Arc<dyn Payments>,
    shelf: Arc<dyn Shelf>,
}

/// A reservation that is not what its payment made of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Drift {
    /// Also the payment's id.
    pub(crate) reservation: Uuid,
    /// `None` when there is no such payment.
    pub(crate) payment: Option<Status>,
    pub(crate) found: Vec<Kept>,
    pub(crate) expected: Vec<Kept>,
    pub(crate) mended: bool,
    /// Units that are sold and were not there.
    pub(crate) short: Vec<Line>,
}

/// What was compared, and what differed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Report {
    pub(crate) payments: u64,
    pub(crate) reservations: u64,
    pub(crate) drifts: Vec<Drift>,
    pub(crate) miscounts: Vec<Miscount>,
    /// What differs still.
    pub(crate) left: usize,
}

impl Reconcile {
    /// Of these payments and that shelf.
    pub(crate) fn new(payments: Arc<dyn Payments>, shelf: Arc<dyn Shelf>) -> Self {
        Self { payments, shelf }
    }

    /// Compares everything since `since`, and what was held before; what differs once more after `wait` is a drift.
    pub(crate) async fn run(&self, since: OffsetDateTime, wait: Duration, mend: bool) -> Result<Report, Error> {
        // First: a sum that is wrong would be wrong after every change of it, too.
        let mut report = Report { miscounts: self.shelf.miscounts(mend).await?, ..Report::default() };
        let suspects = self.suspects(since, &mut report).await?;
        if !suspects.is_empty() {
            tokio::time::sleep(wait).await;
        }
        for ids in suspects.chunks(BATCH as usize) {
            for mut drift in self.look_again(ids).await? {
                // One that cannot be mended keeps nobody from hearing of the others.
                if mend && let Err(error) = self.mend(&mut drift).await {
                    let cause = Fault::from(error);
                    tracing::warn!(reservation.id = %drift.reservation, cause = ?cause, "could not be mended");
                }
                report.drifts.push(drift);
            }
        }
        report.left = if mend { self.left(&report).await? } else { report.drifts.len() + report.miscounts.len() };
        Ok(report)
    }

    /// What differs at first sight.
    async fn suspects(&self, since: OffsetDateTime, report: &mut Report) -> Result<Vec<Uuid>, Error> {
        let (mut after, mut suspects) = (None, Vec::new());
        loop {
            let (reservations, more) = self.shelf.reservations(after, since).await?;
            let last = reservations.last().map(|reservation| reservation.id).filter(|_| more);
            let payments = self.payments_of(&reservations, after, last, since).await?;
            report.reservations += reservations.len() as u64;
            report.payments += payments.len() as u64;
            suspects.extend(differing(&reservations, &payments).map(|drift| drift.reservation));
            if last.is_none() {
                return Ok(suspects);
            }
            after = last;
        }
    }

    /// The payments of these reservations, and those between their ids that have none.
    async fn payments_of(
        &self,
        reservations: &[Reservation],
        after: Option<Uuid>,
        last: Option<Uuid>,
        since: OffsetDateTime,
    ) -> Result<BTreeMap<Uuid, Payment>, Error> {
        let (mut payments, mut from) = (BTreeMap::new(), after);
        loop {
            let page = self.payments.between(from, last, since, BATCH).await?;
            from = page.last().map(|payment| payment.id);
            let is_last = page.len() < BATCH as usize;
            payments.extend(page.into_iter().map(|payment| (payment.id, payment)));
            if is_last {
                break;
            }
        }
        // Those made before, and held still.
        let missing = reservations.iter().map(|reservation| reservation.id).filter(|id| !payments.contains_key(id));
        let older = self.payments.all_of(&missing.collect::<Vec<_>>()).await?;
        payments.extend(older.into_iter().map(|payment| (payment.id, payment)));
        Ok(payments)
    }

    async fn look_again(&self, ids: &[Uuid]) -> Result<Vec<Drift>, Error> {
        let reservations = self.shelf.reservations_of(ids).await?;
        let payments = self.payments.all_of(ids).await?;
        let payments = payments.into_iter().map(|payment| (payment.id, payment)).collect();
        Ok(differing(&reservations, &payments).collect())
    }

    /// Carries out the payment's word as it is now, and once more if it has become another meanwhile: an event of it may have
    /// come first, and what it did been undone.
    async fn mend(&self, drift: &mut Drift) -> Result<(), Error> {
        let word = |payment: &Option<Payment>| payment.as_ref().map(Payment::outcome);
        let mut payment = self.payments.get(drift.reservation).await?;
        loop {
            drift.short.extend(self.shelf.settle(drift.reservation, payment.as_ref()).await?);
            drift.mended = true;
            let now = self.payments.get(drift.reservation).await?;
            if word(&now) == word(&payment) {
                return Ok(());
            }
            payment = now;
        }
    }

    /// How much differs after it was mended.
    async fn left(&self, report: &Report) -> Result<usize, Error> {
        let ids: Vec<_> = report.drifts.iter().map(|drift| drift.reservation).collect();
        let mut left = self.shelf.miscounts(false).await?.len();
        for ids in ids.chunks(BATCH as usize) {
            left += self.look_again(ids).await?.len();
        }
        Ok(left)
    }
}

/// The reservations that are not what their payments made of them, those included that are missing.
fn differing<'a>(
    reservations: &'a [Reservation],
    payments: &'a BTreeMap<Uuid, Payment>,
) -> impl Iterator<Item = Drift> + 'a {
    let mut found: BTreeMap<Uuid, &[Kept]> = payments.keys().map(|id| (*id, &[][..])).collect();
    found.extend(reservations.iter().map(|reservation| (reservation.id, reservation.lines.as_slice())));
    found.into_iter().filter_map(|(id, found)| {
        let payment = payments.get(&id);
        let expected = amiss(payment, found)?;
        let payment = payment.map(|payment| payment.status);
        Some(Drift { reservation: id, payment, found: found.to_vec(), expected, mended: false, short: Vec::new() })
    })
}
