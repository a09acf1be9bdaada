//! The suite's own issuer: tokens for guests, for its services, and for people where the key is at hand.

use std::io::{ErrorKind, Write as _};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, bail};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject as _;
use serde_json::{Value, json};
use shop_clock::{Clock, SystemClock};
use uuid::Uuid;

use crate::Role;
use crate::keys::{self, Key};

/// What the suite's own tokens have for `iss`.
pub const ISSUER: &str = "shop";
/// What those for people and guests have for `aud`; those for services have the name of the one that is called.
pub const AUDIENCE: &str = "shop";
/// How the subject of a service begins.
pub(crate) const SERVICE: &str = "service:";
/// How the names of guests begin; nobody else's may.
pub(crate) const GUEST: &str = "guest-";
/// How long a guest may take to buy something.
pub const GUEST_LIFETIME: Duration = Duration::from_hours(24);
/// How long a service's token is good: it is made anew before that.
pub(crate) const SERVICE_LIFETIME: Duration = Duration::from_mins(1);

/// Before a private key on P-256 as RFC 5915 has it, to make it PKCS #8 (RFC 5208): the length of it all, which is the third
/// byte, version and algorithm.
const PKCS8: [u8; 28] = [
    0x30, 0x81, 0x91, 0x02, 0x01, 0x00, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08,
    0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x04,
];

/// Signs tokens (ES256).
pub struct Signer {
    pair: EcdsaKeyPair,
    id: String,
    /// The public halves of all keys in the file: the first signs, the others did before.
    public: Vec<Key>,
    chance: SystemRandom,
}

/// A token for a guest.
#[derive(Debug)]
pub struct Guest {
    /// The name that the guest has from now on.
    pub user: String,
    /// What proves it.
    pub token: String,
    /// How long it does.
    pub lifetime: Duration,
}

impl Signer {
    /// Reads private keys on P-256 in PEM (PKCS #8 or RFC 5915). The first signs; the others are still good for checking.
    pub fn read(file: &Path) -> anyhow::Result<Self> {
        let text = shop_config::read_text(file).with_context(|| format!("{} cannot be read", file.display()))?;
        Self::parse(&text).with_context(|| format!("{} has no good key", file.display()))
    }

    /// Reads them, after making one where there is no file yet. Whoever comes first makes it; nobody finds half of one.
    pub fn make(file: &Path) -> anyhow::Result<Self> {
        make_once(file, Self::generate)?;
        Self::read(file)
    }

