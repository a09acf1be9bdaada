//! The active currencies of ISO 4217 and their decimals.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::MoneyError;

/// An ISO 4217 currency with minor units (funds, metals and test codes are left out).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Currency([u8; 3]);

const TWO: &str = "AED AFN ALL AMD ANG AOA ARS AUD AWG AZN BAM BBD BDT BGN BMD BND BOB BRL BSD BTN BWP BYN BZD CAD CDF \
CHF CNY COP CRC CUP CVE CZK DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GTQ GYD HKD HNL HTG HUF IDR ILS \
INR IRR JMD KES KGS KHR KPW KYD KZT LAK LBP LKR LRD LSL MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK MXN MYR MZN NAD \
NGN NIO NOK NPR NZD PAB PEN PGK PHP PKR PLN QAR RON RSD RUB SAR SBD SCR SDG SEK SGD SHP SLE SOS SRD SSP STN SVC SYP \
SZL THB TJS TMT TOP TRY TTD TWD TZS UAH USD UYU UZS VED VES WST XCD XCG YER ZAR ZMW ZWG";
const NONE: &str = "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX VND VUV XAF XOF XPF";
const THREE: &str = "BHD IQD JOD KWD LYD OMR TND";

impl Currency {
    /// The US dollar: what an amount is in when nothing is said.
    pub const USD: Self = Self(*b"USD");

    /// The codes of all of them.
    pub fn codes() -> impl Iterator<Item = &'static str> {
        [TWO, NONE, THREE].into_iter().flat_map(|list| list.split(' '))
    }

    /// How many decimals an amount has: 0, 2 or 3.
    pub const fn decimals(self) -> u32 {
        match &self.0 {
            b"BIF" | b"CLP" | b"DJF" | b"GNF" | b"ISK" | b"JPY" | b"KMF" | b"KRW" | b"PYG" | b"RWF" | b"UGX"
            | b"VND" | b"VUV" | b"XAF" | b"XOF" | b"XPF" => 0,
            b"BHD" | b"IQD" | b"JOD" | b"KWD" | b"LYD" | b"OMR" | b"TND" => 3,
            _ => 2,
        }
    }

    /// The three letters.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or("USD")
    }
}

impl Default for Currency {
    fn default() -> Self {
        Self::USD
    }
}

impl FromStr for Currency {
    type Err = MoneyError;

    /// Reads the code in any case; an unknown one is an error.
    fn from_str(text: &str) -> Result<Self, MoneyError> {
        let unknown = || MoneyError::UnknownCurrency(text.chars().take(10).collect());
        let mut code: [u8; 3] = text.as_bytes().try_into().map_err(|_| unknown())?;
        code.make_ascii_uppercase();
        let known = Self::codes().any(|known| known.as_bytes() == code);
        if known { Ok(Self(code)) } else { Err(unknown()) }
    }
}

impl fmt::Display for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for Currency {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for Currency {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        std::borrow::Cow::<'de, str>::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_listed_currency_has_its_decimals() {
        for (list, decimals) in [(TWO, 2), (NONE, 0), (THREE, 3)] {
            for code in list.split(' ') {
                assert_eq!(code.parse::<Currency>().map(Currency::decimals), Ok(decimals), "{code}");
            }
        }
    }

    #[test]
    fn codes_are_read_in_any_case_and_unknown_ones_refused() {
        assert_eq!("eur".parse::<Currency>().map(|c| c.to_string()).as_deref(), Ok("EUR"));
        let read: Currency = serde_json::from_str("\"eur\"").expect("a currency");
        assert_eq!((format!("{read:?}"), read.as_str()), ("EUR".to_owned(), "EUR"));
        for code in ["", "US", "USDX", "XXX", "É1", "ZZZ"] {
            assert!(code.parse::<Currency>().is_err(), "{code}");
        }
    }
}
