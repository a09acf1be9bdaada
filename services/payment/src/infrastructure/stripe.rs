//! Stripe as a provider: what its intents and refunds mean to a payment.
//!
//! Stripe remembers a key for a day, and the port asks for ever. So an attempt that may be older is not sent again to learn what became
//! of it: the intent tells, which succeeds once whatever the keys, and a refund is looked for among those of its intent first.

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use shop_clock::SharedClock;
use shop_money::Money;
use shop_stripe::{
    CaptureMethod, Client, Confirm, DisputeStatus, Error, Event, NewIntent, NewRefund, RefundStatus, Refusal, Status,
    StripeSettings, WebhookSecrets,
};
use shop_telemetry::Metrics;
use tokio::time::Instant;
use uuid::Uuid;

use crate::domain::{
    Bell, Capture, Charge, Dispute, DisputeOutcome, Failure, Given, Intent, Paid, Payback, Provider, ProviderError,
    Record, Reference, Ring, Unheard, Verdict,
};

/// How long a payer may take over what his bank asks him: banks give five to fifteen minutes.
const ASKED: Duration = Duration::from_mins(30);
/// How long a card's authorisation lasts where Stripe does not say: the shortest of the networks' (docs.stripe.com, "Place a hold").
const HELD: Duration = Duration::from_hours(5 * 24);
/// What is noted on an intent and on a refund: whose they are.
const PAYMENT: &str = "payment";
const REFUND: &str = "refund";

/// One account with Stripe.
#[derive(Clone)]
pub(super) struct Stripe {
    client: Arc<Client>,
    secrets: WebhookSecrets,
    settings: StripeSettings,
    /// How long a call may take, its repetitions included.
    patience: Duration,
    clock: SharedClock,
}

impl Stripe {
    /// Whoever calls gives it up after `timeout`.
    pub(super) fn open(
        settings: &StripeSettings,
        timeout: Duration,
        clock: SharedClock,
        metrics: &Metrics,
    ) -> anyhow::Result<Self> {
        Self::with(Client::open(settings, metrics)?, settings, timeout, clock)
    }

    /// The same by this client.
    pub(super) fn with(
        client: Client,
        settings: &StripeSettings,
        timeout: Duration,
        clock: SharedClock,
    ) -> anyhow::Result<Self> {
        let secrets = WebhookSecrets::read(&settings.webhook_secrets).map_err(anyhow::Error::msg)?;
        // Its own end comes first, for it says why.
        let patience = timeout.mul_f64(0.95);
        Ok(Self { client: Arc::new(client), secrets, settings: settings.clone(), patience, clock })
    }

    fn deadline(&self) -> Instant {
        Instant::now() + self.patience
    }

    /// What the intent, as it stands, means; nothing while it waits for a charge.
    fn verdict(&self, intent: &shop_stripe::Intent) -> Result<Option<Verdict>, ProviderError> {
        let now = self.clock.now();
        Ok(Some(match intent.status {
            Status::Succeeded => Verdict::Approved { taken: money(intent.amount_received, &intent.currency)? },
            Status::RequiresCapture => {
                let before = intent.charge.as_ref().and_then(|charge| charge.capture_before);
                Verdict::Authorised { until: before.unwrap_or(now + HELD) }
            }
            Status::RequiresAction => match &intent.redirect {
                Some(url) => Verdict::ActionRequired { url: url.clone(), until: now + ASKED },
                // Such as a voucher that is paid at a till: nothing to be sent to, and the money may come.
                None => Verdict::Pending,
            },
            Status::Processing | Status::Unsettled => Verdict::Pending,
            Status::Canceled => Verdict::Voided,
            Status::RequiresPaymentMethod | Status::RequiresConfirmation => {
                return Ok(intent
                    .last_payment_error
                    .as_ref()
                    .map(|error| declined(error.decline_code.as_deref().or(error.code.as_deref()))));
            }
        }))
    }

    /// What a refusal that tells the intent's state means: somebody was faster.
    fn overtaken(&self, error: &Error) -> Result<Option<Verdict>, ProviderError> {
        let state = error.refusal().filter(|refusal| refusal.is("payment_intent_unexpected_state"));
        state.and_then(|refusal| refusal.intent.as_ref()).map_or(Ok(None), |intent| self.verdict(intent))
    }
}

#[async_trait]
impl Provider for Stripe {
    fn accepts(&self, amount: Money) -> Result<(), String> {
        shop_stripe::chargeable(amount).map(drop).map_err(|error| error.to_string())
    }

    async fn open(&self, intent: &Intent) -> Result<Reference, ProviderError> {
        let amount = shop_stripe::chargeable(intent.amount).map_err(lost)?;
        let payment = intent.payment.to_string();
        let capture = match intent.capture {
            Capture::Automatic => CaptureMethod::Automatic,
            Capture::Manual => CaptureMethod::Manual,
        };
        let new = NewIntent {
            key: &format!("open-{payment}"),
            amount,
            currency: intent.amount.currency.as_str(),
            capture,
            metadata: &[(PAYMENT, &payment)],
        };
        self.client.create(&new, self.deadline()).await.map(|made| Reference::new(made.id)).map_err(lost)
    }

