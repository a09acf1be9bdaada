//! Who it is about, the same rule for every service.

use std::fmt;
use std::str::FromStr;

use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use serde::{Deserialize, Deserializer, de};

use crate::Id;

/// A user's id: 1 to 255 of `A-Z a-z 0-9 @ . _ - + : |`, and not `.` or `..`.
///
/// So it takes what `sub` of a token may be (`OpenID` Connect Core 1.0, section 2: at most 255 ASCII characters): addresses
/// with tags (`ada+shop@x.example`), `auth0|5f7c8ec7`, `google-oauth2|113`, UUIDs. It is safe in a path, where a
/// slash, a dot segment or `;` would be read as something else, in a store's key between braces, and in a log line.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UserId(String);

/// The text is not a user id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be {}", UserId::FORM)]
pub struct NotUserId;

/// The one allowed character that a path cannot have as it is (RFC 3986, section 3.3).
const ESCAPED: AsciiSet = CONTROLS.add(b'|');

impl UserId {
    /// Longest id, in bytes.
    pub const MAX: usize = 255;

    /// The rule as a regular expression, without look-ahead, which not every language has.
    pub const PATTERN: &str = r"^(\.{0,2}[A-Za-z0-9@_+:|-]|\.{3})[A-Za-z0-9@._+:|-]*$";

    /// What a store kept, checked by the rule of when it came in.
    pub fn stored(text: String) -> Self {
        Self(text)
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The id as a segment of a path.
    pub fn segment(&self) -> impl fmt::Display + '_ {
        utf8_percent_encode(&self.0, &ESCAPED)
    }
}

impl Id for UserId {
    const FORM: &'static str = "1 to 255 letters, digits or any of @ . _ - + : |, and not . or ..";

    fn read(text: &str) -> Option<Self> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"@._-+:|".contains(&byte);
        let fine = (1..=Self::MAX).contains(&text.len()) && text.bytes().all(allowed) && !matches!(text, "." | "..");
        fine.then(|| Self(text.to_owned()))
    }
}

impl FromStr for UserId {
    type Err = NotUserId;

    fn from_str(text: &str) -> Result<Self, NotUserId> {
        Self::read(text).ok_or(NotUserId)
    }
}

impl<'de> Deserialize<'de> for UserId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
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
    use proptest::prelude::*;

    #[test]
    fn ids_of_people_and_of_tokens_are_taken() {
        for id in [
            "a",
            "ann@example.com",
            "ada+shop@x.example",
            "auth0|5f7c8ec7c33c6c004bbafe82",
            "google-oauth2|113",
            "urn:x:1",
            "A-1_b.c",
            "...",
            ".hidden",
            "a..b",
            "01890a5d-ac96-774b-bcce-b302099a8057",
            &"x".repeat(255),
        ] {
            assert_eq!(id.parse::<UserId>().map(|user| user.to_string()), Ok(id.to_owned()));
        }
    }

    #[test]
    fn what_a_path_a_key_or_a_line_cannot_carry_is_refused() {
        for id in [
            "",
            ".",
            "..",
            " a",
            "a b",
            "a/b",
            "/",
            "a\\b",
            "a;b",
            "a?b",
            "a#b",
            "a%2Fb",
            "{a}",
            "é",
            "a\n",
            "*",
            "a\u{0}",
            "a\u{202e}b",
            &"x".repeat(256),
        ] {
            assert_eq!(id.parse::<UserId>(), Err(NotUserId), "{id:?}");
        }
    }

    #[test]
    fn a_segment_escapes_what_a_path_cannot_have() {
        let user: UserId = "auth0|ada+x@y:1".parse().expect("is an id");
        assert_eq!(user.segment().to_string(), "auth0%7Cada+x@y:1");
    }

    /// Texts that the pattern describes; those made for a test have no ends to anchor.
    fn ids() -> impl Strategy<Value = String> {
        let pattern = UserId::PATTERN.trim_matches(['^', '$']);
        proptest::string::string_regex(pattern).expect("is a regular expression")
    }

    proptest! {
        #[test]
        fn the_pattern_is_the_rule(id in ids()) {
            prop_assert_eq!(id.parse::<UserId>().is_ok(), id.len() <= UserId::MAX);
        }
    }
}
