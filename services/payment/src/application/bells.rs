//! A provider calls. Whoever rings, the truth is asked of the provider, and booked under the payment's row lock, as recovery does.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use shop_clock::SharedClock;
use uuid::Uuid;

use super::Commands;
use crate::domain::{Bell, Error, Inbox, Payment, ProviderError, Record, Reference, Ring, Unheard};

/// How often a payment that keeps changing is read again.
const ROUNDS: usize = 3;

/// Answers providers that call.
#[derive(Clone)]
pub(crate) struct Bells {
    commands: Commands,
    inbox: Arc<dyn Inbox>,
    clock: SharedClock,
}

/// What became of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rung {
    /// What the provider knows is booked.
    Booked,
    /// It had called about this before.
    Repeated,
    /// It is about no payment of this shop's.
    Foreign,
    /// It cannot be booked now, and whoever has the payment in hand, or recovery, will.
    Later,
    /// It is about money, and nobody else would ask for it again: it has to call again.
    Again,
    /// What it knows does not fit what the payment is: somebody has to look.
    Amiss,
    /// It is signed, and says nothing.
    Unreadable,
    /// Nobody knows who called.
    Unsigned,
}

impl Rung {
    /// In a word.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Booked => "booked",
            Self::Repeated => "repeated",
            Self::Foreign => "foreign",
            Self::Later => "later",
            Self::Again => "again",
            Self::Amiss => "amiss",
            Self::Unreadable => "unreadable",
            Self::Unsigned => "unsigned",
        }
    }
}

impl Bells {
    pub(crate) fn new(commands: Commands, inbox: Arc<dyn Inbox>, clock: SharedClock) -> Self {
        Self { commands, inbox, clock }
    }

    /// Listens to the provider of that name. An error is our own store's.
    pub(crate) async fn ring(&self, provider: &str, signature: &str, body: &[u8]) -> Result<Rung, Error> {
        let Some(bell) = self.commands.providers.bell(provider) else { return Ok(Rung::Unsigned) };
        let ring = match bell.hear(signature, body) {
            Ok(ring) => ring,
            Err(Unheard::Unsigned) => return Ok(Rung::Unsigned),
            Err(Unheard::Unreadable) => return Ok(Rung::Unreadable),
        };
        let Some(reference) = &ring.reference else { return Ok(Rung::Foreign) };
        if self.inbox.has(ring.id).await? {
            return Ok(Rung::Repeated);
        }
        let booked = match self.whose(bell.as_ref(), &ring, reference).await {
            Ok(Some(payment)) => self.commands.book(provider, reference, payment).await?,
            Ok(None) => Rung::Foreign,
            Err(lost) => silent(provider, reference, &lost),
        };
        let came_of_it = match booked {
            // A refund or a dispute is asked for by nobody, or not before long.
            Rung::Later if !ring.is_of_the_charge => Rung::Again,
            other => other,
        };
        if !matches!(came_of_it, Rung::Later | Rung::Again) {
            self.inbox.note(ring.id, self.clock.now()).await?;
        }
        Ok(came_of_it)
    }

    /// Which payment it is about: as the call says, or, where it says nothing, the provider.
    async fn whose(&self, bell: &dyn Bell, ring: &Ring, reference: &Reference) -> Result<Option<Uuid>, ProviderError> {
        match ring.payment {
            Some(payment) => Ok(Some(payment)),
            None => Ok(bell.record(reference).await?.map(|record| record.payment)),
        }
    }
}

impl Commands {
    /// Books what the provider knows by now of the payment that it keeps under `reference`.
    pub(super) async fn book(&self, provider: &str, reference: &Reference, id: Uuid) -> Result<Rung, Error> {
        let Some(bell) = self.providers.bell(provider) else { return Ok(Rung::Foreign) };
        for _ in 0..ROUNDS {
            // Read before the provider is asked, so that what it says is not older than what it is compared with.
            let Some(known) = self.payments.get(id).await? else { return Ok(Rung::Foreign) };
            if known.provider != provider || known.reference.as_ref() != Some(reference) {
                return Ok(Rung::Foreign);
            }
            let record = match bell.record(reference).await {
                Ok(Some(record)) if record.payment == id => record,
                Ok(_) => return Ok(Rung::Foreign),
                Err(lost) => return Ok(silent(provider, reference, &lost)),
            };
            match self.write(&known, &record).await {
                Ok(true) => return Ok(Rung::Booked),
                // It was changed meanwhile, and what was read is old.
                Ok(false) => {}
                Err(error) => return refused(id, error),
            }
        }
        Ok(Rung::Later)
    }

    /// Books a record on the payment as it was known; whether it still was that.
    async fn write(&self, known: &Payment, record: &Record) -> Result<bool, Error> {
        let now = self.clock.now();
        // The store may run the change again: the last run is the one that counts.
        let is_old = AtomicBool::new(false);
        let book = |payment: &mut Payment| {
            let is_known = payment.version == known.version;
            is_old.store(!is_known, Relaxed);
            if is_known { payment.book(record, now) } else { Ok(Vec::new()) }
        };
        self.payments.change_from(known.id, Some(known), &book).await?;
        Ok(!is_old.load(Relaxed))
    }
}

fn silent(provider: &str, reference: &Reference, lost: &ProviderError) -> Rung {
    tracing::warn!(provider, reference = %reference, cause = %lost, "what the provider knows of a payment is not to be had now");
    Rung::Later
}

/// A record that does not fit is for people; that the store is away is the caller's to bear.
fn refused(payment: Uuid, error: Error) -> Result<Rung, Error> {
    if !matches!(error, Error::InvalidState { .. }) {
        return Err(error);
    }
    tracing::error!(payment.id = %payment, cause = %error, "what the provider knows does not fit the payment: somebody has to look");
    Ok(Rung::Amiss)
}
