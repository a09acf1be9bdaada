//! The double's books and their rules. No network here: a request goes in, an answer comes out.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Duration;

use serde_json::{Map, Value, json};

use super::method::{self, Outcome};
use super::objects::{Charge, Dispute, Intent, Refund, Status};
use super::webhook::{Event, now};
use super::{Call, Fault, KEY, Request};

/// How long a key is remembered.
const REMEMBERED: i64 = 24 * 60 * 60;
/// How long an authorisation can be captured.
const CAPTURABLE: i64 = 7 * 24 * 60 * 60;
/// Currencies whose last digit must be 0.
const TENS: [&str; 5] = ["bhd", "jod", "kwd", "omr", "tnd"];
/// An answer.
#[derive(Debug, Clone)]
pub struct Answer {
    /// Such as 200.
    pub status: u16,
    /// By their names in small letters.
    pub headers: Vec<(&'static str, String)>,
    /// JSON.
    pub body: String,
    /// Whether the endpoint began, so that it is kept under the key.
    is_kept: bool,
}

impl Answer {
    fn plain(status: u16, headers: Vec<(&'static str, String)>, body: String) -> Self {
        Self { status, headers, body, is_kept: false }
    }

    fn ok(body: &Value) -> Self {
        Self { status: 200, headers: Vec::new(), body: body.to_string(), is_kept: true }
    }

    /// A refusal that has nothing to do with what is kept.
    fn invalid(status: u16, code: &str, message: &str) -> Self {
        let error = json!({"type": "invalid_request_error", "code": code, "message": message});
        Self { status, headers: Vec::new(), body: json!({"error": error}).to_string(), is_kept: false }
    }

    /// A refusal of one parameter.
    fn wrong(param: &str, message: &str) -> Self {
        let error = json!({"type": "invalid_request_error", "param": param, "message": message});
        Self { status: 400, headers: Vec::new(), body: json!({"error": error}).to_string(), is_kept: false }
    }

    /// A refusal by what is kept.
    fn refused(code: &str, message: &str, intent: Option<&Intent>) -> Self {
        let mut error = json!({"type": "invalid_request_error", "code": code, "message": message});
        if let Some(intent) = intent {
            error["payment_intent"] = intent.json(false);
        }
        Self { status: 400, headers: Vec::new(), body: json!({"error": error}).to_string(), is_kept: true }
    }

    fn kept(self) -> Self {
        Self { is_kept: true, ..self }
    }

    fn failure() -> Self {
        let error = json!({"type": "api_error", "message": "An unknown error occurred"});
        Self { status: 500, headers: Vec::new(), body: json!({"error": error}).to_string(), is_kept: true }
    }
}

/// What was asked under a key, and what was answered; nothing while that is worked out.
#[derive(Debug)]
struct Kept {
    path: String,
    parameters: Vec<(String, String)>,
    answer: Option<Answer>,
    at: i64,
}

/// How an intent stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sight {
    /// `pi_…`
    pub id: String,
    /// The payment that it is noted to be of; empty when it is nobody's.
    pub payment: String,
    /// In the API's word.
    pub status: &'static str,
    /// How much it is for.
    pub amount: i64,
    /// How much was taken.
    pub received: i64,
    /// How much is authorised and neither taken nor let go.
    pub capturable: i64,
    /// What was given back of it, or is on its way.
    pub returned: i64,
    /// How often money was taken or authorised.
    pub charges: usize,
}

/// A refund that arrived, though the payer's bank may still return it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arrived {
    /// `re_…`
    pub id: String,
    /// The intent that it is of.
    pub intent: String,
    /// The refund that it is noted to be; empty when it was made at the provider's page.
    pub refund: String,
    /// How much it is.
    pub amount: i64,
}

/// All that the double keeps. Alone, it is the double for a test that is the network itself.
#[derive(Debug, Default)]
pub struct Books {
    now: i64,
    base: String,
    made: u64,
    intents: Vec<Intent>,
    pub(super) refunds: Vec<Refund>,
    disputes: Vec<Dispute>,
    keys: HashMap<String, Kept>,
    pub(super) events: Vec<Event>,
}

