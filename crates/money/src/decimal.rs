//! A decimal as a client wrote it.

use std::borrow::Cow;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use serde_json::value::RawValue;
use shop_number::{Number, Unfit};

use crate::{Currency, MAX_MINOR, Money, MoneyError};

/// A decimal as a client wrote it: a JSON number or a string, kept to the letter until the currency is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decimal(String);

/// Characters of a client's text that an error repeats.
const ECHOED: usize = 40;

impl Decimal {
    /// The text: a number as JSON spells it, such as `12.50` or `1E+2`.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The amount of `currency`, exactly: trailing zeros are fine, further decimals are not.
    pub(crate) fn amount(&self, currency: Currency) -> Result<Money, MoneyError> {
        let number = Number::parse(&self.0).ok_or_else(|| not_decimal(&self.0))?;
        let decimals = currency.decimals();
        let minor = number.scaled(decimals).map_err(|unfit| match unfit {
            Unfit::Fraction => MoneyError::TooManyDecimals { text: echo(&self.0), currency, decimals },
            Unfit::TooLarge => MoneyError::OutOfRange,
        })?;
        let within = i64::try_from(minor).ok().filter(|minor| (-MAX_MINOR..=MAX_MINOR).contains(minor));
        within.map(|minor| Money::new(minor, currency)).ok_or(MoneyError::OutOfRange)
    }
}

impl FromStr for Decimal {
    type Err = MoneyError;

    fn from_str(text: &str) -> Result<Self, MoneyError> {
        Number::parse(text).ok_or_else(|| not_decimal(text))?;
        // Without the zeros before it, which JSON does not know: the text can be written as a number again.
        let (sign, digits) = text.strip_prefix('-').map_or(("", text), |digits| ("-", digits));
        let start = digits.trim_start_matches('0');
        let zero = if start.starts_with(|c: char| c.is_ascii_digit()) { "" } else { "0" };
        Ok(Self([sign, zero, start].concat()))
    }
}

impl From<Money> for Decimal {
    fn from(money: Money) -> Self {
        Self(money.to_string())
    }
}

impl Serialize for Decimal {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let raw = RawValue::from_string(self.0.clone()).map_err(serde::ser::Error::custom)?;
        raw.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Decimal {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // The raw text of the number: a binary float never comes into it.
        let raw = Box::<RawValue>::deserialize(deserializer)?;
        let text = if raw.get().starts_with('"') {
            serde_json::from_str::<Cow<'_, str>>(raw.get()).map_err(de::Error::custom)?
        } else {
            Cow::Borrowed(raw.get())
        };
        text.parse().map_err(de::Error::custom)
    }
}

fn not_decimal(text: &str) -> MoneyError {
    MoneyError::NotDecimal(echo(text))
}

fn echo(text: &str) -> String {
    text.chars().take(ECHOED).collect()
}
