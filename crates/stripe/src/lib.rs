//! A small client for Stripe: payment intents, refunds and disputes, its webhooks, and money as it wants it.
//!
//! [`Client`] makes the calls that a shop needs, with a pinned version of the API, and reads the answers leniently: an unknown
//! field is ignored, an unknown state is `Unsettled`, and only an amount that cannot be read is an error. Whoever calls decides
//! what an answer means to a payment; nothing here knows one.
//!
//! | part | what it does |
//! |---|---|
//! | [`Client`] | one call each, repeated within the caller's deadline where that is safe |
//! | [`Wire`] | how requests get there, where that is not HTTPS |
//! | [`Intent`], [`Refund`], [`Dispute`] | what Stripe answers |
//! | [`units`], [`chargeable`], [`money`] | amounts as Stripe counts them, and back |
//! | [`decline`] | what a decline means, and what of it may be told |
//! | [`WebhookSecrets`], [`Event`] | who sent a webhook, and what it is about |

mod client;
mod currency;
mod decline;
mod dispute;
mod error;
mod event;
mod intent;
mod read;
mod refund;
mod retry;
mod settings;
mod signature;
mod transport;
mod wire;

pub use client::{CaptureMethod, Client, Confirm, NewIntent, NewRefund};
pub use currency::{AmountError, chargeable, least, money, units};
pub use decline::{Decline, decline};
pub use dispute::{Dispute, DisputeStatus};
pub use error::{Error, Refusal};
pub use event::{Event, Unreadable, fingerprint};
pub use intent::{Charge, Intent, PaymentError, Status};
pub use refund::{Refund, RefundStatus};
pub use settings::StripeSettings;
pub use signature::{SignatureError, TOLERANCE, WebhookSecrets};
pub use transport::VERSION;
pub use wire::{Broken, Wire};
