//! A text that must not appear in logs, errors or `--explain`.

use std::cell::Cell;
use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// What is shown instead of a secret.
pub(crate) const MASK: &str = "***";

/// The name by which the loader recognises a secret while it walks a settings type.
pub(crate) const NAME: &str = "$shop_config::Secret";

thread_local! {
    static REVEALED: Cell<bool> = const { Cell::new(false) };
}

/// A password, token or URL with a password. `Debug` and `Serialize` show `***`.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// The text itself; call this only where it is handed to the party it is meant for.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Whether nothing was set.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl From<&str> for Secret {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(MASK)
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // That a secret is empty is worth knowing and tells nothing.
        let open = REVEALED.get() || self.is_empty();
        serializer.serialize_str(if open { &self.0 } else { MASK })
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(rename = "$shop_config::Secret")]
        struct Text(String);
        Text::deserialize(deserializer).map(|text| Self(text.0))
    }
}

/// Runs `f` with secrets serialised as they are: the built-in defaults pass through serde on their way into the merge.
pub(crate) fn revealed<T>(f: impl FnOnce() -> T) -> T {
    struct Restore(bool);
    impl Drop for Restore {
        fn drop(&mut self) {
            REVEALED.set(self.0);
        }
    }
    let _restore = Restore(REVEALED.replace(true));
    f()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_masked_wherever_it_could_be_printed() {
        let secret = Secret::from("hunter2");
        assert_eq!(format!("{secret:?}"), "***");
        assert_eq!(serde_json::to_string(&secret).expect("serialises"), "\"***\"");
        assert_eq!(secret.expose(), "hunter2");
    }

    #[test]
    fn a_secret_is_revealed_only_inside_the_loader() {
        let secret = Secret::from("hunter2");
        assert_eq!(revealed(|| serde_json::to_string(&secret)).expect("serialises"), "\"hunter2\"");
        assert_eq!(serde_json::to_string(&secret).expect("serialises"), "\"***\"");
    }
}
