//! What requests ask for, the same however they were written, so that a repeat is known for one.

use serde_json::{Value, json};

use crate::domain::{Amount, Capture, Error, Note, Order, RawOrder, SANDBOX, Token};

/// Of a payment to make.
pub(super) fn order(order: RawOrder) -> Result<Value, Error> {
    let Order {
        user_id,
        basket_id,
        method,
        capture,
        provider,
        currency,
        description,
        metadata,
        expected_total,
        basket_version,
    } = order.check()?;
    let mut canonical = json!({
        "user_id": user_id.as_str(),
        "basket_id": basket_id,
        "method": method.as_str(),
        // As it was before a shop had a choice.
        "provider": provider.as_deref().unwrap_or(SANDBOX),
        "currency": currency.map(|currency| currency.to_string()),
        "description": description.as_ref().map(Note::as_str),
        "metadata": metadata.pairs(),
        "expected_total": expected_total.as_ref().map(amount),
        "basket_version": basket_version,
    });
    // Left out where it was left out before there was a choice.
    if capture != Capture::Automatic {
        canonical["capture"] = capture.as_str().into();
    }
    Ok(canonical)
}

/// Of a capture.
pub(super) fn capture(asked: Option<&Amount>) -> Value {
    json!({ "amount": asked.map(amount) })
}

/// Of a charge.
pub(super) fn charge(token: Option<&str>) -> Result<Value, Error> {
    Ok(json!({ "payment_token": Token::read(token)?.unwrap_or_else(Token::approving).expose() }))
}

/// Of a refund.
pub(super) fn refund(asked: Option<&Amount>, reason: Option<&str>, restock: bool) -> Result<Value, Error> {
    let reason = Note::reason(reason)?;
    Ok(json!({ "amount": asked.map(amount), "reason": reason.as_ref().map(Note::as_str), "restock": restock }))
}

fn amount(amount: &Amount) -> Value {
    match amount {
        Amount::Decimal(decimal) => json!(plain(decimal.as_str())),
        Amount::Exact(money) => json!([money.minor, money.currency.to_string()]),
    }
}

/// The decimal in its one spelling: digits that begin and end with no zero, and where the point is.
fn plain(text: &str) -> String {
    let (sign, rest) = text.strip_prefix('-').map_or(("", text), |rest| ("-", rest));
    let (mantissa, exponent) = rest.split_once(['e', 'E']).unwrap_or((rest, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let (digits, places) = ([whole, fraction].concat(), i64::try_from(fraction.len()).unwrap_or(i64::MAX));
    let digits = digits.trim_start_matches('0');
    let kept = digits.trim_end_matches('0');
    let dropped = i64::try_from(digits.len() - kept.len()).unwrap_or(i64::MAX);
    match exponent.parse::<i64>().ok().and_then(|exponent| exponent.checked_sub(places)?.checked_add(dropped)) {
        _ if kept.is_empty() => "0".to_owned(),
        Some(exponent) => format!("{sign}{kept}e{exponent}"),
        // Far out of any range.
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_of_one_size_are_the_same() {
        for (text, same) in [
            ("1.5", &["1.50", "1.500", "01.5", "15e-1", "0.15E+1", "150e-2"][..]),
            ("100", &["1e2", "100.0", "0100", "1E+2"]),
            ("0.1", &["0.10", "1e-1", ".1"]),
            ("0", &["0.00", "-0", "0e5"]),
            ("-1.5", &["-1.50"]),
        ] {
            for other in same {
                assert_eq!(plain(other), plain(text), "{other}");
            }
        }
        for other in ["15", "-1.5", "1.05", "10.5", "1", "1.5e1", "0", "1e99999999999999999999"] {
            assert_ne!(plain(other), plain("1.5"), "{other}");
        }
    }

    #[test]
    fn defaults_may_be_spelled_out() {
        let short = RawOrder { user_id: "ada".to_owned(), method: "paypal".to_owned(), ..RawOrder::default() };
        let long = RawOrder {
            user_id: " ada ".to_owned(),
            method: "paypal ".to_owned(),
            provider: Some("sandbox".to_owned()),
            description: Some("  ".to_owned()),
            ..RawOrder::default()
        };
        assert_eq!(order(short).expect("valid"), order(long).expect("valid"));
        assert_eq!(charge(None).expect("valid"), charge(Some("tok_approve")).expect("valid"));
        assert_ne!(charge(None).expect("valid"), charge(Some("tok_decline")).expect("valid"));
        assert!(charge(Some("4111 1111 1111 1111")).is_err() && order(RawOrder::default()).is_err());
    }
}
