//! Money as whole minor units of a currency: exact in every sum, decimal only at the edge.

mod currency;
mod decimal;

use std::fmt;

use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

pub use currency::Currency;
pub use decimal::Decimal;

/// The largest amount accepted at the edge, in minor units: sums of hundreds of thousands of such amounts still fit.
pub const MAX_MINOR: i64 = 10_000_000_000_000;

/// Why an amount is not one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MoneyError {
    /// Not a decimal number.
    #[error("`{0}` is not a decimal amount such as 12.50")]
    NotDecimal(String),
    /// More decimals than the currency has.
    #[error("{currency} has {decimals} decimals, `{text}` has more")]
    TooManyDecimals {
        /// What was given.
        text: String,
        /// The currency meant.
        currency: Currency,
        /// How many decimals it has.
        decimals: u32,
    },
    /// Over [`MAX_MINOR`], or a sum that left the range.
    #[error("the amount is out of range")]
    OutOfRange,
    /// Two currencies in one sum.
    #[error("{0} and {1} cannot be added")]
    CurrencyMismatch(Currency, Currency),
    /// Not an ISO 4217 code.
    #[error("`{0}` is not an ISO 4217 currency code such as USD")]
    UnknownCurrency(String),
}

/// An amount of one currency, in minor units (cents for USD, yen for JPY).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Money {
    /// Minor units; may be negative in differences.
    pub minor: i64,
    /// The currency.
    pub currency: Currency,
}

impl Money {
    /// `minor` units of `currency`.
    pub const fn new(minor: i64, currency: Currency) -> Self {
        Self { minor, currency }
    }

    /// Nothing of `currency`.
    pub const fn zero(currency: Currency) -> Self {
        Self { minor: 0, currency }
    }

    /// Reads a decimal as an amount of `currency`, exactly: trailing zeros are fine, further decimals are not.
    pub fn parse(decimal: &Decimal, currency: Currency) -> Result<Self, MoneyError> {
        decimal.amount(currency)
    }

    /// The sum, of one currency and in range.
    pub fn checked_add(self, other: Self) -> Result<Self, MoneyError> {
        self.same_currency(other)?;
        self.minor.checked_add(other.minor).map(|minor| Self { minor, ..self }).ok_or(MoneyError::OutOfRange)
    }

    /// The difference, of one currency and in range.
    pub fn checked_sub(self, other: Self) -> Result<Self, MoneyError> {
        self.same_currency(other)?;
        self.minor.checked_sub(other.minor).map(|minor| Self { minor, ..self }).ok_or(MoneyError::OutOfRange)
    }

    /// `quantity` times the amount, in range.
    pub fn checked_mul(self, quantity: u32) -> Result<Self, MoneyError> {
        let minor = self.minor.checked_mul(i64::from(quantity)).ok_or(MoneyError::OutOfRange)?;
        Ok(Self { minor, ..self })
    }

    /// The amount as it goes into JSON.
    pub const fn amount(self) -> Amount {
        Amount(self)
    }

    fn same_currency(self, other: Self) -> Result<(), MoneyError> {
        if self.currency == other.currency {
            Ok(())
        } else {
            Err(MoneyError::CurrencyMismatch(self.currency, other.currency))
        }
    }
}

/// The amount without its currency, with the currency's decimals: `1299.90`, `-0.05`, `1300` (JPY).
impl fmt::Display for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let decimals = self.currency.decimals();
        let sign = if self.minor < 0 { "-" } else { "" };
        let units = self.minor.unsigned_abs();
        let scale = 10_u64.pow(decimals);
        match decimals {
            0 => write!(f, "{sign}{units}"),
            _ => write!(f, "{sign}{}.{:0width$}", units / scale, units % scale, width = decimals as usize),
        }
    }
}

/// An amount in JSON: a number with exactly the currency's decimals (`1299.90`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Amount(Money);

impl Serialize for Amount {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let raw = RawValue::from_string(self.0.to_string()).map_err(serde::ser::Error::custom)?;
        raw.serialize(serializer)
    }
}

