//! The calls.

use std::sync::Arc;

use http::Method;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;
use shop_telemetry::Metrics;
use tokio::time::Instant;
use url::form_urlencoded;

use crate::dispute::Dispute;
use crate::error::Error;
use crate::intent::Intent;
use crate::refund::Refund;
use crate::settings::StripeSettings;
use crate::transport::{Call, Transport};
use crate::wire::{Https, Wire};

/// What may stand in a path as it is: Stripe's ids.
const ID: &AsciiSet = &NON_ALPHANUMERIC.remove(b'_');
/// Of an intent, the charge written out: whether it is disputed, and until when it can be captured.
const WITH_CHARGE: (&str, &str) = ("expand[]", "latest_charge");
/// Objects on a page, and pages at most: no payment is given back in so many parts.
const PAGE: &str = "100";
const PAGES: usize = 10;

/// When the money is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CaptureMethod {
    /// With the confirmation.
    Automatic,
    /// It is authorised then, and taken by [`Client::capture`].
    Manual,
}

/// An intent to make. Nothing moves before it is confirmed.
#[derive(Debug, Clone, Copy)]
pub struct NewIntent<'a> {
    /// Stripe makes one per key, as long as it remembers it: 24 hours at least.
    pub key: &'a str,
    /// In Stripe's units: [`crate::chargeable`].
    pub amount: i64,
    /// `USD`, in any case.
    pub currency: &'a str,
    /// When the money is taken.
    pub capture: CaptureMethod,
    /// What is noted on it, name and text.
    pub metadata: &'a [(&'a str, &'a str)],
}

/// A confirmation.
#[derive(Debug, Clone, Copy)]
pub struct Confirm<'a> {
    /// The same attempt has the same key. An intent succeeds at most once, whatever the keys.
    pub key: &'a str,
    /// `pi_…`
    pub intent: &'a str,
    /// How it is paid: `pm_…`, or `ctoken_…`, which has the payer's consent to be debited with it where that is needed.
    pub method: &'a str,
    /// Where the payer comes back to when his bank has asked him.
    pub return_url: &'a str,
}

/// A refund to make.
#[derive(Debug, Clone, Copy)]
pub struct NewRefund<'a> {
    /// Stripe gives back once per key, as long as it remembers it: 24 hours at least.
    pub key: &'a str,
    /// Of which intent: `pi_…`
    pub intent: &'a str,
    /// How much, in Stripe's units.
    pub amount: i64,
    /// What is noted on it, name and text.
    pub metadata: &'a [(&'a str, &'a str)],
}

/// A client of one account. Every call ends by its deadline.
pub struct Client {
    transport: Transport,
}

impl Client {
    /// Gets ready; nothing is connected yet.
    pub fn open(settings: &StripeSettings, metrics: &Metrics) -> anyhow::Result<Self> {
        Self::over(Arc::new(Https::open(settings)?), settings, metrics)
    }

    /// The same over a wire of one's own.
    pub fn over(wire: Arc<dyn Wire>, settings: &StripeSettings, metrics: &Metrics) -> anyhow::Result<Self> {
        Transport::over(wire, settings, metrics).map(|transport| Self { transport })
    }

    /// Makes an intent, for any way to pay that the account allows.
    pub async fn create(&self, new: &NewIntent<'_>, deadline: Instant) -> Result<Intent, Error> {
        let (amount, currency) = (new.amount.to_string(), new.currency.to_ascii_lowercase());
        let capture = match new.capture {
            CaptureMethod::Automatic => "automatic",
            CaptureMethod::Manual => "manual",
        };
        let mut form = Form::default();
        form.put("amount", &amount);
        form.put("currency", &currency);
        form.put("capture_method", capture);
        form.put("automatic_payment_methods[enabled]", "true");
        form.metadata(new.metadata);
        intent_of(&self.post("create_intent", "/v1/payment_intents".to_owned(), form, Some(new.key), deadline).await?)
    }

    /// Confirms an intent: the money is taken, authorised or refused, or the payer has to do something first. A decline is
    /// [`Error::Refused`], with the intent as it stands then.
    pub async fn confirm(&self, confirm: &Confirm<'_>, deadline: Instant) -> Result<Intent, Error> {
        let mut form = Form::default();
        let name = if confirm.method.starts_with("ctoken_") { "confirmation_token" } else { "payment_method" };
        form.put(name, confirm.method);
        form.put("return_url", confirm.return_url);
        form.put(WITH_CHARGE.0, WITH_CHARGE.1);
        let path = intent_path(confirm.intent, "/confirm");
        intent_of(&self.post("confirm_intent", path, form, Some(confirm.key), deadline).await?)
    }

