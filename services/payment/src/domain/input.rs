//! What comes from outside, parsed into types that cannot be wrong.

use std::collections::BTreeMap;
use std::fmt;

use shop_fault::FieldError;
use shop_input::Fields;
use shop_input::words::one_of;
use shop_money::{Currency, Decimal, Money};
use shop_text::Text;
use uuid::Uuid;

use super::card::holds_card_number;
use super::{Basket, Capture, Error, Method, UserId};

/// The provider built in, which moves no money.
pub(crate) const SANDBOX: &str = "sandbox";
/// The one that does.
pub(crate) const STRIPE: &str = "stripe";
pub(crate) const DESCRIPTION: Text = Text::line(0, 1000);
pub(crate) const REASON: Text = Text::line(0, 500);
pub(crate) const MAX_TOKEN: usize = 255;
pub(crate) const MAX_PAIRS: usize = 50;
pub(crate) const KEY: Text = Text::line(1, 40);
pub(crate) const VALUE: Text = Text::line(0, 500);

/// The provider's token for what is charged; never a card number, never printed.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Token(String);

impl Token {
    /// Checks a token.
    pub(crate) fn parse(text: &str) -> Result<Self, Error> {
        let text = text.trim();
        let visible = (1..=MAX_TOKEN).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic());
        if holds_card_number(text) {
            return Err(Error::CardData("payment_token".to_owned()));
        }
        if !visible {
            let message = format!("must be 1 to {MAX_TOKEN} visible ASCII characters");
            return Err(FieldError::new("payment_token", "invalid", message).into());
        }
        Ok(Self(text.to_owned()))
    }

    /// Checks a token, if there is one.
    pub(crate) fn read(text: Option<&str>) -> Result<Option<Self>, Error> {
        text.map(Self::parse).transpose()
    }

    /// The sandbox's approving one, for who tries the shop at home.
    pub(crate) fn approving() -> Self {
        Self("tok_approve".to_owned())
    }

    pub(crate) fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(***)")
    }
}

/// A line of free text for people, by the rule of all texts and without card numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Note(String);

impl Note {
    /// A payment's description; blank means none.
    pub(crate) fn description(text: Option<&str>) -> Result<Option<Self>, Error> {
        Self::parse("description", DESCRIPTION, text)
    }

    /// A refund's reason; blank means none.
    pub(crate) fn reason(text: Option<&str>) -> Result<Option<Self>, Error> {
        Self::parse("reason", REASON, text)
    }

    fn parse(field: &str, rule: Text, text: Option<&str>) -> Result<Option<Self>, Error> {
        match text.map(str::trim) {
            None | Some("") => Ok(None),
            Some(text) => bounded(field, text, rule).map(|text| Some(Self(text))),
        }
    }

    /// What a store kept, checked when it came in.
    pub(crate) fn stored(text: Option<String>) -> Option<Self> {
        text.map(Self)
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

/// The caller's own pairs: at most 50, keys of 1–40 and values of up to 500 characters.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Metadata(BTreeMap<String, String>);

impl Metadata {
    /// Checks every pair.
    pub(crate) fn parse(pairs: impl IntoIterator<Item = (String, String)>) -> Result<Self, Error> {
        let mut kept = BTreeMap::new();
        for (key, value) in pairs {
            if holds_card_number(&key) {
                return Err(Error::CardData("metadata".to_owned()));
            }
            let key = bounded("metadata", &key, KEY)?;
            let value = bounded(&format!("metadata.{key}"), &value, VALUE)?;
            kept.insert(key, value);
        }
        if kept.len() > MAX_PAIRS {
            let message = format!("must have at most {MAX_PAIRS} pairs");
            return Err(FieldError::new("metadata", "too_many", message).into());
        }
        Ok(Self(kept))
    }

    /// What a store kept, checked when it came in.
    pub(crate) const fn stored(pairs: BTreeMap<String, String>) -> Self {
        Self(pairs)
    }

    pub(crate) const fn pairs(&self) -> &BTreeMap<String, String> {
        &self.0
    }
}

fn bounded(field: &str, text: &str, rule: Text) -> Result<String, Error> {
    if holds_card_number(text) {
        return Err(Error::CardData(field.to_owned()));
    }
    rule.check(text).map(str::to_owned).map_err(|error| error.on(field).into())
}

/// An amount as it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Amount {
    /// A decimal of a currency that is still to be found out.
    Decimal(Decimal),
    /// An exact amount with its own currency.
    Exact(Money),
}

impl Amount {
    /// What it is in `currency`; what is wrong with it is said of `field`.
    pub(crate) fn of(&self, field: &str, currency: Currency) -> Result<Money, Error> {
        match self {
            Self::Exact(money) => Ok(*money),
            Self::Decimal(decimal) => Money::parse(decimal, currency)
                .map_err(|error| FieldError::new(field, "invalid", error.to_string()).into()),
        }
    }
}

/// What a buyer asks for: pay my basket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Order {
    pub(crate) user_id: UserId,
    pub(crate) basket_id: Option<Uuid>,
    pub(crate) method: Method,
    /// When the money is to be taken.
    pub(crate) capture: Capture,
    /// Who is to charge; none when that is left to the shop.
    pub(crate) provider: Option<String>,
    pub(crate) currency: Option<Currency>,
    pub(crate) description: Option<Note>,
    pub(crate) metadata: Metadata,
    /// What he saw that it costs.
    pub(crate) expected_total: Option<Amount>,
    /// The version of the basket that he saw.
    pub(crate) basket_version: Option<i64>,
}

