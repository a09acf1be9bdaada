//! How tokens are known to be real.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use shop_config::{Problems, Secret};

/// How it is found out that a token is real. It must have `sub` and `exp`, which may be over for a minute: clocks differ.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Jwt {
    /// The secret that tokens are signed with (HS256), of 32 bytes at least.
    pub secret: Secret,
    /// A file with the issuer's public keys, as its JWK set has them: P-256 (ES256), RSA (RS256) or Ed25519 (`EdDSA`). It is
    /// read again when it changes.
    pub keys_file: Option<PathBuf>,
    /// Only tokens whose `iss` it is; any when it is empty.
    pub issuer: String,
    /// Only tokens whose `aud` has it; any when it is empty.
    pub audience: String,
}

impl Jwt {
    /// Finds wrong values; whether the keys can be read is not among them.
    pub(super) fn check(&self, p: &mut Problems) {
        let none = self.secret.is_empty() && self.keys_file.is_none();
        p.ensure(
            !none,
            "keys_file",
            "name the keys of tokens, or a secret: tokens that cannot be checked do not count",
        );
        let short = !self.secret.is_empty() && self.secret.expose().len() < 32;
        p.ensure(!short, "secret", "use at least 32 bytes: shorter ones can be guessed from a token");
    }
}
