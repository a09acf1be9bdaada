//! What a key may look like.

use sha2::{Digest, Sha256};
use shop_input::Id;

/// Longest key taken, in bytes.
pub const MAX_KEY: usize = 255;

/// A key as its caller chose it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key(String);

impl Key {
    /// The same key of the caller whose keys are kept apart by `space`; no two callers share one. Without a space it is the
    /// key itself.
    #[must_use]
    pub fn within(self, space: &str) -> Self {
        if space.is_empty() {
            return self;
        }
        let hash = Sha256::new().chain_update(space).chain_update([0]).chain_update(self.0).finalize();
        Self(hash.iter().fold(String::with_capacity(64), |text, byte| text + &format!("{byte:02x}")))
    }

    /// Its text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Id for Key {
    const FORM: &'static str = "1 to 255 visible ASCII characters";

    fn read(text: &str) -> Option<Self> {
        let visible = text.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ');
        (visible && (1..=MAX_KEY).contains(&text.len())).then(|| Self(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_callers_keys_are_two_keys() {
        let key = Key::read("order 7").expect("a key");
        let (ada, grace) = (key.clone().within("shop\nada"), key.clone().within("shop\ngrace"));
        assert!(ada != grace && ada != key && ada == key.clone().within("shop\nada"));
        assert!(Key::read(ada.as_str()).is_some(), "it is kept as any other");
        assert_eq!(key.clone().within(""), key);
    }

    #[test]
    fn a_key_is_short_and_visible() {
        for text in ["1", "order 7", &"k".repeat(MAX_KEY)] {
            assert_eq!(Key::read(text).as_ref().map(Key::as_str), Some(text));
        }
        for text in ["", "a\tb", "é", "\u{7f}", &"k".repeat(MAX_KEY + 1)] {
            assert_eq!(Key::read(text), None, "{text:?}");
        }
        assert!(Key::FORM.contains(&format!(" {MAX_KEY} ")), "the words name the limit");
    }
}
