//! The checkout as a whole, on each store: who comes first, what is repeated, and what is left half way.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use shop_fault::{Fault, Kind};
use shop_money::{Decimal, Money};
use uuid::Uuid;

use crate::application::{self, Attempt, Cancel, CapturePayment, Commands, Process, Recovery, RefundPayment};
use crate::domain::samples::{basket, limits, raw_order, usd};
use crate::domain::{
    Amount, Basket, BasketChange, BasketRecord, Baskets, ChangeKind, Charge, Error, Expected, Intent, Line, Paid,
    Payback, Payment, Payments, Provider, ProviderError, Providers, RawOrder, Reference, RefundStatus, Reserved,
    SANDBOX, Shortage, Status, Stock, Token, UserId, Verdict,
};
use crate::infrastructure::contract::{Place, charge_of, on_each_store};

on_each_store! {
    of_sixteen_that_process_one_charges
    of_twenty_that_refund_no_more_get_it_than_there_is
    a_charge_whose_reply_is_lost_is_settled_by_asking
    a_request_that_is_repeated_gets_its_answer_again
    a_request_overtaken_by_its_own_repeat_is_not_refused
    a_request_overtaken_by_another_is_refused
    a_payment_left_before_its_charge_is_voided_after_a_while
    a_payment_left_after_its_charge_is_settled_at_start
    a_charge_that_comes_after_the_void_takes_no_money
    a_refund_left_half_way_is_paid_back_once
    a_payment_nobody_processes_expires
    a_basket_that_moved_is_not_paid
    stock_that_is_short_fails_the_payment
    a_reservation_nobody_knows_of_waits_for_the_same_request_again
    a_reservation_that_cannot_be_confirmed_leaves_the_payment_pending
    what_is_known_to_be_held_is_paid_while_nobody_can_be_asked_about_stock
    a_payment_that_another_replica_made_is_paid_without_asking_about_its_stock
    a_payment_nobody_knows_the_stock_of_is_asked_about_before_it_is_paid
    a_payment_that_the_provider_cannot_prepare_stays_pending
    a_buyer_who_confirms_is_charged_once
    a_buyer_who_does_not_confirm_in_time_is_not_charged
    another_card_is_another_attempt_until_there_were_five
    a_capture_left_half_way_is_finished_once
    a_cancellation_left_half_way_is_finished
    what_is_not_captured_in_time_lapses
    a_transfer_is_waited_for_and_not_called_off
    a_refund_under_way_is_asked_about_until_it_has_arrived
    what_a_version_before_wrote_is_paid_and_paid_back
    a_payment_of_a_provider_that_is_gone_says_which
    a_provider_that_is_down_leaves_the_payment_to_recovery
}

/// Neighbours that do as they are told.
#[derive(Default)]
pub(super) struct Neighbours {
    /// What is different about Ada's basket from the sample.
    pub(super) altered: Mutex<Option<Basket>>,
    pub(super) changes: Mutex<Vec<BasketChange>>,
    pub(super) short: AtomicBool,
    pub(super) unreachable: AtomicBool,
    pub(super) reservations: AtomicUsize,
    /// Each reservation asked for, and whose place it took.
    pub(super) replaced: Mutex<Vec<(Uuid, Option<Uuid>)>>,
    pub(super) released: Mutex<Vec<Uuid>>,
    /// What happens while stock is reserved for a request.
    pub(super) meanwhile: Mutex<Option<BoxFuture<'static, ()>>>,
    /// The basket of somebody who has not signed in yet.
    pub(super) guests: Mutex<Option<Basket>>,
    /// He signs in as soon as it was looked at.
    pub(super) signs_in: AtomicBool,
}

#[async_trait]
impl Baskets for Neighbours {
    async fn compared(&self, user: &UserId) -> Result<Option<Basket>, Error> {
        if user.as_str() == GUEST {
            let basket = self.guests.lock().clone();
            if self.signs_in.load(Ordering::SeqCst) {
                *self.guests.lock() = None;
            }
            return Ok(basket);
        }
        let (changes, altered) = (self.changes.lock().clone(), self.altered.lock().clone());
        Ok((user.as_str() == "ada").then(|| Basket { changes, ..altered.unwrap_or_else(basket) }))
    }

    async fn kept(&self, _: &UserId) -> Result<Option<BasketRecord>, Error> {
        unreachable!("who pays asks for no more than to pay")
    }
}

