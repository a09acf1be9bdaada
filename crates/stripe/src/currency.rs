//! Money as Stripe counts it (docs.stripe.com/currencies): nearly always as ISO 4217 does, and not quite.
//!
//! Stripe's table of currencies is not ISO's. UGX and ISK have no decimals but are counted in hundredths, as they once had; MGA
//! has two here and none there; of those with three decimals the last must be 0. HUF and TWD have two for charges (payouts alone
//! are whole). A currency that Stripe does not list is refused: a guess would be wrong by a factor of a hundred.

use shop_money::{Currency, Money, MoneyError};

/// Counted here and there in the same units.
const SAME: &str = "AED AFN ALL AMD ANG AOA ARS AUD AWG AZN BAM BBD BDT BGN BIF BMD BND BOB BRL BSD BWP BYN BZD CAD CDF CHF CLP CNY \
COP CRC CVE CZK DJF DKK DOP DZD EGP ETB EUR FJD FKP GBP GEL GIP GMD GNF GTQ GYD HKD HNL HTG HUF IDR ILS INR JMD JPY KES KGS KHR \
KMF KRW KYD KZT LAK LBP LKR LRD LSL MAD MDL MKD MMK MNT MOP MUR MVR MWK MXN MYR MZN NAD NGN NIO NOK NPR NZD PAB PEN PGK PHP PKR \
PLN PYG QAR RON RSD RUB RWF SAR SBD SCR SEK SGD SHP SLE SOS SRD SZL THB TJS TOP TRY TTD TWD TZS UAH USD UYU UZS VND VUV WST XAF \
XCD XCG XOF XPF YER ZAR ZMW";
/// Whole here, in hundredths there.
const HUNDREDTHS_THERE: &str = "ISK UGX";
/// In hundredths here, whole there.
const WHOLE_THERE: &str = "MGA";
/// In thousandths, of which the last digit must be 0.
const TENS: &str = "BHD JOD KWD OMR TND";

/// The least that can be charged, in our own minor units. Where a currency is not listed, Stripe works it out from the one that
/// the account is paid in, and says `amount_too_small`.
const LEAST: [(&str, i64); 24] = [
    ("AED", 200),
    ("AUD", 50),
    ("BGN", 100),
    ("BRL", 50),
    ("CAD", 50),
    ("CHF", 50),
    ("CZK", 1500),
    ("DKK", 250),
    ("EUR", 50),
    ("GBP", 30),
    ("HKD", 400),
    ("HUF", 17_500),
    ("INR", 50),
    ("JPY", 50),
    ("MXN", 1000),
    ("MYR", 200),
    ("NOK", 300),
    ("NZD", 50),
    ("PLN", 200),
    ("RON", 200),
    ("SEK", 300),
    ("SGD", 50),
    ("THB", 1000),
    ("USD", 50),
];

/// Why an amount is not one for Stripe.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AmountError {
    /// Stripe does not take it.
    #[error("stripe takes no {0}")]
    NotTaken(Currency),
    /// It has to be a multiple of something.
    #[error("stripe takes {currency} in steps of {step}")]
    Step {
        /// Of which currency.
        currency: Currency,
        /// The smallest amount, written with the currency's decimals.
        step: String,
    },
    /// Less than Stripe charges.
    #[error("stripe charges {currency} {least} at least")]
    TooSmall {
        /// Of which currency.
        currency: Currency,
        /// How much.
        least: String,
    },
    /// Not an amount of a currency at all.
    #[error(transparent)]
    Money(#[from] MoneyError),
}

/// How units there are made of ours.
enum Count {
    Same,
    Times(i64),
    /// And only what can be divided.
    By(i64),
    /// The same, and only multiples.
    Multiples(i64),
}

fn count(currency: Currency) -> Option<Count> {
    let is_in = |list: &str| list.split(' ').any(|code| code == currency.as_str());
    match () {
        () if is_in(SAME) => Some(Count::Same),
        () if is_in(HUNDREDTHS_THERE) => Some(Count::Times(100)),
        () if is_in(WHOLE_THERE) => Some(Count::By(100)),
        () if is_in(TENS) => Some(Count::Multiples(10)),
        () => None,
    }
}

