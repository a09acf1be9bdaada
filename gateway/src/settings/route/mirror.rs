//! Copies of a route's requests for another service.

use std::fmt;

use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use shop_config::Problems;

/// A service that gets a copy of requests, and whose answers nobody sees: so that it can be tried on what clients really ask.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mirror {
    /// The name of the service.
    pub service: String,
    /// Of how many requests in a hundred; all by default.
    #[serde(default)]
    pub percent: Percent,
    /// Bytes of a body that are copied. A request with a larger one is not mirrored: each is held in memory until it is whole.
    #[serde(default = "body_limit")]
    pub body_limit: usize,
}

const fn body_limit() -> usize {
    64 * 1024
}

impl Mirror {
    /// Finds wrong values.
    pub(super) fn check(&self, problems: &mut Problems) {
        problems.ensure(
            self.body_limit <= 1024 * 1024,
            "body_limit",
            "use at most 1048576 bytes: they are held per copy",
        );
    }
}

/// A part of all, exact to a ten-thousandth of a hundredth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Percent(u32);

impl Percent {
    /// As many parts are all.
    pub const ALL: u32 = 1_000_000;

    /// So many parts of [`Self::ALL`].
    pub const fn parts(self) -> u32 {
        self.0
    }
}

impl Default for Percent {
    fn default() -> Self {
        Self(Self::ALL)
    }
}

impl Serialize for Percent {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(f64::from(self.0) / 10_000.0)
    }
}

impl<'de> Deserialize<'de> for Percent {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl Visitor<'_> for Reader {
            type Value = Percent;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number from 0 to 100, such as 2.5")
            }

            fn visit_f64<E: de::Error>(self, percent: f64) -> Result<Percent, E> {
                if !(0.0..=100.0).contains(&percent) {
                    return Err(E::invalid_value(de::Unexpected::Float(percent), &self));
                }
                #[expect(
                    clippy::cast_possible_truncation,
                    clippy::cast_sign_loss,
                    reason = "0 to a million, see above"
                )]
                Ok(Percent((percent * 10_000.0).round() as u32))
            }

            fn visit_u64<E: de::Error>(self, percent: u64) -> Result<Percent, E> {
                let number = u32::try_from(percent).map_or(f64::INFINITY, f64::from);
                self.visit_f64(number)
            }

            fn visit_i64<E: de::Error>(self, percent: i64) -> Result<Percent, E> {
                match u64::try_from(percent) {
                    Ok(percent) => self.visit_u64(percent),
                    Err(_) => Err(E::invalid_value(de::Unexpected::Signed(percent), &self)),
                }
            }
        }
        deserializer.deserialize_any(Reader)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_said_in_hundredths() {
        for (value, parts) in [
            (serde_json::json!(100), 1_000_000),
            (serde_json::json!(1), 10_000),
            (serde_json::json!(0.5), 5_000),
            (serde_json::json!(0), 0),
            (serde_json::json!(0.0001), 1),
        ] {
            let percent: Percent = serde_json::from_value(value.clone()).expect("a part");
            assert_eq!(percent.parts(), parts, "{value}");
            let again = serde_json::to_value(percent).and_then(serde_json::from_value).expect("as it is shown");
            assert_eq!(percent, again);
        }
        for wrong in [serde_json::json!(101), serde_json::json!(-1), serde_json::json!(100.5), serde_json::json!("1")] {
            assert!(serde_json::from_value::<Percent>(wrong.clone()).is_err(), "{wrong}");
        }
    }
}
