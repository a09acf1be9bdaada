//! Payments in memory, for tests that play many lives of a store in no time. It keeps the same contract as those in SQL, and
//! waits where they wait, so that others come in between.

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use parking_lot::{Mutex, MutexGuard};
use shop_events::Event;
use time::OffsetDateTime;
use tokio::sync::Notify;
use uuid::Uuid;

use crate::domain::{
    Change, Claim, Error, Filter, Inbox, Left, Payment, Payments, Refund, RefundStatus, Standing, Status, UserId,
};

const OPEN: [Status; 3] = [Status::Pending, Status::Processing, Status::RequiresAction];

/// What it is like on the way to the store and back.
#[async_trait]
pub(crate) trait Weather: Send + Sync {
    /// Takes its time. An error on the way there: nothing is done; on the way back: it is done, and nobody hears of it.
    async fn pass(&self) -> Result<(), Error>;
}

/// Nothing happens on the way, but that others have a turn.
pub(crate) struct Calm;

#[async_trait]
impl Weather for Calm {
    async fn pass(&self) -> Result<(), Error> {
        tokio::task::yield_now().await;
        Ok(())
    }
}

/// The store.
pub(crate) struct Memory {
    rows: Mutex<Rows>,
    weather: Box<dyn Weather>,
    /// There is something new to tell.
    pub(crate) told: Notify,
}

#[derive(Default)]
struct Rows {
    payments: BTreeMap<Uuid, Payment>,
    /// Of payments and refunds, by their ids.
    claims: BTreeMap<Uuid, Claimed>,
    /// When the provider is asked whether a refund that is paid arrived.
    looks: BTreeMap<Uuid, OffsetDateTime>,
    told: Vec<Event>,
    heard: BTreeSet<Uuid>,
    writes: u64,
}

#[derive(Debug, Default, Clone, Copy)]
struct Claimed {
    times: i64,
    until: Option<OffsetDateTime>,
}

impl Memory {
    /// An empty one.
    pub(crate) fn new(weather: impl Weather + 'static) -> Self {
        Self { rows: Mutex::default(), weather: Box::new(weather), told: Notify::new() }
    }

    /// All payments by now.
    pub(crate) fn payments(&self) -> Vec<Payment> {
        self.rows().payments.values().cloned().collect()
    }

    /// All events so far, after the first `some`.
    pub(crate) fn events(&self, some: usize) -> Vec<Event> {
        self.rows().told[some..].to_vec()
    }

    /// How often something was written.
    pub(crate) fn writes(&self) -> u64 {
        self.rows().writes
    }

    fn rows(&self) -> MutexGuard<'_, Rows> {
        self.rows.lock()
    }

    /// What it answers, as far as that arrives.
    async fn back<T>(&self, answer: T) -> Result<T, Error> {
        self.weather.pass().await?;
        Ok(answer)
    }

    /// A change of a payment as it was read before; none, and nothing is done, when it may be another by now.
    async fn change_seen(&self, known: &Payment, change: Change<'_>) -> Result<Option<Payment>, Error> {
        let mut after = known.clone();
        let Ok(events) = change(&mut after) else { return Ok(None) };
        if after == *known || after.refunds != known.refunds {
            return Ok(None);
        }
        self.weather.pass().await?;
        let mut rows = self.rows();
        let is_same = rows.payments.get(&known.id).is_some_and(|stored| stored.version == known.version);
        Ok(is_same.then(|| rows.write(after, events)))
    }
}

impl Rows {
    fn add(&mut self, payment: &Payment) -> bool {
        let claims = |other: &Payment| other.claims_basket && other.basket_id == payment.basket_id;
        let is_claimed = payment.claims_basket && self.payments.values().any(claims);
        if is_claimed || self.payments.contains_key(&payment.id) {
            return false;
        }
        self.payments.insert(payment.id, payment.clone());
        self.writes += 1;
        true
    }