impl Books {
    pub(super) fn at(addr: SocketAddr) -> Self {
        // What is authorised lapses in days from now, by the clock of those who call, too. It moves only when told.
        Self { now: now(), base: format!("http://{addr}"), ..Self::default() }
    }

    /// Empty ones, of an account that begins at this moment, in Unix seconds.
    #[must_use]
    pub fn since(moment: i64) -> Self {
        Self { now: moment, base: "https://double.invalid".to_owned(), ..Self::default() }
    }

    /// A request arrives: the answer, where it is one already, or else the request is begun, and to be finished.
    pub fn arrive(&mut self, request: &Request, fault: Option<&Fault>) -> Option<Answer> {
        match fault {
            Some(Fault::Limit) => return Some(Answer::invalid(429, "rate_limit", "Too many requests")),
            Some(Fault::Lock) => return Some(Answer::invalid(409, "lock_timeout", "The object is in use")),
            Some(Fault::Answer(status, headers, body)) => {
                return Some(Answer::plain(*status, headers.clone(), body.clone()));
            }
            _ => {}
        }
        let before = self.before(request);
        if before.is_none() {
            self.begin(request);
        }
        before
    }

    /// Does what a request asks that was begun, and answers it.
    pub fn finish(&mut self, request: &Request, fault: Option<&Fault>) -> Answer {
        let answer = match fault {
            Some(Fault::FailBefore) => Answer::failure(),
            Some(Fault::FailAfter) => {
                self.act(request);
                Answer::failure()
            }
            _ => self.act(request),
        };
        self.end(request, &answer);
        answer
    }

    /// All intents, as they stand.
    #[must_use]
    pub fn intents(&self) -> Vec<Sight> {
        self.intents.iter().map(|intent| self.sight(intent)).collect()
    }

    fn sight(&self, intent: &Intent) -> Sight {
        let payment = intent.metadata.get("payment").and_then(Value::as_str).unwrap_or_default();
        Sight {
            id: intent.id.clone(),
            payment: payment.to_owned(),
            status: intent.status.word(),
            amount: intent.amount,
            received: intent.received,
            capturable: intent.capturable,
            returned: self.given_back(&intent.id),
            charges: intent.charges,
        }
    }

    /// Refunds that are on their way, by their ids.
    #[must_use]
    pub fn pending_refunds(&self) -> Vec<String> {
        self.refunds.iter().filter(|refund| refund.status == "pending").map(|refund| refund.id.clone()).collect()
    }

    /// Refunds that arrived.
    #[must_use]
    pub fn arrived_refunds(&self) -> Vec<Arrived> {
        let arrived = self.refunds.iter().filter(|refund| refund.status == "succeeded");
        let sight = |refund: &Refund| Arrived {
            id: refund.id.clone(),
            intent: refund.intent.clone(),
            refund: refund.metadata.get("refund").and_then(Value::as_str).unwrap_or_default().to_owned(),
            amount: refund.amount,
        };
        arrived.map(sight).collect()
    }

    /// All disputes: the id, the intent, and the status in the API's word.
    #[must_use]
    pub fn disputes(&self) -> Vec<(String, String, &'static str)> {
        let sight = |dispute: &Dispute| (dispute.id.clone(), dispute.intent.clone(), dispute.status);
        self.disputes.iter().map(sight).collect()
    }

    /// All that happened, in order.
    #[must_use]
    pub fn events(&self) -> &[Event] {
        &self.events
    }

    /// The intents that are noted to be of this payment.
    pub(super) fn of<'a>(&'a self, payment: &'a str) -> impl Iterator<Item = &'a Intent> {
        self.intents
            .iter()
            .filter(move |intent| intent.metadata.get("payment").and_then(Value::as_str) == Some(payment))
    }

    /// What was given back of an intent, or is on its way.
    pub(super) fn given_back(&self, intent: &str) -> i64 {
        self.refunds
            .iter()
            .filter(|refund| refund.intent == intent && refund.counts())
            .map(|refund| refund.amount)
            .sum()
    }