/// `money` in Stripe's units, exactly. For what is given back, too, which may be less than can be charged.
pub fn units(money: Money) -> Result<i64, AmountError> {
    let Money { minor, currency } = money;
    let stepped = |step: i64| {
        let fits = minor % step == 0;
        let step = Money::new(step, currency).to_string();
        if fits { Ok(()) } else { Err(AmountError::Step { currency, step }) }
    };
    match count(currency).ok_or(AmountError::NotTaken(currency))? {
        Count::Same => Ok(minor),
        Count::Times(factor) => minor.checked_mul(factor).ok_or(MoneyError::OutOfRange.into()),
        Count::By(factor) => stepped(factor).map(|()| minor / factor),
        Count::Multiples(of) => stepped(of).map(|()| minor),
    }
}

/// The same for what is to be charged, which must not be too little.
pub fn chargeable(money: Money) -> Result<i64, AmountError> {
    let least = least(money.currency).unwrap_or_else(|| Money::new(1, money.currency));
    let units = units(money)?;
    if money.minor < least.minor {
        return Err(AmountError::TooSmall { currency: money.currency, least: least.to_string() });
    }
    Ok(units)
}

/// The least that can be charged, where that is known beforehand.
pub fn least(currency: Currency) -> Option<Money> {
    let known = LEAST.iter().find(|(code, _)| *code == currency.as_str());
    known.map(|(_, minor)| Money::new(*minor, currency))
}

