//! Words for schemas: what a field may hold, told with the constants that its check uses.
//!
//! A type made by [`describe!`](crate::describe!) stands for a field in the document (`value_type = Name`), and the field
//! keeps its own type; or it is what the field is (`Time(OffsetDateTime)`), where answers have it again and again.

use std::ops::RangeInclusive;
use std::sync::LazyLock;

use salvo::oapi::schema::{AdditionalProperties, OneOf};
use salvo::oapi::{BasicType, Components, Object, Ref, RefOr, Schema, SchemaFormat, SchemaType};
use serde::Serializer;
use serde_json::{Value, json};
use shop_money::Currency;
use shop_text::{Lines, Text, is_hidden, is_line_safe};
use time::OffsetDateTime;
use uuid::Uuid;

/// Makes types that only say what a field holds: `Name = text(1..=200);`, or, as a schema that the document names and
/// refers to, `Status = names(["paid"]) => "PaymentStatus";`. `Id(Uuid) = …;` holds it, too.
#[macro_export]
macro_rules! describe {
    (@type $(#[$doc:meta])* $vis:vis $name:ident) => {
        $(#[$doc])*
        #[derive(Debug)]
        $vis enum $name {}
    };
    (@type $(#[$doc:meta])* $vis:vis $name:ident $(#[$written:meta])? $held:ty) => {
        $(#[$doc])*
        #[derive(Debug, ::serde::Serialize)]
        #[serde(transparent)]
        $vis struct $name($(#[$written])? $held);

        impl From<$held> for $name {
            fn from(value: $held) -> Self {
                Self(value)
            }
        }
    };
    ($($(#[$doc:meta])* $vis:vis $name:ident $(($($held:tt)+))? = $schema:expr $(=> $component:literal)?;)+) => {$(
        $crate::describe!(@type $(#[$doc])* $vis $name $($($held)+)?);

        impl ::salvo::oapi::ToSchema for $name {
            fn to_schema(components: &mut ::salvo::oapi::Components) -> ::salvo::oapi::RefOr<::salvo::oapi::Schema> {
                let schema = ::salvo::oapi::RefOr::Type(::salvo::oapi::Schema::from($schema));
                $(let schema = $crate::describe::component(components, $component, schema);)?
                let _ = components;
                schema
            }
        }
    )+};
}

describe! {
    /// An instant.
    pub Time(#[serde(serialize_with = "rfc3339")] OffsetDateTime) = string(24..=24).format(format("date-time"))
        .pattern("^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\\.[0-9]{3}Z$")
        .example("2026-01-02T03:04:05.678Z");
    /// An amount in an answer: a number with exactly its currency's decimals.
    pub Amount(shop_money::Amount) = Object::with_type(BasicType::Number).minimum(0).maximum(isize::MAX).example(number("1299.99"));
    /// An amount above zero as it is sent in.
    pub AmountSent = amount_sent() => "AmountSent";
    /// An ISO 4217 code.
    pub CurrencyCode(Currency) = names(Currency::codes()).description("ISO 4217 code").example("USD") => "Currency";
    /// An id that a service makes.
    pub Id(Uuid) = string(36..=36).format(format("uuid")).example("019b7c2e-5d14-7b3a-8c55-2f6e1d0a9b47");
    /// A product's number.
    pub ProductId(i64) = integer(1..=i64::MAX).example(1);
}

fn rfc3339<S: Serializer>(at: &OffsetDateTime, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&shop_clock::rfc3339(*at))
}

/// The pattern of one line that is looked for: without control characters, but for the space around it, which is trimmed.
pub fn line() -> String {
    let space = &CLASSES.space;
    format!("^[{space}]*[^\\u0000-\\u001f\\u007f-\\u009f]*[{space}]*$")
}

/// A label of a host's name.
macro_rules! label {
    () => {
        "[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
    };
}

/// What a path, a query or a fragment has (RFC 3986, section 3.3), but for the quote, which takes three characters in a query.
macro_rules! rest {
    ($more:literal) => {
        concat!("([A-Za-z0-9._~!$&()*+,;=:@/", $more, "-]|%[0-9A-Fa-f]{2})*")
    };
}

/// A part of an IPv4 address.
macro_rules! octet {
    () => {
        "(25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
    };
}

/// The end of a host's name, which no address has: a label that begins with a letter.
macro_rules! last_label {
    () => {
        "[A-Za-z]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?[.]?"
    };
}

/// What follows the host of a URL, without a fragment.
macro_rules! after_host {
    () => {
        concat!("(:([1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}))?(/", rest!(""), ")?([?]", rest!("?"), ")?")
    };
}

/// The pattern of an http or https URL: a host by its name or IPv4 address.
pub const WEB: &str = concat!(
    "^[Hh][Tt][Tt][Pp][Ss]?://((",
    label!(),
    "\\.)*",
    last_label!(),
    "|(",
    octet!(),
    "\\.){3}",
    octet!(),
    ")",
    after_host!(),
    "(#",
    rest!("?"),
    ")?$"
);

/// The pattern of an https URL of a host that is known by its name to everybody.
pub const PUBLIC: &str = concat!("^[Hh][Tt][Tt][Pp][Ss]://(", label!(), "\\.)+", last_label!(), after_host!(), "$");

/// Most decimals that a currency has.
const FINEST: u32 = 3;

/// A number above zero, or the same in a string, with at most as many decimals as any currency has.
fn amount_sent() -> OneOf {
    let number = amount_number(FINEST).maximum(most(0)).example(number("1299.99"));
    OneOf::new()
        .item(number)
        .item(string(1..=40).pattern(amount_text(most(0), FINEST)).example("1299.99"))
        .description("A number above zero, or a string with one")
}

/// The largest amount that can be sent in, of a currency with so many decimals.
const fn most(decimals: u32) -> i64 {
    shop_money::MAX_MINOR / 10_i64.pow(decimals)
}

fn amount_number(decimals: u32) -> Object {
    // The digits say exactly what a binary float cannot.
    let step: f64 = format!("1e-{decimals}").parse().unwrap_or(1.0);
    Object::with_type(BasicType::Number).multiple_of(step).exclusive_minimum(0).maximum(most(decimals))
}

/// A decimal above zero and below `most`, a power of ten, with at most so many decimals.
fn amount_text(most: i64, decimals: u32) -> String {
    let more = most.ilog10() - 1;
    if decimals == 0 {
        return format!("^[1-9][0-9]{{0,{more}}}$");
    }
    let zeros: Vec<String> = (0..decimals)
        .map(|zeros| match (zeros, decimals - zeros - 1) {
            (0, rest) => format!("[1-9][0-9]{{0,{rest}}}"),
            (zeros, 0) => format!("0{{{zeros}}}[1-9]"),
            (zeros, rest) => format!("0{{{zeros}}}[1-9][0-9]{{0,{rest}}}"),
        })
        .collect();
    format!(r"^([1-9][0-9]{{0,{more}}}(\.[0-9]{{1,{decimals}}})?|0\.({}))$", zeros.join("|"))
}

/// What an amount sent in must be beside its currency: in the words of JSON Schema, from `if` on.
pub(crate) fn by_currency(amount: &str) -> Value {
    let of = |decimals: u32| -> Vec<&str> {
        Currency::codes()
            .filter(|code| code.parse().is_ok_and(|known: Currency| known.decimals() == decimals))
            .collect()
    };
    let when = |codes: Vec<&str>| json!({"required": ["currency"], "properties": {"currency": {"enum": codes}}});
    let then = |decimals: u32| {
        let text = string(1..=40).pattern(amount_text(most(decimals), decimals));
        json!({"properties": {amount: {"anyOf": [amount_number(decimals), text]}}})
    };
    json!({
        "if": when(of(0)),
        "then": then(0),
        "else": {"if": when(of(FINEST)), "then": then(FINEST), "else": then(2)},
    })
}

/// A string of so many characters.
pub fn string(length: RangeInclusive<usize>) -> Object {
    let string = Object::with_type(BasicType::String).max_length(*length.end());
    if *length.start() == 0 { string } else { string.min_length(*length.start()) }
}

/// Text for people, by the rule that checks it. (What it may hold it is asked without the space around it.)
pub fn text(rule: Text) -> Object {
    let Text { least, most, lines } = rule;
    string(least..=most).pattern(pattern(least, lines))
}

/// The pattern of a text of that rule, from what the rule says of each character.
fn pattern(least: usize, lines: Lines) -> String {
    let Classes { taken, taken_in_lines, seen, space } = &*CLASSES;
    let taken = if lines == Lines::Many { taken_in_lines } else { taken };
    match least {
        0 => format!("^[{space}]*([^{taken}]*[^{seen}][^{taken}]*[{space}]*)?$"),
        _ => format!("^[{space}]*[^{taken}]*[^{seen}][^{taken}]*[{space}]*$"),
    }
}

/// The insides of character classes.
struct Classes {
    /// What no line holds.
    taken: String,
    /// What no text of several lines holds.
    taken_in_lines: String,
    /// What a text is not made of alone.
    seen: String,
    /// Space, which is trimmed.
    space: String,
}

/// Made once: every character there is, is asked about.
static CLASSES: LazyLock<Classes> = LazyLock::new(|| Classes {
    taken: class(|c| !is_line_safe(c)),
    taken_in_lines: class(|c| !is_line_safe(c) && !is_break(c)),
    seen: class(|c| !is_line_safe(c) || is_hidden(c) || c.is_whitespace()),
    space: class(char::is_whitespace),
});

/// The characters that part lines and columns.
fn is_break(c: char) -> bool {
    matches!(c, '\n' | '\r' | '\t' | '\u{2028}' | '\u{2029}')
}

/// The inside of a character class with every character that `is`.
fn class(is: impl Fn(char) -> bool) -> String {
    let mut class = String::new();
    let mut run: Option<(char, char)> = None;
    let mut end = |run: Option<(char, char)>| match run {
        Some((first, last)) if first == last => class.push_str(&escaped(first)),
        Some((first, last)) => class.extend([&*escaped(first), "-", &*escaped(last)]),
        None => {}
    };
    for c in char::MIN..=char::MAX {
        match (is(c), run) {
            (true, Some((first, _))) => run = Some((first, c)),
            (true, None) => run = Some((c, c)),
            (false, _) => end(run.take()),
        }
    }
    end(run);
    class
}

/// A character as all dialects of patterns know it; what is beyond 16 bits, as itself.
fn escaped(c: char) -> String {
    if u32::from(c) <= 0xffff { format!("\\u{:04x}", u32::from(c)) } else { c.to_string() }
}

/// A whole number.
pub fn integer(range: RangeInclusive<i64>) -> Object {
    let kind = if i32::try_from(*range.end()).is_ok() { "int32" } else { "int64" };
    Object::with_type(BasicType::Integer).format(format(kind)).minimum(*range.start()).maximum(*range.end())
}

/// One of these names.
pub fn names<'a>(all: impl IntoIterator<Item = &'a str>) -> Object {
    Object::with_type(BasicType::String).enum_values(all)
}

/// An object with at most so many members of the caller's own.
pub fn pairs(most: usize, key: Object, value: Object) -> Object {
    Object::new().max_properties(most).property_names(key).additional_properties(AdditionalProperties::from(value))
}

/// A format by its name.
pub fn format(name: &str) -> SchemaFormat {
    SchemaFormat::Custom(name.to_owned())
}

/// That string, or null.
pub fn nullable(string: Object) -> Object {
    string.schema_type(SchemaType::from_iter([BasicType::String, BasicType::Null]))
}

/// A number for examples, to the digit.
fn number(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_default()
}

/// Puts `schema` among the document's under `name`, and refers to it.
pub fn component(components: &mut Components, name: &str, schema: RefOr<Schema>) -> RefOr<Schema> {
    if !components.schemas.contains_key(name) {
        components.schemas.insert(name.to_owned(), schema);
    }
    RefOr::Ref(Ref::from_schema_name(name))
}
