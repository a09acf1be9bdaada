//! Payments as clients see them.

use std::collections::BTreeMap;

use salvo::oapi::ToSchema;
use serde::Serialize;
use shop_web::page::Listed;
use shop_web::{describe, schema};

use super::http::body::{CaptureName, Description, MethodName, OwnPairs, ProviderName, Reason};
use crate::domain::{
    DisputeOutcome, Failure, Item, MAX_ATTEMPTS, MAX_REASON, MAX_URL, Note, Payment, Refund, RefundStatus, Status,
};

/// What a user has to do: to go somewhere, and to come back.
pub(super) const REDIRECT: &str = "redirect";

describe! {
    pub(super) StatusName(Status) = describe::names(Status::ALL.map(Status::as_str))
        .description("Where a payment stands") => "PaymentStatus";
    ProviderId(String) = describe::string(1..=255).example("sandbox_019b7c2e");
    FailureCode(String) = describe::string(1..=64).pattern("^[a-z][a-z0-9_]*$").example("card_declined");
    FailureMessage(String) = describe::string(1..=500).example("the card was declined");
    Attempts(u32) = describe::integer(0..=i64::from(MAX_ATTEMPTS)).example(1);
    ActionType = describe::names([REDIRECT]);
    ActionUrl(String) = describe::string(1..=MAX_URL).example("https://provider.example/confirm/019b7c2e");
    RefundStatusName(RefundStatus) =
        describe::names([RefundStatus::Pending, RefundStatus::Paid, RefundStatus::Failed].map(RefundStatus::as_str));
    OutcomeName(DisputeOutcome) = describe::names(DisputeOutcome::ALL.map(DisputeOutcome::as_str));
    DisputeReason(String) = describe::string(1..=MAX_REASON).example("product_not_received");
    Units(u32) = describe::integer(1..=999).example(2);
    ProductName(String) = describe::string(1..=200).example("Walnut standing desk");
    ProductCategory(String) = describe::string(1..=100).example("furniture");
}

/// A payment with everything that happened to it.
#[derive(Debug, Serialize, ToSchema)]
#[salvo(schema(name = "Payment"))]
pub(super) struct PaymentView {
    /// Also the id of its stock reservation.
    id: describe::Id,
    /// Who pays.
    user_id: schema::UserId,
    /// The basket that is paid.
    basket_id: describe::Id,
    /// What is charged.
    amount: describe::Amount,
    /// What was taken; refunds are of that.
    captured_amount: describe::Amount,
    /// What went back so far.
    refunded_amount: describe::Amount,
    /// ISO 4217 code of every amount here.
    currency: describe::CurrencyCode,
    /// Where it stands.
    status: StatusName,
    /// What the user pays with.
    #[salvo(schema(value_type = MethodName))]
    method: &'static str,
    /// When the money is taken.
    #[salvo(schema(value_type = CaptureName))]
    capture: &'static str,
    /// Who charges; `none` while no provider is configured.
    #[salvo(schema(value_type = ProviderName))]
    provider: String,
    /// The provider's own id of the charge.
    provider_id: Option<ProviderId>,
    /// Free text for people.
    #[salvo(schema(value_type = Option<Description>))]
    description: Option<String>,
    /// The caller's own pairs.
    #[salvo(schema(value_type = OwnPairs))]
    metadata: BTreeMap<String, String>,
    /// What is bought.
    #[salvo(schema(max_items = 100))]
    items: Vec<ItemView>,
    /// Why it failed.
    failure: Option<FailureView>,
    /// How often it was charged.
    attempts: Attempts,
    /// Why the last charge of a pending payment was declined; it may be charged again, with another token.
    last_failure: Option<FailureView>,
    /// What the user has to do before he is charged.
    next_action: Option<NextActionView>,
    /// When the provider lets go of what it holds.
    authorised_until: Option<describe::Time>,
    /// Whether the user has asked his bank for the money.
    dispute: Option<DisputeView>,
    /// What was paid back, oldest first.
    #[salvo(schema(max_items = 100))]
    refunds: Vec<RefundView>,
    /// When it was made.
    created_at: describe::Time,
    /// When it last changed.
    updated_at: describe::Time,
    /// When the provider approved or declined.
    processed_at: Option<describe::Time>,
    /// When it fails by itself unless it is processed before.
    expires_at: describe::Time,
}

/// One line of what is bought.
#[derive(Debug, Serialize, ToSchema)]
#[salvo(schema(name = "PaymentItem"))]
pub(super) struct ItemView {
    /// The line's own id.
    id: describe::Id,
    /// Which product.
    product_id: describe::ProductId,
    /// Its name when the payment was made.
    name: ProductName,
    /// How many.
    quantity: Units,
    /// Price of one.
    price: describe::Amount,
    /// Price times quantity.
    subtotal: describe::Amount,
    /// Its category when the payment was made.
    category: ProductCategory,
    /// When it was put into the basket.
    created_at: describe::Time,
}