/// The money that `units` of a `currency`, in Stripe's spelling, are.
pub fn money(units: i64, currency: &str) -> Result<Money, AmountError> {
    let currency: Currency = currency.parse()?;
    let minor = match count(currency).ok_or(AmountError::NotTaken(currency))? {
        Count::Same | Count::Multiples(_) => units,
        // Somebody gave back a hundredth at Stripe's own page: there is no such money here.
        Count::Times(factor) if units % factor != 0 => {
            let step = Money::new(1, currency).to_string();
            return Err(AmountError::Step { currency, step });
        }
        Count::Times(factor) => units / factor,
        Count::By(factor) => units.checked_mul(factor).ok_or(MoneyError::OutOfRange)?,
    };
    Ok(Money::new(minor, currency))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What one whole unit is in Stripe's, written down once more: of every currency there is here, or `-`.
    const ONE: &str = "AED 100 AFN 100 ALL 100 AMD 100 ANG 100 AOA 100 ARS 100 AUD 100 AWG 100 AZN 100 BAM 100 BBD 100 BDT 100 \
BGN 100 BHD 1000 BIF 1 BMD 100 BND 100 BOB 100 BRL 100 BSD 100 BTN - BWP 100 BYN 100 BZD 100 CAD 100 CDF 100 CHF 100 CLP 1 \
CNY 100 COP 100 CRC 100 CUP - CVE 100 CZK 100 DJF 1 DKK 100 DOP 100 DZD 100 EGP 100 ERN - ETB 100 EUR 100 FJD 100 FKP 100 \
GBP 100 GEL 100 GHS - GIP 100 GMD 100 GNF 1 GTQ 100 GYD 100 HKD 100 HNL 100 HTG 100 HUF 100 IDR 100 ILS 100 INR 100 IQD - \
IRR - ISK 100 JMD 100 JOD 1000 JPY 1 KES 100 KGS 100 KHR 100 KMF 1 KPW - KRW 1 KWD 1000 KYD 100 KZT 100 LAK 100 LBP 100 \
LKR 100 LRD 100 LSL 100 LYD - MAD 100 MDL 100 MGA 1 MKD 100 MMK 100 MNT 100 MOP 100 MRU - MUR 100 MVR 100 MWK 100 MXN 100 \
MYR 100 MZN 100 NAD 100 NGN 100 NIO 100 NOK 100 NPR 100 NZD 100 OMR 1000 PAB 100 PEN 100 PGK 100 PHP 100 PKR 100 PLN 100 \
PYG 1 QAR 100 RON 100 RSD 100 RUB 100 RWF 1 SAR 100 SBD 100 SCR 100 SDG - SEK 100 SGD 100 SHP 100 SLE 100 SOS 100 SRD 100 \
SSP - STN - SVC - SYP - SZL 100 THB 100 TJS 100 TMT - TND 1000 TOP 100 TRY 100 TTD 100 TWD 100 TZS 100 UAH 100 UGX 100 \
USD 100 UYU 100 UZS 100 VED - VES - VND 1 VUV 1 WST 100 XAF 1 XCD 100 XCG 100 XOF 1 XPF 1 YER 100 ZAR 100 ZMW 100 ZWG -";

    fn of(minor: i64, code: &str) -> Money {
        Money::new(minor, code.parse().expect("a currency"))
    }

    #[test]
    fn every_currency_of_the_shop_is_counted_as_stripe_does_both_ways_or_refused() {
        let mut table: Vec<(&str, &str)> =
            ONE.split_whitespace().collect::<Vec<_>>().chunks(2).map(|pair| (pair[0], pair[1])).collect();
        let mut codes: Vec<&str> = Currency::codes().collect();
        table.sort_unstable();
        codes.sort_unstable();
        assert_eq!(table.iter().map(|(code, _)| *code).collect::<Vec<_>>(), codes, "none is left out");
        for (code, there) in table {
            let currency: Currency = code.parse().expect("a currency");
            let one = Money::new(10_i64.pow(currency.decimals()), currency);
            let Ok(there) = there.parse::<i64>() else {
                assert_eq!(units(one), Err(AmountError::NotTaken(currency)));
                assert_eq!(money(100, code), Err(AmountError::NotTaken(currency)));
                continue;
            };
            for whole in [0, 1, 7, 100, 99_999] {
                let here = Money::new(one.minor * whole, currency);
                assert_eq!(units(here), Ok(there * whole), "{whole} {code}");
                assert_eq!(money(there * whole, &code.to_lowercase()), Ok(here), "{whole} {code} back");
            }
        }
    }

    #[test]
    fn parts_of_a_unit_are_sent_where_stripe_has_them() {
        for (minor, code, there) in [
            (1299, "USD", 1299),
            (1, "HUF", 1),
            (1250, "HUF", 1250),
            (12_345, "TWD", 12_345),
            (500, "JPY", 500),
            (5, "UGX", 500),
            (5, "ISK", 500),
            (12_300, "MGA", 123),
            (1230, "KWD", 1230),
        ] {
            assert_eq!(units(of(minor, code)), Ok(there), "{minor} {code}");
            assert_eq!(money(there, code), Ok(of(minor, code)), "{minor} {code} back");
        }
    }

    #[test]
    fn what_stripe_cannot_count_is_refused_and_never_rounded() {
        let error = |minor, code| units(of(minor, code)).expect_err("refused").to_string();
        assert_eq!(error(5124, "KWD"), "stripe takes KWD in steps of 0.010");
        assert_eq!(error(1250, "MGA"), "stripe takes MGA in steps of 1.00");
        assert_eq!(error(100, "KPW"), "stripe takes no KPW");
        assert_eq!(units(of(i64::MAX, "UGX")), Err(MoneyError::OutOfRange.into()));
        assert_eq!(money(550, "ugx").expect_err("refused").to_string(), "stripe takes UGX in steps of 1");
        assert_eq!(money(i64::MAX, "mga"), Err(MoneyError::OutOfRange.into()));
        assert!(money(5, "doubloon").is_err());
        assert_eq!(money(5124, "kwd"), Ok(of(5124, "KWD")), "what was taken is booked as it was");
    }

    #[test]
    fn too_little_is_said_with_what_would_do() {
        for (minor, code, least) in [
            (49, "USD", "stripe charges USD 0.50 at least"),
            (29, "GBP", "stripe charges GBP 0.30 at least"),
            (49, "JPY", "stripe charges JPY 50 at least"),
            (17_499, "HUF", "stripe charges HUF 175.00 at least"),
            (999, "MXN", "stripe charges MXN 10.00 at least"),
            (0, "UGX", "stripe charges UGX 1 at least"),
            (-50, "ZAR", "stripe charges ZAR 0.01 at least"),
        ] {
            assert_eq!(chargeable(of(minor, code)).expect_err("too little").to_string(), least);
            assert!(units(of(minor, code)).is_ok(), "but it may be given back");
        }
        for (code, minor) in LEAST {
            assert!(chargeable(of(minor, code)).is_ok(), "{code}");
        }
        assert_eq!(chargeable(of(1, "UGX")), Ok(100));
    }
}