    /// What stands in the way of acting: whose key it is, and what was answered under it before.
    fn before(&self, request: &Request) -> Option<Answer> {
        if request.authorization != format!("Bearer {KEY}") {
            return Some(Answer::invalid(401, "api_key_invalid", "Invalid API Key provided"));
        }
        if request.version.is_none() {
            return Some(Answer::invalid(400, "version_missing", "the double wants a Stripe-Version"));
        }
        let known = self.keys.get(request.key.as_ref()?).filter(|kept| self.now - kept.at < REMEMBERED)?;
        if (&known.path, &known.parameters) != (&request.path, &request.parameters) {
            let error = json!({"type": "idempotency_error", "message": "Keys for idempotent requests can only be used with \
                               the same parameters they were first used with"});
            return Some(Answer::plain(400, Vec::new(), json!({"error": error}).to_string()));
        }
        Some(match &known.answer {
            None => Answer::invalid(409, "idempotency_key_in_use", "There is currently another in-progress request"),
            Some(answer) => {
                let mut answer = answer.clone();
                answer.headers.push(("idempotent-replayed", "true".to_owned()));
                answer
            }
        })
    }

    /// Notes that a key is in use.
    fn begin(&mut self, request: &Request) {
        if let Some(key) = &request.key {
            let (path, parameters) = (request.path.clone(), request.parameters.clone());
            self.keys.insert(key.clone(), Kept { path, parameters, answer: None, at: self.now });
        }
    }

    /// Keeps the answer of the key, or forgets the key when the endpoint did not begin.
    fn end(&mut self, request: &Request, answer: &Answer) {
        let Some(key) = &request.key else { return };
        if !answer.is_kept {
            self.keys.remove(key);
        } else if let Some(kept) = self.keys.get_mut(key) {
            kept.answer = Some(answer.clone());
        }
    }

    /// Does what is asked.
    fn act(&mut self, request: &Request) -> Answer {
        let Some(call) = request.call else {
            return Answer::invalid(404, "resource_missing", "Unrecognized request URL");
        };
        let unknown = request.parameters.iter().find(|(name, _)| !is_known(call, name));
        if let Some((name, _)) = unknown {
            return Answer::invalid(400, "parameter_unknown", &format!("Received unknown parameter: {name}"));
        }
        match call {
            Call::Create => self.create(request),
            Call::Refund => self.refund(request),
            Call::ListRefunds => self.list_refunds(request),
            Call::ListDisputes => self.list_disputes(request),
            Call::Confirm | Call::Retrieve | Call::Capture | Call::Cancel => {
                let id = request.path.split('/').nth(3).unwrap_or_default();
                let Some(place) = self.intents.iter().position(|intent| intent.id == id) else {
                    return Answer::invalid(404, "resource_missing", &format!("No such payment_intent: '{id}'"));
                };
                let answer = match call {
                    Call::Confirm => self.confirm(place, request),
                    Call::Capture => self.capture(place, request),
                    Call::Cancel => self.cancel(place),
                    _ => None,
                };
                let is_written = request.parameter("expand[]") == "latest_charge";
                answer.unwrap_or_else(|| Answer::ok(&self.intents[place].json(is_written)))
            }
        }
    }

    fn new_id(&mut self, kind: &str) -> String {
        self.made += 1;
        format!("{kind}_3Double{:016}", self.made)
    }

    fn create(&mut self, request: &Request) -> Answer {
        let currency = request.parameter("currency").to_owned();
        let amount = match request.parameter("amount").parse::<i64>() {
            Ok(amount) if amount > 0 => amount,
            _ => return Answer::invalid(400, "parameter_invalid_integer", "Invalid positive integer"),
        };
        if currency.len() != 3 || currency != currency.to_lowercase() {
            return Answer::invalid(400, "parameter_invalid", "Invalid currency");
        }
        if ["usd", "eur"].contains(&currency.as_str()) && amount < 50 {
            return Answer::invalid(400, "amount_too_small", "Amount must be at least 50 cents");
        }
        if TENS.contains(&currency.as_str()) && amount % 10 != 0 {
            return Answer::invalid(400, "parameter_invalid", "The last digit has to be 0");
        }
        let id = self.new_id("pi");
        let is_manual = request.parameter("capture_method") == "manual";
        let intent =
            Intent { is_manual, metadata: metadata(request), created: self.now, ..empty(id, amount, currency) };
        let body = intent.json(false);
        self.tell("payment_intent.created", &body);
        self.intents.push(intent);
        Answer::ok(&body)
    }