    async fn charge(&self, charge: &Charge) -> Result<Verdict, ProviderError> {
        let payment = charge.intent.payment;
        let confirm = Confirm {
            key: &format!("confirm-{payment}-{}", charge.attempt),
            intent: charge.reference.as_str(),
            method: charge.token.expose(),
            return_url: &self.settings.returning(&payment.to_string()),
        };
        let error = match self.client.confirm(&confirm, self.deadline()).await {
            Ok(intent) => return self.verdict(&intent)?.ok_or_else(|| lost("the intent still waits to be charged")),
            Err(error) => error,
        };
        let Some(refusal) = error.refusal() else { return Err(lost(error)) };
        if refusal.status == 402 {
            return Ok(declined(refusal.decline_code.as_deref().or(refusal.code.as_deref())));
        }
        if let Some(verdict) = self.overtaken(&error)? {
            return Ok(verdict);
        }
        if let Some(failure) = wrong_token(refusal) {
            return Ok(Verdict::Declined { failure, may_retry: true });
        }
        Err(lost(error))
    }

    async fn find(&self, reference: &Reference, attempt: u32) -> Result<Option<Verdict>, ProviderError> {
        if !is_intent(reference) {
            return Ok(None);
        }
        let intent = self.client.retrieve(reference.as_str(), self.deadline()).await.map_err(lost)?;
        let verdict = self.verdict(&intent)?;
        // A decline may be that of the attempt before: the intent does not say.
        Ok(verdict.filter(|verdict| attempt == 1 || !matches!(verdict, Verdict::Declined { .. })))
    }

    async fn capture(&self, reference: &Reference, amount: Money) -> Result<Verdict, ProviderError> {
        let units = shop_stripe::units(amount).map_err(lost)?;
        match self.client.capture(reference.as_str(), units, self.deadline()).await {
            Ok(intent) => self.verdict(&intent)?.ok_or_else(|| lost("nothing is authorised")),
            Err(error) => self.overtaken(&error)?.ok_or_else(|| lost(error)),
        }
    }

    async fn void(&self, reference: &Reference) -> Result<Verdict, ProviderError> {
        // It never came to Stripe: nothing of it can be confirmed there.
        if !is_intent(reference) {
            return Ok(Verdict::Voided);
        }
        let intent = match self.client.cancel(reference.as_str(), self.deadline()).await {
            Ok(intent) => intent,
            Err(error) => return self.overtaken(&error)?.ok_or_else(|| lost(error)),
        };
        // Called off now, and declined before: that is the word on it.
        let error = intent.last_payment_error.as_ref();
        let decline = error.map(|error| declined(error.decline_code.as_deref().or(error.code.as_deref())));
        Ok(decline
            .filter(|decline| matches!(decline, Verdict::Declined { may_retry: false, .. }))
            .unwrap_or(Verdict::Voided))
    }

    async fn refund(&self, payback: &Payback) -> Result<Paid, ProviderError> {
        let (key, deadline) = (payback.key.to_string(), self.deadline());
        let amount = shop_stripe::units(payback.amount).map_err(lost)?;
        let intent = payback.reference.as_str();
        // The key's first answer comes again for a day, and then none at all: what became of it tells the list alone.
        let all = self.client.refunds(intent, deadline).await.map_err(lost)?;
        if let Some(known) = all.iter().find(|refund| refund_id(refund) == payback.key) {
            return Ok(paid(known.status));
        }
        let payment = payback.payment.to_string();
        let new = NewRefund { key: &key, intent, amount, metadata: &[(PAYMENT, &payment), (REFUND, &key)] };
        match self.client.refund(&new, deadline).await {
            Ok(made) => Ok(paid(made.status)),
            Err(error) if error.refusal().is_some_and(is_final) => Ok(Paid::Refused),
            Err(error) => Err(lost(error)),
        }
    }
}

#[async_trait]
impl Bell for Stripe {
    fn hear(&self, signature: &str, body: &[u8]) -> Result<Ring, Unheard> {
        self.secrets.verify(signature, body, self.clock.now()).map_err(|_| Unheard::Unsigned)?;
        let event = Event::read(body).map_err(|_| Unheard::Unreadable)?;
        // What happens in an account that is connected to ours is not ours.
        let intent = event.intent.clone().filter(|_| event.account.is_none());
        Ok(Ring {
            id: made_of(&event.id),
            is_of_the_charge: event.kind.starts_with("payment_intent."),
            reference: intent.map(Reference::new),
            payment: event.noted(PAYMENT).and_then(|id| id.parse().ok()),
        })
    }

