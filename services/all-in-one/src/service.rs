//! The parts of the suite, each of which can run here or elsewhere.

use serde::{Deserialize, Serialize};

/// A part of the suite that can run here or elsewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Service {
    /// The catalogue and its stock.
    Product,
    /// The baskets.
    Basket,
    /// The payments.
    Payment,
    /// E-mails and webhooks.
    Notification,
    /// The gateway in front.
    Gateway,
}

impl Service {
    /// The section of its settings.
    pub const fn section(self) -> &'static str {
        match self {
            Self::Product => "product",
            Self::Basket => "basket",
            Self::Payment => "payment",
            Self::Notification => "notification",
            Self::Gateway => "gateway",
        }
    }

    /// Every service, in the order they start.
    pub const ALL: [Self; 5] = [Self::Product, Self::Basket, Self::Payment, Self::Notification, Self::Gateway];
}
