//! How a product lies in its table.

use shop_clock::{from_millis, millis};
use shop_fault::Fault;
use shop_money::Money;
use shop_sql::Value;

use crate::domain::{Details, Error, FOLDING, Product, place, thousandths, words};

/// The columns of a [`ProductRow`], for `concat!`.
macro_rules! columns {
    () => {
        "id, name, description, price, currency, stock_quantity, reserved_quantity, units_sold, category, image_url, \
         version, created_at, updated_at"
    };
}
pub(super) use columns;

/// A row of `products`.
#[derive(Debug, Clone, shop_sql::FromRow)]
pub(super) struct ProductRow {
    pub(super) id: i64,
    name: String,
    description: String,
    price: i64,
    currency: String,
    stock_quantity: i64,
    reserved_quantity: i64,
    units_sold: i64,
    category: String,
    image_url: Option<String>,
    version: i64,
    created_at: i64,
    updated_at: i64,
}

impl TryFrom<ProductRow> for Product {
    type Error = Error;

    fn try_from(row: ProductRow) -> Result<Self, Error> {
        let currency = row.currency.parse().map_err(Fault::internal)?;
        Ok(Self {
            id: row.id,
            details: Details {
                name: row.name,
                description: row.description,
                price: Money::new(row.price, currency),
                stock_quantity: row.stock_quantity,
                category: row.category,
                image_url: row.image_url,
            },
            reserved_quantity: row.reserved_quantity,
            units_sold: row.units_sold,
            version: row.version,
            created_at: from_millis(row.created_at),
            updated_at: from_millis(row.updated_at),
        })
    }
}

/// The columns that [`details`] fills, in its order, from the first parameter on.
pub(super) const INSERT: &str = concat!(
    "INSERT INTO products (name, description, price, currency, stock_quantity, category, image_url, ",
    "price_thousandths, name_folded, words, folding, operation, created_at, updated_at) ",
    "VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $13) ON CONFLICT (operation) DO NOTHING RETURNING ",
    columns!()
);

/// The same for an edit; reservations and sales have statements of their own.
pub(super) const UPDATE: &str = "UPDATE products SET name = $1, description = $2, price = $3, currency = $4, \
     stock_quantity = $5, category = $6, image_url = $7, price_thousandths = $8, name_folded = $9, words = $10, \
     folding = $11, version = $12, updated_at = $13 WHERE id = $14";

/// What a client writes, and what is kept beside it for sorting and searching.
pub(super) struct Written<'a> {
    details: &'a Details,
    place: String,
    words: String,
}

impl<'a> Written<'a> {
    pub(super) fn new(details: &'a Details) -> Self {
        Self { details, place: place(&details.name), words: sought(&details.name, &details.description) }
    }

    /// The first eleven parameters of [`INSERT`] and [`UPDATE`], then `more`.
    pub(super) fn values<'v>(&'v self, more: impl IntoIterator<Item = Value<'v>>) -> Vec<Value<'v>> {
        let details = self.details;
        let mut values = vec![
            Value::Text(&details.name),
            Value::Text(&details.description),
            Value::Int(details.price.minor),
            Value::Text(details.price.currency.as_str()),
            Value::Int(details.stock_quantity),
            Value::Text(&details.category),
            Value::Maybe(details.image_url.as_deref()),
            Value::Int(thousandths(details.price)),
            Value::Text(&self.place),
            Value::Text(&self.words),
            Value::Int(FOLDING),
        ];
        values.extend(more);
        values
    }
}

/// The words by which a product of this name and description is found.
pub(super) fn sought(name: &str, description: &str) -> String {
    words(&format!("{name} {description}"))
}

/// The parameters of [`UPDATE`] after the details.
pub(super) fn edit(product: &Product) -> [Value<'static>; 3] {
    [Value::Int(product.version), Value::Int(millis(product.updated_at)), Value::Int(product.id)]
}
