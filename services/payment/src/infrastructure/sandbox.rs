//! The built-in provider: takes no real money, and answers by the token alone.
//!
//! Its books are tables of their own, written on connections of its own and never in a transaction of the service:
//! they stand for what a real provider keeps on its side, so what they say after a crash is what really was charged.

use std::time::Duration;

use async_trait::async_trait;
use shop_clock::{SharedClock, millis};
use shop_money::Money;
use shop_sql::Engine;
use uuid::Uuid;

use super::ledger::{self, Entry};
use crate::domain::{Charge, Failure, Intent, Paid, Payback, Provider, ProviderError, Reference, Token, Verdict};

const APPROVED: &str = "approved";
const DECLINED: &str = "declined";
const VOID: &str = "void";
/// What references begin with; the payment's id follows.
const PREFIX: &str = "sandbox_";

/// The provider whose outcome depends on nothing but the token.
pub(super) struct Sandbox<E> {
    pub(super) engine: E,
    pub(super) clock: SharedClock,
    /// How long `tok_slow` takes.
    pub(super) slow: Duration,
}

/// What a token does.
enum Script {
    Approve,
    Slow,
    LoseReply,
    Decline(Failure),
}

impl Script {
    fn of(token: &Token) -> Self {
        match token.expose() {
            "tok_approve" => Self::Approve,
            "tok_slow" => Self::Slow,
            "tok_lost_reply" => Self::LoseReply,
            "tok_decline" => Self::Decline(Failure::new("payment_declined", "the payment was declined")),
            "tok_insufficient_funds" => {
                Self::Decline(Failure::new("insufficient_funds", "there are insufficient funds"))
            }
            _ => Self::Decline(Failure::new("unknown_token", "the provider does not know the token")),
        }
    }
}

impl From<sqlx::Error> for ProviderError {
    fn from(error: sqlx::Error) -> Self {
        Self(error.to_string())
    }
}

impl<E: Engine> Sandbox<E> {
    /// Enters `entry` unless its key has an outcome; what then stands under the key.
    async fn enter(&self, entry: Entry) -> sqlx::Result<(bool, Entry)> {
        let mut conn = self.engine.writer().await?;
        if ledger::enter(&mut *conn, &entry).await? {
            return Ok((true, entry));
        }
        let known = ledger::entry(&mut *conn, entry.charge_key, "").await?.ok_or(sqlx::Error::RowNotFound)?;
        Ok((false, known))
    }

    fn new_entry(&self, key: Uuid, outcome: &str) -> Entry {
        Entry {
            charge_key: key,
            outcome: outcome.to_owned(),
            code: None,
            message: None,
            amount: 0,
            currency: String::new(),
            attempts: 0,
            created_at: millis(self.clock.now()),
        }
    }

    async fn pay_back(&self, charge: Uuid, payback: &Payback) -> sqlx::Result<Paid> {
        let mut tx = self.engine.begin().await?;
        let entry = ledger::entry(&mut *tx, charge, E::LOCK).await?.filter(|entry| entry.outcome == APPROVED);
        let known = ledger::paid_back(&mut *tx, payback.key).await?;
        let already = ledger::paid_back_of(&mut *tx, charge).await?;
        let paid = match (entry, known) {
            (_, Some(amount)) if amount == payback.amount.minor => Paid::Back,
            (Some(entry), None) if payback.amount.minor <= entry.amount - already => {
                let now = millis(self.clock.now());
                ledger::enter_refund(&mut *tx, payback.key, charge, payback.amount.minor, now).await?;
                Paid::Back
            }
            _ => Paid::Refused,
        };
        shop_sql::commit(tx).await?;
        Ok(paid)
    }
}

/// What an entry means.
fn verdict(entry: &Entry) -> Result<Verdict, ProviderError> {
    Ok(match entry.outcome.as_str() {
        APPROVED => {
            let currency = entry.currency.parse().map_err(|_| ProviderError("its books are unreadable".to_owned()))?;
            Verdict::Approved { taken: Money::new(entry.amount, currency) }
        }
        DECLINED => {
            let (code, message) = (entry.code.clone().unwrap_or_default(), entry.message.clone().unwrap_or_default());
            Verdict::Declined { failure: Failure::new(code, message), may_retry: false }
        }
        _ => Verdict::Voided,
    })
}

/// Under which key its books have a payment.
fn key(reference: &Reference) -> Result<Uuid, ProviderError> {
    let id = reference.as_str().strip_prefix(PREFIX).and_then(|id| Uuid::try_parse(id).ok());
    id.ok_or_else(|| ProviderError(format!("{reference} is none of the sandbox's")))
}

#[async_trait]
impl<E: Engine> Provider for Sandbox<E> {
    async fn open(&self, intent: &Intent) -> Result<Reference, ProviderError> {
        Ok(Reference::new(format!("{PREFIX}{}", intent.payment.simple())))
    }

    async fn charge(&self, charge: &Charge) -> Result<Verdict, ProviderError> {
        let script = Script::of(&charge.token);
        if matches!(script, Script::Slow) {
            tokio::time::sleep(self.slow).await;
        }
        let key = key(&charge.reference)?;
        let mut entry = Entry {
            amount: charge.intent.amount.minor,
            currency: charge.intent.amount.currency.to_string(),
            attempts: 1,
            ..self.new_entry(key, APPROVED)
        };
        if let Script::Decline(failure) = &script {
            DECLINED.clone_into(&mut entry.outcome);
            entry.code = Some(failure.code.clone());
            entry.message = Some(failure.message.clone());
        }
        let (new, entry) = self.enter(entry).await?;
        if !new {
            // A key is charged once; whoever asks again hears what came of it then.
            let mut conn = self.engine.writer().await?;
            ledger::asked_again(&mut *conn, key).await?;
        }
        match script {
            Script::LoseReply => Err(ProviderError("the reply was lost".to_owned())),
            Script::Approve | Script::Slow | Script::Decline(_) => verdict(&entry),
        }
    }

    async fn find(&self, reference: &Reference, _: u32) -> Result<Option<Verdict>, ProviderError> {
        let mut conn = self.engine.reader().await?;
        ledger::entry(&mut *conn, key(reference)?, "").await?.as_ref().map(verdict).transpose()
    }

    async fn capture(&self, reference: &Reference, _: Money) -> Result<Verdict, ProviderError> {
        let mut conn = self.engine.reader().await?;
        ledger::entry(&mut *conn, key(reference)?, "").await?.as_ref().map_or(Ok(Verdict::Voided), verdict)
    }

    async fn void(&self, reference: &Reference) -> Result<Verdict, ProviderError> {
        let (_, entry) = self.enter(self.new_entry(key(reference)?, VOID)).await?;
        verdict(&entry)
    }

    async fn refund(&self, payback: &Payback) -> Result<Paid, ProviderError> {
        let charge = key(&payback.reference)?;
        Ok(shop_sql::retry_transient(|| self.pay_back(charge, payback)).await?)
    }
}
