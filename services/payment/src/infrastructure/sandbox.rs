//! The built-in provider: takes no real money, and answers by the token alone.
//!
//! Its books are tables of their own, written on connections of its own and never in a transaction of the service:
//! they stand for what a real provider keeps on its side, so what they say after a crash is what really was charged.

use std::time::Duration;

use async_trait::async_trait;
use serde::Deserialize;
use shop_clock::{SharedClock, from_millis, millis};
use shop_money::Money;
use shop_sql::{Connection, Engine};
use uuid::Uuid;

use super::ledger::{self, Entry, Repaid};
use crate::domain::{
    Bell, Capture, Charge, Failure, Given, Intent, Paid, Payback, Provider, ProviderError, Record, Reference, Ring,
    Token, Unheard, Verdict,
};

const APPROVED: &str = "approved";
const AUTHORISED: &str = "authorised";
const DECLINED: &str = "declined";
/// Declined, and to be tried again.
const RETRYABLE: &str = "retryable";
const ACTION: &str = "action";
const PENDING: &str = "pending";
const VOID: &str = "void";

/// What references begin with; the payment's id follows.
const PREFIX: &str = "sandbox_";
/// How long a buyer may take at the provider's page, which leads nowhere here: time enough to look for a telephone.
const ACTION_WINDOW: Duration = Duration::from_mins(15);
/// How long a transfer between banks takes.
const DAYS: Duration = Duration::from_hours(3 * 24);
/// How long card schemes commonly hold what is authorised.
const HOLD: Duration = Duration::from_hours(7 * 24);
/// Codes of approved charges whose refunds take as long as a slow charge, and then arrive, or do not.
const SLOW_REFUND: &str = "slow_refund";
const FAILING_REFUND: &str = "failing_refund";
/// The same of one whose refunds arrive at once, as it seems, and come back after that time.
const RETURNED_REFUND: &str = "returned_refund";

/// The provider whose outcome depends on nothing but the token.
#[derive(Clone)]
pub(super) struct Sandbox<E> {
    pub(super) engine: E,
    pub(super) clock: SharedClock,
    /// How long `tok_slow` takes, the buyer at the provider's page, and what is on its way.
    pub(super) slow: Duration,
}

/// What a token does.
struct Script {
    outcome: &'static str,
    code: Option<&'static str>,
    message: Option<&'static str>,
    /// It takes its time.
    slow: bool,
    /// Its reply does not arrive.
    lost: bool,
    /// What it waits for takes so long; as long as what is slow if nothing is said.
    wait: Option<Duration>,
}

impl Script {
    const fn with(outcome: &'static str) -> Self {
        Self { outcome, code: None, message: None, slow: false, lost: false, wait: None }
    }

    const fn declined(outcome: &'static str, code: &'static str, message: &'static str) -> Self {
        Self { code: Some(code), message: Some(message), ..Self::with(outcome) }
    }

    fn of(token: &Token) -> Self {
        match token.expose() {
            "tok_approve" => Self::with(APPROVED),
            "tok_authorise" => Self::with(AUTHORISED),
            "tok_slow" => Self { slow: true, ..Self::with(APPROVED) },
            "tok_lost_reply" => Self { lost: true, ..Self::with(APPROVED) },
            "tok_action" => Self::with(ACTION),
            "tok_action_abandoned" => Self { wait: Some(Duration::MAX), ..Self::with(ACTION) },
            "tok_pending" => Self::with(PENDING),
            "tok_pending_for_days" => Self { wait: Some(DAYS), ..Self::with(PENDING) },
            "tok_refund_pending" => Self { code: Some(SLOW_REFUND), ..Self::with(APPROVED) },
            "tok_refund_fails" => Self { code: Some(FAILING_REFUND), ..Self::with(APPROVED) },
            "tok_refund_returned" => Self { code: Some(RETURNED_REFUND), ..Self::with(APPROVED) },
            "tok_decline" => Self::declined(DECLINED, "payment_declined", "the payment was declined"),
            "tok_insufficient_funds" => Self::declined(DECLINED, "insufficient_funds", "there are insufficient funds"),
            "tok_retryable_decline" => Self::declined(RETRYABLE, "try_another_card", "the card was declined"),
            _ => Self::declined(DECLINED, "unknown_token", "the provider does not know the token"),
        }
    }
}

impl From<sqlx::Error> for ProviderError {
    fn from(error: sqlx::Error) -> Self {
        Self(error.to_string())
    }
}

impl<E: Engine> Sandbox<E> {
    fn now(&self) -> i64 {
        millis(self.clock.now())
    }

    fn after(&self, time: Duration) -> i64 {
        millis(self.clock.now() + time)
    }

