//! Who does what: buyers in one tab or two, support, the buyers' banks, and whoever sits at the provider's own page.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use shop_clock::Clock as _;
use shop_fault::Fault;
use shop_testing::stripe::{Arrived, Sight};
use tokio::time::sleep;
use uuid::Uuid;

use super::stage::Of;
use super::world::{CameBack, Promise, World};
use crate::application::{Cancel, CapturePayment, Process, RefundPayment};
use crate::domain::samples::usd;
use crate::domain::{Amount, Expected, Payment, RawOrder, RefundStatus, Status, Token};

/// Ways to pay, and how they end: paid, paid, declined for now, declined for good, asked first, in some days, disputed, refunded
/// slowly, unknown.
const METHODS: [&str; 9] = [
    "pm_card_visa",
    "pm_card_mastercard",
    "pm_card_visa_chargeDeclinedInsufficientFunds",
    "pm_card_visa_chargeDeclinedLostCard",
    "pm_card_threeDSecure2Required",
    "ctoken_sepaDebit",
    "pm_card_createDispute",
    "pm_card_pendingRefund",
    "pm_missing",
];

const DAY: Duration = Duration::from_hours(24);

/// What came of a call.
enum Came {
    Of(Box<Payment>),
    /// No, for good.
    Refused(Fault),
    /// Nobody knows: to be asked again.
    Nothing,
}

impl World {
    /// A buyer, from his basket to the end; what goes on beside begins with the payment.
    pub(super) async fn shop(self: Arc<Self>, buyer: &'static str) {
        self.sky.wait(Duration::from_secs(5)).await;
        let order = RawOrder {
            user_id: buyer.to_owned(),
            method: self.sky.one_of(&["credit_card", "credit_card", "bank_transfer"]).to_owned(),
            capture: Some(self.sky.one_of(&["automatic", "automatic", "manual"]).to_owned()),
            ..RawOrder::default()
        };
        if self.sky.one_in(3) {
            self.stage.start(Of::World, "second tab", self.clone().make_another(buyer, order.clone()));
        }
        let Some(payment) = self.make(&order).await else { return };
        for _ in 0..self.sky.below(5) {
            self.stage.start(Of::World, "beside", self.clone().do_beside(payment));
        }
        self.pay(payment).await;
        for _ in 0..self.sky.below(3) {
            self.sky.wait(Duration::from_secs(self.sky.one_of(&[1, 60, 3600]))).await;
            self.do_something(payment).await;
        }
    }

    /// He orders once more, perhaps one more of something.
    async fn make_another(self: Arc<Self>, buyer: &'static str, order: RawOrder) {
        self.sky.wait(Duration::from_secs(self.sky.one_of(&[0, 10, 600]))).await;
        if self.sky.one_in(2) {
            self.town.put_one_more(buyer);
        }
        if let Some(payment) = self.make(&order).await {
            self.pay(payment).await;
        }
    }

    async fn make(self: &Arc<Self>, order: &RawOrder) -> Option<Uuid> {
        let operation = self.sky.new_id();
        for _ in 0..6 {
            let order = order.clone();
            let made = self.served("create", |replica| async move {
                replica.commands.create(operation, order).await.map(|made| made.payment).map_err(Fault::from)
            });
            match self.came("create", made.await) {
                Came::Of(payment) => return Some(payment.id),
                Came::Refused(_) => return None,
                // He may find it among his payments, and pay it there.
                Came::Nothing if self.sky.one_in(3) => return Some(operation),
                Came::Nothing => self.sky.wait(Duration::from_secs(20)).await,
            }
        }
        None
    }

    async fn do_beside(self: Arc<Self>, payment: Uuid) {
        self.sky.wait(Duration::from_secs(self.sky.one_of(&[0, 1, 60, 2400]))).await;
        self.do_something(payment).await;
    }

    async fn do_something(self: &Arc<Self>, payment: Uuid) {
        match self.sky.below(10) {
            0 | 1 => self.pay(payment).await,
            2 | 3 => self.come_back(payment).await,
            4 | 5 => self.cancel(payment).await,
            6 | 7 => self.capture(payment).await,
            _ => self.refund(payment).await,
        }
    }