    fn parse(pem: &str) -> anyhow::Result<Self> {
        let chance = SystemRandom::new();
        let mut pairs = Vec::new();
        for key in PrivateKeyDer::pem_slice_iter(pem.as_bytes()) {
            let pkcs8 = match key.context("a key is not PEM")? {
                PrivateKeyDer::Pkcs8(der) => der.secret_pkcs8_der().to_vec(),
                PrivateKeyDer::Sec1(der) => wrapped(der.secret_sec1_der()),
                _ => bail!(
                    "use keys on P-256, as `openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256` makes them"
                ),
            };
            let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &pkcs8, &chance)
                .map_err(|error| anyhow::anyhow!("a key is not one on P-256 with its public half: {error}"))?;
            pairs.push(pair);
        }
        let public: Vec<_> = pairs.iter().map(|pair| Key::point(pair.public_key().as_ref())).collect();
        let Some(pair) = pairs.into_iter().next() else { bail!("there is no private key in PEM") };
        let id = keys::fingerprint(pair.public_key().as_ref());
        Ok(Self { pair, id, public, chance })
    }

    /// A new key, in PEM.
    pub fn generate() -> anyhow::Result<String> {
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new())
            .map_err(|_| anyhow::anyhow!("no key can be made: there is no chance to be had"))?;
        let text = base64::engine::general_purpose::STANDARD.encode(pkcs8.as_ref());
        let lines: Vec<_> = text.as_bytes().chunks(64).map(String::from_utf8_lossy).collect();
        Ok(format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", lines.join("\n")))
    }

    pub(crate) fn public(&self) -> &[Key] {
        &self.public
    }

    /// A token for a new guest.
    pub fn guest(&self) -> Guest {
        let user = guest_name();
        let token = self.sign(&user, AUDIENCE, GUEST_LIFETIME, &json!({ "guest": true }));
        Guest { user, token, lifetime: GUEST_LIFETIME }
    }

    /// A token for a person.
    pub fn person(&self, user: &str, roles: &[Role], lifetime: Duration) -> String {
        self.sign(user, AUDIENCE, lifetime, &json!({ "roles": roles }))
    }

    /// A token for the service `name`, to show to the service `callee`.
    pub(crate) fn service(&self, name: &str, callee: &str) -> String {
        self.sign(&format!("{SERVICE}{name}"), callee, SERVICE_LIFETIME, &json!({}))
    }

    fn sign(&self, subject: &str, audience: &str, lifetime: Duration, more: &Value) -> String {
        let now = SystemClock.now().unix_timestamp();
        let until = now.saturating_add_unsigned(lifetime.as_secs());
        let mut claims = json!({
            "iss": ISSUER, "sub": subject, "aud": audience, "iat": now, "exp": until, "jti": Uuid::new_v4(),
        });
        if let (Some(claims), Some(more)) = (claims.as_object_mut(), more.as_object()) {
            claims.extend(more.clone());
        }
        let head = json!({ "alg": "ES256", "typ": "at+jwt", "kid": self.id });
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let message = format!("{}.{}", part(&head), part(&claims));
        let signature = self.pair.sign(&self.chance, message.as_bytes());
        // Only a machine without chance cannot sign; what is not signed is refused wherever it is shown.
        let signature = signature.map(|signature| URL_SAFE_NO_PAD.encode(signature)).unwrap_or_default();
        format!("{message}.{signature}")
    }
}

/// Makes a file, readable for its owner alone, where there is none yet. Whoever comes first makes it; nobody finds half of one.
pub fn make_once(file: &Path, content: impl FnOnce() -> anyhow::Result<String>) -> anyhow::Result<()> {
    let make = || {
        let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        std::fs::create_dir_all(folder)?;
        let mut made = tempfile::NamedTempFile::new_in(folder)?;
        made.write_all(content()?.as_bytes())?;
        made.as_file().sync_all()?;
        match made.persist_noclobber(file) {
            Err(error) if error.error.kind() != ErrorKind::AlreadyExists => Err(error.error.into()),
            _ => anyhow::Ok(()),
        }
    };
    if file.exists() {
        return Ok(());
    }
    make().with_context(|| format!("{} cannot be made", file.display()))
}

/// The name of a new guest.
pub(crate) fn guest_name() -> String {
    format!("{GUEST}{}", SystemClock.new_id().simple())
}

/// As PKCS #8.
fn wrapped(sec1: &[u8]) -> Vec<u8> {
    // One that is too long to be such a key becomes none.
    let length = u8::try_from(sec1.len()).unwrap_or_default();
    let mut der = PKCS8.to_vec();
    der[2] = length.wrapping_add(26);
    der.push(length);
    der.extend_from_slice(sec1);
    der
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_key_is_made_once_by_whoever_comes_first_and_for_its_owner_alone() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("data").join("identity.pem");
        let made = std::thread::scope(|scope| {
            let threads = [(); 8].map(|()| scope.spawn(|| Signer::make(&file).expect("a key").id));
            threads.map(|thread| thread.join().expect("no panic"))
        });
        assert!(made.iter().all(|id| *id == made[0]), "{made:?}");
        assert_eq!(std::fs::metadata(&file).expect("a file").permissions().mode() & 0o777, 0o600);
        assert_eq!(std::fs::read_dir(folder.path().join("data")).expect("a folder").count(), 1);
        assert_eq!(Signer::make(&file).expect("the same").id, made[0]);
        std::fs::write(&file, "").expect("writes");
        assert!(Signer::make(&file).is_err(), "what is there is not replaced");
    }
}
