//! A basket as it lies in Redis: JSON that other versions of this service can read, amounts in minor units, times in
//! unix milliseconds.

use serde::{Deserialize, Serialize};
use shop_clock::{from_millis, millis};
use shop_fault::Fault;
use shop_money::{Currency, Money};
use uuid::Uuid;

use crate::domain::{Basket, Line, Merged, Quantity, UserId};

#[derive(Serialize, Deserialize)]
struct Document {
    id: Uuid,
    currency: Currency,
    version: i64,
    created_at: i64,
    updated_at: i64,
    expires_at: i64,
    lines: Vec<LineDocument>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    merging_into: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cleared_by: Option<Uuid>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    merged: Vec<MergedDocument>,
}

#[derive(Serialize, Deserialize)]
struct MergedDocument {
    basket: Uuid,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cleared_by: Option<Uuid>,
    units: Vec<(i64, u32)>,
}

#[derive(Serialize, Deserialize)]
struct LineDocument {
    id: Uuid,
    product_id: i64,
    name: String,
    quantity: u32,
    price: i64,
    category: String,
    created_at: i64,
}

/// The basket as text; its user is in the key.
pub(super) fn write(basket: &Basket) -> Result<String, Fault> {
    let lines = basket.lines.iter().map(|line| LineDocument {
        id: line.id,
        product_id: line.product,
        name: line.name.clone(),
        quantity: line.quantity.get(),
        price: line.price.minor,
        category: line.category.clone(),
        created_at: millis(line.created_at),
    });
    let document = Document {
        id: basket.id,
        currency: basket.currency(),
        version: basket.version,
        created_at: millis(basket.created_at),
        updated_at: millis(basket.updated_at),
        expires_at: millis(basket.expires_at),
        lines: lines.collect(),
        merging_into: basket.merging_into.as_ref().map(UserId::to_string),
        cleared_by: basket.cleared_by,
        merged: basket.merged.iter().map(MergedDocument::from).collect(),
    };
    serde_json::to_string(&document).map_err(Fault::internal)
}

/// The basket that `text` holds for `user`.
pub(super) fn read(user: &UserId, text: &str) -> Result<Basket, Fault> {
    let document: Document = serde_json::from_str(text).map_err(Fault::internal)?;
    let lines = document.lines.into_iter().map(|line| {
        Ok(Line {
            id: line.id,
            product: line.product_id,
            name: line.name,
            quantity: quantity(line.quantity.into())?,
            price: Money::new(line.price, document.currency),
            category: line.category,
            created_at: from_millis(line.created_at),
        })
    });
    Ok(Basket {
        id: document.id,
        user: user.clone(),
        lines: lines.collect::<Result<_, Fault>>()?,
        created_at: from_millis(document.created_at),
        updated_at: from_millis(document.updated_at),
        expires_at: from_millis(document.expires_at),
        version: document.version,
        merging_into: document.merging_into.map(UserId::stored),
        cleared_by: document.cleared_by,
        merged: document.merged.into_iter().map(Merged::from).collect(),
    })
}

/// The merged baskets as text; none for none.
pub(super) fn write_merged(merged: &[Merged]) -> Result<Option<String>, Fault> {
    let documents: Vec<_> = merged.iter().map(MergedDocument::from).collect();
    if documents.is_empty() { Ok(None) } else { serde_json::to_string(&documents).map(Some).map_err(Fault::internal) }
}

/// The merged baskets that `text` holds.
pub(super) fn read_merged(text: Option<&str>) -> Result<Vec<Merged>, Fault> {
    let documents: Vec<MergedDocument> =
        text.map_or_else(|| Ok(Vec::new()), serde_json::from_str).map_err(Fault::internal)?;
    Ok(documents.into_iter().map(Merged::from).collect())
}

impl From<&Merged> for MergedDocument {
    fn from(merged: &Merged) -> Self {
        let Merged { basket, cleared_by, units } = merged;
        Self { basket: *basket, cleared_by: *cleared_by, units: units.clone() }
    }
}

impl From<MergedDocument> for Merged {
    fn from(document: MergedDocument) -> Self {
        let MergedDocument { basket, cleared_by, units } = document;
        Self { basket, cleared_by, units }
    }
}

/// A stored quantity; one that no rule allows means that something else wrote to the store.
pub(super) fn quantity(units: i64) -> Result<Quantity, Fault> {
    u32::try_from(units)
        .ok()
        .and_then(Quantity::new)
        .ok_or_else(|| Fault::internal(format!("a stored line holds {units} units")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stored_form_stays_readable() {
        // Frozen: baskets written by a version that is already running look like this.
        let text = r#"{"id":"01948d3e-3d80-7000-8000-000000000001","currency":"JPY","version":7,"created_at":1,"updated_at":2,"expires_at":3,"lines":[{"id":"01948d3e-3d80-7000-8000-000000000002","product_id":9,"name":"tea","quantity":3,"price":500,"category":"food","created_at":2}]}"#;
        let user = "ann".parse().expect("a user");
        let basket = read(&user, text).expect("read");
        assert_eq!((basket.version, basket.total().to_string().as_str()), (7, "1500"));
        assert_eq!(write(&basket).expect("written"), text);
    }

    #[test]
    fn a_document_that_no_rule_allows_is_a_defect() {
        let user = "ann".parse().expect("a user");
        assert!(read(&user, "{}").is_err() && read(&user, "").is_err());
    }
}
