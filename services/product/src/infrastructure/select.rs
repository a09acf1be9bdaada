//! The SQL of a listing: filters, order and the place where the page begins.

use shop_sql::{Value, marks};

use super::row::columns;
use super::search::TextSearch;
use crate::domain::{Direction, Key, Listing, Match, Sort, folded, words};

/// A statement being put together. Only texts of this file go into the SQL; what a client sent goes into parameters.
pub(super) struct Select {
    sql: String,
    values: Vec<Owned>,
    conditions: usize,
    selective: bool,
}

/// A parameter that the statement keeps.
enum Owned {
    Int(i64),
    Text(String),
}

impl Select {
    /// The statement for one page and one row more, which tells that there is a next page. None when the text to look
    /// for cannot match in this way.
    pub(super) fn page(search: TextSearch, listing: &Listing, matching: Match) -> Option<Self> {
        let filter = &listing.filter;
        let mut select = Self {
            sql: concat!("SELECT ", columns!(), " FROM products").to_owned(),
            values: Vec::new(),
            conditions: 0,
            selective: filter.text.is_some() || filter.min_price.is_some() || filter.max_price.is_some(),
        };
        select.filter(listing);
        if let Some(text) = &filter.text {
            let n = select.values.len() + 1;
            let found = match matching {
                Match::Words => search.words(&some(words(text))?, n),
                Match::Pieces => search.pieces(&some(folded(text))?, n),
            };
            select.condition(&found.sql);
            select.values.extend(found.values.into_iter().map(Owned::Text));
        }
        select.order(listing);
        Some(select)
    }

    /// Whether its filters may leave few rows or nearly all: a plan made without knowing which is slow for one of them.
    pub(super) fn is_selective(&self) -> bool {
        self.selective
    }

    /// The SQL.
    pub(super) fn sql(&self) -> String {
        self.sql.clone()
    }

    /// Its parameters.
    pub(super) fn values(&self) -> Vec<Value<'_>> {
        let borrow = |value| match value {
            &Owned::Int(value) => Value::Int(value),
            Owned::Text(value) => Value::Text(value),
        };
        self.values.iter().map(borrow).collect()
    }

    fn filter(&mut self, listing: &Listing) {
        let filter = &listing.filter;
        if !filter.ids.is_empty() {
            let first = self.values.len() + 1;
            let ids = padded(filter.ids.len());
            self.condition(&format!("id IN ({})", marks(first, ids)));
            let padding = std::iter::repeat_n(0, ids - filter.ids.len());
            self.values.extend(filter.ids.iter().copied().chain(padding).map(Owned::Int));
        }
        if let Some(category) = &filter.category {
            self.compare("category =", Owned::Text(category.clone()));
        }
        if let Some(currency) = filter.currency {
            self.compare("currency =", Owned::Text(currency.to_string()));
        }
        if let Some(least) = filter.min_price {
            self.compare("price_thousandths >=", Owned::Int(least));
        }
        if let Some(most) = filter.max_price {
            self.compare("price_thousandths <=", Owned::Int(most));
        }
        match filter.in_stock {
            Some(true) => self.condition("in_stock"),
            Some(false) => self.condition("NOT in_stock"),
            None => {}
        }
    }

    fn order(&mut self, listing: &Listing) {
        let column = match listing.order.sort {
            Sort::Id => None,
            Sort::Price => Some("price_thousandths"),
            Sort::Name => Some("name_folded"),
            Sort::CreatedAt => Some("created_at"),
            Sort::UnitsSold => Some("units_sold"),
        };
        let (sign, word) = match listing.order.direction {
            Direction::Up => (">", "ASC"),
            Direction::Down => ("<", "DESC"),
        };
        if let Some(after) = &listing.after {
            let n = self.values.len() + 1;
            match column {
                None => self.condition(&format!("id {sign} ${n}")),
                // A row comparison walks the index from exactly here, however deep.
                Some(column) => self.condition(&format!("({column}, id) {sign} (${n}, ${})", n + 1)),
            }
            match &after.key {
                _ if column.is_none() => {}
                Key::Number(number) => self.values.push(Owned::Int(*number)),
                Key::Text(text) => self.values.push(Owned::Text(text.clone())),
            }
            self.values.push(Owned::Int(after.id));
        }
        self.values.push(Owned::Int(i64::try_from(listing.limit).unwrap_or(i64::MAX - 1) + 1));
        let first = column.map(|column| format!("{column} {word}, ")).unwrap_or_default();
        self.sql = format!("{} ORDER BY {first}id {word} LIMIT ${}", self.sql, self.values.len());
    }

    fn compare(&mut self, comparison: &str, value: Owned) {
        self.values.push(value);
        self.condition(&format!("{comparison} ${}", self.values.len()));
    }

    fn condition(&mut self, condition: &str) {
        self.sql.push_str(if self.conditions == 0 { " WHERE " } else { " AND " });
        self.sql.push_str(condition);
        self.conditions += 1;
    }
}

/// `text`, if there is any.
fn some(text: String) -> Option<String> {
    Some(text).filter(|text| !text.is_empty())
}

/// How many parameters stand for `count` of them: the next power of two, so that there are few different statements
/// to prepare.
pub(super) fn padded(count: usize) -> usize {
    count.next_power_of_two()
}