    /// Pays, with another card when one was declined; sends a request again as long as nobody knows what came of it.
    async fn pay(self: &Arc<Self>, id: Uuid) {
        let (mut operation, mut method) = (self.sky.new_id(), self.sky.one_of(&METHODS));
        for _ in 0..8 {
            let token = Token::parse(method).ok();
            let process = Process { id, operation, token, expected: Expected::default(), of: None };
            let paid = self.served("process", |replica| async move {
                replica.commands.process(process).await.map_err(Fault::from)
            });
            match self.came("process", paid.await) {
                Came::Of(payment) if payment.status == Status::RequiresAction && self.sky.one_in(2) => {
                    self.sky.wait(Duration::from_mins(10)).await;
                }
                Came::Of(payment) => return self.promise_paid(&payment),
                Came::Refused(fault) if fault.members().get("may_retry") == Some(&true.into()) => {
                    (operation, method) = (self.sky.new_id(), self.sky.one_of(&METHODS));
                }
                Came::Refused(_) => return,
                Came::Nothing => self.sky.wait(Duration::from_secs(40)).await,
            }
        }
    }

    async fn come_back(self: &Arc<Self>, id: Uuid) {
        let looked = self.served("look", |replica| async move {
            let payment = replica.queries.get(id, None).await.map_err(Fault::from)?;
            replica.commands.look(payment).await.map_err(Fault::from)
        });
        if let Came::Of(payment) = self.came("look", looked.await) {
            self.promise_paid(&payment);
        }
    }

    async fn cancel(self: &Arc<Self>, id: Uuid) {
        let operation = self.sky.new_id();
        for _ in 0..4 {
            let cancel = Cancel { id, operation, expected: Expected::default(), of: None };
            let done = self
                .served("cancel", |replica| async move { replica.commands.cancel(cancel).await.map_err(Fault::from) });
            match self.came("cancel", done.await) {
                Came::Of(payment) => return self.promises.lock().push((payment.id, Promise::Cancelled)),
                Came::Refused(_) => return,
                Came::Nothing => self.sky.wait(Duration::from_secs(40)).await,
            }
        }
    }

    async fn capture(self: &Arc<Self>, id: Uuid) {
        let operation = self.sky.new_id();
        let amount = self.some_amount();
        for _ in 0..4 {
            let amount = amount.clone();
            let capture = CapturePayment { id, operation, amount, expected: Expected::default() };
            let done = self.served("capture", |replica| async move {
                replica.commands.capture(capture).await.map_err(Fault::from)
            });
            match self.came("capture", done.await) {
                Came::Of(payment) => return self.promise_paid(&payment),
                Came::Refused(_) => return,
                Came::Nothing => self.sky.wait(Duration::from_secs(40)).await,
            }
        }
    }

    async fn refund(self: &Arc<Self>, id: Uuid) {
        let operation = self.sky.new_id();
        let amount = self.some_amount();
        let restock = self.sky.one_in(3);
        for _ in 0..4 {
            let (amount, reason) = (amount.clone(), None);
            let refund = RefundPayment { id, operation, amount, reason, restock, expected: Expected::default() };
            let done = self
                .served("refund", |replica| async move { replica.commands.refund(refund).await.map_err(Fault::from) });
            match self.came("refund", done.await) {
                Came::Of(payment) => {
                    let is_paid = payment.refund(operation).is_some_and(|refund| refund.status == RefundStatus::Paid);
                    if is_paid {
                        self.promises.lock().push((payment.id, Promise::PaidBack(operation)));
                    }
                    return;
                }
                Came::Refused(_) => return,
                Came::Nothing => self.sky.wait(Duration::from_secs(40)).await,
            }
        }
    }

    fn some_amount(&self) -> Option<Amount> {
        let minor = 1 + i64::try_from(self.sky.below(2700)).expect("so many cents");
        self.sky.one_in(2).then(|| Amount::Exact(usd(minor)))
    }

    fn promise_paid(&self, payment: &Payment) {
        if matches!(payment.status, Status::Completed | Status::PartiallyRefunded | Status::Refunded) {
            self.promises.lock().push((payment.id, Promise::Paid));
        }
    }

