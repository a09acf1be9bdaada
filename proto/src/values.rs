//! Amounts and times, as messages and as the services know them.

use prost_types::Timestamp;
use shop_money::{Currency, Money, MoneyError};
use time::OffsetDateTime;

use crate::common::v1;

impl From<Money> for v1::Money {
    fn from(money: Money) -> Self {
        Self { minor_units: money.minor, currency: money.currency.to_string() }
    }
}

impl TryFrom<v1::Money> for Money {
    type Error = MoneyError;

    fn try_from(sent: v1::Money) -> Result<Self, MoneyError> {
        Ok(Self::new(sent.minor_units, sent.currency.parse::<Currency>()?))
    }
}

/// A time as a message.
pub fn timestamp(at: OffsetDateTime) -> Timestamp {
    // Nanoseconds of a second always fit.
    Timestamp { seconds: at.unix_timestamp(), nanos: i32::try_from(at.nanosecond()).unwrap_or_default() }
}

/// The time of a message, to the millisecond; clamps to the years 1–9999.
pub fn time(at: Timestamp) -> OffsetDateTime {
    shop_clock::from_millis(at.seconds.saturating_mul(1000).saturating_add(i64::from(at.nanos) / 1_000_000))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_and_times_come_back_as_they_went() {
        let money = Money::new(1250, Currency::USD);
        assert_eq!(Money::try_from(v1::Money::from(money)), Ok(money));
        assert!(Money::try_from(v1::Money { minor_units: 1, currency: "??".to_owned() }).is_err());
        let at = shop_clock::from_millis(1_767_355_445_678);
        assert_eq!(time(timestamp(at)), at);
    }
}
