//! What a payment method does, by the names of Stripe's own test methods (docs.stripe.com/testing).

/// What becomes of a confirmation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The money is there.
    Pay,
    /// The payer's bank asks him first.
    Ask,
    /// The money comes in some days.
    Wait,
    /// The bank says no: the error's code, and its reason.
    Decline(&'static str, &'static str),
}

/// What a confirmation token holds; a method that is named itself is that.
pub(super) fn held(token: &str) -> String {
    token.strip_prefix("ctoken_").map_or_else(|| token.to_owned(), |name| format!("pm_{name}"))
}

/// Whether the payer has to consent to it, which only a confirmation token tells.
pub(super) fn is_debit(method: &str) -> bool {
    method.starts_with("pm_sepaDebit")
}

/// The outcome for `method`; none when there is no such method.
pub(super) fn outcome(method: &str) -> Option<Outcome> {
    let name = method.strip_prefix("pm_")?;
    let name = name.strip_prefix("card_visa_").or_else(|| name.strip_prefix("card_")).unwrap_or(name);
    Some(match name {
        "chargeDeclined" => Outcome::Decline("card_declined", "generic_decline"),
        "chargeDeclinedInsufficientFunds" => Outcome::Decline("card_declined", "insufficient_funds"),
        "chargeDeclinedLostCard" => Outcome::Decline("card_declined", "lost_card"),
        "chargeDeclinedStolenCard" => Outcome::Decline("card_declined", "stolen_card"),
        "chargeDeclinedFraudulent" | "riskLevelHighest" => Outcome::Decline("card_declined", "fraudulent"),
        "chargeDeclinedVelocityLimitExceeded" => Outcome::Decline("card_declined", "card_velocity_exceeded"),
        "chargeDeclinedExpiredCard" => Outcome::Decline("expired_card", "expired_card"),
        "chargeDeclinedIncorrectCvc" => Outcome::Decline("incorrect_cvc", "incorrect_cvc"),
        "chargeDeclinedProcessingError" => Outcome::Decline("processing_error", "processing_error"),
        "threeDSecure2Required" | "threeDSecureRequired" | "authenticationRequired" => Outcome::Ask,
        "usBankAccount_success" | "usBankAccount_processing" | "sepaDebit" => Outcome::Wait,
        "missing" | "" => return None,
        _ => Outcome::Pay,
    })
}

/// Whether what is paid with it is disputed at once.
pub(super) fn is_disputed(method: &str) -> bool {
    method == "pm_card_createDispute"
}

/// Whether what is given back to it takes its time.
pub(super) fn is_refunded_later(method: &str) -> bool {
    method == "pm_card_pendingRefund"
}
