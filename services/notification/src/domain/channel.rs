//! The ways to tell somebody, what there is to tell, and how far that has got.

use shop_events::Event;
use shop_input::names;

names! {
    /// A way to tell somebody.
    pub(crate) enum Channel {
        /// A letter to the user, over SMTP.
        Email = "email",
        /// A signed POST to an endpoint.
        Webhook = "webhook",
        /// A line in the log.
        Log = "log",
    }
}

names! {
    /// How far a notification has got.
    pub(crate) enum Status {
        /// It waits for its next attempt.
        Pending = "pending",
        /// An attempt is under way.
        Sending = "sending",
        /// The other side has it.
        Sent = "sent",
        /// It was not to be sent: the user opted out, or there is no address.
        Skipped = "skipped",
        /// Given up; a retry by hand brings it back.
        Dead = "dead",
    }
}

names! {
    /// What there is to tell.
    pub(crate) enum EventType {
        /// A payment went through.
        Completed = "payment.completed",
        /// A payment did not go through.
        Failed = "payment.failed",
        /// Money went back.
        Refunded = "payment.refunded",
        /// Money is held on the buyer's account.
        Authorised = "payment.authorised",
        /// The buyer has to confirm first.
        ActionRequired = "payment.action_required",
        /// Nobody paid in time.
        Expired = "payment.expired",
        /// A payment was given up.
        Cancelled = "payment.cancelled",
        /// The buyer has asked his bank for the money.
        Disputed = "payment.disputed",
        /// Money that was to go back did not arrive.
        RefundFailed = "payment.refund_failed",
    }
}

impl EventType {
    /// The type of `event`; none for what nobody is told about.
    pub(crate) const fn of(event: &Event) -> Option<Self> {
        match event {
            Event::PaymentCompleted(_) => Some(Self::Completed),
            Event::PaymentFailed(_) => Some(Self::Failed),
            Event::PaymentRefunded(_) => Some(Self::Refunded),
            Event::PaymentAuthorised(_) => Some(Self::Authorised),
            Event::PaymentActionRequired(_) => Some(Self::ActionRequired),
            Event::PaymentExpired(_) => Some(Self::Expired),
            Event::PaymentCancelled(_) => Some(Self::Cancelled),
            Event::PaymentDisputed(_) => Some(Self::Disputed),
            Event::PaymentRefundFailed(_) => Some(Self::RefundFailed),
            Event::StockUpdated(_) | Event::BasketCleared(_) | Event::UserErased(_) => None,
        }
    }
}
