//! Payments as gRPC messages.

use shop_input::invalid_parameter;
use shop_proto::payment::v1 as proto;
use shop_proto::timestamp;
use tonic::Status as Refusal;

use super::super::view::REDIRECT;
use crate::domain::{Capture, Dispute, DisputeOutcome, Item, Method, Note, Payment, Refund, RefundStatus, Status};

impl From<Payment> for proto::Payment {
    fn from(payment: Payment) -> Self {
        let known = |refund: &&Refund| refund.status != RefundStatus::Requested;
        let captured = payment.captured_amount();
        let failure = payment
            .failure
            .as_ref()
            .map(|why| proto::PaymentFailure { code: why.code.clone(), message: why.message.clone() });
        let is_open = payment.status == Status::Pending;
        let (last_failure, failure) = if is_open { (failure, None) } else { (None, failure) };
        Self {
            id: payment.id.to_string(),
            user_id: payment.user_id.as_str().to_owned(),
            basket_id: payment.basket_id.to_string(),
            amount: Some(payment.amount.into()),
            refunded_amount: Some(payment.refunded().into()),
            currency: payment.amount.currency.to_string(),
            status: status(payment.status).into(),
            method: method(payment.method).into(),
            description: payment.description.as_ref().map(Note::as_str).unwrap_or_default().to_owned(),
            metadata: payment.metadata.pairs().clone().into_iter().collect(),
            items: payment.items.iter().map(item).collect(),
            refunds: payment.refunds.iter().filter(known).map(refund).collect(),
            failure,
            capture: capture(payment.capture).into(),
            captured_amount: Some(captured.into()),
            attempts: payment.attempts,
            last_failure,
            next_action: payment.action.map(|action| proto::NextAction {
                r#type: REDIRECT.to_owned(),
                url: action.url,
                expires_at: Some(timestamp(action.until)),
            }),
            authorised_until: payment.authorised_until.map(timestamp),
            dispute: payment.dispute.map(dispute),
            provider: payment.provider,
            provider_id: payment.reference.map_or_else(String::new, |reference| reference.to_string()),
            created_at: Some(timestamp(payment.created_at)),
            updated_at: Some(timestamp(payment.updated_at)),
            processed_at: payment.processed_at.map(timestamp),
            expires_at: Some(timestamp(payment.expires_at)),
        }
    }
}

fn item(item: &Item) -> proto::PaymentItem {
    proto::PaymentItem {
        id: item.id.to_string(),
        product_id: item.product_id,
        name: item.name.clone(),
        quantity: item.quantity,
        price: Some(item.price.into()),
        subtotal: Some(item.subtotal.into()),
        category: item.category.clone(),
        created_at: Some(timestamp(item.created_at)),
    }
}

fn refund(refund: &Refund) -> proto::Refund {
    proto::Refund {
        id: refund.id.to_string(),
        amount: Some(refund.amount.into()),
        reason: refund.reason.as_ref().map(Note::as_str).unwrap_or_default().to_owned(),
        created_at: Some(timestamp(refund.created_at)),
        status: match refund.status {
            RefundStatus::Requested => proto::RefundStatus::Unspecified,
            RefundStatus::Pending => proto::RefundStatus::Pending,
            RefundStatus::Paid => proto::RefundStatus::Paid,
            RefundStatus::Failed => proto::RefundStatus::Failed,
        }
        .into(),
    }
}

fn dispute(dispute: Dispute) -> proto::Dispute {
    let outcome = match dispute.outcome {
        None => proto::DisputeOutcome::Unspecified,
        Some(DisputeOutcome::Won) => proto::DisputeOutcome::Won,
        Some(DisputeOutcome::Lost) => proto::DisputeOutcome::Lost,
    };
    proto::Dispute { amount: Some(dispute.amount.into()), reason: dispute.reason, outcome: outcome.into() }
}

const fn capture(capture: Capture) -> proto::Capture {
    match capture {
        Capture::Automatic => proto::Capture::Automatic,
        Capture::Manual => proto::Capture::Manual,
    }
}

/// The name the order is checked by; none when it is not set.
pub(super) fn capture_name(sent: i32) -> Option<String> {
    let known = Capture::ALL.into_iter().find(|known| i32::from(capture(*known)) == sent);
    match known {
        Some(known) => Some(known.as_str().to_owned()),
        None if sent == i32::from(proto::Capture::Unspecified) => None,
        // Refused by the check of the order, by its field.
        None => Some(sent.to_string()),
    }
}

const fn status(status: Status) -> proto::PaymentStatus {
    match status {
        Status::Pending => proto::PaymentStatus::Pending,
        Status::Processing => proto::PaymentStatus::Processing,
        Status::RequiresAction => proto::PaymentStatus::RequiresAction,
        Status::Authorised => proto::PaymentStatus::Authorised,
        Status::Completed => proto::PaymentStatus::Completed,
        Status::PartiallyRefunded => proto::PaymentStatus::PartiallyRefunded,
        Status::Refunded => proto::PaymentStatus::Refunded,
        Status::Failed => proto::PaymentStatus::Failed,
        Status::Cancelled => proto::PaymentStatus::Cancelled,
    }
}

const fn method(method: Method) -> proto::PaymentMethod {
    match method {
        Method::CreditCard => proto::PaymentMethod::CreditCard,
        Method::DebitCard => proto::PaymentMethod::DebitCard,
        Method::Paypal => proto::PaymentMethod::Paypal,
        Method::Stripe => proto::PaymentMethod::Stripe,
        Method::BankTransfer => proto::PaymentMethod::BankTransfer,
        Method::Crypto => proto::PaymentMethod::Crypto,
    }
}

/// The name the order is checked by; empty, and so refused there, when it is not set.
pub(super) fn method_name(sent: proto::PaymentMethod) -> &'static str {
    Method::ALL.into_iter().find(|known| method(*known) == sent).map_or("", Method::as_str)
}

/// The status to filter by; unspecified is any.
pub(super) fn status_filter(sent: i32) -> Result<Option<Status>, Refusal> {
    if sent == i32::from(proto::PaymentStatus::Unspecified) {
        return Ok(None);
    }
    let known = Status::ALL.into_iter().find(|known| i32::from(status(*known)) == sent);
    known.map(Some).ok_or_else(|| shop_rpc::status(invalid_parameter("status", "is not a payment status")))
}
