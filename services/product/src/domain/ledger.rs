//! The ledger of stock: every change of a product's units, for good.

use shop_input::Fields;
use shop_page::Slice;
use shop_text::Text;
use time::OffsetDateTime;
use uuid::Uuid;

use super::{Error, MAX_STOCK, Result};

pub(crate) const REASON: Text = Text::line(1, 200);
pub(crate) const REFERENCE: Text = Text::line(0, 200);

/// Why units moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EntryKind {
    /// By the keepers of the catalogue: a delivery, a count, an edit.
    Adjustment,
    /// Promised to a payment.
    Reservation,
    /// Gone to the buyer.
    Sale,
    /// A promise taken back.
    Release,
    /// Sold units that came back.
    Restock,
}

impl EntryKind {
    /// All, as the API and the store name them.
    pub(crate) const ALL: [(&'static str, Self); 5] = [
        ("adjustment", Self::Adjustment),
        ("reservation", Self::Reservation),
        ("sale", Self::Sale),
        ("release", Self::Release),
        ("restock", Self::Restock),
    ];

    /// What it is called.
    pub(crate) fn name(self) -> &'static str {
        Self::ALL.into_iter().find_map(|(name, kind)| (kind == self).then_some(name)).unwrap_or_default()
    }
}

/// One change. The sums of a product's entries are its stock and what is reserved of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    /// Grows with every entry.
    pub(crate) id: i64,
    /// Which product.
    pub(crate) product: i64,
    /// Why.
    pub(crate) kind: EntryKind,
    /// Added to the stock on hand.
    pub(crate) stock: i64,
    /// Added to what is reserved.
    pub(crate) reserved: i64,
    /// Why, in words; of an adjustment.
    pub(crate) reason: Option<String>,
    /// What it belongs to: the reservation, or what the client says of an adjustment.
    pub(crate) reference: Option<String>,
    /// When.
    pub(crate) at: OffsetDateTime,
}

/// A page of entries; the id of the last one is where the next begins.
pub(crate) type Entries = Slice<Entry, i64>;

/// A change of a reserved line, to be written beside it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NewEntry {
    /// Which product.
    pub(crate) product: i64,
    /// Why.
    pub(crate) kind: EntryKind,
    /// Added to the stock on hand.
    pub(crate) stock: i64,
    /// Added to what is reserved.
    pub(crate) reserved: i64,
    /// Whose.
    pub(crate) reservation: Uuid,
}

/// Units counted in or out by hand, valid by construction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Adjustment {
    /// Added to the stock on hand; not zero.
    pub(crate) delta: i64,
    /// Why, in words.
    pub(crate) reason: String,
    /// What the client calls it, such as a delivery note.
    pub(crate) reference: Option<String>,
}

/// An adjustment as it came in, not looked at yet.
#[derive(Debug, Clone, Default)]
pub(crate) struct AdjustmentDraft {
    pub(crate) delta: Option<i64>,
    pub(crate) reason: String,
    pub(crate) reference: Option<String>,
}

impl Adjustment {
    /// Checks a draft and says everything that is wrong with it at once.
    pub(crate) fn parse(draft: AdjustmentDraft) -> Result<Self> {
        let mut wrong = Fields::default();
        let delta = draft.delta.unwrap_or_default();
        match draft.delta {
            None => wrong.refuse("delta", "required", "must be given"),
            Some(0) => wrong.refuse("delta", "out_of_range", "must not be 0: nothing would move"),
            Some(delta) if (-MAX_STOCK..=MAX_STOCK).contains(&delta) => {}
            Some(_) => wrong.refuse("delta", "out_of_range", format!("must be -{MAX_STOCK} to {MAX_STOCK}")),
        }
        let mut text = |field, given: &str, rule: Text| {
            wrong.keep(rule.check(given).map_err(|error| error.on(field))).unwrap_or_default().to_owned()
        };
        let reason = text("reason", &draft.reason, REASON);
        let reference = draft.reference.map(|given| text("reference", &given, REFERENCE));
        let reference = reference.filter(|text| !text.is_empty());
        if wrong.is_empty() { Ok(Self { delta, reason, reference }) } else { Err(Error::Invalid(wrong)) }
    }
}

/// Which page of a product's entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct EntryPage {
    /// Only entries older than this one.
    pub(crate) before: Option<i64>,
    /// How many at most.
    pub(crate) limit: usize,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draft(delta: i64) -> AdjustmentDraft {
        AdjustmentDraft { delta: Some(delta), reason: " delivery ".to_owned(), reference: Some(String::new()) }
    }

    #[test]
    fn an_adjustment_moves_something_and_says_why() {
        let parsed = Adjustment::parse(draft(-3)).expect("valid");
        assert_eq!(parsed, Adjustment { delta: -3, reason: "delivery".to_owned(), reference: None });
        for (draft, field, code) in [
            (draft(0), "delta", "out_of_range"),
            (draft(MAX_STOCK + 1), "delta", "out_of_range"),
            (draft(i64::MIN), "delta", "out_of_range"),
            (AdjustmentDraft { delta: None, ..draft(1) }, "delta", "required"),
            (AdjustmentDraft { reason: " ".to_owned(), ..draft(1) }, "reason", "required"),
            (AdjustmentDraft { reference: Some("x".repeat(201)), ..draft(1) }, "reference", "too_long"),
        ] {
            let Err(Error::Invalid(fields)) = Adjustment::parse(draft) else { panic!("{field} was not refused") };
            assert_eq!((&*fields.errors()[0].field, &*fields.errors()[0].code), (field, code));
        }
    }
}
