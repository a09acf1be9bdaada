//! Whose basket it is.

use std::fmt;
use std::str::FromStr;

/// A user's id: 1–128 of `[A-Za-z0-9._@-]`, so it is safe in a path, a store key and a log line.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct UserId(String);

/// The text is not a user id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be 1 to 128 of A-Z, a-z, 0-9, dot, underscore, at sign and hyphen")]
pub(crate) struct InvalidUserId;

impl UserId {
    /// Longest id, in bytes.
    pub(crate) const MAX: usize = 128;

    /// The id as text.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for UserId {
    type Err = InvalidUserId;

    fn from_str(text: &str) -> Result<Self, InvalidUserId> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._@-".contains(&byte);
        if (1..=Self::MAX).contains(&text.len()) && text.bytes().all(allowed) {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidUserId)
        }
    }
}

impl fmt::Display for UserId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_letters_digits_and_four_marks_are_taken() {
        for id in ["a", "ann@example.com", "A-1_b.c", &"x".repeat(128)] {
            assert_eq!(id.parse::<UserId>().map(|user| user.to_string()), Ok(id.to_owned()));
        }
    }

    #[test]
    fn everything_else_is_refused() {
        for id in ["", " a", "a b", "a/b", "{a}", "é", "a\n", "a:b", "*", &"x".repeat(129)] {
            assert_eq!(id.parse::<UserId>(), Err(InvalidUserId), "{id:?}");
        }
    }
}