    fn confirm(&mut self, place: usize, request: &Request) -> Option<Answer> {
        let (named, token) = (request.parameter("payment_method"), request.parameter("confirmation_token"));
        let name = if token.is_empty() { named.to_owned() } else { method::held(token) };
        let Some(outcome) = method::outcome(&name) else {
            return Some(Answer::wrong("payment_method", &format!("No such PaymentMethod: '{name}'")));
        };
        if method::is_debit(&name) && token.is_empty() {
            let message = "This PaymentIntent requires a mandate, but no existing mandate was found.";
            return Some(Answer::wrong("mandate_data", message));
        }
        if request.parameter("return_url").is_empty() {
            return Some(Answer::invalid(400, "parameter_missing", "a `return_url` must be provided"));
        }
        let intent = &mut self.intents[place];
        if !matches!(intent.status, Status::RequiresPaymentMethod | Status::RequiresAction) {
            return Some(unexpected(intent, "confirm"));
        }
        intent.method = Some(name);
        (intent.error, intent.ask) = (None, None);
        match outcome {
            Outcome::Pay => self.pay(place),
            Outcome::Ask => {
                let intent = &mut self.intents[place];
                intent.status = Status::RequiresAction;
                let url = format!("{}/authenticate/{}", self.base, intent.id);
                intent.ask = Some((url, request.parameter("return_url").to_owned()));
                self.tell_intent("payment_intent.requires_action", place);
            }
            Outcome::Wait => {
                self.intents[place].status = Status::Processing;
                self.tell_intent("payment_intent.processing", place);
            }
            Outcome::Decline(code, reason) => {
                let error = json!({"type": "card_error", "code": code, "decline_code": reason,
                                   "message": "Your card was declined."});
                self.decline(place, error.clone());
                let mut error = error;
                error["payment_intent"] = self.intents[place].json(false);
                return Some(Answer::plain(402, Vec::new(), json!({"error": error}).to_string()).kept());
            }
        }
        None
    }

    /// The money is there: taken, or authorised.
    fn pay(&mut self, place: usize) {
        let id = self.new_id("ch");
        let before = self.now + CAPTURABLE;
        let intent = &mut self.intents[place];
        intent.charges += 1;
        intent.ask = None;
        let capture_before = intent.is_manual.then_some(before);
        intent.charge = Some(Charge { id, is_disputed: false, capture_before, amount_refunded: 0 });
        if intent.is_manual {
            (intent.status, intent.capturable) = (Status::RequiresCapture, intent.amount);
            self.tell_intent("payment_intent.amount_capturable_updated", place);
        } else {
            (intent.status, intent.received) = (Status::Succeeded, intent.amount);
            self.tell_charge("charge.succeeded", place);
            self.tell_intent("payment_intent.succeeded", place);
        }
        self.dispute_at_once(place);
    }

    /// With the method for that, as soon as something was taken.
    fn dispute_at_once(&mut self, place: usize) {
        let intent = &self.intents[place];
        if intent.received > 0 && intent.method.as_deref().is_some_and(method::is_disputed) {
            let id = intent.id.clone();
            self.dispute(&id, "fraudulent");
        }
    }

    fn decline(&mut self, place: usize, error: Value) {
        let intent = &mut self.intents[place];
        intent.status = Status::RequiresPaymentMethod;
        (intent.error, intent.ask) = (Some(error), None);
        self.tell_intent("payment_intent.payment_failed", place);
    }

