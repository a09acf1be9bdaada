//! What is broken at the moment.

use std::str::FromStr;
use std::time::Duration;

/// A share.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Percent(pub(crate) u8);

impl FromStr for Percent {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let number = text.strip_suffix('%').unwrap_or(text).parse().ok().filter(|number| *number <= 100);
        number.map(Self).ok_or_else(|| "use a whole number from 0% to 100%".to_owned())
    }
}

/// Who takes events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Consumer {
    /// Empties baskets that were paid for.
    Basket,
    /// Counts what was sold, and keeps the stock.
    Product,
    /// Tells buyers and other systems.
    Notification,
}

impl Consumer {
    /// Its name.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Basket => "basket",
            Self::Product => "product",
            Self::Notification => "notification",
        }
    }
}

/// How the bank calls the shop about buyers who confirmed there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Webhooks {
    /// Five seconds later.
    Late,
    /// Three times.
    Repeated,
    /// Not at all.
    Lost,
}

impl Webhooks {
    /// Its name.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Late => "late",
            Self::Repeated => "repeated",
            Self::Lost => "lost",
        }
    }
}

/// What is broken at the moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Broken {
    /// By how much product answers later.
    pub(crate) slow: Duration,
    /// How many charges go wrong.
    pub(crate) failing: Percent,
    /// Who takes no events.
    pub(crate) dead: Option<Consumer>,
    /// How webhooks come, if not at once.
    pub(crate) webhooks: Option<Webhooks>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_a_percentage_with_or_without_its_sign() {
        assert_eq!("30%".parse(), Ok(Percent(30)));
        assert_eq!("100".parse(), Ok(Percent(100)));
        for wrong in ["101%", "-1", "0.3", "%", ""] {
            assert!(wrong.parse::<Percent>().is_err(), "{wrong}");
        }
    }
}