#[async_trait]
impl Stock for Neighbours {
    async fn reserve(&self, reservation: Uuid, lines: &[Line], replaces: Option<Uuid>) -> Result<Reserved, Error> {
        assert_eq!(lines.len(), 2);
        self.replaced.lock().push((reservation, replaces));
        self.reservations.fetch_add(1, Ordering::SeqCst);
        let meanwhile = self.meanwhile.lock().take();
        if let Some(meanwhile) = meanwhile {
            meanwhile.await;
        }
        if self.unreachable.load(Ordering::SeqCst) {
            return Err(Fault::new(Kind::Timeout, "product_timeout", "the product service did not answer").into());
        }
        let is_replaced = self.replaced.lock().iter().any(|(_, replaced)| *replaced == Some(reservation));
        if is_replaced || self.short.load(Ordering::SeqCst) {
            let (subject, description) = ("products/3".to_owned(), "2 asked for, 1 available".to_owned());
            return Ok(Reserved::Short(vec![Shortage { subject, description }]));
        }
        Ok(Reserved::Held)
    }

    async fn release(&self, reservation: Uuid) -> Result<(), Error> {
        self.released.lock().push(reservation);
        Ok(())
    }
}

impl Neighbours {
    /// While stock is reserved for a request, another one (operation 50) takes the payment on.
    pub(super) fn overtake(&self, payments: Arc<dyn Payments>) {
        *self.meanwhile.lock() = Some(Box::pin(async move { begin_elsewhere(payments.as_ref()).await }));
    }
}

/// Moves the payment to `processing` under operation 50 and leaves it there.
async fn begin_elsewhere(payments: &dyn Payments) {
    let begin = |payment: &mut Payment| payment.begin(Uuid::from_u128(50), payment.created_at);
    payments.change(PAYMENT, &begin).await.expect("begins");
}

/// A provider that cannot be reached while it is told so.
struct Flaky {
    inner: Arc<dyn Provider>,
    down: AtomicBool,
    /// As soon as it has prepared a payment.
    goes_down: AtomicBool,
}

impl Flaky {
    fn reach(&self) -> Result<(), ProviderError> {
        if self.down.load(Ordering::SeqCst) { Err(ProviderError("down".to_owned())) } else { Ok(()) }
    }
}

#[async_trait]
impl Provider for Flaky {
    async fn open(&self, intent: &Intent) -> Result<Reference, ProviderError> {
        self.reach()?;
        self.down.fetch_or(self.goes_down.load(Ordering::SeqCst), Ordering::SeqCst);
        self.inner.open(intent).await
    }

    async fn charge(&self, charge: &Charge) -> Result<Verdict, ProviderError> {
        self.reach()?;
        self.inner.charge(charge).await
    }

    async fn find(&self, reference: &Reference, attempt: u32) -> Result<Option<Verdict>, ProviderError> {
        self.reach()?;
        self.inner.find(reference, attempt).await
    }

    async fn capture(&self, reference: &Reference, amount: Money) -> Result<Verdict, ProviderError> {
        self.reach()?;
        self.inner.capture(reference, amount).await
    }

    async fn void(&self, reference: &Reference) -> Result<Verdict, ProviderError> {
        self.reach()?;
        self.inner.void(reference).await
    }

    async fn refund(&self, payback: &Payback) -> Result<Paid, ProviderError> {
        self.reach()?;
        self.inner.refund(payback).await
    }
}

pub(super) struct Checkout {
    pub(super) place: Place,
    pub(super) commands: Commands,
    pub(super) neighbours: Arc<Neighbours>,
    provider: Arc<Flaky>,
}

pub(super) const PAYMENT: Uuid = Uuid::from_u128(1);
pub(super) const GUEST: &str = "guest-1";

impl Checkout {
    pub(super) fn at(place: Place) -> Self {
        let neighbours = Arc::new(Neighbours::default());
        let provider =
            Arc::new(Flaky { inner: place.sandbox(), down: AtomicBool::new(false), goes_down: AtomicBool::new(false) });
        let around = application::Neighbours {
            baskets: neighbours.clone(),
            stock: neighbours.clone(),
            providers: Providers::default().with(SANDBOX, provider.clone()),
            approves_without_token: false,
        };
        let commands = commands(&place, around);
        Self { place, commands, neighbours, provider }
    }

    /// The same on the same store, by a process of its own.
    fn other_replica(&self) -> Commands {
        let (baskets, stock) = (self.neighbours.clone(), self.neighbours.clone());
        let providers = Providers::default().with(SANDBOX, self.provider.clone());
        let approves_without_token = false;
        commands(&self.place, application::Neighbours { baskets, stock, providers, approves_without_token })
    }

    /// A payment that another replica makes, and has not said anything about yet.
    pub(super) async fn made_elsewhere(&self) {
        self.other_replica().create(PAYMENT, raw_order()).await.expect("makes a payment");
    }

    pub(super) async fn create(&self) -> Payment {
        self.commands.create(PAYMENT, raw_order()).await.expect("makes a payment").payment
    }