    /// Enters `entry` unless its key has an outcome that this attempt does not replace; what then stands under the key.
    async fn enter(&self, entry: Entry) -> sqlx::Result<(bool, Entry)> {
        let mut conn = self.engine.writer().await?;
        if ledger::enter(&mut *conn, &entry).await? || ledger::try_again(&mut *conn, &entry, RETRYABLE).await? {
            return Ok((true, entry));
        }
        drop(conn);
        let known = self.entry(entry.charge_key).await?.ok_or(sqlx::Error::RowNotFound)?;
        Ok((false, known))
    }

    /// What stands under a key by now: what was waited for may have happened, and what was held may have been let go.
    async fn entry(&self, key: Uuid) -> sqlx::Result<Option<Entry>> {
        let mut conn = self.engine.writer().await?;
        let Some(entry) = ledger::entry(&mut *conn, key, "").await? else { return Ok(None) };
        let (waits, now) = (matches!(entry.outcome.as_str(), ACTION | PENDING), self.now());
        let next = if waits && entry.due_at.is_some_and(|due| due <= now) {
            Some(if entry.manual { AUTHORISED } else { APPROVED })
        } else {
            let is_over = entry.outcome == AUTHORISED && entry.ends_at.is_some_and(|ends| ends <= now);
            is_over.then_some(VOID)
        };
        let Some(next) = next else { return Ok(Some(entry)) };
        let ends_at = if next == AUTHORISED { Some(self.after(HOLD)) } else { entry.ends_at };
        ledger::turn(&mut *conn, key, (&entry.outcome, next), ends_at).await?;
        ledger::entry(&mut *conn, key, "").await
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
            created_at: self.now(),
            attempt: 0,
            manual: false,
            due_at: None,
            ends_at: None,
            captured: None,
        }
    }

    async fn pay_back(&self, charge: Uuid, payback: &Payback) -> sqlx::Result<Paid> {
        let now = self.now();
        let mut tx = self.engine.begin().await?;
        let entry = ledger::entry(&mut *tx, charge, E::LOCK).await?.filter(|entry| entry.outcome == APPROVED);
        let known = ledger::repaid(&mut *tx, payback.key).await?;
        let already = ledger::repaid_of(&mut *tx, charge).await?;
        let code = entry.as_ref().and_then(|entry| entry.code.as_deref());
        let paid = match known {
            Some(known) if known.amount != payback.amount.minor => Paid::Refused,
            Some(known) => became(&mut *tx, code, &known, now).await?,
            None => match &entry {
                Some(entry) if payback.amount.minor <= entry.captured.unwrap_or(entry.amount) - already => {
                    let is_slow = matches!(code, Some(SLOW_REFUND | FAILING_REFUND | RETURNED_REFUND));
                    let due = is_slow.then(|| self.after(self.slow));
                    ledger::enter_refund(&mut *tx, payback.key, charge, payback.amount.minor, now, due).await?;
                    if is_slow && code != Some(RETURNED_REFUND) { Paid::Pending } else { Paid::Back }
                }
                _ => Paid::Refused,
            },
        };
        shop_sql::commit(tx).await?;
        Ok(paid)
    }
}

/// What became of a refund by now, which is noted when it came to nothing.
async fn became<C: Connection>(conn: &mut C, code: Option<&str>, refund: &Repaid, now: i64) -> sqlx::Result<Paid> {
    let is_due = refund.due_at.is_none_or(|due| due <= now);
    let paid = match code {
        _ if refund.failed => Paid::Refused,
        Some(FAILING_REFUND | RETURNED_REFUND) if is_due => Paid::Refused,
        Some(SLOW_REFUND | FAILING_REFUND) if !is_due => Paid::Pending,
        _ => Paid::Back,
    };
    if paid == Paid::Refused && !refund.failed {
        ledger::fail_refund(conn, refund.refund_key).await?;
    }
    Ok(paid)
}

/// What an entry means.
fn verdict(entry: &Entry) -> Result<Verdict, ProviderError> {
    let until = || from_millis(entry.ends_at.unwrap_or_default());
    let failure = || {
        let (code, message) = (entry.code.clone().unwrap_or_default(), entry.message.clone().unwrap_or_default());
        Failure::new(code, message)
    };
    Ok(match entry.outcome.as_str() {
        APPROVED => Verdict::Approved { taken: money(entry.captured.unwrap_or(entry.amount), entry)? },
        AUTHORISED => Verdict::Authorised { until: until() },
        ACTION => {
            // Such a name leads nowhere (RFC 2606, section 2): the buyer here needs no page.
            let url = format!("https://sandbox.invalid/confirm/{PREFIX}{}", entry.charge_key.simple());
            Verdict::ActionRequired { url, until: until() }
        }
        PENDING => Verdict::Pending,
        DECLINED => Verdict::Declined { failure: failure(), may_retry: false },
        RETRYABLE => Verdict::Declined { failure: failure(), may_retry: true },
        _ => Verdict::Voided,
    })
}

