//! What both APIs share about lists: bounds of the filters, and cursors tied to the list they came from.

use shop_fault::Fault;
use shop_input::invalid_parameter;
use shop_money::{Currency, Decimal, Money};
use shop_page::Cursor;

use crate::domain::{After, Filter, Listing, Order, composed};

/// The longest text to look for: a name's length. Far below where a search engine gives up on a word.
pub(super) const MAX_TEXT: usize = 200;
pub(super) const MAX_CATEGORY: usize = 100;
/// The form of a price to compare with: at most as many digits as the largest price has.
pub(super) const BOUND: &str = r"^-?[0-9]{1,10}(\.[0-9]{1,3})?$";

/// A page as a client asks for it, to be checked.
#[derive(Debug, Default)]
pub(super) struct Asked {
    pub(super) filter: Filter,
    pub(super) order: Order,
    pub(super) cursor: Option<String>,
    pub(super) limit: usize,
}

/// A checked page.
pub(super) struct Wanted {
    /// What to ask the catalogue.
    pub(super) listing: Listing,
    /// The list it belongs to, which cursors are tied to.
    pub(super) scope: String,
}

impl Asked {
    /// Checks texts and cursor; `invalid_parameter` or `invalid_cursor`.
    pub(super) fn check(self) -> Result<Wanted, Fault> {
        let Self { mut filter, order, cursor, limit } = self;
        filter.text = text("q", filter.text, MAX_TEXT)?.filter(|text| !text.is_empty());
        filter.category = text("category", filter.category, MAX_CATEGORY)?.map(|category| composed(&category));
        let scope = format!("products {filter:?} {order:?}");
        let after = cursor.map(|cursor| after(&scope, &cursor, order)).transpose()?;
        Ok(Wanted { listing: Listing { filter, order, after, limit }, scope })
    }
}

fn text(name: &str, given: Option<String>, most: usize) -> Result<Option<String>, Fault> {
    let Some(given) = given else { return Ok(None) };
    if given.chars().count() > most {
        return Err(invalid_parameter(name, format!("must have at most {most} characters")));
    }
    let given = given.trim();
    if given.contains(char::is_control) {
        return Err(invalid_parameter(name, "must not contain control characters".to_owned()));
    }
    Ok(Some(given.to_owned()))
}

fn after(scope: &str, cursor: &str, order: Order) -> Result<After, Fault> {
    let after: After = Cursor::decode(scope, cursor)?;
    if order.takes(&after.key) {
        return Ok(after);
    }
    // A cursor is no secret: anybody can make one up. What it asks for must still make sense to the store.
    Err(Cursor::foreign())
}

/// A bound of a price filter as the number that a price shows, in thousandths.
pub(super) fn bound(name: &str, text: &str) -> Result<i64, Fault> {
    // The Kuwaiti dinar has the most decimals a price can have, so its minor units are the thousandths.
    let finest = "KWD".parse::<Currency>().map_err(Fault::internal)?;
    let decimal = text.trim().parse::<Decimal>();
    decimal
        .and_then(|decimal| Money::parse(&decimal, finest))
        .map(|money| money.minor)
        .map_err(|_| invalid_parameter(name, "must be an amount such as 12.50".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{Direction, Key, Match, Slice, Sort};

    fn asked(text: &str, cursor: Option<String>) -> Asked {
        let filter = Filter { text: Some(text.to_owned()), ..Filter::default() };
        Asked { filter, order: Order::new(Sort::Name, Direction::Up), cursor, limit: 20 }
    }

    fn slice(key: Key) -> Slice {
        Slice { items: Vec::new(), next: Some(After { key, id: 7, matching: Match::Pieces }) }
    }

    #[test]
    fn a_cursor_leads_on_in_its_own_list_only() {
        let wanted = asked(" desk ", None).check().expect("valid");
        let cursor = slice(Key::Text("walnut desk".to_owned())).cursor(&wanted.scope);
        let after = asked("desk", cursor.clone()).check().expect("the same list").listing.after;
        assert_eq!(after, slice(Key::Text("walnut desk".to_owned())).next);
        let refused = asked("lamp", cursor).check().err().expect("another list");
        assert_eq!(refused.code(), "invalid_cursor");
    }

    #[test]
    fn a_made_up_cursor_never_reaches_the_store() {
        let wanted = asked("desk", None).check().expect("valid");
        for key in [Key::Number(1), Key::Text("\0".to_owned())] {
            let refused = asked("desk", slice(key).cursor(&wanted.scope)).check().err().expect("made up");
            assert_eq!(refused.code(), "invalid_cursor");
        }
    }

    #[test]
    fn bounds_are_the_number_a_price_shows() {
        assert_eq!(bound("min_price", "12.5").ok(), Some(12_500));
        assert_eq!(bound("min_price", "1.25e1").ok(), Some(12_500));
        for text in ["", "x", "1e", "1e-4", "1e999999", "0.0001", "99999999999999999999"] {
            assert_eq!(
                bound("min_price", text).err().map(|fault| fault.code().to_owned()).as_deref(),
                Some("invalid_parameter")
            );
        }
    }
}
