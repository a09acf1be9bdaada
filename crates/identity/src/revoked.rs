//! Tokens that are not good any more although they have not expired.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use serde::Deserialize;
use time::OffsetDateTime;

/// What `identity.revoked_file` lists.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Revoked {
    /// By `jti`.
    tokens: HashSet<String>,
    /// By `sub`: all that were issued before.
    #[serde(deserialize_with = "times")]
    subjects: HashMap<String, OffsetDateTime>,
}

fn times<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<HashMap<String, OffsetDateTime>, D::Error> {
    #[derive(Deserialize)]
    struct At(#[serde(with = "time::serde::rfc3339")] OffsetDateTime);
    let all = HashMap::<String, At>::deserialize(deserializer)?;
    Ok(all.into_iter().map(|(subject, At(time))| (subject, time)).collect())
}

impl Revoked {
    pub(crate) fn is_empty(&self) -> bool {
        self.tokens.is_empty() && self.subjects.is_empty()
    }

    /// Whether the token of this id, subject and time of issue is not good any more. One that does not say when it was issued
    /// may have been before.
    pub(crate) fn has(&self, id: Option<&str>, subject: &str, issued: Option<u64>) -> bool {
        let before = |time: &OffsetDateTime| {
            issued.and_then(|issued| i64::try_from(issued).ok()).is_none_or(|issued| issued < time.unix_timestamp())
        };
        id.is_some_and(|id| self.tokens.contains(id)) || self.subjects.get(subject).is_some_and(before)
    }
}

/// What the file lists; the error says what is wrong with it.
pub(crate) fn read(file: &Path) -> Result<Revoked, String> {
    let text = shop_config::read_text(file).map_err(|error| format!("cannot be read: {error}"))?;
    serde_json::from_str(&text).map_err(|error| format!("is not a list of tokens and subjects: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_revoked_one_by_one_or_by_their_subject_and_time() {
        let text = r#"{"tokens": ["t1"], "subjects": {"ada": "2026-01-31T12:00:00Z"}}"#;
        let revoked: Revoked = serde_json::from_str(text).expect("a list");
        let noon = 1_769_860_800;
        for (id, subject, issued, gone) in [
            (Some("t1"), "bob", Some(noon), true),
            (Some("t2"), "bob", Some(noon), false),
            (None, "bob", None, false),
            (None, "ada", Some(noon - 1), true),
            (None, "ada", Some(noon), false),
            (None, "ada", None, true),
        ] {
            assert_eq!(revoked.has(id, subject, issued), gone, "{id:?} {subject} {issued:?}");
        }
        assert!(serde_json::from_str::<Revoked>(r#"{"token": []}"#).is_err(), "a misspelt list is no empty one");
    }
}