    pub(super) async fn process(&self, operation: u128, token: &str) -> Result<Payment, Error> {
        self.commands.process(paying(operation, token)).await
    }

    pub(super) async fn refund(&self, operation: u128, amount: Option<&str>) -> Result<Payment, Error> {
        let amount = amount.map(|text| Amount::Decimal(text.parse::<Decimal>().expect("a decimal")));
        let operation = Uuid::from_u128(operation);
        self.commands
            .refund(RefundPayment {
                id: PAYMENT,
                operation,
                amount,
                reason: None,
                restock: false,
                expected: Expected::default(),
            })
            .await
    }

    /// Moves the payment to `processing` and leaves it there, as a process that dies would.
    async fn leave_processing(&self) {
        begin_elsewhere(self.place.opened.store.as_ref()).await;
    }

    fn charge() -> Charge {
        charge_of(PAYMENT.as_u128(), "tok_approve")
    }

    pub(super) fn recovery(&self) -> Recovery {
        Recovery::new(self.commands.clone(), Duration::from_secs(10))
    }

    /// Takes on everything that is due to be settled.
    async fn settle(&self) -> Vec<Attempt> {
        let recovery = self.recovery();
        let claimed = recovery.claim(100).await.expect("claims");
        futures_util::future::join_all(claimed.into_iter().map(|left| recovery.attempt(left))).await
    }

    pub(super) async fn stored(&self) -> Payment {
        self.place.opened.store.get(PAYMENT).await.expect("reads").expect("there")
    }
}

fn commands(place: &Place, around: application::Neighbours) -> Commands {
    let (store, clock) = (place.opened.store.clone(), place.clock.clone());
    Commands::new(store, around, clock, Duration::from_secs(30), limits())
}

fn paying(operation: u128, token: &str) -> Process {
    let token = Some(Token::parse(token).expect("a token"));
    let operation = Uuid::from_u128(operation);
    Process { id: PAYMENT, operation, token, expected: Expected::default(), of: None }
}

pub(super) fn code<T: std::fmt::Debug>(outcome: Result<T, Error>) -> (u16, String) {
    let fault = Fault::from(outcome.expect_err("refused"));
    (fault.kind().status(), fault.code().to_owned())
}

async fn of_sixteen_that_process_one_charges(place: Place) {
    let checkout = Arc::new(Checkout::at(place));
    checkout.create().await;
    let calls = (0..16).map(|n| {
        let checkout = checkout.clone();
        tokio::task::spawn(async move { checkout.process(100 + n, "tok_approve").await.map_err(Fault::from) })
    });
    let outcomes: Vec<_> =
        futures_util::future::join_all(calls).await.into_iter().map(|joined| joined.expect("runs")).collect();
    assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 1);
    let refused = outcomes.iter().filter_map(|outcome| outcome.as_ref().err());
    // Before the provider has answered, or after.
    let is_late = |fault: &Fault| {
        let state = (fault.kind().status(), fault.code(), fault.members().get("payment_status"));
        matches!(state, (409, "payment_unsettled", None)) || state == (409, "invalid_state", Some(&"completed".into()))
    };
    assert!(refused.clone().all(is_late), "{:?}", refused.collect::<Vec<_>>());
    assert_eq!(checkout.place.charges(PAYMENT).await, 1);
    assert_eq!(checkout.place.events().await, 4);
}

async fn of_twenty_that_refund_no_more_get_it_than_there_is(place: Place) {
    let checkout = Arc::new(Checkout::at(place));
    checkout.create().await;
    checkout.process(2, "tok_approve").await.expect("charges");
    let calls = (0..20).map(|n| {
        let checkout = checkout.clone();
        tokio::task::spawn(async move { checkout.refund(100 + n, Some("2.00")).await.map_err(Fault::from) })
    });
    let outcomes: Vec<_> =
        futures_util::future::join_all(calls).await.into_iter().map(|joined| joined.expect("runs")).collect();
    assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 13, "{outcomes:?}");
    let refused = outcomes.iter().filter_map(|outcome| outcome.as_ref().err());
    assert!(refused.map(|fault| (fault.kind().status(), fault.code())).all(|r| r == (422, "refund_exceeds_payment")));
    assert_eq!(checkout.place.paid_back(PAYMENT).await, 2600);
    assert_eq!(
        (checkout.stored().await.refunded(), checkout.stored().await.status),
        (usd(2600), Status::PartiallyRefunded)
    );
}

async fn a_charge_whose_reply_is_lost_is_settled_by_asking(place: Place) {
    let checkout = Checkout::at(place);
    checkout.create().await;
    let payment = checkout.process(2, "tok_lost_reply").await.expect("settled");
    assert_eq!((payment.status, checkout.place.charges(PAYMENT).await), (Status::Completed, 1));
}

