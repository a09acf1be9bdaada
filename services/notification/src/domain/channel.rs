//! The ways to tell somebody, what there is to tell, and how far that has got.

use shop_events::Event;

/// Gives an enum of names its text, both ways.
macro_rules! names {
    ($type:ident { $($variant:ident => $name:literal),+ $(,)? }) => {
        impl $type {
            /// Every one there is.
            pub(crate) const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// Its name outside.
            pub(crate) const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $name),+
                }
            }

            /// The one of that name.
            pub(crate) fn named(name: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|one| one.as_str() == name)
            }
        }

        impl std::fmt::Display for $type {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

/// A way to tell somebody.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Channel {
    /// A letter to the user, over SMTP.
    Email,
    /// A signed POST to an endpoint.
    Webhook,
    /// A line in the log.
    Log,
}

names!(Channel { Email => "email", Webhook => "webhook", Log => "log" });

/// How far a notification has got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Status {
    /// It waits for its next attempt.
    Pending,
    /// An attempt is under way.
    Sending,
    /// The other side has it.
    Sent,
    /// It was not to be sent: the user opted out, or there is no address.
    Skipped,
    /// Given up; a retry by hand brings it back.
    Dead,
}

names!(Status { Pending => "pending", Sending => "sending", Sent => "sent", Skipped => "skipped", Dead => "dead" });

/// What there is to tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum EventType {
    /// A payment went through.
    Completed,
    /// A payment did not go through.
    Failed,
    /// Money went back.
    Refunded,
}

names!(EventType { Completed => "payment.completed", Failed => "payment.failed", Refunded => "payment.refunded" });

impl EventType {
    /// The type of `event`; none for what nobody is told about.
    pub(crate) const fn of(event: &Event) -> Option<Self> {
        match event {
            Event::PaymentCompleted(_) => Some(Self::Completed),
            Event::PaymentFailed(_) => Some(Self::Failed),
            Event::PaymentRefunded(_) => Some(Self::Refunded),
            Event::StockUpdated(_) | Event::BasketCleared(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_read_as_it_is_written() {
        assert!(Channel::ALL.iter().all(|one| Channel::named(one.as_str()) == Some(*one)));
        assert!(Status::ALL.iter().all(|one| Status::named(one.as_str()) == Some(*one)));
        assert!(EventType::ALL.iter().all(|one| EventType::named(one.as_str()) == Some(*one)));
        assert_eq!(Channel::named("sms"), None);
    }
}
