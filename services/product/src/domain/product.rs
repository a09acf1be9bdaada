//! A product, what may be written into it, and the rules of an edit.

use shop_fault::FieldError;
use shop_input::{Fields, is_uri};
use shop_money::{Currency, Decimal, Money, MoneyError};
use shop_text::{Text, is_hidden};
use time::OffsetDateTime;
use url::Url;

use super::fold::composed;
use super::{Error, Expected, Result};

pub(crate) const NAME: Text = Text::line(1, 200);
pub(crate) const DESCRIPTION: Text = Text::lines(0, 5000);
pub(crate) const CATEGORY: Text = Text::line(1, 100);
/// What browsers and caches agree to carry.
pub(crate) const MAX_URL: usize = 2048;
/// The largest stock a client may write: far above any warehouse, far below where sums of it leave 64 bits.
pub(crate) const MAX_STOCK: i64 = 1_000_000_000;

/// A product as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Product {
    /// Assigned by the store, from 1.
    pub(crate) id: i64,
    /// What a client may write.
    pub(crate) details: Details,
    /// Units promised to open reservations: never over the stock.
    pub(crate) reserved_quantity: i64,
    /// Units sold in completed payments.
    pub(crate) units_sold: i64,
    /// Counts what an editor would overwrite: edits and changes of the stock on hand. A reservation leaves it
    /// alone, so that shoppers do not break an editor's `If-Match`; a sale does not, because a full replace
    /// with the stock of before would bring the sold units back.
    pub(crate) version: i64,
    /// When it was added.
    pub(crate) created_at: OffsetDateTime,
    /// When `version` last moved.
    pub(crate) updated_at: OffsetDateTime,
}

/// The part of a product that clients write, valid by construction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Details {
    /// 1 to 200 characters on one line.
    pub(crate) name: String,
    /// Up to 5000 characters; may have line breaks.
    pub(crate) description: String,
    /// Price of one unit, above zero.
    pub(crate) price: Money,
    /// Units on hand, reserved ones included.
    pub(crate) stock_quantity: i64,
    /// 1 to 100 characters on one line.
    pub(crate) category: String,
    /// An http or https URL.
    pub(crate) image_url: Option<String>,
}

/// A price as it came in.
#[derive(Debug, Clone)]
pub(crate) enum Price {
    /// Written as a decimal (HTTP).
    Written(Decimal),
    /// Counted in minor units (gRPC).
    Minor(i64),
}

/// Details as they came in, not looked at yet. No currency means the default one.
#[derive(Debug, Clone, Default)]
pub(crate) struct Draft {
    pub(crate) name: String,
    pub(crate) description: String,
    pub(crate) price: Option<Price>,
    pub(crate) currency: Option<String>,
    pub(crate) stock_quantity: Option<i64>,
    pub(crate) category: String,
    pub(crate) image_url: Option<String>,
}

impl Product {
    /// Units that can still be bought.
    pub(crate) fn available(&self) -> i64 {
        self.details.stock_quantity - self.reserved_quantity
    }

    /// Puts new details in place of the old, if the product is in the state that is expected and keeps its promises.
    pub(crate) fn replace(&mut self, details: Details, expected: &Expected, now: OffsetDateTime) -> Result<()> {
        self.expect(expected)?;
        // Whoever sets an absolute number has read another one: units sold in between would be there again.
        if details.stock_quantity != self.details.stock_quantity && !expected.names_version() {
            return Err(Error::VersionRequired(self.id, self.details.stock_quantity));
        }
        self.check_stock(details.stock_quantity)?;
        self.details = details;
        self.version += 1;
        self.updated_at = now;
        Ok(())
    }

    /// Counts units in or out, if the product is in the state that is expected and keeps its promises.
    pub(crate) fn adjust(&mut self, delta: i64, expected: &Expected, now: OffsetDateTime) -> Result<()> {
        self.expect(expected)?;
        let stock = self.details.stock_quantity.saturating_add(delta);
        self.check_stock(stock)?;
        if stock > MAX_STOCK {
            return Err(Error::StockAboveLimit { id: self.id, wanted: stock });
        }
        self.details.stock_quantity = stock;
        self.version += 1;
        self.updated_at = now;
        Ok(())
    }

    fn check_stock(&self, wanted: i64) -> Result<()> {
        if wanted < self.reserved_quantity {
            return Err(Error::StockBelowReserved { id: self.id, reserved: self.reserved_quantity, wanted });
        }
        Ok(())
    }