    /// The intent as it stands now.
    pub async fn retrieve(&self, intent: &str, deadline: Instant) -> Result<Intent, Error> {
        let mut query = Form::default();
        query.put(WITH_CHARGE.0, WITH_CHARGE.1);
        intent_of(&self.get("retrieve_intent", intent_path(intent, ""), query, deadline).await?)
    }

    /// Takes `amount` of what is authorised, once; the rest is let go. It carries no key: a second capture is refused by the
    /// intent's state, while a stored refusal would outlive what it was about.
    pub async fn capture(&self, intent: &str, amount: i64, deadline: Instant) -> Result<Intent, Error> {
        let mut form = Form::default();
        form.put("amount_to_capture", &amount.to_string());
        form.put(WITH_CHARGE.0, WITH_CHARGE.1);
        intent_of(&self.post("capture_intent", intent_path(intent, "/capture"), form, None, deadline).await?)
    }

    /// Calls it off. Refused when it is too late, with the intent as it stands. It carries no key, for the same reason.
    pub async fn cancel(&self, intent: &str, deadline: Instant) -> Result<Intent, Error> {
        let mut form = Form::default();
        form.put("cancellation_reason", "abandoned");
        form.put(WITH_CHARGE.0, WITH_CHARGE.1);
        intent_of(&self.post("cancel_intent", intent_path(intent, "/cancel"), form, None, deadline).await?)
    }

    /// Gives money back.
    pub async fn refund(&self, new: &NewRefund<'_>, deadline: Instant) -> Result<Refund, Error> {
        let mut form = Form::default();
        form.put("payment_intent", new.intent);
        form.put("amount", &new.amount.to_string());
        form.metadata(new.metadata);
        Refund::read(&self.post("create_refund", "/v1/refunds".to_owned(), form, Some(new.key), deadline).await?)
    }

    /// All refunds of an intent, those that failed and those made at Stripe's own page among them.
    pub async fn refunds(&self, intent: &str, deadline: Instant) -> Result<Vec<Refund>, Error> {
        self.list("list_refunds", "/v1/refunds", intent, deadline).await?.iter().map(Refund::read).collect()
    }

    /// All disputes of an intent's charges.
    pub async fn disputes(&self, intent: &str, deadline: Instant) -> Result<Vec<Dispute>, Error> {
        self.list("list_disputes", "/v1/disputes", intent, deadline).await?.iter().map(Dispute::read).collect()
    }

    async fn list(&self, name: &'static str, path: &str, intent: &str, deadline: Instant) -> Result<Vec<Value>, Error> {
        let mut all: Vec<Value> = Vec::new();
        for _ in 0..PAGES {
            let mut query = Form::default();
            query.put("payment_intent", intent);
            query.put("limit", PAGE);
            if let Some(last) = all.last().and_then(|last| last.get("id")?.as_str()) {
                query.put("starting_after", last);
            }
            let page = self.get(name, path.to_owned(), query, deadline).await?;
            let Some(Value::Array(data)) = page.get("data") else {
                return Err(Error::Unreadable("a list without its data".to_owned()));
            };
            let is_empty = data.is_empty();
            all.extend(data.iter().cloned());
            if is_empty || page.get("has_more").and_then(Value::as_bool) != Some(true) {
                return Ok(all);
            }
        }
        Err(Error::Unreadable("a list without end".to_owned()))
    }

    async fn get(&self, name: &'static str, path: String, query: Form, deadline: Instant) -> Result<Value, Error> {
        let path = format!("{path}?{}", query.finish());
        self.transport.send(&Call { name, method: Method::GET, path, form: None, key: None }, deadline).await
    }

    async fn post(
        &self,
        name: &'static str,
        path: String,
        form: Form,
        key: Option<&str>,
        deadline: Instant,
    ) -> Result<Value, Error> {
        let form = Some(form.finish());
        self.transport.send(&Call { name, method: Method::POST, path, form, key }, deadline).await
    }
}

fn intent_of(answer: &Value) -> Result<Intent, Error> {
    Ok(Intent::read(answer)?)
}

fn intent_path(intent: &str, action: &str) -> String {
    format!("/v1/payment_intents/{}{action}", utf8_percent_encode(intent, ID))
}

/// `application/x-www-form-urlencoded`.
#[derive(Default)]
struct Form(Vec<(String, String)>);

impl Form {
    fn put(&mut self, name: &str, value: &str) {
        self.0.push((name.to_owned(), value.to_owned()));
    }

    fn metadata(&mut self, metadata: &[(&str, &str)]) {
        for (name, text) in metadata {
            self.put(&format!("metadata[{name}]"), text);
        }
    }

    fn finish(self) -> String {
        form_urlencoded::Serializer::new(String::new()).extend_pairs(self.0).finish()
    }
}