    /// Applies a change, alone; what it was and is, and the events.
    fn applied(&self, id: Uuid, change: Change<'_>) -> Result<(Payment, Vec<Event>), Error> {
        let mut after = self.payments.get(&id).ok_or(Error::NotFound(id))?.clone();
        let events = change(&mut after)?;
        Ok((after, events))
    }

    /// Keeps what can change, and what is to be told of it.
    fn write(&mut self, mut after: Payment, events: Vec<Event>) -> Payment {
        after.version += 1;
        let stored = self.payments.get(&after.id);
        let reserved = stored.is_some_and(|stored| stored.reserved);
        for refund in &after.refunds {
            if stored.and_then(|stored| stored.refund(refund.id)) != Some(refund) {
                look(&mut self.looks, refund.id, refund.next_look(after.updated_at));
            }
        }
        self.payments.insert(after.id, Payment { reserved, ..after.clone() });
        self.told.extend(events);
        self.writes += 1;
        after
    }

    fn open_of(&self, user: &UserId) -> impl Iterator<Item = &Payment> {
        let user = user.clone();
        self.payments.values().filter(move |payment| payment.user_id == user && OPEN.contains(&payment.status))
    }

    /// What is left behind, with what orders it: how often it was tried, and since when it waits.
    fn due(&self, claim: &Claim) -> Vec<(Left, OffsetDateTime)> {
        let mut due: Vec<_> = self.payments.values().filter_map(|payment| self.due_charge(payment, claim)).collect();
        for payment in self.payments.values() {
            due.extend(payment.refunds.iter().filter_map(|refund| self.due_refund(payment.id, refund, claim)));
            due.extend(payment.refunds.iter().filter_map(|refund| self.due_look(payment.id, refund, claim)));
        }
        due.sort_by_key(|(left, since)| (left.attempts, *since));
        due.truncate(claim.limit as usize);
        due
    }

    fn due_charge(&self, payment: &Payment, claim: &Claim) -> Option<(Left, OffsetDateTime)> {
        let (at, is_due) = match payment.status {
            Status::Processing => (payment.updated_at, payment.updated_at <= claim.left_behind),
            Status::RequiresAction => {
                let until = payment.action.as_ref()?.until;
                (until, until <= claim.now)
            }
            Status::Authorised => (payment.authorised_until?, payment.authorised_until? <= claim.now),
            _ => return None,
        };
        self.left(payment.id, None, at, claim).filter(|_| is_due)
    }

    fn due_refund(&self, payment: Uuid, refund: &Refund, claim: &Claim) -> Option<(Left, OffsetDateTime)> {
        let is_due = refund.is_open() && refund.created_at <= claim.left_behind;
        self.left(payment, Some(refund.id), refund.created_at, claim).filter(|_| is_due)
    }

    fn due_look(&self, payment: Uuid, refund: &Refund, claim: &Claim) -> Option<(Left, OffsetDateTime)> {
        let at = self.looks.get(&refund.id).copied().filter(|at| *at <= claim.now)?;
        let tried = self.claims.get(&refund.id).map_or(0, |claimed| claimed.times);
        let left = Left { payment, refund: Some(refund.id), is_paid: true, attempts: tried + 1 };
        (refund.status == RefundStatus::Paid).then_some((left, at))
    }

    fn left(
        &self,
        payment: Uuid,
        refund: Option<Uuid>,
        at: OffsetDateTime,
        claim: &Claim,
    ) -> Option<(Left, OffsetDateTime)> {
        let claimed = self.claims.get(&refund.unwrap_or(payment)).copied().unwrap_or_default();
        let is_free = claimed.until.is_none_or(|until| until <= claim.now);
        let left = Left { payment, refund, is_paid: false, attempts: claimed.times + 1 };
        is_free.then(|| (left, claimed.until.unwrap_or(at)))
    }