    /// Whether the product may go: it is in the state that is expected, and nobody holds units of it.
    pub(crate) fn check_removable(&self, expected: &Expected) -> Result<()> {
        self.expect(expected)?;
        match self.reserved_quantity {
            0 => Ok(()),
            reserved => Err(Error::Reserved { id: self.id, reserved }),
        }
    }

    fn expect(&self, expected: &Expected) -> Result<()> {
        if expected.admits(self.version) { Ok(()) } else { Err(Error::VersionMismatch(self.id)) }
    }
}

impl Details {
    /// Checks a draft and says everything that is wrong with it at once.
    pub(crate) fn parse(draft: Draft) -> Result<Self> {
        let mut wrong = Fields::default();
        let name = text("name", &draft.name, NAME, &mut wrong);
        let description = text("description", &draft.description, DESCRIPTION, &mut wrong);
        // Compared as it is, by filters too: so the same to a store when it is the same to a reader.
        let category = composed(&text("category", &draft.category, CATEGORY, &mut wrong));
        let price = price(draft.price, draft.currency.as_deref(), &mut wrong);
        let stock_quantity = stock(draft.stock_quantity, &mut wrong);
        let image_url = image_url(draft.image_url, &mut wrong);
        match (wrong.is_empty(), price) {
            (true, Some(price)) => Ok(Self { name, description, price, stock_quantity, category, image_url }),
            _ => Err(Error::Invalid(wrong)),
        }
    }
}

fn text(field: &str, given: &str, rule: Text, wrong: &mut Fields) -> String {
    wrong.keep(rule.check(given).map_err(|error| error.on(field))).unwrap_or_default().to_owned()
}

fn price(given: Option<Price>, currency: Option<&str>, wrong: &mut Fields) -> Option<Money> {
    // Only what was left out is the default: a blank is a mistake, such as a form's field that nobody filled in.
    let currency = match currency.map_or(Ok(Currency::default()), |code| code.trim().parse()) {
        Ok(currency) => currency,
        Err(error) => {
            wrong.refuse("currency", "unknown", MoneyError::to_string(&error));
            return None;
        }
    };
    let refused = |code, message: String| FieldError::new("price", code, message);
    let price = match given {
        None => Err(refused("required", "must be given".to_owned())),
        Some(Price::Minor(minor)) if minor > shop_money::MAX_MINOR => {
            Err(refused("out_of_range", MoneyError::OutOfRange.to_string()))
        }
        Some(Price::Minor(minor)) => Ok(Money::new(minor, currency)),
        Some(Price::Written(decimal)) => {
            Money::parse(&decimal, currency).map_err(|error| refused(code(&error), error.to_string()))
        }
    };
    wrong.keep(price.and_then(|price| match price.minor {
        ..=0 => Err(refused("out_of_range", "must be above zero".to_owned())),
        _ => Ok(price),
    }))
}

fn code(error: &MoneyError) -> &'static str {
    match error {
        MoneyError::TooManyDecimals { .. } => "too_many_decimals",
        MoneyError::OutOfRange => "out_of_range",
        _ => "not_decimal",
    }
}

fn stock(given: Option<i64>, wrong: &mut Fields) -> i64 {
    let mut refuse = |code: &str, message: String| wrong.refuse("stock_quantity", code, message);
    match given {
        None => refuse("required", "must be given".to_owned()),
        Some(units) if units < 0 => refuse("out_of_range", "must be zero or more".to_owned()),
        Some(units) if units > MAX_STOCK => refuse("out_of_range", format!("must be at most {MAX_STOCK}")),
        Some(_) => {}
    }
    given.unwrap_or_default()
}

fn image_url(given: Option<String>, wrong: &mut Fields) -> Option<String> {
    let given = given?.trim().to_owned();
    let sound = Url::parse(&given).is_ok_and(|url| {
        matches!(url.scheme(), "http" | "https")
            && url.username().is_empty()
            && url.password().is_none()
            && is_uri(&given, &url)
    });
    if given.chars().count() > MAX_URL {
        wrong.refuse("image_url", "too_long", format!("must have at most {MAX_URL} characters"));
    } else if !sound || given.contains(|c: char| c.is_control() || c.is_whitespace() || is_hidden(c)) {
        wrong.refuse("image_url", "invalid", "must be an http or https URL, or null");
    }
    Some(given)
}

#[cfg(test)]
mod tests {
    use shop_input::Versions;

    use super::*;