impl From<Money> for Amount {
    fn from(money: Money) -> Self {
        Self(money)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(json: &str, currency: &str) -> Result<i64, String> {
        let decimal: Decimal = serde_json::from_str(json).map_err(|error| error.to_string())?;
        let currency = currency.parse::<Currency>().expect("a currency");
        Money::parse(&decimal, currency).map(|money| money.minor).map_err(|error| error.to_string())
    }

    #[test]
    fn amounts_are_read_exactly() {
        for (json, currency, minor) in [
            ("1299.99", "USD", 129_999),
            ("\"1299.99\"", "USD", 129_999),
            ("0.1", "USD", 10),
            ("12.500", "USD", 1250),
            ("12", "USD", 1200),
            ("-0.05", "EUR", -5),
            ("1300", "JPY", 1300),
            ("1300.0", "JPY", 1300),
            ("1.234", "KWD", 1234),
            ("90071992547.41", "USD", 9_007_199_254_741),
            ("1E+2", "USD", 10_000),
            ("1.25e1", "USD", 1250),
            ("\"1.25E+1\"", "USD", 1250),
            ("1250e-2", "USD", 1250),
            ("1e2", "JPY", 100),
            ("12.50000000000000000000000000000000000000000000", "USD", 1250),
            ("0e999999", "USD", 0),
            ("\"0012.50\"", "USD", 1250),
            ("\"\\u0031\"", "USD", 100),
        ] {
            assert_eq!(parse(json, currency), Ok(minor), "{json} {currency}");
        }
    }

    #[test]
    fn what_is_no_amount_is_refused() {
        for json in [
            "\"\"", "\" \"", "\"1.\"", "\".5\"", "\"+1\"", "\"1,5\"", "\"1e\"", "\"NaN\"", "true", "null", "[1]",
            "\"١\"",
        ] {
            assert!(parse(json, "USD").is_err(), "{json}");
        }
        assert_eq!(parse("1.005", "USD").unwrap_err(), "USD has 2 decimals, `1.005` has more");
        assert_eq!(parse("0.5", "JPY").unwrap_err(), "JPY has 0 decimals, `0.5` has more");
        for json in ["99999999999999999999", "1e999999", "-1e999999", "1e99999999999999999999", "-100000000000.01"] {
            assert_eq!(parse(json, "USD").unwrap_err(), "the amount is out of range", "{json}");
        }
        assert_eq!(parse("1e-999999", "USD").unwrap_err(), "USD has 2 decimals, `1e-999999` has more");
    }

    #[test]
    fn a_decimal_can_be_written_as_it_was_read() {
        for (text, json) in [("1E+2", "1E+2"), ("007.50", "7.50"), ("-00", "-0"), ("00e5", "0e5"), ("0.5", "0.5")] {
            let decimal: Decimal = text.parse().expect("a decimal");
            assert_eq!(decimal.as_str(), json);
            assert_eq!(serde_json::to_string(&decimal).expect("json"), json);
        }
    }

    #[test]
    fn amounts_are_written_with_the_currencys_decimals() {
        for (minor, currency, json) in [
            (129_990, "USD", "1299.90"),
            (5, "USD", "0.05"),
            (-5, "USD", "-0.05"),
            (0, "USD", "0.00"),
            (1300, "JPY", "1300"),
            (1, "BHD", "0.001"),
        ] {
            let money = Money::new(minor, currency.parse().expect("a currency"));
            assert_eq!(serde_json::to_string(&money.amount()).expect("json"), json);
        }
    }

    #[test]
    fn sums_never_wrap_and_never_mix() {
        let usd = |minor| Money::new(minor, Currency::USD);
        assert_eq!(usd(i64::MAX).checked_add(usd(1)), Err(MoneyError::OutOfRange));
        assert_eq!(usd(i64::MAX).checked_mul(2), Err(MoneyError::OutOfRange));
        assert!(usd(1).checked_add(Money::new(1, "EUR".parse().expect("EUR"))).is_err());
        assert_eq!(usd(250).checked_add(usd(50)), Ok(usd(300)));
        assert_eq!(usd(250).checked_mul(3).and_then(|sum| sum.checked_sub(usd(50))), Ok(usd(700)));
    }
}
