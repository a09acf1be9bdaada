//! Stock movements in JSON, and the adjustments that clients send in.

use salvo::oapi::ToSchema;
use salvo::oapi::schema::OneOf;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use shop_web::idempotency::Canonical;
use shop_web::page::Listed;
use shop_web::{Problem, describe};

use crate::domain::{Adjustment, AdjustmentDraft, Entry, EntryKind, Error, MAX_STOCK, REASON, REFERENCE};

describe! {
    KindName(&'static str) = describe::names(EntryKind::ALL.map(|(name, _)| name))
        .description("Why units moved") => "StockMovementKind";
    MovementId(i64) = describe::integer(1..=i64::MAX).example(41);
    Delta(i64) = describe::integer(-MAX_STOCK..=MAX_STOCK).example(-3);
    DeltaSent = OneOf::new()
        .item(describe::integer(1..=MAX_STOCK).example(12))
        .item(describe::integer(-MAX_STOCK..=-1).example(-3))
        .description("Any but 0");
    Reason(String) = describe::text(REASON).example("delivery");
    ReasonShown(String) = describe::text(REASON).example("delivery");
    Reference(String) = describe::text(REFERENCE).example("delivery note 4711");
}

/// A change of a product's units, which stays as it is for good.
#[derive(Debug, Serialize, ToSchema)]
#[salvo(schema(name = "StockMovement"))]
pub(crate) struct MovementView {
    /// Grows with every movement.
    id: MovementId,
    /// Whose units.
    product_id: describe::ProductId,
    /// Adjustment is by the keepers of the catalogue, the others are of a checkout.
    kind: KindName,
    /// Added to the units on hand.
    stock_delta: Delta,
    /// Added to those that are reserved.
    reserved_delta: Delta,
    /// Why, in words; null for what checkouts move.
    reason: Option<ReasonShown>,
    /// What it belongs to: the payment, or what was said of the adjustment.
    reference: Option<Reference>,
    /// When.
    created_at: describe::Time,
}

impl Listed for MovementView {
    const PLURAL: &'static str = "movements";
    const PAGE: &'static str = "StockMovementPage";
}

impl From<Entry> for MovementView {
    fn from(entry: Entry) -> Self {
        Self {
            id: entry.id.into(),
            product_id: entry.product.into(),
            kind: entry.kind.name().into(),
            stock_delta: entry.stock.into(),
            reserved_delta: entry.reserved.into(),
            reason: entry.reason.map(Into::into),
            reference: entry.reference.map(Into::into),
            created_at: entry.at.into(),
        }
    }
}

/// Units to count in or out.
#[derive(Debug, Deserialize, ToSchema)]
#[salvo(schema(name = "StockAdjustment"))]
pub(crate) struct AdjustmentBody {
    /// Added to the units on hand, below zero to take away; never 0, and never below what is reserved.
    #[salvo(schema(required = true, value_type = DeltaSent))]
    delta: Option<i64>,
    /// Why, in words.
    #[serde(default)]
    #[salvo(schema(required = true, value_type = Reason))]
    reason: String,
    /// What you call it, such as the number of a delivery note.
    #[salvo(schema(value_type = Option<Reference>))]
    reference: Option<String>,
}

impl From<AdjustmentBody> for AdjustmentDraft {
    fn from(body: AdjustmentBody) -> Self {
        Self { delta: body.delta, reason: body.reason, reference: body.reference }
    }
}

impl Canonical for AdjustmentBody {
    fn canonical(self) -> Result<Value, Problem> {
        Ok(canonical(self.into())?)
    }
}

/// What an adjustment asks for, the same however it was written.
pub(super) fn canonical(draft: AdjustmentDraft) -> Result<Value, Error> {
    let Adjustment { delta, reason, reference } = Adjustment::parse(draft)?;
    Ok(json!({ "delta": delta, "reason": reason, "reference": reference }))
}

/// The list that a cursor belongs to, over both APIs.
pub(super) fn scope(product: i64) -> String {
    format!("stock movements of {product}")
}
