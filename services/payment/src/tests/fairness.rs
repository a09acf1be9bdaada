//! Nobody waits for somebody else's provider: what errs or hangs for one payment delays no other.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use shop_money::Money;
use shop_runtime::CancellationToken;
use shop_telemetry::Metrics;
use shop_testing::eventually;
use uuid::Uuid;

use super::checkout::Neighbours;
use crate::application::{self, Commands, Recovery};
use crate::domain::samples::{NOON, limits, numbered, usd};
use crate::domain::{
    Charge, Expected, Intent, Paid, Payback, Payment, Provider, ProviderError, Providers, Reference, RefundStatus,
    Refunding, SANDBOX, Status, Verdict,
};
use crate::infrastructure::contract::{Place, charge_of, on_each_store};
use crate::interface::Scheduler;

on_each_store! {
    one_buyers_money_comes_back_while_the_provider_errs_and_hangs_for_others
    payments_expire_on_time_while_the_provider_hangs
}

/// Errs for some refunds, hangs for others, and answers for the rest.
struct Moody(Arc<dyn Provider>);

/// Those of refunds 1 to 100 that are odd.
fn errs(key: Uuid) -> bool {
    key.as_u128() <= 100 && !key.as_u128().is_multiple_of(2)
}

/// Those that are even.
fn hangs(key: Uuid) -> bool {
    key.as_u128() <= 100 && key.as_u128().is_multiple_of(2)
}

#[async_trait]
impl Provider for Moody {
    async fn charge(&self, charge: &Charge) -> Result<Verdict, ProviderError> {
        self.0.charge(charge).await
    }

    async fn open(&self, intent: &Intent) -> Result<Reference, ProviderError> {
        self.0.open(intent).await
    }

    async fn capture(&self, _: &Reference, _: Money) -> Result<Verdict, ProviderError> {
        std::future::pending().await
    }

    async fn find(&self, _: &Reference, _: u32) -> Result<Option<Verdict>, ProviderError> {
        std::future::pending().await
    }

    async fn void(&self, _: &Reference) -> Result<Verdict, ProviderError> {
        std::future::pending().await
    }

    async fn refund(&self, payback: &Payback) -> Result<Paid, ProviderError> {
        if hangs(payback.key) {
            // As the deadline around every call of the provider ends it.
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        if errs(payback.key) || hangs(payback.key) {
            return Err(ProviderError("not for this one".to_owned()));
        }
        self.0.refund(payback).await
    }
}

/// Recovery at work until it is dropped, every few milliseconds.
fn at_work(place: &Place) -> CancellationToken {
    let shelf = Arc::new(Neighbours::default());
    let providers = Providers::default().with(SANDBOX, Arc::new(Moody(place.sandbox())));
    let around =
        application::Neighbours { baskets: shelf.clone(), stock: shelf, providers, approves_without_token: false };
    let (store, clock) = (place.opened.store.clone(), place.clock.clone());
    let commands = Commands::new(store, around, clock, Duration::from_secs(30), limits());
    let recovery = Recovery::new(commands, Duration::from_secs(10));
    let scheduler = Scheduler::new(recovery, Duration::from_millis(20), &Metrics::new("payment-service"));
    let stop = CancellationToken::new();
    tokio::task::spawn(scheduler.run(stop.clone()));
    stop
}

/// A completed payment with a refund that nobody finished.
async fn with_refund(place: &Place, id: u128) -> Uuid {
    let payments = &place.opened.store;
    let payment = numbered(id);
    payments.add(&payment).await.expect("adds");
    payments.change(payment.id, &|payment| payment.begin(Uuid::from_u128(7), NOON)).await.expect("begins");
    let verdict = place.sandbox().charge(&charge_of(id, "tok_approve")).await.expect("charges");
    payments.change(payment.id, &|payment| payment.settle(1, &verdict, NOON)).await.expect("settles");
    let asked = Refunding {
        id: payment.id,
        amount: Some(usd(100)),
        reason: None,
        restock: false,
        expected: Expected::default(),
    };
    payments.change(payment.id, &|payment| payment.request_refund(&asked, NOON)).await.expect("requested");
    payment.id
}

async fn stored(place: &Place, id: Uuid) -> Payment {
    place.opened.store.get(id).await.expect("reads").expect("there")
}

async fn one_buyers_money_comes_back_while_the_provider_errs_and_hangs_for_others(place: Place) {
    for id in 1..=101 {
        with_refund(&place, id).await;
    }
    place.clock.advance(Duration::from_secs(30));
    let stop = at_work(&place);
    let last = Uuid::from_u128(101);
    eventually!(within Duration::from_mins(1), stored(&place, last).await.refunds[0].status == RefundStatus::Paid);
    stop.cancel();
    assert_eq!(place.paid_back(last).await, 100);
}

async fn payments_expire_on_time_while_the_provider_hangs(place: Place) {
    // More than are asked about at a time, and each of them for ever.
    for id in 1..=40 {
        place.opened.store.add(&numbered(id)).await.expect("adds");
        let begin = |payment: &mut Payment| payment.begin(Uuid::from_u128(7), NOON);
        place.opened.store.change(Uuid::from_u128(id), &begin).await.expect("begins");
    }
    let pending = numbered(50);
    place.opened.store.add(&pending).await.expect("adds");
    let stop = at_work(&place);
    place.clock.advance(Duration::from_mins(30));
    eventually!(stored(&place, pending.id).await.status == Status::Failed);
    stop.cancel();
}
