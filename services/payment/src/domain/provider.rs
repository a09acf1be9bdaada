//! Who moves the money, as the domain asks for it.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use shop_money::Money;
use time::OffsetDateTime;
use uuid::Uuid;

use super::{Bell, Error, Failure, Method, Payment, Token};

/// What a payment says of its provider while none is configured, and it has not come to one.
pub(crate) const NO_PROVIDER: &str = "none";

/// A provider's own id of a payment. It is kept in the payment's row before anything else is asked of the provider, and
/// finds the payment there for ever.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reference(String);

impl Reference {
    /// As the provider writes it: 1 to 255 characters.
    pub(crate) fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

shop_input::names! {
    /// When the money of an authorised payment is taken.
    pub(crate) enum Capture {
        /// With the charge.
        Automatic = "automatic",
        /// When somebody asks for it; until then it is only held on the buyer's account.
        Manual = "manual",
    }
}

/// What a payment is, as a provider has to know it. It is the same in every call about that payment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Intent {
    pub(crate) payment: Uuid,
    pub(crate) amount: Money,
    pub(crate) method: Method,
    pub(crate) capture: Capture,
}

/// Money to take.
#[derive(Debug, Clone)]
pub(crate) struct Charge {
    pub(crate) reference: Reference,
    pub(crate) intent: Intent,
    /// Which try it is, from 1. A reference is charged once per try, and after one that was approved never again.
    pub(crate) attempt: u32,
    pub(crate) token: Token,
}

/// Money to give back.
#[derive(Debug, Clone)]
pub(crate) struct Payback {
    /// The provider pays back once per key: the refund's id.
    pub(crate) key: Uuid,
    /// Whose it is.
    pub(crate) payment: Uuid,
    pub(crate) reference: Reference,
    pub(crate) amount: Money,
}

/// The provider's word on a payment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The money was taken: final.
    Approved {
        /// How much; less than the payment's amount when less was captured.
        taken: Money,
    },
    /// The money is held on the buyer's account, and to be captured or voided.
    Authorised {
        /// When the provider lets go of it by itself.
        until: OffsetDateTime,
    },
    /// The buyer has to do something at the provider's page first, such as 3-D Secure.
    ActionRequired {
        /// Where he does it.
        url: String,
        /// How long he may take.
        until: OffsetDateTime,
    },
    /// The provider does not know yet either: the money may still come, as with a bank transfer.
    Pending,
    /// It was not taken, for this reason.
    Declined {
        failure: Failure,
        /// Whether the same reference may be charged by another attempt.
        may_retry: bool,
    },
    /// It never will be: final.
    Voided,
}

/// The provider's word on a refund.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Paid {
    /// The money went back, now or when the same key was used before.
    Back,
    /// It is on its way: the same key again tells what became of it.
    Pending,
    /// The provider will not, or it did not arrive.
    Refused,
}

/// The provider gave no answer: what it did is unknown.
#[derive(Debug, thiserror::Error)]
#[error("the provider gave no answer: {0}")]
pub(crate) struct ProviderError(pub(crate) String);

/// Somebody who moves the money.
///
/// An adapter must honour references, attempts and keys: for ever one outcome each, however often and from wherever it is asked,
/// also when the provider itself forgets them. An unknown state of the provider's is `Pending`.
#[async_trait]
pub(crate) trait Provider: Send + Sync {
    /// Whether it takes so much of such a currency; else why not, for people.
    fn accepts(&self, _amount: Money) -> Result<(), String> {
        Ok(())
    }

    /// Prepares a payment and moves nothing; the same payment has the same reference each time.
    async fn open(&self, intent: &Intent) -> Result<Reference, ProviderError>;

    /// Takes the money, or authorises it, once per attempt. `Voided` when the reference was voided before.
    async fn charge(&self, charge: &Charge) -> Result<Verdict, ProviderError>;

    /// What became by now of the attempts from this one on. `None` when none of them has come in *so far*; the decline of one before
    /// is not their word, and where the provider cannot tell them apart the answer is `None`, too.
    async fn find(&self, reference: &Reference, attempt: u32) -> Result<Option<Verdict>, ProviderError>;

    /// Takes what was authorised, all of it or less, once; the rest is let go. Whatever was captured before is the answer, and so is
    /// `Voided` when the authorisation lapsed.
    async fn capture(&self, reference: &Reference, amount: Money) -> Result<Verdict, ProviderError>;

    /// The final word: `Approved` if the money was taken after all, the hard decline it came to, or `Voided`, and then no
    /// charge is taken any more. `Pending` when it may still be taken and cannot be called off now.
    async fn void(&self, reference: &Reference) -> Result<Verdict, ProviderError>;

    /// Gives money back once per key.
    async fn refund(&self, payback: &Payback) -> Result<Paid, ProviderError>;
}

/// The providers that are configured, by name. A payment stays with the one it came to, whatever is configured later.
#[derive(Clone, Default)]
pub(crate) struct Providers {
    by_name: BTreeMap<String, Arc<dyn Provider>>,
    /// Who takes payments that name none.
    default: Option<String>,
    /// Those that call.
    bells: BTreeMap<String, Arc<dyn Bell>>,
}

impl Providers {
    /// With one more; the first is who takes payments that name none.
    pub(crate) fn with(mut self, name: &str, provider: Arc<dyn Provider>) -> Self {
        self.default.get_or_insert_with(|| name.to_owned());
        self.by_name.insert(name.to_owned(), provider);
        self
    }

    /// With one that calls.
    pub(crate) fn with_bell(mut self, name: &str, bell: Arc<dyn Bell>) -> Self {
        self.bells.insert(name.to_owned(), bell);
        self
    }

    /// The provider of that name, if it is one that calls.
    pub(crate) fn bell(&self, name: &str) -> Option<&Arc<dyn Bell>> {
        self.bells.get(name)
    }

    /// Whether no money can be moved at all.
    pub(crate) fn is_empty(&self) -> bool {
        self.by_name.is_empty()
    }

    /// Who takes payments that name none.
    pub(crate) fn default_name(&self) -> &str {
        self.default.as_deref().unwrap_or(NO_PROVIDER)
    }

    /// Whose payment it is: the provider it came to, or will come to, and its name.
    pub(crate) fn of(&self, payment: &Payment) -> Result<(&str, &Arc<dyn Provider>), Error> {
        let name = match payment.provider.as_str() {
            NO_PROVIDER if payment.reference.is_none() => self.default_name(),
            name => name,
        };
        let missing = || Error::NotConfigured { payment: payment.id, provider: name.to_owned() };
        self.by_name.get_key_value(name).map(|(name, provider)| (name.as_str(), provider)).ok_or_else(missing)
    }
}
