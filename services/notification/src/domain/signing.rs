//! The key a webhook is signed with, in the form of Standard Webhooks (<https://www.standardwebhooks.com/>).

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

const PREFIX: &str = "whsec_";

/// A symmetric key of 24 to 64 bytes, written `whsec_` and its base64. Never printed.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct SigningSecret {
    text: String,
    key: Vec<u8>,
}

impl SigningSecret {
    /// A secret of these random bytes.
    pub(crate) fn from_key(key: [u8; 32]) -> Self {
        Self { text: format!("{PREFIX}{}", STANDARD.encode(key)), key: key.to_vec() }
    }

    /// Reads `whsec_…`; the error says what it must look like.
    pub(crate) fn parse(text: &str) -> Result<Self, &'static str> {
        let help = "must be whsec_ followed by the base64 of 24 to 64 random bytes";
        let text = text.trim();
        let key = text.strip_prefix(PREFIX).and_then(|encoded| STANDARD.decode(encoded).ok()).ok_or(help)?;
        if (24..=64).contains(&key.len()) { Ok(Self { text: text.to_owned(), key }) } else { Err(help) }
    }

    /// As receivers are told it; only for the one who made the endpoint.
    pub(crate) fn expose(&self) -> &str {
        &self.text
    }

    /// The bytes to sign with.
    pub(crate) fn key(&self) -> &[u8] {
        &self.key
    }
}

impl fmt::Debug for SigningSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SigningSecret(***)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_read_as_it_is_written_and_never_shown() {
        let secret = SigningSecret::from_key([7; 32]);
        assert_eq!(SigningSecret::parse(secret.expose()), Ok(secret.clone()));
        assert_eq!(secret.key(), [7; 32]);
        assert_eq!(format!("{secret:?}"), "SigningSecret(***)");
    }

    #[test]
    fn what_is_no_secret_is_refused() {
        for text in
            ["", "hunter2", "whsec_", "whsec_####", "whsec_c2hvcnQ=", &format!("whsec_{}", STANDARD.encode([0; 65]))]
        {
            assert!(SigningSecret::parse(text).is_err(), "{text}");
        }
    }
}