fn money(minor: i64, entry: &Entry) -> Result<Money, ProviderError> {
    let currency = entry.currency.parse().map_err(|_| ProviderError("its books are unreadable".to_owned()))?;
    Ok(Money::new(minor, currency))
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
        let (script, key) = (Script::of(&charge.token), key(&charge.reference)?);
        if script.slow {
            tokio::time::sleep(self.slow).await;
        }
        let manual = charge.intent.capture == Capture::Manual || script.outcome == AUTHORISED;
        let outcome = if manual && script.outcome == APPROVED { AUTHORISED } else { script.outcome };
        let wait = script.wait.unwrap_or(self.slow);
        // Beyond the end of time it never comes.
        let due_at = if wait == Duration::MAX { None } else { Some(self.after(wait)) };
        let entry = Entry {
            code: script.code.map(str::to_owned),
            message: script.message.map(str::to_owned),
            amount: charge.intent.amount.minor,
            currency: charge.intent.amount.currency.to_string(),
            attempts: 1,
            attempt: charge.attempt.into(),
            manual,
            due_at: due_at.filter(|_| matches!(outcome, ACTION | PENDING)),
            ends_at: match outcome {
                AUTHORISED => Some(self.after(HOLD)),
                ACTION => Some(self.after(ACTION_WINDOW)),
                _ => None,
            },
            ..self.new_entry(key, outcome)
        };
        let (new, entry) = self.enter(entry).await?;
        if !new {
            // An attempt is charged once; whoever asks again hears what came of it then.
            let mut conn = self.engine.writer().await?;
            ledger::asked_again(&mut *conn, key).await?;
        }
        if script.lost { Err(ProviderError("the reply was lost".to_owned())) } else { verdict(&entry) }
    }

    async fn find(&self, reference: &Reference, attempt: u32) -> Result<Option<Verdict>, ProviderError> {
        let entry = self.entry(key(reference)?).await?;
        let entry = entry.filter(|entry| entry.outcome != RETRYABLE || entry.attempt >= attempt.into());
        entry.as_ref().map(verdict).transpose()
    }

    async fn capture(&self, reference: &Reference, amount: Money) -> Result<Verdict, ProviderError> {
        let key = key(reference)?;
        if self.entry(key).await?.is_some_and(|entry| entry.outcome == AUTHORISED && amount.minor <= entry.amount) {
            let mut conn = self.engine.writer().await?;
            ledger::capture(&mut *conn, key, (AUTHORISED, APPROVED), amount.minor).await?;
        }
        self.entry(key).await?.as_ref().map_or(Ok(Verdict::Voided), verdict)
    }

    async fn void(&self, reference: &Reference) -> Result<Verdict, ProviderError> {
        let key = key(reference)?;
        let (_, entry) = self.enter(self.new_entry(key, VOID)).await?;
        if matches!(entry.outcome.as_str(), AUTHORISED | ACTION | RETRYABLE) {
            let mut conn = self.engine.writer().await?;
            ledger::turn(&mut *conn, key, (&entry.outcome, VOID), None).await?;
            drop(conn);
            return self.entry(key).await?.as_ref().map_or(Ok(Verdict::Voided), verdict);
        }
        verdict(&entry)
    }

    async fn refund(&self, payback: &Payback) -> Result<Paid, ProviderError> {
        let charge = key(&payback.reference)?;
        Ok(shop_sql::retry_transient(|| self.pay_back(charge, payback)).await?)
    }
}

/// A call: somebody who plays the buyer's bank says that something happened.
#[derive(Deserialize)]
struct Call {
    /// The same when it calls again about the same.
    id: Uuid,
    /// Which payment it is about.
    payment: Uuid,
}

#[async_trait]
impl<E: Engine> Bell for Sandbox<E> {
    /// Nothing is signed: a call makes the shop look at the sandbox's books, and a stranger has nothing to gain by that.
    fn hear(&self, _: &str, body: &[u8]) -> Result<Ring, Unheard> {
        let Call { id, payment } = serde_json::from_slice(body).map_err(|_| Unheard::Unreadable)?;
        let reference = Reference::new(format!("{PREFIX}{}", payment.simple()));
        Ok(Ring { id, is_of_the_charge: false, reference: Some(reference), payment: Some(payment) })
    }

    async fn record(&self, reference: &Reference) -> Result<Option<Record>, ProviderError> {
        let key = key(reference)?;
        let Some(entry) = self.entry(key).await? else { return Ok(None) };
        let mut conn = self.engine.writer().await?;
        let mut refunds = Vec::new();
        for refund in ledger::all_repaid_of(&mut *conn, key).await? {
            let paid = became(&mut *conn, entry.code.as_deref(), &refund, self.now()).await?;
            refunds.push(Given { id: refund.refund_key, amount: money(refund.amount, &entry)?, paid });
        }
        Ok(Some(Record { payment: key, verdict: Some(verdict(&entry)?), refunds, dispute: None }))
    }
}
