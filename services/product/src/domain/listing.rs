//! What a listing asks for and where its pages end.

use serde::{Deserialize, Serialize};
use shop_money::{Currency, Money};

use super::Product;
use super::fold::{BETWEEN, place};

/// What a page sorts by; ties are broken by id in the same direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(crate) enum Sort {
    /// By id.
    #[default]
    Id,
    /// By the number a price shows, whatever its currency.
    Price,
    /// By name: small and capital letters alike, letters with accents after the same letters without.
    Name,
    /// By the time it was added.
    CreatedAt,
    /// By units sold.
    UnitsSold,
}

/// Which way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(crate) enum Direction {
    /// Smallest first.
    #[default]
    Up,
    /// Largest first.
    Down,
}

/// The order of a listing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(crate) struct Order {
    /// By what.
    pub(crate) sort: Sort,
    /// Which way.
    pub(crate) direction: Direction,
}

impl Order {
    /// Every order there is, by its name in the HTTP API.
    pub(crate) const ALL: [(&'static str, Self); 10] = [
        ("id", Self::new(Sort::Id, Direction::Up)),
        ("-id", Self::new(Sort::Id, Direction::Down)),
        ("price", Self::new(Sort::Price, Direction::Up)),
        ("-price", Self::new(Sort::Price, Direction::Down)),
        ("name", Self::new(Sort::Name, Direction::Up)),
        ("-name", Self::new(Sort::Name, Direction::Down)),
        ("created_at", Self::new(Sort::CreatedAt, Direction::Up)),
        ("-created_at", Self::new(Sort::CreatedAt, Direction::Down)),
        ("units_sold", Self::new(Sort::UnitsSold, Direction::Up)),
        ("-units_sold", Self::new(Sort::UnitsSold, Direction::Down)),
    ];

    /// Sorts by `sort` in `direction`.
    pub(crate) const fn new(sort: Sort, direction: Direction) -> Self {
        Self { sort, direction }
    }

    /// The order of that name, if there is one.
    pub(crate) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find_map(|(known, order)| (known == name).then_some(order))
    }

    /// Where `product` stands in this order.
    pub(crate) fn key(self, product: &Product) -> Key {
        match self.sort {
            Sort::Id => Key::Number(product.id),
            Sort::Price => Key::Number(thousandths(product.details.price)),
            Sort::Name => Key::Text(place(&product.details.name)),
            Sort::CreatedAt => Key::Number(shop_clock::millis(product.created_at)),
            Sort::UnitsSold => Key::Number(product.units_sold),
        }
    }

    /// Whether `key` can be a place in this order.
    pub(crate) fn takes(self, key: &Key) -> bool {
        match key {
            Key::Number(_) => self.sort != Sort::Name,
            Key::Text(text) => self.sort == Sort::Name && !text.contains(|c: char| c.is_control() && c != BETWEEN),
        }
    }
}

/// Which products. Every filter that is set must match.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub(crate) struct Filter {
    /// Only these, at most 100; all when empty.
    pub(crate) ids: Vec<i64>,
    /// Exactly this category.
    pub(crate) category: Option<String>,
    /// Words to look for in name and description.
    pub(crate) text: Option<String>,
    /// Only prices of this currency.
    pub(crate) currency: Option<Currency>,
    /// Lowest price in [`thousandths`], inclusive.
    pub(crate) min_price: Option<i64>,
    /// Highest price in [`thousandths`], inclusive.
    pub(crate) max_price: Option<i64>,
    /// Something is available, or nothing is.
    pub(crate) in_stock: Option<bool>,
}

/// How [`Filter::text`] is looked for. The first page decides, its cursors keep to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) enum Match {
    /// As whole words, in any of their forms.
    #[default]
    #[serde(rename = "w")]
    Words,
    /// As a piece of the name, or something like one: when no word matches.
    #[serde(rename = "p")]
    Pieces,
}

/// A place in an order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub(crate) enum Key {
    /// A number, or a time in milliseconds.
    Number(i64),
    /// The place of a name.
    Text(String),
}

/// The last product of a page: the next page begins after it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct After {
    /// Its place.
    #[serde(rename = "k")]
    pub(crate) key: Key,
    /// Its id.
    #[serde(rename = "i")]
    pub(crate) id: i64,
    /// How the listing matches text.
    #[serde(rename = "m")]
    pub(crate) matching: Match,
}

/// One page to read.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Listing {
    /// Which products.
    pub(crate) filter: Filter,
    /// In which order.
    pub(crate) order: Order,
    /// After which product; from the start when absent.
    pub(crate) after: Option<After>,
    /// At most this many.
    pub(crate) limit: usize,
}

/// One page.
pub(crate) type Slice = shop_page::Slice<Product, After>;

/// The number a price shows, in thousandths of its currency's unit: what price filters and sorting compare, since
/// minor units of currencies with other decimals do not compare.
pub(crate) fn thousandths(price: Money) -> i64 {
    price.minor.saturating_mul(10_i64.pow(3_u32.saturating_sub(price.currency.decimals())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prices_compare_by_the_number_they_show() {
        for (minor, currency, shown) in [(1299, "USD", 12_990), (1300, "JPY", 1_300_000), (1234, "KWD", 1234)] {
            assert_eq!(thousandths(Money::new(minor, currency.parse().expect("a currency"))), shown);
        }
    }

    #[test]
    fn orders_are_found_by_name_only() {
        assert_eq!(Order::named("-price"), Some(Order::new(Sort::Price, Direction::Down)));
        assert_eq!(Order::named("+price"), None);
        assert_eq!(Order::named("price; DROP TABLE products"), None);
    }

    #[test]
    fn every_order_goes_both_ways_and_is_in_the_api_page() {
        let page = include_str!("../../../../docs/api.md");
        let line = page.lines().find(|line| line.contains("sort is one of")).expect("a line on sorting");
        let (_, names) = line.split_once("one of ").expect("a list");
        let (names, _) = names.split_once("; ").expect("an end of the list");
        let told: Vec<_> = names.split(", ").flat_map(|name| [name.to_owned(), format!("-{name}")]).collect();
        assert_eq!(told, Order::ALL.map(|(name, _)| name));
    }

    #[test]
    fn a_place_of_another_order_is_not_taken() {
        let by_name = Order::new(Sort::Name, Direction::Up);
        assert!(by_name.takes(&Key::Text(place("desk"))) && by_name.takes(&Key::Text(place("bûche"))));
        assert!(!by_name.takes(&Key::Text("de\0sk".to_owned())));
        assert!(!by_name.takes(&Key::Number(1)));
        assert!(!Order::default().takes(&Key::Text(String::new())));
    }
}
