//! The built-in provider: takes no real money, and answers by the token alone.
//!
//! Its books are tables of their own, written on connections of its own and never in a transaction of the service:
//! they stand for what a real provider keeps on its side, so what they say after a crash is what really was charged.

use std::time::Duration;

use async_trait::async_trait;
use shop_clock::{SharedClock, millis};
use shop_sql::Engine;
use uuid::Uuid;

use super::ledger::{self, Entry};
use crate::domain::{Charge, Failure, Paid, Payback, Provider, ProviderError, Token, Verdict};

const APPROVED: &str = "approved";
const DECLINED: &str = "declined";
const VOID: &str = "void";

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

    async fn pay_back(&self, payback: &Payback) -> sqlx::Result<Paid> {
        let mut tx = self.engine.begin().await?;
        let charge = ledger::entry(&mut *tx, payback.charge, E::LOCK).await?.filter(|entry| entry.outcome == APPROVED);
        let known = ledger::paid_back(&mut *tx, payback.key).await?;
        let already = ledger::paid_back_of(&mut *tx, payback.charge).await?;
        let paid = match (charge, known) {
            (_, Some(amount)) if amount == payback.amount.minor => Paid::Back,
            (Some(charge), None) if payback.amount.minor <= charge.amount - already => {
                let now = millis(self.clock.now());
                ledger::enter_refund(&mut *tx, payback.key, payback.charge, payback.amount.minor, now).await?;
                Paid::Back
            }
            _ => Paid::Refused,
        };
        shop_sql::commit(tx).await?;
        Ok(paid)
    }
}

/// What an entry means.
fn verdict(entry: &Entry) -> Verdict {
    match entry.outcome.as_str() {
        APPROVED => Verdict::Approved { provider_id: format!("sandbox_{}", entry.charge_key.simple()) },
        DECLINED => Verdict::Declined(Failure::new(
            entry.code.clone().unwrap_or_default(),
            entry.message.clone().unwrap_or_default(),
        )),
        _ => Verdict::Voided,
    }
}

#[async_trait]
impl<E: Engine> Provider for Sandbox<E> {
    async fn charge(&self, charge: &Charge) -> Result<Verdict, ProviderError> {
        let script = Script::of(&charge.token);
        if matches!(script, Script::Slow) {
            tokio::time::sleep(self.slow).await;
        }
        let mut entry = Entry {
            amount: charge.amount.minor,
            currency: charge.amount.currency.to_string(),
            attempts: 1,
            ..self.new_entry(charge.key, APPROVED)
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
            ledger::asked_again(&mut *conn, charge.key).await?;
        }
        match script {
            Script::LoseReply => Err(ProviderError("the reply was lost".to_owned())),
            Script::Approve | Script::Slow | Script::Decline(_) => Ok(verdict(&entry)),
        }
    }

    async fn find(&self, key: Uuid) -> Result<Option<Verdict>, ProviderError> {
        let mut conn = self.engine.reader().await?;
        Ok(ledger::entry(&mut *conn, key, "").await?.as_ref().map(verdict))
    }

    async fn void(&self, key: Uuid) -> Result<Verdict, ProviderError> {
        let (_, entry) = self.enter(self.new_entry(key, VOID)).await?;
        Ok(verdict(&entry))
    }

    async fn refund(&self, payback: &Payback) -> Result<Paid, ProviderError> {
        Ok(shop_sql::retry_transient(|| self.pay_back(payback)).await?)
    }
}