    /// Whether it can still be claimed, or put off.
    fn is_left(&self, left: &Left) -> bool {
        let Some(payment) = self.payments.get(&left.payment) else { return false };
        match left.refund {
            Some(refund) if left.is_paid => payment.refund(refund).is_some_and(|one| one.status == RefundStatus::Paid),
            Some(refund) => payment.refund(refund).is_some_and(Refund::is_open),
            None => matches!(payment.status, Status::Processing | Status::RequiresAction | Status::Authorised),
        }
    }

    /// Claims it until then, or for good, unless another was faster since it had been tried so often.
    fn claim(&mut self, left: &Left, tried: i64, until: Option<OffsetDateTime>) -> bool {
        let is_left = self.is_left(left);
        let claimed = self.claims.entry(left.refund.unwrap_or(left.payment)).or_default();
        if !is_left || claimed.times != tried {
            return false;
        }
        claimed.times = left.attempts;
        match left.refund.filter(|_| left.is_paid) {
            Some(refund) => look(&mut self.looks, refund, until),
            None => claimed.until = until,
        }
        true
    }
}

/// The provider is asked about a refund then, or not any more.
fn look(looks: &mut BTreeMap<Uuid, OffsetDateTime>, refund: Uuid, at: Option<OffsetDateTime>) {
    match at {
        Some(at) => looks.insert(refund, at),
        None => looks.remove(&refund),
    };
}

#[async_trait]
impl Payments for Memory {
    async fn add(&self, payment: &Payment) -> Result<bool, Error> {
        self.weather.pass().await?;
        let added = self.rows().add(payment);
        self.back(added).await
    }

    async fn add_if_room(&self, payment: &Payment, most: u64) -> Result<bool, Error> {
        self.weather.pass().await?;
        let added = {
            let mut rows = self.rows();
            (rows.open_of(&payment.user_id).count() as u64) < most && rows.add(payment)
        };
        self.back(added).await
    }

    async fn replace(&self, old: Uuid, change: Change<'_>, new: &Payment) -> Result<bool, Error> {
        self.weather.pass().await?;
        let replaced = {
            let mut rows = self.rows();
            let before = rows.payments.get(&old).cloned();
            let (after, events) = rows.applied(old, change)?;
            rows.payments.insert(old, after.clone());
            let added = rows.add(new);
            if added {
                rows.write(after, events);
            } else if let Some(before) = before {
                rows.payments.insert(old, before);
            }
            added
        };
        self.told.notify_one();
        self.back(replaced).await
    }

    async fn standing(&self, user: &UserId, basket: Uuid) -> Result<Standing, Error> {
        self.weather.pass().await?;
        let standing = {
            let rows = self.rows();
            let claims = |payment: &&Payment| payment.claims_basket && payment.basket_id == basket;
            let of_basket = rows.payments.values().find(claims).cloned();
            let others = rows.open_of(user).filter(|payment| !claims(payment)).count() as u64;
            Standing { of_basket, others }
        };
        self.back(standing).await
    }

    async fn get(&self, id: Uuid) -> Result<Option<Payment>, Error> {
        self.weather.pass().await?;
        let found = self.rows().payments.get(&id).cloned();
        self.back(found).await
    }

    async fn all_of(&self, ids: &[Uuid]) -> Result<Vec<Payment>, Error> {
        self.weather.pass().await?;
        let found = ids.iter().filter_map(|id| self.rows().payments.get(id).cloned()).collect();
        self.back(found).await
    }

    async fn between(
        &self,
        after: Option<Uuid>,
        last: Option<Uuid>,
        since: OffsetDateTime,
        limit: u32,
    ) -> Result<Vec<Payment>, Error> {
        self.weather.pass().await?;
        let is_asked = |payment: &&Payment| {
            after.is_none_or(|after| payment.id > after)
                && last.is_none_or(|last| payment.id <= last)
                && payment.created_at >= since
        };
        let found = self.rows().payments.values().filter(is_asked).take(limit as usize).cloned().collect();
        self.back(found).await
    }

