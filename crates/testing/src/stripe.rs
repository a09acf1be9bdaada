//! A double of Stripe on this machine, with a memory: what it was told to take it has taken.
//!
//! It keeps intents, charges, refunds and disputes, and answers as Stripe does where that decides over money: one answer per
//! idempotency key (an error 500, too) for 24 hours of a clock that the test moves, states that refuse what does not fit them,
//! declines by the names of Stripe's own test methods, authorisations that lapse. And it fails as told: [`Fault`]. Webhooks are
//! signed, and sent when the test says so.
//!
//! It knows nothing of the client, so that both cannot be wrong in the same way.

mod books;
mod method;
mod objects;
mod serve;
mod webhook;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;

pub use books::{Answer, Arrived, Books, Sight};
pub use webhook::{Event, Webhooks, sign};

/// The secret key that it takes.
pub const KEY: &str = "sk_test_double";

/// What can be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// `POST /v1/payment_intents`
    Create,
    /// `POST /v1/payment_intents/{id}/confirm`
    Confirm,
    /// `GET /v1/payment_intents/{id}`
    Retrieve,
    /// `POST /v1/payment_intents/{id}/capture`
    Capture,
    /// `POST /v1/payment_intents/{id}/cancel`
    Cancel,
    /// `POST /v1/refunds`
    Refund,
    /// `GET /v1/refunds`
    ListRefunds,
    /// `GET /v1/disputes`
    ListDisputes,
}

impl Call {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Create,
        Self::Confirm,
        Self::Retrieve,
        Self::Capture,
        Self::Cancel,
        Self::Refund,
        Self::ListRefunds,
        Self::ListDisputes,
    ];
}