async fn a_request_that_is_repeated_gets_its_answer_again(place: Place) {
    let checkout = Checkout::at(place);
    let made = checkout.create().await;
    assert_eq!(checkout.create().await, made);
    let paid = checkout.process(2, "tok_approve").await.expect("charges");
    assert_eq!(paid.version - made.version, 2, "two durable commits");
    assert_eq!(checkout.process(2, "tok_approve").await.expect("the same again"), paid);
    assert_eq!(code(checkout.process(3, "tok_approve").await), (409, "invalid_state".to_owned()));
    let refunded = checkout.refund(4, Some("1.50")).await.expect("pays back");
    assert_eq!(checkout.refund(4, Some("1.50")).await.expect("the same again"), refunded);
    assert_eq!((checkout.place.charges(PAYMENT).await, checkout.place.paid_back(PAYMENT).await), (1, 150));
    assert_eq!(checkout.create().await.id, made.id, "a payment that moved on is not made again");
}

async fn a_request_overtaken_by_its_own_repeat_is_not_refused(place: Place) {
    assert_eq!(overtaken(place, 50).await, (409, "payment_unsettled".to_owned()), "whoever overtook still charges");
}

async fn a_request_overtaken_by_another_is_refused(place: Place) {
    assert_eq!(overtaken(place, 60).await, (409, "payment_unsettled".to_owned()), "whoever asks");
}

/// What a request hears when operation 50 takes the payment on between its look and its turn.
async fn overtaken(place: Place, operation: u128) -> (u16, String) {
    let checkout = Checkout::at(place);
    checkout.made_elsewhere().await;
    checkout.neighbours.overtake(checkout.place.opened.store.clone());
    let heard = code(checkout.process(operation, "tok_approve").await);
    assert_eq!(checkout.place.charges(PAYMENT).await, 0, "the late one does not charge");
    heard
}

async fn a_payment_left_before_its_charge_is_voided_after_a_while(place: Place) {
    let checkout = Checkout::at(place);
    checkout.create().await;
    checkout.leave_processing().await;
    assert_eq!(checkout.recovery().at_start().await.expect("looks"), 0, "another replica may be at it");
    assert_eq!(checkout.settle().await, []);
    for (operation, whose) in [(50, "the same request"), (51, "one without its key")] {
        let outcome = code(checkout.process(operation, "tok_approve").await);
        assert_eq!(outcome, (409, "payment_unsettled".to_owned()), "{whose}");
    }
    checkout.place.clock.advance(Duration::from_secs(30));
    assert_eq!(checkout.settle().await, [Attempt::Settled]);
    let payment = checkout.stored().await;
    assert_eq!((payment.status, payment.failure.expect("why").code.as_str()), (Status::Failed, "charge_voided"));
    assert_eq!(code(checkout.process(50, "tok_approve").await), (402, "payment_declined".to_owned()));
    assert_eq!(checkout.place.events().await, 3, "the stock is released");
}

async fn a_payment_left_after_its_charge_is_settled_at_start(place: Place) {
    let checkout = Checkout::at(place);
    checkout.create().await;
    checkout.leave_processing().await;
    checkout.provider.charge(&Checkout::charge()).await.expect("charged, and then it died");
    assert_eq!(checkout.recovery().at_start().await.expect("settles"), 1);
    assert_eq!((checkout.stored().await.status, checkout.place.charges(PAYMENT).await), (Status::Completed, 1));
    assert_eq!(checkout.process(50, "tok_approve").await.expect("its answer").status, Status::Completed);
    assert_eq!(checkout.place.events().await, 4);
}

async fn a_charge_that_comes_after_the_void_takes_no_money(place: Place) {
    let checkout = Checkout::at(place);
    checkout.create().await;
    checkout.leave_processing().await;
    checkout.place.clock.advance(Duration::from_secs(31));
    assert_eq!(checkout.settle().await, [Attempt::Settled]);
    let late = checkout.provider.charge(&Checkout::charge()).await.expect("answers");
    assert_eq!((late, checkout.place.charges(PAYMENT).await), (Verdict::Voided, 0));
}