    fn draft() -> Draft {
        Draft {
            name: "  Walnut desk ".to_owned(),
            description: "Oiled.\nTwo drawers.".to_owned(),
            price: Some(Price::Written("1299.99".parse().expect("a decimal"))),
            currency: None,
            stock_quantity: Some(7),
            category: "furniture".to_owned(),
            image_url: Some("https://img.example/desk.jpg".to_owned()),
        }
    }

    fn product(stock: i64, reserved: i64) -> Product {
        let details = Details { stock_quantity: stock, ..Details::parse(draft()).expect("valid") };
        let at = OffsetDateTime::UNIX_EPOCH;
        Product {
            id: 7,
            details,
            reserved_quantity: reserved,
            units_sold: 0,
            version: 3,
            created_at: at,
            updated_at: at,
        }
    }

    fn complaints(draft: Draft) -> Vec<(String, String)> {
        match Details::parse(draft) {
            Err(Error::Invalid(fields)) => {
                fields.errors().iter().map(|field| (field.field.clone(), field.code.clone())).collect()
            }
            other => panic!("not refused: {other:?}"),
        }
    }

    #[test]
    fn a_sound_draft_is_trimmed_and_priced_in_minor_units() {
        let details = Details::parse(draft()).expect("valid");
        assert_eq!(details.name, "Walnut desk");
        assert_eq!(details.price, Money::new(129_999, Currency::USD));
    }

    #[test]
    fn everything_wrong_is_said_at_once() {
        let found = complaints(Draft { image_url: Some("ftp://x/y".to_owned()), ..Draft::default() });
        let found: Vec<_> = found.iter().map(|(field, code)| (field.as_str(), code.as_str())).collect();
        assert_eq!(
            found,
            [
                ("name", "required"),
                ("category", "required"),
                ("price", "required"),
                ("stock_quantity", "required"),
                ("image_url", "invalid"),
            ]
        );
    }

    #[test]
    fn each_rule_has_its_code() {
        let decimal = |text: &str| Some(Price::Written(text.parse().expect("a decimal")));
        let cases = [
            (Draft { name: "x".repeat(201), ..draft() }, "name", "too_long"),
            (Draft { name: "a\u{0}b".to_owned(), ..draft() }, "name", "control_character"),
            (Draft { name: "two\nlines".to_owned(), ..draft() }, "name", "control_character"),
            (Draft { name: "\u{200b}".to_owned(), ..draft() }, "name", "invisible"),
            (Draft { name: "evil\u{202e}fdp.exe".to_owned(), ..draft() }, "name", "bidi_control"),
            (Draft { name: "a\u{ffff}".to_owned(), ..draft() }, "name", "noncharacter"),
            (Draft { description: "\u{feff}".to_owned(), ..draft() }, "description", "invisible"),
            (Draft { category: "a\u{2066}b".to_owned(), ..draft() }, "category", "bidi_control"),
            (Draft { description: "x".repeat(5001), ..draft() }, "description", "too_long"),
            (Draft { description: "bell\u{7}".to_owned(), ..draft() }, "description", "control_character"),
            (Draft { category: " ".to_owned(), ..draft() }, "category", "required"),
            (Draft { price: decimal("0"), ..draft() }, "price", "out_of_range"),
            (Draft { price: decimal("-1"), ..draft() }, "price", "out_of_range"),
            (Draft { price: decimal("1.005"), ..draft() }, "price", "too_many_decimals"),
            (
                Draft { price: decimal("1.5"), currency: Some("JPY".to_owned()), ..draft() },
                "price",
                "too_many_decimals",
            ),
            (Draft { price: decimal("99999999999999"), ..draft() }, "price", "out_of_range"),
            (Draft { price: decimal("1e999999"), ..draft() }, "price", "out_of_range"),
            (Draft { price: decimal("1e-999999"), ..draft() }, "price", "too_many_decimals"),
            (Draft { price: Some(Price::Minor(i64::MAX)), ..draft() }, "price", "out_of_range"),
            (Draft { currency: Some("XXX".to_owned()), ..draft() }, "currency", "unknown"),
            (Draft { currency: Some(String::new()), ..draft() }, "currency", "unknown"),
            (Draft { currency: Some(" ".to_owned()), ..draft() }, "currency", "unknown"),
            (Draft { stock_quantity: Some(-1), ..draft() }, "stock_quantity", "out_of_range"),
            (Draft { stock_quantity: Some(MAX_STOCK + 1), ..draft() }, "stock_quantity", "out_of_range"),
            (Draft { image_url: Some("javascript:alert(1)".to_owned()), ..draft() }, "image_url", "invalid"),
            (Draft { image_url: Some("https://a b".to_owned()), ..draft() }, "image_url", "invalid"),
            (Draft { image_url: Some("https://a.example*/".to_owned()), ..draft() }, "image_url", "invalid"),
            (Draft { image_url: Some("https://a..example/".to_owned()), ..draft() }, "image_url", "invalid"),
            (Draft { image_url: Some("https:a.example/".to_owned()), ..draft() }, "image_url", "invalid"),
            (Draft { image_url: Some("https://a.example/ć".to_owned()), ..draft() }, "image_url", "invalid"),
            (Draft { image_url: Some("https://a.example/%zz".to_owned()), ..draft() }, "image_url", "invalid"),
            (Draft { image_url: Some("https://u:p@a.example/".to_owned()), ..draft() }, "image_url", "invalid"),
            (Draft { image_url: Some("https://a/\u{202e}b".to_owned()), ..draft() }, "image_url", "invalid"),
        ];
        for (draft, field, code) in cases {
            assert_eq!(complaints(draft), [(field.to_owned(), code.to_owned())]);
        }
    }