/// What goes wrong with one call.
#[derive(Clone, Debug)]
pub enum Fault {
    /// It acts, and closes the connection instead of an answer.
    LoseReply,
    /// It closes the connection and does nothing.
    LoseRequest,
    /// It does nothing and answers 500, which is then what the key answers.
    FailBefore,
    /// It acts and answers 500, which is then what the key answers.
    FailAfter,
    /// It does nothing and answers 429.
    Limit,
    /// It does nothing and answers 409 `lock_timeout`.
    Lock,
    /// It does nothing before [`Stripe::release`]; meanwhile the key is in use.
    Hold,
    /// It does nothing and answers this: a status, headers, a body.
    Answer(u16, Vec<(&'static str, String)>, String),
}

/// A request as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// What was asked; none when it is nothing that it knows.
    pub call: Option<Call>,
    /// `POST`
    pub method: String,
    /// Without the query.
    pub path: String,
    /// Of the query or the form, sorted.
    pub parameters: Vec<(String, String)>,
    /// Under which it acts once.
    pub key: Option<String>,
    /// `Stripe-Version`
    pub version: Option<String>,
    authorization: String,
}

impl Request {
    /// A parameter, empty when it is missing.
    #[must_use]
    pub fn parameter(&self, name: &str) -> &str {
        self.parameters.iter().find(|(known, _)| known == name).map_or("", |(_, value)| value)
    }
}

/// The double; gone when dropped.
#[derive(Debug)]
pub struct Stripe {
    /// Where it listens.
    pub addr: SocketAddr,
    desk: Arc<Desk>,
    _serving: JoinSet<()>,
}

/// What all connections share.
#[derive(Debug)]
struct Desk {
    state: Mutex<State>,
    held: Semaphore,
    client: reqwest::Client,
    /// Events on their way, in order.
    outbox: mpsc::UnboundedSender<Event>,
}

#[derive(Debug, Default)]
struct State {
    books: Books,
    faults: VecDeque<(Call, Fault)>,
    requests: Vec<Request>,
    connections: usize,
    webhooks: Webhooks,
    /// When webhooks are signed, in Unix seconds; now, when that is not said.
    signs_at: Option<i64>,
    /// What receivers answered: the event's id, and the status; 0 when there was no answer.
    delivered: Vec<(String, u16)>,
}

impl Stripe {
    /// Starts it on a free port.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
        let addr = listener.local_addr().expect("bound");
        let (outbox, mut waiting) = mpsc::unbounded_channel();
        let desk = Arc::new(Desk {
            state: Mutex::new(State { books: Books::at(addr), ..State::default() }),
            held: Semaphore::new(0),
            client: reqwest::Client::builder().no_proxy().build().expect("builds a client"),
            outbox,
        });
        let mut serving = JoinSet::new();
        let shared = Arc::clone(&desk);
        serving.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                shared.state().connections += 1;
                connections.spawn(serve::serve(stream, Arc::clone(&shared)));
            }
        });
        let shared = Arc::clone(&desk);
        serving.spawn(async move {
            while let Some(event) = waiting.recv().await {
                shared.deliver(&event).await;
            }
        });
        Self { addr, desk, _serving: serving }
    }

    /// Its address, as a client's base URL.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// The next such call fails so; several wait in line.
    pub fn fail(&self, call: Call, fault: Fault) {
        self.state().faults.push_back((call, fault));
    }

    /// Lets one held call go on.
    pub fn release(&self) {
        self.desk.held.add_permits(1);
    }

    /// Moves its clock on: keys are forgotten, authorisations lapse.
    pub fn advance(&self, by: Duration) {
        self.change(|books| books.advance(by));
    }

    /// The payer did what his bank asked him to, well or ill.
    pub fn authenticate(&self, intent: &str, well: bool) {
        self.change(|books| books.authenticate(intent, well));
    }

    /// Money that was on its way came, or did not.
    pub fn settle(&self, intent: &str, well: bool) {
        self.change(|books| books.settle(intent, well));
    }

    /// A refund arrived, or came back: also one that had succeeded.
    pub fn settle_refund(&self, refund: &str, well: bool) {
        self.change(|books| books.settle_refund(refund, well));
    }

    /// Somebody gives money back at the provider's own page. Answers the refund's id.
    pub fn refund_at_the_page(&self, intent: &str, amount: i64) -> String {
        self.change(|books| books.refund_at_the_page(intent, amount))
    }

    /// Somebody calls an intent off at the provider's own page.
    pub fn cancel_at_the_page(&self, intent: &str) {
        self.change(|books| books.cancel_at_the_page(intent));
    }

    /// The payer disputes what was taken. Answers the dispute's id.
    pub fn dispute(&self, intent: &str, reason: &'static str) -> String {
        self.change(|books| books.dispute(intent, reason))
    }

    /// A dispute is decided.
    pub fn decide(&self, dispute: &str, won: bool) {
        self.change(|books| books.decide(dispute, won));
    }

    /// Money that somebody else takes through the same account. Answers the intent's id.
    pub fn foreign(&self, amount: i64, currency: &str) -> String {
        self.change(|books| books.foreign(amount, currency))
    }

    /// Sends webhooks from now on as told.
    pub fn send_webhooks(&self, webhooks: Webhooks) {
        self.state().webhooks = webhooks;
    }

    /// Begins at this moment, in Unix seconds, which the shop takes for now: authorisations lapse and webhooks are signed by it.
    pub fn begin_at(&self, moment: i64) {
        let mut state = self.state();
        state.signs_at = Some(moment);
        state.books.begin_at(moment);
    }

    /// All that happened, in order, sent or not.
    #[must_use]
    pub fn events(&self) -> Vec<Event> {
        self.state().books.events.clone()
    }

    /// Sends an event, once more if it was sent before; the receiver's status, 0 when it gave none.
    pub async fn deliver(&self, event: &Event) -> u16 {
        self.desk.deliver(event).await
    }

    /// What receivers answered so far: the event's id, and the status.
    #[must_use]
    pub fn delivered(&self) -> Vec<(String, u16)> {
        self.state().delivered.clone()
    }

    /// The requests so far.
    #[must_use]
    pub fn requests(&self) -> Vec<Request> {
        self.state().requests.clone()
    }

    /// How many requests of a kind came so far.
    #[must_use]
    pub fn count(&self, call: Call) -> usize {
        self.state().requests.iter().filter(|request| request.call == Some(call)).count()
    }

    /// How many connections were made so far.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.state().connections
    }

    /// The intents that are noted to be of this payment, as the API shows them.
    #[must_use]
    pub fn intents_of(&self, payment: &str) -> Vec<Value> {
        let state = self.state();
        state.books.of(payment).map(|intent| intent.json(false)).collect()
    }

    /// The refunds of an intent, as the API shows them.
    #[must_use]
    pub fn refunds_of(&self, intent: &str) -> Vec<Value> {
        let state = self.state();
        state.books.refunds.iter().filter(|refund| refund.intent == intent).map(objects::Refund::json).collect()
    }

    /// How much money was taken for this payment, over all of its intents.
    #[must_use]
    pub fn taken(&self, payment: &str) -> i64 {
        self.state().books.of(payment).map(|intent| intent.received).sum()
    }

    /// How much is authorised for this payment and neither taken nor let go.
    #[must_use]
    pub fn authorised(&self, payment: &str) -> i64 {
        self.state().books.of(payment).map(|intent| intent.capturable).sum()
    }

    /// How often money was taken or authorised for this payment.
    #[must_use]
    pub fn charges(&self, payment: &str) -> usize {
        self.state().books.of(payment).map(|intent| intent.charges).sum()
    }

    /// How much of this payment was given back, or is on its way.
    #[must_use]
    pub fn refunded(&self, payment: &str) -> i64 {
        let state = self.state();
        state.books.of(payment).map(|intent| state.books.given_back(&intent.id)).sum()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.desk.state()
    }

    /// Changes the books from outside of the API, and sends what that causes.
    fn change<T>(&self, change: impl FnOnce(&mut Books) -> T) -> T {
        let mut state = self.state();
        let before = state.books.events.len();
        let answer = change(&mut state.books);
        if state.webhooks.is_sent_at_once() {
            for event in &state.books.events[before..] {
                self.desk.outbox.send(event.clone()).ok();
            }
        }
        answer
    }
}

impl Desk {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no panic")
    }
}

#[cfg(test)]
mod tests;
