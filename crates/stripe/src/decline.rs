//! What a decline means to the payer, by the bank's reason (docs.stripe.com/declines/codes).

/// What a decline means, and what of it may be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decline {
    /// The code to tell. What would warn a thief is told as any other decline, as Stripe asks for.
    pub code: &'static str,
    /// Whether another try may work: with another card, other data, or the same later.
    pub may_retry: bool,
}

/// Told when the reason is not to be told, or there is none.
const ANY: &str = "payment_declined";

/// Reasons, and what is told. All of them may be tried again, with the same card or another one.
const TOLD: [(&str, &str); 21] = [
    ("authentication_required", "authentication_required"),
    ("authentication_not_handled", "authentication_required"),
    // What Stripe says when the payer failed, or left, while his bank asked him.
    ("payment_intent_authentication_failure", "authentication_failed"),
    ("card_not_supported", "card_not_supported"),
    ("card_velocity_exceeded", "card_limit_exceeded"),
    ("withdrawal_count_limit_exceeded", "card_limit_exceeded"),
    ("currency_not_supported", "currency_not_supported"),
    ("duplicate_transaction", "duplicate_transaction"),
    ("expired_card", "expired_card"),
    ("incorrect_cvc", "incorrect_card_data"),
    ("incorrect_number", "incorrect_card_data"),
    ("incorrect_zip", "incorrect_card_data"),
    ("incorrect_address", "incorrect_card_data"),
    ("invalid_cvc", "incorrect_card_data"),
    ("invalid_expiry_month", "incorrect_card_data"),
    ("invalid_expiry_year", "incorrect_card_data"),
    ("invalid_number", "incorrect_card_data"),
    ("insufficient_funds", "insufficient_funds"),
    ("issuer_not_available", "try_again_later"),
    ("processing_error", "try_again_later"),
    ("try_again_later", "try_again_later"),
];

/// Reasons that end it: whoever holds the card is likely not whose it is, or must not pay with it, and a further try would be
/// held against the shop.
const FINAL: [&str; 9] = [
    "fraudulent",
    "lost_card",
    "merchant_blacklist",
    "pickup_card",
    "restricted_card",
    "revocation_of_all_authorizations",
    "security_violation",
    "stolen_card",
    "stop_payment_order",
];

/// What a decline means: of its `decline_code`, and where there is none, its `code`. One that is not known may be tried again,
/// for most are (`generic_decline`, `do_not_honor`), and it says nothing.
pub fn decline(reason: Option<&str>) -> Decline {
    let reason = reason.unwrap_or_default();
    let told = TOLD.iter().find(|(known, _)| *known == reason);
    Decline { code: told.map_or(ANY, |(_, code)| code), may_retry: !FINAL.contains(&reason) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thief_learns_nothing_and_tries_no_more() {
        for reason in FINAL {
            assert_eq!(decline(Some(reason)), Decline { code: "payment_declined", may_retry: false }, "{reason}");
        }
    }

    #[test]
    fn who_can_help_himself_is_told_how() {
        for (reason, code) in TOLD {
            assert_eq!(decline(Some(reason)), Decline { code, may_retry: true }, "{reason}");
        }
    }

    #[test]
    fn a_reason_that_says_nothing_or_is_new_may_be_tried_again() {
        for reason in [
            None,
            Some(""),
            Some("card_declined"),
            Some("generic_decline"),
            Some("do_not_honor"),
            Some("do_not_try_again"),
            Some("call_issuer"),
            Some("transaction_not_allowed"),
            Some("new_in_2030"),
        ] {
            assert_eq!(decline(reason), Decline { code: "payment_declined", may_retry: true }, "{reason:?}");
        }
    }
}
