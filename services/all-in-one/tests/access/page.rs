//! The page.

use std::fmt::Write as _;

use crate::callers::Caller;

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/access.md");

/// What a caller hears.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cell {
    /// Whatever the operation says: it was for him.
    LetIn,
    /// That he has to say who he is.
    Unauthenticated,
    /// That it is not for him.
    Forbidden,
    /// The same as of something that does not exist.
    Hidden,
    /// That nobody has such a method.
    NoRoute,
}

impl Cell {
    const fn word(self) -> &'static str {
        match self {
            Self::LetIn => "yes",
            Self::Unauthenticated => "401",
            Self::Forbidden => "403",
            Self::Hidden => "404",
            Self::NoRoute => "none",
        }
    }
}

/// An operation, and what every caller hears.
pub(crate) struct Row {
    pub(crate) name: String,
    pub(crate) cells: Vec<Cell>,
}

/// Compares the page, or writes it.
pub(crate) fn compare(http: &[Row], grpc: &[Row]) {
    let page = page(http, grpc);
    if std::env::var_os("SHOP_TEST_UPDATE").is_some() {
        std::fs::write(PAGE, &page).expect("writes");
    }
    let committed = std::fs::read_to_string(PAGE).unwrap_or_default();
    assert!(
        committed == page,
        "docs/access.md is not what the services do: run `make access-docs`, and read the change"
    );
}

fn page(http: &[Row], grpc: &[Row]) -> String {
    let mut page = "# Who may do what\n\n\
        <!-- Written by `make access-docs` from what the services answer; a test compares. -->\n\n\
        Every operation, asked by every kind of caller, at the service's own port: **yes**, he is let in, and hears what the \
        operation has to say; **401**, he has to say who he is (`token_missing`); **403**, it is not for him (`forbidden`); \
        **404**, he hears what is heard of something that does not exist, byte for byte. Lists hold \
        what is the caller's own, and everybody's for `support`. Roles ask for another's things, services \
        show their credential. Through the gateway it is the same, but that \
        `StockService`, `SettlementService`, webhooks' endpoints and preferences are not there. An expired token, one for another audience and one with a bad signature are 401 \
        everywhere. [identity.md](identity.md) says where tokens and roles come from; the rows are in `access.rs` beside each \
        service's routes.\n"
        .to_owned();
    for (title, rows) in [("HTTP", http), ("gRPC", grpc)] {
        let headings: Vec<_> = Caller::ALL.iter().map(|caller| caller.heading()).collect();
        // Writing to a String cannot fail.
        let _ =
            write!(page, "\n## {title}\n\n| | {} |\n|---|{}\n", headings.join(" | "), "---|".repeat(headings.len()));
        for Row { name, cells } in rows {
            let words: Vec<_> = cells.iter().map(|cell| cell.word()).collect();
            let _ = writeln!(page, "| `{name}` | {} |", words.join(" | "));
        }
    }
    page
}