/// Why a payment failed.
#[derive(Debug, Serialize, ToSchema)]
#[salvo(schema(name = "PaymentFailure"))]
struct FailureView {
    /// Stable, `snake_case`.
    code: FailureCode,
    /// For people.
    message: FailureMessage,
}

/// What the user has to do before he is charged.
#[derive(Debug, Serialize, ToSchema)]
#[salvo(schema(name = "NextAction"))]
struct NextActionView {
    /// `redirect`: he goes to `url`, and comes back.
    #[salvo(schema(value_type = ActionType))]
    r#type: &'static str,
    /// The provider's page.
    url: ActionUrl,
    /// How long he may take.
    expires_at: describe::Time,
}

/// The user has asked his bank for the money.
#[derive(Debug, Serialize, ToSchema)]
#[salvo(schema(name = "Dispute"))]
struct DisputeView {
    /// How much of it.
    amount: describe::Amount,
    /// The provider's word for why.
    reason: DisputeReason,
    /// How it ended; null while it is open.
    outcome: Option<OutcomeName>,
}

/// Money that went back, or is on its way.
#[derive(Debug, Serialize, ToSchema)]
#[salvo(schema(name = "Refund"))]
struct RefundView {
    /// Its own id.
    id: describe::Id,
    /// How much.
    amount: describe::Amount,
    /// Why, for people.
    #[salvo(schema(value_type = Option<Reason>))]
    reason: Option<String>,
    /// How far it got.
    status: RefundStatusName,
    /// When it was asked for.
    created_at: describe::Time,
}

impl Listed for PaymentView {
    const PLURAL: &'static str = "payments";
    const PAGE: &'static str = "PaymentPage";
}

impl From<Payment> for PaymentView {
    fn from(payment: Payment) -> Self {
        let known = |refund: &&Refund| refund.status != RefundStatus::Requested;
        let failure = payment.failure.as_ref().map(|Failure { code, message }| FailureView {
            code: code.clone().into(),
            message: message.clone().into(),
        });
        let is_open = payment.status == Status::Pending;
        let (last_failure, failure) = if is_open { (failure, None) } else { (None, failure) };
        Self {
            id: payment.id.into(),
            user_id: payment.user_id.as_str().to_owned().into(),
            basket_id: payment.basket_id.into(),
            amount: payment.amount.amount().into(),
            captured_amount: payment.captured_amount().amount().into(),
            refunded_amount: payment.refunded().amount().into(),
            currency: payment.amount.currency.into(),
            status: payment.status.into(),
            method: payment.method.as_str(),
            capture: payment.capture.as_str(),
            description: payment.description.as_ref().map(Note::as_str).map(str::to_owned),
            metadata: payment.metadata.pairs().clone(),
            items: payment.items.iter().map(ItemView::from).collect(),
            failure,
            attempts: payment.attempts.into(),
            last_failure,
            next_action: payment.action.map(|action| NextActionView {
                r#type: REDIRECT,
                url: action.url.into(),
                expires_at: action.until.into(),
            }),
            authorised_until: payment.authorised_until.map(Into::into),
            dispute: payment.dispute.map(|dispute| DisputeView {
                amount: dispute.amount.amount().into(),
                reason: dispute.reason.into(),
                outcome: dispute.outcome.map(Into::into),
            }),
            refunds: payment.refunds.iter().filter(known).map(RefundView::from).collect(),
            provider: payment.provider,
            provider_id: payment.reference.map(|reference| reference.to_string().into()),
            created_at: payment.created_at.into(),
            updated_at: payment.updated_at.into(),
            processed_at: payment.processed_at.map(Into::into),
            expires_at: payment.expires_at.into(),
        }
    }
}

impl From<&Item> for ItemView {
    fn from(item: &Item) -> Self {
        Self {
            id: item.id.into(),
            product_id: item.product_id.into(),
            name: item.name.clone().into(),
            quantity: item.quantity.into(),
            price: item.price.amount().into(),
            subtotal: item.subtotal.amount().into(),
            category: item.category.clone().into(),
            created_at: item.created_at.into(),
        }
    }
}

impl From<&Refund> for RefundView {
    fn from(refund: &Refund) -> Self {
        Self {
            id: refund.id.into(),
            amount: refund.amount.amount().into(),
            reason: refund.reason.as_ref().map(Note::as_str).map(str::to_owned),
            status: refund.status.into(),
            created_at: refund.created_at.into(),
        }
    }
}