    fn capture(&mut self, place: usize, request: &Request) -> Option<Answer> {
        let intent = &mut self.intents[place];
        if intent.status != Status::RequiresCapture {
            return Some(unexpected(intent, "capture"));
        }
        let amount = match request.parameter("amount_to_capture") {
            "" => intent.capturable,
            text => match text.parse::<i64>() {
                Ok(amount) if amount > 0 => amount,
                _ => return Some(Answer::invalid(400, "parameter_invalid_integer", "Invalid positive integer")),
            },
        };
        if amount > intent.capturable {
            return Some(Answer::refused("amount_too_large", "more than is authorised", Some(intent)));
        }
        (intent.status, intent.received, intent.capturable) = (Status::Succeeded, amount, 0);
        let rest = intent.amount - amount;
        if let Some(charge) = &mut intent.charge {
            // What is let go counts as given back of the charge, though no refund says so.
            (charge.capture_before, charge.amount_refunded) = (None, rest);
        }
        self.tell_charge("charge.captured", place);
        self.tell_intent("payment_intent.succeeded", place);
        self.dispute_at_once(place);
        None
    }

    fn cancel(&mut self, place: usize) -> Option<Answer> {
        let intent = &self.intents[place];
        if matches!(intent.status, Status::Processing | Status::Succeeded | Status::Canceled) {
            return Some(unexpected(intent, "cancel"));
        }
        self.call_off(place, "abandoned");
        None
    }

    fn call_off(&mut self, place: usize, reason: &'static str) {
        let intent = &mut self.intents[place];
        (intent.status, intent.capturable, intent.ask) = (Status::Canceled, 0, None);
        intent.cancelled = Some(reason);
        self.tell_intent("payment_intent.canceled", place);
    }

    fn refund(&mut self, request: &Request) -> Answer {
        let id = request.parameter("payment_intent");
        let Some(intent) = self.intents.iter().find(|intent| intent.id == id) else {
            return Answer::invalid(404, "resource_missing", &format!("No such payment_intent: '{id}'"));
        };
        let left = intent.received - self.given_back(id);
        let amount = match request.parameter("amount") {
            "" => left,
            text => match text.parse::<i64>() {
                Ok(amount) if amount > 0 => amount,
                _ => return Answer::invalid(400, "parameter_invalid_integer", "Invalid positive integer"),
            },
        };
        if intent.status != Status::Succeeded {
            return Answer::refused("payment_intent_unexpected_state", "it has no successful charge", Some(intent));
        }
        if intent.charge.as_ref().is_some_and(|charge| charge.is_disputed) {
            return Answer::refused("charge_disputed", "the charge is disputed", None);
        }
        if left == 0 {
            return Answer::refused("charge_already_refunded", "the charge has already been refunded", None);
        }
        if amount > left {
            let message = format!("Refund amount ({amount}) is greater than unrefunded amount on charge ({left})");
            return Answer::wrong("amount", &message).kept();
        }
        Answer::ok(&self.give_back(id, amount, metadata(request)))
    }

    fn give_back(&mut self, intent: &str, amount: i64, metadata: Map<String, Value>) -> Value {
        let id = self.new_id("re");
        let place = self.place(intent);
        let method = self.intents[place].method.clone().unwrap_or_default();
        let refund = Refund {
            id,
            intent: intent.to_owned(),
            amount,
            currency: self.intents[place].currency.clone(),
            status: if method::is_refunded_later(&method) { "pending" } else { "succeeded" },
            metadata,
            created: self.now,
        };
        if let Some(charge) = &mut self.intents[place].charge {
            charge.amount_refunded += amount;
        }
        let body = refund.json();
        self.refunds.push(refund);
        self.tell("refund.created", &body);
        self.tell_charge("charge.refunded", place);
        body
    }

    fn list_refunds(&self, request: &Request) -> Answer {
        let id = request.parameter("payment_intent");
        let all = self.refunds.iter().rev().filter(|refund| refund.intent == id).map(Refund::json);
        page(request, "/v1/refunds", &all.collect::<Vec<_>>())
    }

    fn list_disputes(&self, request: &Request) -> Answer {
        let id = request.parameter("payment_intent");
        let all = self.disputes.iter().rev().filter(|dispute| dispute.intent == id).map(Dispute::json);
        page(request, "/v1/disputes", &all.collect::<Vec<_>>())
    }