    async fn record(&self, reference: &Reference) -> Result<Option<Record>, ProviderError> {
        let deadline = self.deadline();
        let intent = match self.client.retrieve(reference.as_str(), deadline).await {
            Ok(intent) => intent,
            Err(error) if error.refusal().is_some_and(|refusal| refusal.status == 404) => return Ok(None),
            Err(error) => return Err(lost(error)),
        };
        let Some(payment) = intent.noted(PAYMENT).and_then(|id| id.parse().ok()) else { return Ok(None) };
        let verdict = self.verdict(&intent)?;
        let (mut refunds, mut dispute) = (Vec::new(), None);
        if intent.amount_received > 0 {
            let all = self.client.refunds(&intent.id, deadline).await.map_err(lost)?;
            refunds = all.iter().rev().map(given).collect::<Result<_, _>>()?;
        }
        if intent.charge.as_ref().is_some_and(|charge| charge.disputed) {
            let all = self.client.disputes(&intent.id, deadline).await.map_err(lost)?;
            dispute = all.first().map(disputed).transpose()?;
        }
        Ok(Some(Record { payment, verdict, refunds, dispute }))
    }
}

/// The id that a refund was asked for under, or one made of Stripe's where somebody else gave it back.
fn refund_id(refund: &shop_stripe::Refund) -> Uuid {
    refund.noted(REFUND).and_then(|id| id.parse().ok()).unwrap_or_else(|| made_of(&refund.id))
}

/// A refund as the domain knows it.
fn given(refund: &shop_stripe::Refund) -> Result<Given, ProviderError> {
    let id = refund_id(refund);
    Ok(Given { id, amount: money(refund.amount, &refund.currency)?, paid: paid(refund.status) })
}

fn disputed(dispute: &shop_stripe::Dispute) -> Result<Dispute, ProviderError> {
    let outcome = match dispute.status {
        DisputeStatus::Won => Some(DisputeOutcome::Won),
        DisputeStatus::Lost => Some(DisputeOutcome::Lost),
        DisputeStatus::Open | DisputeStatus::Unsettled => None,
    };
    Ok(Dispute { amount: money(dispute.amount, &dispute.currency)?, reason: dispute.reason.clone(), outcome })
}

/// An id that is always the same for the same id of Stripe's.
fn made_of(id: &str) -> Uuid {
    Uuid::from_u128(shop_stripe::fingerprint(id))
}

fn paid(status: RefundStatus) -> Paid {
    match status {
        RefundStatus::Succeeded => Paid::Back,
        RefundStatus::Pending | RefundStatus::RequiresAction | RefundStatus::Unsettled => Paid::Pending,
        RefundStatus::Failed | RefundStatus::Canceled => Paid::Refused,
    }
}

/// Whether a refund that is refused so will never be made: the money went back in another way, or the payer's bank has it.
fn is_final(refusal: &Refusal) -> bool {
    ["charge_already_refunded", "charge_disputed"].iter().any(|code| refusal.is(code))
        // More than is left of it has no code of its own.
        || refusal.status == 400 && refusal.kind == "invalid_request_error" && refusal.param.as_deref() == Some("amount")
}

/// What is wrong with the token, if that is what Stripe says: it does not know it, takes it not for this, or has not been told of
/// the buyer's consent to be debited.
fn wrong_token(refusal: &Refusal) -> Option<Failure> {
    let texts = [&refusal.param, &refusal.code];
    let about = |word: &str| texts.iter().any(|text| text.as_deref().is_some_and(|text| text.starts_with(word)));
    let (code, message) = match refusal.kind.as_str() {
        "invalid_request_error" if about("mandate") || refusal.message.contains("requires a mandate") => {
            ("mandate_required", "the buyer has to consent to be debited: a confirmation token says so")
        }
        "invalid_request_error" if about("payment_method") || about("confirmation_token") => {
            ("unknown_token", "the provider does not take this way to pay")
        }
        _ => return None,
    };
    Some(Failure::new(code, message))
}

fn is_intent(reference: &Reference) -> bool {
    reference.as_str().starts_with("pi_")
}

fn declined(reason: Option<&str>) -> Verdict {
    let decline = shop_stripe::decline(reason);
    Verdict::Declined { failure: Failure::new(decline.code, message(decline.code)), may_retry: decline.may_retry }
}

/// What people are told of a decline.
fn message(code: &str) -> &'static str {
    match code {
        "authentication_required" => "the bank wants to ask the buyer first",
        "authentication_failed" => "the buyer did not confirm the payment with the bank",
        "card_not_supported" => "the card cannot be used for this",
        "card_limit_exceeded" => "the payment is over the card's limit",
        "currency_not_supported" => "the card does not take this currency",
        "duplicate_transaction" => "the same payment was made a moment ago",
        "expired_card" => "the card has expired",
        "incorrect_card_data" => "the card's data are not right",
        "insufficient_funds" => "there are insufficient funds",
        "try_again_later" => "the bank could not be asked; it may work later",
        _ => "the payment was declined",
    }
}

fn money(units: i64, currency: &str) -> Result<Money, ProviderError> {
    shop_stripe::money(units, currency).map_err(lost)
}

fn lost(error: impl std::fmt::Display) -> ProviderError {
    ProviderError(error.to_string())
}