impl Order {
    /// Refuses to pay for another basket than the buyer saw.
    pub(crate) fn check_seen(&self, basket: &Basket) -> Result<(), Error> {
        let (total, version) = (basket.total()?, basket.version);
        let expected = self.expected_total.as_ref().map(|amount| amount.of("expected_total", basket.currency));
        match expected.transpose()? {
            Some(expected) if expected != total => Err(Error::TotalChanged { expected, now: total, version }),
            _ if self.basket_version.is_some_and(|seen| seen != version) => Err(Error::BasketMoved { total, version }),
            _ => Ok(()),
        }
    }
}

/// An order as it was written.
#[derive(Debug, Clone, Default)]
pub(crate) struct RawOrder {
    pub(crate) user_id: String,
    pub(crate) basket_id: Option<String>,
    pub(crate) method: String,
    pub(crate) capture: Option<String>,
    pub(crate) provider: Option<String>,
    pub(crate) currency: Option<String>,
    pub(crate) description: Option<String>,
    pub(crate) metadata: Vec<(String, String)>,
    pub(crate) expected_total: Option<Amount>,
    pub(crate) basket_version: Option<i64>,
}

impl RawOrder {
    /// Checks every field and reports all that are wrong at once; card numbers come before anything else.
    pub(crate) fn check(self) -> Result<Order, Error> {
        let mut wrong = Fields::default();
        let user_id = wrong.id("user_id", self.user_id.trim());
        let basket_id = self.basket_id.as_deref().map(|id| shop_input::read("basket_id", id.trim()));
        let basket_id = wrong.keep(basket_id.transpose());
        let method = wrong.keep(Method::parse(&self.method));
        let capture = wrong.keep(parse_capture(self.capture.as_deref()));
        let provider = wrong.keep(parse_provider(self.provider.as_deref()));
        let currency = wrong.keep(self.currency.as_deref().map(parse_currency).transpose());
        let description = merge(&mut wrong, Note::description(self.description.as_deref()))?;
        let metadata = merge(&mut wrong, Metadata::parse(self.metadata))?;
        let order = || {
            let (user_id, basket_id, method, capture, provider) = (user_id?, basket_id?, method?, capture?, provider?);
            let (currency, description, metadata) = (currency?, description?, metadata?);
            let (expected_total, basket_version) = (self.expected_total, self.basket_version);
            Some(Order {
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
            })
        };
        order().ok_or(Error::Invalid(wrong))
    }
}

/// The value, or takes over what is wrong with it; any other error, such as a card number, stands at once.
fn merge<T>(wrong: &mut Fields, read: Result<T, Error>) -> Result<Option<T>, Error> {
    match read {
        Ok(value) => Ok(Some(value)),
        Err(Error::Invalid(more)) => Ok(wrong.merge(Err(more))),
        Err(other) => Err(other),
    }
}

fn parse_capture(text: Option<&str>) -> Result<Capture, FieldError> {
    let unknown = || FieldError::new("capture", "unknown", one_of(Capture::ALL.map(Capture::as_str)));
    text.map_or(Ok(Capture::Automatic), |text| Capture::named(text.trim()).ok_or_else(unknown))
}

fn parse_provider(text: Option<&str>) -> Result<Option<String>, FieldError> {
    match text.map(str::trim) {
        None => Ok(None),
        Some(name @ (SANDBOX | STRIPE)) => Ok(Some(name.to_owned())),
        Some(_) => Err(FieldError::new("provider", "unknown", "must be sandbox or stripe")),
    }
}

fn parse_currency(text: &str) -> Result<Currency, FieldError> {
    text.trim()
        .parse()
        .map_err(|_| FieldError::new("currency", "unknown", "must be an ISO 4217 currency code such as USD"))
}