async fn a_refund_left_half_way_is_paid_back_once(place: Place) {
    let checkout = Checkout::at(place);
    checkout.create().await;
    checkout.process(2, "tok_approve").await.expect("charges");
    checkout.provider.down.store(true, Ordering::SeqCst);
    assert_eq!(code(checkout.refund(3, Some("20")).await), (409, "payment_unsettled".to_owned()));
    let waiting = checkout.stored().await;
    assert_eq!((waiting.status, waiting.refunded(), waiting.left()), (Status::Completed, usd(0), usd(700)));
    assert_eq!(code(checkout.refund(4, Some("8")).await), (422, "refund_exceeds_payment".to_owned()));
    checkout.provider.down.store(false, Ordering::SeqCst);
    let reference = Checkout::charge().reference;
    let payback = Payback { key: Uuid::from_u128(3), payment: Uuid::from_u128(1), reference, amount: usd(2000) };
    checkout.provider.refund(&payback).await.expect("paid back, and then it died");
    checkout.place.clock.advance(Duration::from_secs(30));
    assert_eq!(checkout.settle().await, [Attempt::PaidBack]);
    let settled = checkout.stored().await;
    assert_eq!((settled.status, settled.refunds[0].status), (Status::PartiallyRefunded, RefundStatus::Paid));
    assert_eq!((settled.refunded(), checkout.place.paid_back(PAYMENT).await), (usd(2000), 2000));
    assert_eq!(checkout.refund(3, Some("20")).await.expect("its answer").refunded(), usd(2000));
}

async fn a_payment_nobody_processes_expires(place: Place) {
    let checkout = Checkout::at(place);
    checkout.create().await;
    checkout.place.clock.advance(Duration::from_mins(30));
    let (one, other) = (checkout.recovery(), checkout.recovery());
    let (one, other) = tokio::join!(one.expire(), other.expire());
    assert!(one.expect("looks") + other.expect("looks") >= 1);
    let payment = checkout.stored().await;
    assert_eq!((payment.status, payment.failure.expect("why").code.as_str()), (Status::Failed, "payment_expired"));
    assert_eq!(checkout.place.events().await, 3, "two replicas expire it once");
    let before = checkout.neighbours.reservations.load(Ordering::SeqCst);
    assert_eq!(code(checkout.process(2, "tok_approve").await), (409, "invalid_state".to_owned()));
    assert_eq!(checkout.neighbours.reservations.load(Ordering::SeqCst), before, "nothing is reserved for it any more");
}

async fn a_basket_that_moved_is_not_paid(place: Place) {
    let checkout = Checkout::at(place);
    let kind = ChangeKind::Price { old: usd(100), new: usd(250) };
    *checkout.neighbours.changes.lock() = vec![BasketChange { product_id: 3, name: "Laptop".to_owned(), kind }];
    let fault = Fault::from(checkout.commands.create(PAYMENT, raw_order()).await.expect_err("moved"));
    assert_eq!((fault.kind().status(), fault.code()), (409, "basket_changed"));
    assert_eq!(fault.members()["changes"][0]["new_price"], serde_json::json!(2.5));
    assert_eq!(checkout.place.opened.store.get(PAYMENT).await.expect("reads"), None);
}

async fn stock_that_is_short_fails_the_payment(place: Place) {
    let checkout = Checkout::at(place);
    checkout.neighbours.short.store(true, Ordering::SeqCst);
    for _ in 0..2 {
        let refused = code(checkout.commands.create(PAYMENT, raw_order()).await);
        assert_eq!(refused, (409, "insufficient_stock".to_owned()));
    }
    assert_eq!((checkout.stored().await.status, checkout.place.events().await), (Status::Failed, 3));
}

async fn a_reservation_nobody_knows_of_waits_for_the_same_request_again(place: Place) {
    let checkout = Checkout::at(place);
    checkout.neighbours.unreachable.store(true, Ordering::SeqCst);
    for _ in 0..2 {
        let fault = Fault::from(checkout.commands.create(PAYMENT, raw_order()).await.expect_err("unknown"));
        assert_eq!((fault.kind().status(), fault.code()), (503, "reservation_unknown"));
        assert!(fault.retry_after().is_some(), "so it is not the answer for ever");
    }
    assert_eq!((checkout.stored().await.status, checkout.place.events().await), (Status::Pending, 0));
    checkout.neighbours.unreachable.store(false, Ordering::SeqCst);
    let made = checkout.commands.create(PAYMENT, raw_order()).await.expect("goes on");
    assert_eq!((made.payment.id, made.is_new), (PAYMENT, true));
    let other = checkout.commands.create(Uuid::from_u128(2), raw_order()).await.expect("also without its key");
    assert_eq!((other.payment.id, other.is_new), (PAYMENT, false));
    checkout.process(3, "tok_approve").await.expect("is paid");
}