    fn came(&self, what: &str, answer: Option<Result<Payment, Fault>>) -> Came {
        self.sky.tell(|| match &answer {
            Some(Ok(payment)) => format!("{what}: {} is {}", payment.id, payment.status),
            Some(Err(fault)) => format!("{what}: {}", fault.code()),
            None => format!("{what}: no answer"),
        });
        match answer {
            Some(Ok(payment)) => Came::Of(Box::new(payment)),
            Some(Err(fault)) if !fault.kind().is_server() && fault.retry_after().is_none() => Came::Refused(fault),
            Some(Err(_)) | None => Came::Nothing,
        }
    }

    /// The banks and the provider's own page, now and then while the storm lasts.
    pub(super) async fn go_on_elsewhere(self: Arc<Self>) {
        for _ in 0..self.sky.below(12) {
            self.sky.wait(Duration::from_secs(self.sky.one_of(&[1, 20, 600]))).await;
            self.move_on(self.sky.one_of(&[1, 4]));
            if self.sky.one_in(12) {
                self.at_stripe(|books| books.foreign(5000, "usd"));
            }
        }
    }

    /// What is open at the provider goes on there, each with a chance of one in so many.
    pub(super) fn move_on(self: &Arc<Self>, seldom: u64) {
        let refunds = self.stripe.lock().pending_refunds();
        for refund in refunds {
            if self.sky.one_in(seldom) {
                let well = !self.sky.one_in(3);
                self.at_stripe(|books| books.settle_refund(&refund, well));
            }
        }
        let arrived = self.stripe.lock().arrived_refunds();
        for refund in arrived {
            if self.sky.one_in(2 * seldom) {
                self.bring_back(&refund);
            }
        }
        let sights = self.stripe.lock().intents();
        for sight in sights.iter().filter(|_| self.sky.one_in(seldom)) {
            self.move_one(sight);
        }
        let disputes = self.stripe.lock().disputes();
        for (dispute, _, _) in disputes.iter().filter(|(_, _, status)| *status == "needs_response") {
            if self.sky.one_in(seldom) {
                let won = self.sky.one_in(2);
                self.at_stripe(|books| books.decide(dispute, won));
            }
        }
    }

    /// A bank returns money after days or weeks; whether one did.
    pub(super) async fn bring_back_late(self: &Arc<Self>) -> bool {
        let arrived = self.stripe.lock().arrived_refunds();
        if self.comebacks.load(Relaxed) == 0 || arrived.is_empty() {
            return false;
        }
        sleep(DAY * self.sky.one_of(&[1, 6, 20])).await;
        let place = usize::try_from(self.sky.below(arrived.len() as u64)).expect("a place");
        self.bring_back(&arrived[place]);
        true
    }

    /// The payer's bank returns a refund that had arrived, if any is to come back still.
    fn bring_back(self: &Arc<Self>, refund: &Arrived) {
        if self.comebacks.load(Relaxed) == 0 {
            return;
        }
        self.comebacks.fetch_sub(1, Relaxed);
        self.came_back.lock().push(CameBack::of(refund));
        self.sky.tell(|| format!("{} of {} comes back", refund.id, refund.intent));
        self.at_stripe(|books| books.settle_refund(&refund.id, false));
    }

    fn move_one(self: &Arc<Self>, sight: &Sight) {
        let (id, well) = (&sight.id, !self.sky.one_in(4));
        let is_disputed = self.stripe.lock().disputes().iter().any(|(_, intent, _)| intent == id);
        let left = sight.received - sight.returned;
        self.at_stripe(|books| match sight.status {
            "requires_action" | "requires_capture" if self.sky.one_in(6) => books.cancel_at_the_page(id),
            "requires_action" => books.authenticate(id, well),
            "processing" => books.settle(id, well),
            "succeeded" if !self.sky.is_calm() && left > 0 && !is_disputed && self.sky.one_in(4) => {
                if well {
                    books.refund_at_the_page(id, 1 + left / 3);
                } else {
                    books.dispute(id, "fraudulent");
                }
            }
            _ => {}
        });
    }
}