    #[test]
    fn an_edit_keeps_promises_and_counts_the_version_on() {
        let later = OffsetDateTime::UNIX_EPOCH + time::Duration::seconds(1);
        let mut product = product(7, 3);
        let details = Details { stock_quantity: 2, ..product.details.clone() };
        let refused = product.replace(details.clone(), &Some(3).into(), later);
        assert!(matches!(refused, Err(Error::StockBelowReserved { reserved: 3, wanted: 2, .. })));
        let details = Details { stock_quantity: 3, ..details };
        assert!(matches!(product.replace(details.clone(), &Some(2).into(), later), Err(Error::VersionMismatch(7))));
        product.replace(details, &Some(3).into(), later).expect("allowed");
        assert_eq!((product.version, product.available(), product.updated_at), (4, 0, later));
    }

    #[test]
    fn an_editor_who_read_before_a_sale_brings_no_sold_unit_back() {
        let (mut product, later) = (product(7, 0), OffsetDateTime::UNIX_EPOCH);
        let described = Details { name: "Wide desk".to_owned(), ..product.details.clone() };
        product.details.stock_quantity = 4;
        let star = Expected { one_of: Some(Versions::Any), none_of: None };
        for unnamed in [Expected::default(), star] {
            let refused = product.replace(described.clone(), &unnamed, later);
            assert!(matches!(refused, Err(Error::VersionRequired(7, 4))), "{refused:?}");
        }
        let kept = Details { stock_quantity: 4, ..described.clone() };
        product.replace(kept, &Expected::default(), later).expect("leaves the stock as it is");
        product.replace(described, &Some(4).into(), later).expect("says what it has read");
        assert_eq!((product.details.stock_quantity, product.version), (7, 5));
    }

    #[test]
    fn units_are_counted_in_and_out_and_never_below_what_is_promised() {
        let later = OffsetDateTime::UNIX_EPOCH + time::Duration::seconds(1);
        let mut product = product(7, 3);
        product.adjust(-4, &Expected::default(), later).expect("down to what is promised");
        assert_eq!((product.details.stock_quantity, product.version, product.updated_at), (3, 4, later));
        let refused = product.adjust(-1, &Expected::default(), later);
        assert!(matches!(refused, Err(Error::StockBelowReserved { reserved: 3, wanted: 2, .. })), "{refused:?}");
        assert!(matches!(product.adjust(MAX_STOCK, &Expected::default(), later), Err(Error::StockAboveLimit { .. })));
        assert!(matches!(product.adjust(1, &Some(3).into(), later), Err(Error::VersionMismatch(7))));
        product.adjust(MAX_STOCK - 3, &Some(4).into(), later).expect("the most there can be");
        assert_eq!(product.details.stock_quantity, MAX_STOCK);
    }

    #[test]
    fn a_product_with_held_units_stays() {
        assert!(matches!(
            product(7, 1).check_removable(&Expected::default()),
            Err(Error::Reserved { reserved: 1, .. })
        ));
        assert!(matches!(product(7, 0).check_removable(&Some(2).into()), Err(Error::VersionMismatch(_))));
        assert!(product(7, 0).check_removable(&Some(3).into()).is_ok());
    }
}