async fn a_reservation_that_cannot_be_confirmed_leaves_the_payment_pending(place: Place) {
    let checkout = Checkout::at(place);
    checkout.neighbours.unreachable.store(true, Ordering::SeqCst);
    assert_eq!(code(checkout.commands.create(PAYMENT, raw_order()).await), (503, "reservation_unknown".to_owned()));
    assert_eq!(code(checkout.process(2, "tok_approve").await), (504, "product_timeout".to_owned()));
    assert_eq!((checkout.stored().await.status, checkout.place.charges(PAYMENT).await), (Status::Pending, 0));
    checkout.neighbours.unreachable.store(false, Ordering::SeqCst);
    checkout.process(2, "tok_approve").await.expect("the same request again");
}

async fn what_is_known_to_be_held_is_paid_while_nobody_can_be_asked_about_stock(place: Place) {
    let checkout = Checkout::at(place);
    checkout.create().await;
    checkout.neighbours.unreachable.store(true, Ordering::SeqCst);
    assert_eq!(checkout.create().await.id, PAYMENT, "nor is it asked about for another tab");
    checkout.process(2, "tok_approve").await.expect("is paid");
    assert_eq!(checkout.neighbours.reservations.load(Ordering::SeqCst), 1);
}

async fn a_payment_that_another_replica_made_is_paid_without_asking_about_its_stock(place: Place) {
    let checkout = Checkout::at(place);
    checkout.create().await;
    let other = checkout.other_replica();
    checkout.commands.reservations().flush().await;
    checkout.neighbours.unreachable.store(true, Ordering::SeqCst);
    assert!(checkout.stored().await.reserved);
    other.process(paying(2, "tok_approve")).await.expect("is paid");
    assert_eq!(checkout.place.charges(PAYMENT).await, 1);
}

async fn a_payment_nobody_knows_the_stock_of_is_asked_about_before_it_is_paid(place: Place) {
    let checkout = Checkout::at(place);
    checkout.create().await;
    let other = checkout.other_replica();
    checkout.neighbours.short.store(true, Ordering::SeqCst);
    let refused = code(other.process(paying(2, "tok_approve")).await);
    assert_eq!(refused, (409, "insufficient_stock".to_owned()), "what was said is not noted yet");
    assert_eq!((checkout.stored().await.status, checkout.place.charges(PAYMENT).await), (Status::Failed, 0));
}

async fn a_payment_that_the_provider_cannot_prepare_stays_pending(place: Place) {
    let checkout = Checkout::at(place);
    checkout.create().await;
    checkout.provider.down.store(true, Ordering::SeqCst);
    assert_eq!(code(checkout.process(2, "tok_approve").await), (503, "provider_unavailable".to_owned()));
    assert_eq!(checkout.stored().await.status, Status::Pending);
    checkout.provider.down.store(false, Ordering::SeqCst);
    checkout.process(2, "tok_approve").await.expect("the same request again");
}

async fn a_provider_that_is_down_leaves_the_payment_to_recovery(place: Place) {
    let checkout = Checkout::at(place);
    checkout.create().await;
    checkout.provider.goes_down.store(true, Ordering::SeqCst);
    assert_eq!(code(checkout.process(2, "tok_approve").await), (409, "payment_unsettled".to_owned()));
    assert_eq!(checkout.stored().await.status, Status::Processing);
    checkout.place.clock.advance(Duration::from_secs(31));
    assert_eq!(checkout.settle().await, [Attempt::Later], "still down");
    checkout.provider.down.store(false, Ordering::SeqCst);
    assert_eq!(checkout.settle().await, [], "not at once again");
    checkout.place.clock.advance(Duration::from_secs(5));
    assert_eq!(checkout.settle().await, [Attempt::Settled]);
    assert_eq!(checkout.stored().await.status, Status::Failed);
}

impl Checkout {
    fn advance(&self, time: Duration) {
        self.place.clock.advance(time);
    }

    async fn manual(&self) -> Payment {
        let order = RawOrder { capture: Some("manual".to_owned()), ..raw_order() };
        self.commands.create(PAYMENT, order).await.expect("makes a payment");
        self.process(2, "tok_approve").await.expect("authorises")
    }

    async fn capture(&self, operation: u128) -> Result<Payment, Error> {
        let amount = Some(Amount::Decimal("20.00".parse().expect("a decimal")));
        let operation = Uuid::from_u128(operation);
        let expected = Expected::default();
        self.commands.capture(CapturePayment { id: PAYMENT, operation, amount, expected }).await
    }

    async fn look(&self) -> Payment {
        self.commands.look(self.stored().await).await.expect("looks")
    }

    async fn failure(&self) -> String {
        self.stored().await.failure.expect("why").code
    }
}