    fn place(&self, intent: &str) -> usize {
        self.intents.iter().position(|known| known.id == intent).expect("an intent of the double's")
    }

    pub(super) fn begin_at(&mut self, moment: i64) {
        self.now = moment;
    }

    /// Moves the clock on to this moment, in Unix seconds.
    pub fn now_is(&mut self, moment: i64) {
        let passed = u64::try_from(moment - self.now).unwrap_or_default();
        self.advance(Duration::from_secs(passed));
    }

    /// Moves the clock on: keys are forgotten, authorisations lapse.
    pub fn advance(&mut self, by: Duration) {
        self.now += i64::try_from(by.as_secs()).expect("a length of time");
        let lapsed = |intent: &Intent| {
            let before = intent.charge.as_ref().and_then(|charge| charge.capture_before);
            intent.status == Status::RequiresCapture && before.is_some_and(|before| before <= self.now)
        };
        let lapsed: Vec<usize> = (0..self.intents.len()).filter(|place| lapsed(&self.intents[*place])).collect();
        for place in lapsed {
            self.tell_charge("charge.expired", place);
            self.call_off(place, "automatic");
        }
    }

    /// The payer did what his bank asked him to, well or ill.
    pub fn authenticate(&mut self, intent: &str, well: bool) {
        let place = self.place(intent);
        assert_eq!(self.intents[place].status, Status::RequiresAction, "the payer was not asked");
        if well {
            self.pay(place);
        } else {
            let error = json!({"type": "card_error", "code": "payment_intent_authentication_failure",
                               "message": "We are unable to authenticate your payment method."});
            self.decline(place, error);
        }
    }

    /// Money that was on its way came, or did not.
    pub fn settle(&mut self, intent: &str, well: bool) {
        let place = self.place(intent);
        assert_eq!(self.intents[place].status, Status::Processing, "no money is on its way");
        if well {
            self.pay(place);
        } else {
            let error = json!({"type": "card_error", "code": "payment_method_customer_decline",
                               "decline_code": "insufficient_funds", "message": "The payment failed."});
            self.decline(place, error);
        }
    }

    /// A refund arrived, or came back: also one that had succeeded.
    pub fn settle_refund(&mut self, refund: &str, well: bool) {
        let place = self.refunds.iter().position(|known| known.id == refund).expect("a refund of the double's");
        let refund = &mut self.refunds[place];
        refund.status = if well { "succeeded" } else { "failed" };
        let (body, intent, amount) = (refund.json(), refund.intent.clone(), refund.amount);
        let intent = self.place(&intent);
        if let Some(charge) = self.intents[intent].charge.as_mut().filter(|_| !well) {
            charge.amount_refunded -= amount;
        }
        self.tell("refund.updated", &body);
        if !well {
            self.tell("refund.failed", &body);
        }
    }

    /// Somebody gives money back at the provider's own page. Answers the refund's id.
    pub fn refund_at_the_page(&mut self, intent: &str, amount: i64) -> String {
        let body = self.give_back(intent, amount, Map::new());
        body["id"].as_str().expect("an id").to_owned()
    }

    /// Somebody calls an intent off at the provider's own page.
    pub fn cancel_at_the_page(&mut self, intent: &str) {
        let place = self.place(intent);
        self.call_off(place, "requested_by_customer");
    }

    /// The payer disputes what was taken. Answers the dispute's id.
    pub fn dispute(&mut self, intent: &str, reason: &'static str) -> String {
        let id = self.new_id("du");
        let place = self.place(intent);
        let intent = &mut self.intents[place];
        let charge = intent.charge.as_mut().expect("something was taken");
        charge.is_disputed = true;
        let dispute = Dispute {
            id: id.clone(),
            charge: charge.id.clone(),
            intent: intent.id.clone(),
            amount: intent.received,
            currency: intent.currency.clone(),
            reason,
            status: "needs_response",
            created: self.now,
        };
        self.tell("charge.dispute.created", &dispute.json());
        self.disputes.push(dispute);
        id
    }