    async fn change_from(&self, id: Uuid, known: Option<&Payment>, change: Change<'_>) -> Result<Payment, Error> {
        self.weather.pass().await?;
        let seen = match known {
            Some(known) => self.change_seen(known, change).await?,
            None => None,
        };
        let after = if let Some(after) = seen {
            after
        } else {
            self.weather.pass().await?;
            let mut rows = self.rows();
            let (after, events) = rows.applied(id, change)?;
            let is_same = rows.payments.get(&id) == Some(&after) && events.is_empty();
            if is_same { after } else { rows.write(after, events) }
        };
        self.told.notify_one();
        self.back(after).await
    }

    async fn note_reserved(&self, ids: &[Uuid]) -> Result<(), Error> {
        self.weather.pass().await?;
        for id in ids {
            if let Some(payment) = self.rows().payments.get_mut(id) {
                payment.reserved = true;
            }
        }
        self.back(()).await
    }

    async fn list(&self, filter: &Filter, after: Option<Uuid>, limit: u32) -> Result<Vec<Payment>, Error> {
        self.weather.pass().await?;
        let is_asked = |payment: &&Payment| {
            filter.user_id.as_ref().is_none_or(|user| *user == payment.user_id)
                && filter.of.as_ref().is_none_or(|user| *user == payment.user_id)
                && filter.status.is_none_or(|status| status == payment.status)
                && after.is_none_or(|after| payment.id < after)
        };
        let found = self.rows().payments.values().rev().filter(is_asked).take(limit as usize).cloned().collect();
        self.back(found).await
    }

    async fn expired(
        &self,
        now: OffsetDateTime,
        after: Option<(OffsetDateTime, Uuid)>,
        limit: u32,
    ) -> Result<Vec<(OffsetDateTime, Uuid)>, Error> {
        self.weather.pass().await?;
        let mut due: Vec<_> = {
            let rows = self.rows();
            let pending = rows.payments.values().filter(|payment| payment.status == Status::Pending);
            pending.map(|payment| (payment.expires_at, payment.id)).collect()
        };
        due.retain(|(at, id)| *at <= now && after.is_none_or(|after| (*at, *id) > after));
        due.sort_unstable();
        due.truncate(limit as usize);
        self.back(due).await
    }

    async fn processing(&self, limit: u32) -> Result<Vec<Uuid>, Error> {
        self.weather.pass().await?;
        let found = {
            let rows = self.rows();
            let processing = rows.payments.values().filter(|payment| payment.status == Status::Processing);
            processing.take(limit as usize).map(|payment| payment.id).collect()
        };
        self.back(found).await
    }

    async fn claim(&self, claim: &Claim) -> Result<Vec<Left>, Error> {
        self.weather.pass().await?;
        let due = self.rows().due(claim);
        let mut claimed = Vec::with_capacity(due.len());
        for (left, _) in due {
            self.weather.pass().await?;
            if self.rows().claim(&left, left.attempts - 1, Some(claim.until)) {
                claimed.push(left);
            }
        }
        self.back(claimed).await
    }

    async fn put_off(&self, left: &Left, until: OffsetDateTime) -> Result<(), Error> {
        self.weather.pass().await?;
        self.rows().claim(left, left.attempts, Some(until));
        self.back(()).await
    }

    async fn looked(&self, left: &Left, next: Option<OffsetDateTime>) -> Result<(), Error> {
        self.weather.pass().await?;
        self.rows().claim(left, left.attempts, next);
        self.back(()).await
    }
}

#[async_trait]
impl Inbox for Memory {
    async fn has(&self, ring: Uuid) -> Result<bool, Error> {
        self.weather.pass().await?;
        let has = self.rows().heard.contains(&ring);
        self.back(has).await
    }

    async fn note(&self, ring: Uuid, _: OffsetDateTime) -> Result<(), Error> {
        self.weather.pass().await?;
        self.rows().heard.insert(ring);
        self.back(()).await
    }
}