async fn a_buyer_who_confirms_is_charged_once(place: Place) {
    let checkout = Checkout::at(place);
    checkout.create().await;
    let waiting = checkout.process(2, "tok_action").await.expect("is told where to go");
    assert_eq!((waiting.status, checkout.place.charges(PAYMENT).await), (Status::RequiresAction, 0));
    assert_eq!(checkout.look().await, waiting, "he has not come back");
    assert_eq!(checkout.process(3, "tok_approve").await.expect("the same again"), waiting);
    assert_eq!(
        code(
            checkout.commands.create(Uuid::from_u128(9), RawOrder { method: "paypal".to_owned(), ..raw_order() }).await
        ),
        (409, "payment_unsettled".to_owned())
    );
    checkout.advance(Duration::from_millis(1));
    // Who processes reads first: after the other there is nothing left to process.
    let (other, one) = tokio::join!(checkout.process(4, "tok_approve"), checkout.look());
    assert_eq!((one.status, other.expect("the same answer").status), (Status::Completed, Status::Completed));
    assert_eq!((checkout.place.charges(PAYMENT).await, checkout.place.events().await), (1, 5));
}

async fn a_buyer_who_does_not_confirm_in_time_is_not_charged(place: Place) {
    let checkout = Checkout::at(place);
    checkout.create().await;
    checkout.process(2, "tok_action_abandoned").await.expect("is told where to go");
    checkout.advance(Duration::from_mins(14));
    assert_eq!((checkout.settle().await, checkout.stored().await.status), (vec![], Status::RequiresAction));
    checkout.advance(Duration::from_mins(1));
    assert_eq!(checkout.settle().await, [Attempt::Settled]);
    assert_eq!(
        (checkout.stored().await.status, checkout.failure().await.as_str()),
        (Status::Failed, "payment_expired")
    );
    assert_eq!(*checkout.neighbours.released.lock(), [PAYMENT]);
    let late = checkout.provider.charge(&Checkout::charge()).await.expect("answers");
    assert_eq!((late, checkout.place.charges(PAYMENT).await), (Verdict::Voided, 0));
}

async fn another_card_is_another_attempt_until_there_were_five(place: Place) {
    let checkout = Checkout::at(place);
    checkout.create().await;
    for attempt in 1..=4 {
        let fault = Fault::from(checkout.process(attempt, "tok_retryable_decline").await.expect_err("declined"));
        assert_eq!((fault.code(), &fault.members()["may_retry"]), ("payment_declined", &true.into()));
        let again = Fault::from(checkout.process(attempt, "tok_retryable_decline").await.expect_err("the same again"));
        assert_eq!(
            (again.code(), checkout.stored().await.attempts),
            ("payment_declined", attempt.try_into().expect("few"))
        );
    }
    assert_eq!((checkout.stored().await.status, checkout.neighbours.released.lock().len()), (Status::Pending, 0));
    let fault = Fault::from(checkout.process(5, "tok_retryable_decline").await.expect_err("declined"));
    assert_eq!((&fault.members()["may_retry"], checkout.stored().await.status), (&false.into(), Status::Failed));
    assert_eq!((checkout.place.charges(PAYMENT).await, checkout.place.events().await), (0, 3));
}

async fn a_capture_left_half_way_is_finished_once(place: Place) {
    let checkout = Checkout::at(place);
    assert_eq!(checkout.manual().await.status, Status::Authorised);
    checkout.provider.down.store(true, Ordering::SeqCst);
    assert_eq!(code(checkout.capture(3).await), (409, "payment_unsettled".to_owned()));
    assert_eq!(code(checkout.capture(4).await), (409, "invalid_state".to_owned()), "somebody else's");
    checkout.provider.down.store(false, Ordering::SeqCst);
    let reference = checkout.stored().await.reference();
    checkout.provider.capture(&reference, usd(2000)).await.expect("captured, and then it died");
    checkout.advance(Duration::from_secs(31));
    assert_eq!(checkout.settle().await, [Attempt::Settled]);
    let payment = checkout.stored().await;
    assert_eq!((payment.status, payment.captured, payment.left()), (Status::Completed, Some(usd(2000)), usd(2000)));
    assert_eq!(checkout.capture(3).await.expect("its answer"), payment);
    assert_eq!(checkout.place.events().await, 5, "authorised, cleared, completed, and two lines sold");
}

async fn a_cancellation_left_half_way_is_finished(place: Place) {
    let checkout = Checkout::at(place);
    checkout.manual().await;
    checkout.provider.down.store(true, Ordering::SeqCst);
    let cancel = || Cancel { id: PAYMENT, operation: Uuid::from_u128(3), expected: Expected::default(), of: None };
    assert_eq!(code(checkout.commands.cancel(cancel()).await), (409, "payment_unsettled".to_owned()));
    checkout.provider.down.store(false, Ordering::SeqCst);
    checkout.advance(Duration::from_secs(31));
    assert_eq!(checkout.settle().await, [Attempt::Settled]);
    assert_eq!(checkout.commands.cancel(cancel()).await.expect("its answer").status, Status::Cancelled);
    let reference = checkout.stored().await.reference();
    let late = checkout.provider.capture(&reference, usd(2000)).await.expect("answers");
    assert_eq!((late, checkout.place.charges(PAYMENT).await), (Verdict::Voided, 0));
}

