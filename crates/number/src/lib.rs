//! Numbers as clients write them: read from their digits, so that they never become a binary float.

mod exact;

pub use exact::Exact;

/// A number in JSON's spelling (RFC 8259, section 6): `12.50`, `1E+2`, `-0.05`. Leading zeros are let through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Number<'a> {
    negative: bool,
    whole: &'a str,
    fraction: &'a str,
    exponent: i64,
}

/// Why a number is not a whole count of the unit asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unfit {
    /// It has more decimals than there are.
    Fraction,
    /// It is too far from zero for 64 bits.
    TooLarge,
}

/// Exponents beyond it say the same: nothing but zero is a whole number of 64 bits there.
const FARTHEST: i64 = 1_000_000_000;

/// Digits of the largest number of 64 bits.
const MOST_DIGITS: i64 = 20;

impl<'a> Number<'a> {
    /// Reads a number; none when `text` is something else.
    pub fn parse(text: &'a str) -> Option<Self> {
        let (negative, rest) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
        let (mantissa, exponent) = match rest.split_once(['e', 'E']) {
            Some((mantissa, exponent)) => (mantissa, parse_exponent(exponent)?),
            None => (rest, 0),
        };
        let (whole, fraction) = match mantissa.split_once('.') {
            Some((whole, fraction)) => (whole, digits(fraction)?),
            None => (mantissa, ""),
        };
        Some(Self { negative, whole: digits(whole)?, fraction, exponent })
    }

    /// The number times 10 to the power of `decimals`, exactly: minor units of a currency with so many decimals, the number
    /// itself for 0. Costs time by the length of the text, whatever its exponent says.
    pub fn scaled(&self, decimals: u32) -> Result<i128, Unfit> {
        let whole = self.whole.trim_start_matches('0');
        let all = [whole, self.fraction].concat();
        let all = all.trim_start_matches('0');
        let significant = all.trim_end_matches('0');
        if significant.is_empty() {
            return Ok(0);
        }
        let length = |text: &str| i64::try_from(text.len()).unwrap_or(FARTHEST);
        // The power of ten that the significant digits are to be multiplied with.
        let power = self.exponent - length(self.fraction) + length(all) - length(significant) + i64::from(decimals);
        if power < 0 {
            return Err(Unfit::Fraction);
        }
        if length(significant) + power > MOST_DIGITS {
            return Err(Unfit::TooLarge);
        }
        let magnitude = significant.parse::<i128>().map_err(|_| Unfit::TooLarge)?;
        let scale = u32::try_from(power).ok().and_then(|power| 10_i128.checked_pow(power)).ok_or(Unfit::TooLarge)?;
        let scaled = magnitude.checked_mul(scale).ok_or(Unfit::TooLarge)?;
        Ok(if self.negative { -scaled } else { scaled })
    }
}

fn digits(text: &str) -> Option<&str> {
    (!text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())).then_some(text)
}

fn parse_exponent(text: &str) -> Option<i64> {
    let (sign, text) = match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    // Digits that do not fit only say: very far.
    Some(sign * digits(text)?.parse().unwrap_or(FARTHEST).min(FARTHEST))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_of_a_number_is_the_number() {
        for (text, decimals, value) in [
            ("100", 0, 100),
            ("1E+2", 0, 100),
            ("1e2", 0, 100),
            ("100.0", 0, 100),
            ("1.2e1", 0, 12),
            ("12000e-3", 0, 12),
            ("5.0", 0, 5),
            ("5e0", 0, 5),
            ("-5.00", 0, -5),
            ("-0", 0, 0),
            ("0e999999999999999999999999", 0, 0),
            ("0.000", 0, 0),
            ("12.5", 2, 1250),
            ("1.25E+1", 2, 1250),
            ("0.05e-0", 2, 5),
            ("5e-3", 3, 5),
            ("007", 0, 7),
            ("9223372036854775807", 0, i128::from(i64::MAX)),
            ("-9223372036854775808.0", 0, i128::from(i64::MIN)),
            ("9007199254740993.0", 0, 9_007_199_254_740_993),
        ] {
            assert_eq!(Number::parse(text).expect(text).scaled(decimals), Ok(value), "{text}");
        }
    }

    #[test]
    fn what_is_not_whole_or_too_large_is_said_whatever_its_exponent() {
        let long = format!("0.{}1", "0".repeat(100_000));
        for (text, decimals, unfit) in [
            ("5.5", 0, Unfit::Fraction),
            ("5.0000000000000000000000001", 0, Unfit::Fraction),
            ("1.005", 2, Unfit::Fraction),
            ("1e-999999", 2, Unfit::Fraction),
            ("1e-99999999999999999999", 2, Unfit::Fraction),
            (long.as_str(), 2, Unfit::Fraction),
            ("1e999999", 0, Unfit::TooLarge),
            ("1e99999999999999999999", 0, Unfit::TooLarge),
            ("999999999999999999999", 0, Unfit::TooLarge),
        ] {
            assert_eq!(Number::parse(text).expect("a number").scaled(decimals), Err(unfit), "{text:.40}");
        }
    }

    #[test]
    fn what_is_no_number_is_none() {
        for text in [
            "", "-", "+1", ".5", "1.", "1e", "1e+", "e5", "1e5.0", "1,5", "١", "0x10", "NaN", "1 ", " 1", "--1",
            "1e--1", "1e5e5",
        ] {
            assert_eq!(Number::parse(text), None, "{text:?}");
        }
    }
}
