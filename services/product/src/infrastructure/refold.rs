//! Rows that another folding wrote: of the version before, which may still run beside this one.

use shop_sql::{Connection, Engine, Value, retry_transient};

use super::Failure;
use super::catalogue::Sql;
use super::row::sought;
use crate::domain::{FOLDING, composed, place};

/// Rows per transaction: a tenth of a second at most in which nobody else writes to an embedded store.
const BATCH: usize = 200;

/// The number is [`FOLDING`], spelled out so that the stores use their index on it.
const STALE: &str = "SELECT id, name, description, category FROM products WHERE folding <> 1 ORDER BY id LIMIT $1";

/// Unless the row was edited meanwhile: then it is folded by that, or read again by the next batch.
const FOLD: &str = "UPDATE products SET name_folded = $1, words = $2, category = $3, folding = $4 \
     WHERE id = $5 AND name = $6 AND description = $7 AND category = $8";

#[derive(shop_sql::FromRow)]
struct Row {
    id: i64,
    name: String,
    description: String,
    category: String,
}

impl<E: Engine> Sql<E> {
    /// Folds some rows anew; how many there were.
    pub(super) async fn refold_some(&self) -> Result<usize, Failure> {
        let limit = Value::Int(i64::try_from(BATCH).unwrap_or(i64::MAX));
        let rows: Vec<Row> = self.engine.reader().await?.rows(STALE, &[limit]).await?;
        if !rows.is_empty() {
            retry_transient(|| self.fold(&rows)).await?;
        }
        Ok(rows.len())
    }

    async fn fold(&self, rows: &[Row]) -> Result<(), Failure> {
        let mut tx = self.engine.begin().await?;
        // In the order of ids, as everybody locks products.
        for row in rows {
            let (place, words) = (place(&row.name), sought(&row.name, &row.description));
            let category = composed(&row.category);
            let values = [
                Value::Text(&place),
                Value::Text(&words),
                Value::Text(&category),
                Value::Int(FOLDING),
                Value::Int(row.id),
                Value::Text(&row.name),
                Value::Text(&row.description),
                Value::Text(&row.category),
            ];
            tx.run(FOLD, &values).await?;
        }
        Ok(shop_sql::commit(tx).await?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_statements_and_indexes_are_those_of_the_folding() {
        let condition = format!("WHERE folding <> {FOLDING}");
        for text in [
            STALE,
            include_str!("../../migrations/postgres/0005_words.sql"),
            include_str!("../../migrations/sqlite/0005_words.sql"),
        ] {
            assert!(text.contains(&condition), "{text}");
        }
    }
}