async fn what_is_not_captured_in_time_lapses(place: Place) {
    let checkout = Checkout::at(place);
    checkout.manual().await;
    checkout.advance(Duration::from_hours(7 * 24));
    assert_eq!(code(checkout.capture(3).await), (409, "invalid_state".to_owned()));
    assert_eq!((checkout.settle().await, checkout.failure().await.as_str()), (vec![], "authorisation_lapsed"));
    assert_eq!(*checkout.neighbours.released.lock(), [PAYMENT]);
    assert_eq!(checkout.place.events().await, 5, "authorised, cleared, expired, and two lines released");
}

async fn a_transfer_is_waited_for_and_not_called_off(place: Place) {
    let checkout = Checkout::at(place);
    let order = RawOrder { method: "bank_transfer".to_owned(), ..raw_order() };
    checkout.commands.create(PAYMENT, order).await.expect("makes a payment");
    let waiting = checkout.process(2, "tok_pending_for_days").await.expect("is on its way");
    assert_eq!((waiting.status, waiting.is_at_provider()), (Status::Processing, true));
    for _ in 0..3 {
        checkout.advance(Duration::from_hours(20));
        assert_eq!(checkout.settle().await, [Attempt::Later]);
        assert_eq!(checkout.process(3, "tok_approve").await.expect("still on its way").status, Status::Processing);
    }
    checkout.advance(Duration::from_hours(20));
    assert_eq!((checkout.settle().await, checkout.stored().await.status), (vec![Attempt::Settled], Status::Completed));
    assert_eq!((checkout.place.charges(PAYMENT).await, checkout.place.events().await), (1, 4));
}

async fn a_refund_under_way_is_asked_about_until_it_has_arrived(place: Place) {
    let checkout = Checkout::at(place);
    checkout.create().await;
    checkout.process(2, "tok_refund_pending").await.expect("charges");
    let under_way = checkout.refund(3, Some("20")).await.expect("is on its way");
    assert_eq!(
        (under_way.refunds[0].status, under_way.refunded(), under_way.left()),
        (RefundStatus::Pending, usd(0), usd(700))
    );
    assert_eq!(checkout.stored().await, under_way);
    checkout.advance(Duration::from_secs(31));
    assert_eq!(checkout.settle().await, [Attempt::PaidBack]);
    let settled = checkout.stored().await;
    assert_eq!((settled.status, settled.refunded()), (Status::PartiallyRefunded, usd(2000)));
    assert_eq!(checkout.refund(3, Some("20")).await.expect("its answer"), settled);
    assert_eq!(checkout.place.paid_back(PAYMENT).await, 2000);
}

async fn what_a_version_before_wrote_is_paid_and_paid_back(place: Place) {
    let checkout = Checkout::at(place);
    checkout.create().await;
    checkout.leave_processing().await;
    checkout.place.as_before().await;
    let before = checkout.stored().await;
    assert_eq!((&before.reference, before.attempts, before.captured), (&None, 0, None));
    checkout.provider.charge(&Checkout::charge()).await.expect("charged, and then it died");
    assert_eq!(checkout.recovery().at_start().await.expect("settles"), 1);
    checkout.place.as_before().await;
    let paid = checkout.stored().await;
    assert_eq!((paid.status, paid.captured_amount(), paid.left()), (Status::Completed, usd(2700), usd(2700)));
    let back = checkout.refund(3, None).await.expect("pays back");
    assert_eq!((back.status, checkout.place.paid_back(PAYMENT).await), (Status::Refunded, 2700));
}

async fn a_payment_of_a_provider_that_is_gone_says_which(place: Place) {
    let checkout = Checkout::at(place);
    checkout.create().await;
    let moved = |payment: &mut Payment| {
        payment.note("acme", &Reference::new("a-1"));
        payment.begin(Uuid::from_u128(2), payment.created_at)
    };
    checkout.place.opened.store.change(PAYMENT, &moved).await.expect("is with another");
    let fault = Fault::from(checkout.process(2, "tok_approve").await.expect_err("is gone"));
    assert_eq!((fault.kind().status(), fault.code()), (503, "provider_not_configured"));
    assert!(fault.to_string().contains("acme"), "{fault}");
    checkout.advance(Duration::from_secs(31));
    assert_eq!((checkout.settle().await, checkout.stored().await.status), (vec![Attempt::Later], Status::Processing));
}
