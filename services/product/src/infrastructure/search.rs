//! How each engine looks for texts.

use shop_sql::Connection as _;
use sqlx::PgPool;

/// What an engine looks for texts with.
#[derive(Debug, Clone, Copy)]
pub(super) enum TextSearch {
    /// PostgreSQL's full-text search.
    Vectors {
        /// Whether there are trigrams, too, for pieces of words and for what is nearly right.
        trigrams: bool,
    },
    /// SQLite's FTS5.
    Fts5,
}

/// A condition on the text of a product.
pub(super) struct Condition {
    /// The SQL.
    pub(super) sql: String,
    /// Its parameters.
    pub(super) values: Vec<String>,
}

impl TextSearch {
    /// What this PostgreSQL can do.
    pub(super) async fn of(pool: &PgPool) -> sqlx::Result<Self> {
        let sql = "SELECT to_regclass('products_name_trigrams') IS NOT NULL";
        let (trigrams,) = shop_sql::acquire(pool).await?.row::<(bool,)>(sql, &[]).await?.unwrap_or_default();
        if !trigrams {
            tracing::info!("pg_trgm is not available: a search that matches no word scans the names");
        }
        Ok(Self::Vectors { trigrams })
    }

    /// Finds all of `words`, which are folded, in any of their forms; the one parameter is numbered `n`.
    pub(super) fn words(self, words: &str, n: usize) -> Condition {
        let (sql, words) = match self {
            Self::Vectors { .. } => (format!("search @@ plainto_tsquery('product_words', ${n})"), words.to_owned()),
            Self::Fts5 => {
                let sql = format!("id IN (SELECT rowid FROM products_words WHERE products_words MATCH ${n})");
                (sql, phrases(words))
            }
        };
        Condition { sql, values: vec![words] }
    }

    /// Finds `piece`, which is folded, in the name; the parameters are numbered from `n`.
    pub(super) fn pieces(self, piece: &str, n: usize) -> Condition {
        let (like, pattern) = (format!(r"name_folded LIKE ${n} ESCAPE '\'"), like(piece));
        match self {
            Self::Vectors { trigrams: true } => Condition {
                sql: format!("({like} OR name_folded %> ${})", n + 1),
                values: vec![pattern, piece.to_owned()],
            },
            Self::Vectors { trigrams: false } | Self::Fts5 => Condition { sql: like, values: vec![pattern] },
        }
    }
}

/// `words` in FTS5's language: each quoted, so that none is an operator.
fn phrases(words: &str) -> String {
    words.split(' ').map(|word| format!("\"{word}\"")).collect::<Vec<_>>().join(" ")
}

/// `text` for LIKE with `\` as its escape: anywhere, every character itself.
fn like(text: &str) -> String {
    let mut pattern = String::with_capacity(text.len() + 2);
    pattern.push('%');
    for c in text.chars() {
        if matches!(c, '%' | '_' | '\\') {
            pattern.push('\\');
        }
        pattern.push(c);
    }
    pattern.push('%');
    pattern
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::words;

    #[test]
    fn no_text_is_an_operator() {
        for (text, query) in [
            ("walnut desk", "\"walnut\" \"desk\""),
            ("NEAR(a b) OR -c*", "\"near\" \"a\" \"b\" \"or\" \"c\""),
            ("\"żółw\" 2", "\"zolw\" \"2\""),
        ] {
            assert_eq!(phrases(&words(text)), query, "{text}");
        }
    }
}