    /// A dispute is decided.
    pub fn decide(&mut self, dispute: &str, won: bool) {
        let place = self.disputes.iter().position(|known| known.id == dispute).expect("a dispute of the double's");
        self.disputes[place].status = if won { "won" } else { "lost" };
        let body = self.disputes[place].json();
        self.tell("charge.dispute.closed", &body);
    }

    /// Money that somebody else takes through the same account. Answers the intent's id.
    pub fn foreign(&mut self, amount: i64, currency: &str) -> String {
        let id = self.new_id("pi");
        let intent = Intent { created: self.now, ..empty(id.clone(), amount, currency.to_owned()) };
        self.intents.push(intent);
        let place = self.place(&id);
        self.intents[place].method = Some("pm_card_visa".to_owned());
        self.pay(place);
        id
    }

    fn tell(&mut self, kind: &str, object: &Value) {
        let id = self.new_id("evt");
        let body = json!({
            "id": id,
            "object": "event",
            "api_version": "2020-08-27",
            "created": self.now,
            "data": {"object": object},
            "livemode": false,
            "pending_webhooks": 1,
            "request": {"id": null, "idempotency_key": null},
            "type": kind,
        });
        let intent = if object["object"] == "payment_intent" { &object["id"] } else { &object["payment_intent"] };
        let intent = intent.as_str().unwrap_or_default().to_owned();
        self.events.push(Event { id, kind: kind.to_owned(), intent, body: body.to_string() });
    }

    fn tell_intent(&mut self, kind: &str, place: usize) {
        let body = self.intents[place].json(false);
        self.tell(kind, &body);
    }

    fn tell_charge(&mut self, kind: &str, place: usize) {
        let intent = &self.intents[place];
        if let Some(body) = intent.charge.as_ref().map(|charge| intent.charge_json(charge)) {
            self.tell(kind, &body);
        }
    }
}

fn empty(id: String, amount: i64, currency: String) -> Intent {
    Intent {
        id,
        amount,
        currency,
        is_manual: false,
        status: Status::RequiresPaymentMethod,
        method: None,
        received: 0,
        capturable: 0,
        error: None,
        ask: None,
        cancelled: None,
        metadata: Map::new(),
        created: 0,
        charge: None,
        charges: 0,
    }
}

fn unexpected(intent: &Intent, what: &str) -> Answer {
    let message = format!("You cannot {what} this PaymentIntent because it has a status of {}.", intent.status.word());
    Answer::refused("payment_intent_unexpected_state", &message, Some(intent))
}

fn metadata(request: &Request) -> Map<String, Value> {
    let named = |name: &str| name.strip_prefix("metadata[")?.strip_suffix(']').map(str::to_owned);
    request.parameters.iter().filter_map(|(name, text)| Some((named(name)?, json!(text)))).collect()
}

fn is_known(call: Call, name: &str) -> bool {
    let known: &[&str] = match call {
        Call::Create => &["amount", "currency", "capture_method", "automatic_payment_methods[enabled]"],
        Call::Confirm => &["payment_method", "confirmation_token", "return_url", "expand[]"],
        Call::Retrieve => &["expand[]"],
        Call::Capture => &["amount_to_capture", "expand[]"],
        Call::Cancel => &["cancellation_reason", "expand[]"],
        Call::Refund => &["payment_intent", "amount", "reason"],
        Call::ListRefunds | Call::ListDisputes => &["payment_intent", "limit", "starting_after"],
    };
    let has_metadata = matches!(call, Call::Create | Call::Refund);
    known.contains(&name) || has_metadata && name.starts_with("metadata[")
}

fn page(request: &Request, url: &str, all: &[Value]) -> Answer {
    let limit: usize = request.parameter("limit").parse().unwrap_or(10);
    let after = request.parameter("starting_after");
    let from = all.iter().position(|value| value["id"] == after).map_or(0, |place| place + 1);
    let data: Vec<Value> = all.iter().skip(from).take(limit).cloned().collect();
    let has_more = from + data.len() < all.len();
    Answer::ok(&json!({"object": "list", "data": data, "has_more": has_more, "url": url}))
}
