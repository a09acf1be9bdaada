//! The subject of a bearer token, believed only when the token's signature is good.

use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use http::{HeaderMap, header};
use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey, Validation, get_current_timestamp};
use parking_lot::Mutex;
use ring::digest::{Context, SHA256, digest};
use serde::Deserialize;

use crate::key::Key;
use crate::settings::jwt::Jwt;
use shop_config::WatchedFile;

/// Longer ones are not looked at.
const LONGEST: usize = 8 * 1024;
/// Tokens remembered as good. To check one takes twenty times as long as to find it here.
const REMEMBERED: usize = 100_000;
/// How long a token is remembered, in seconds.
const MEMORY: u64 = 300;
/// Threads seldom wait for each other with as many.
const SHARDS: usize = 16;
/// Keys tried for one token: sets in which so many fit have names for them.
const MOST_TRIED: usize = 4;

/// Tokens, and who issues them.
pub(crate) struct Tokens {
    settings: Jwt,
    keys: ArcSwap<Vec<Issued>>,
    file: WatchedFile,
    /// By the hash of the token.
    good: [Mutex<Good>; SHARDS],
}

/// What tokens signed with one key must be like.
pub(crate) struct Issued {
    id: Option<String>,
    key: DecodingKey,
    algorithm: Algorithm,
    rules: Validation,
}

/// Tokens found good: whose they are, and until when. Two generations, as in [`crate::budgets`].
#[derive(Default)]
struct Good {
    young: HashMap<[u8; 32], (Key, u64)>,
    old: HashMap<[u8; 32], (Key, u64)>,
}

/// What of a token matters.
#[derive(Deserialize)]
struct Claims {
    sub: String,
    #[serde(default)]
    iss: String,
    exp: f64,
}

/// A token that came with a call.
pub(crate) struct Shown<'a> {
    token: &'a str,
    hash: [u8; 32],
}

impl<'a> Shown<'a> {
    /// The bearer token of a call that has one and no other credentials.
    pub(crate) fn of(headers: &'a HeaderMap) -> Option<Self> {
        let mut values = headers.get_all(header::AUTHORIZATION).iter();
        let value = values.next().filter(|_| values.next().is_none())?.to_str().ok()?;
        let (scheme, token) = value.split_once(' ')?;
        let token = token.trim();
        let fits = scheme.eq_ignore_ascii_case("bearer") && token.len() <= LONGEST && token.contains('.');
        fits.then(|| Self { token, hash: digest(&SHA256, token.as_bytes()).as_ref().try_into().unwrap_or_default() })
    }
}

impl Tokens {
    /// Reads the keys that the settings name.
    pub(crate) fn new(settings: &Jwt) -> Self {
        shop_identity::install_crypto();
        let tokens = Self {
            settings: settings.clone(),
            keys: ArcSwap::default(),
            file: WatchedFile::new(settings.keys_file.clone()),
            good: Default::default(),
        };
        tokens.refresh();
        tokens
    }

    /// Reads files again that changed. What cannot be read changes nothing, and is said once.
    pub(crate) fn refresh(&self) {
        if !self.file.look() {
            return;
        }
        match keys(&self.settings) {
            Ok(keys) => {
                self.keys.store(keys.into());
                // Some may have been signed with a key that is not there any more.
                self.good.iter().for_each(|shard| *shard.lock() = Good::default());
            }
            Err(error) => tracing::error!(error, "keys of tokens stay as they were: rate_limit.jwt is not good"),
        }
    }

    fn shard(&self, hash: &[u8; 32]) -> &Mutex<Good> {
        &self.good[usize::from(hash[0]) % SHARDS]
    }

    /// Whose it is, if that was found out before.
    pub(crate) fn known(&self, shown: &Shown<'_>) -> Option<Key> {
        let mut good = self.shard(&shown.hash).lock();
        let found = good.young.get(&shown.hash).copied();
        let (key, until) = found.or_else(|| {
            let found = good.old.remove(&shown.hash)?;
            good.put(shown.hash, found);
            Some(found)
        })?;
        (get_current_timestamp() < until).then_some(key)
    }

    /// Whose it is, if it is good.
    pub(crate) fn check(&self, shown: &Shown<'_>) -> Option<Key> {
        let head = jsonwebtoken::decode_header(shown.token).ok()?;
        let keys = self.keys.load_full();
        let fitting = keys.iter().filter(|issued| {
            issued.algorithm == head.alg && (head.kid.is_none() || issued.id.is_none() || issued.id == head.kid)
        });
        let claims = fitting
            .take(MOST_TRIED)
            .find_map(|issued| jsonwebtoken::decode::<Claims>(shown.token, &issued.key, &issued.rules).ok())?
            .claims;
        let key = claims.key()?;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked: it is a time to come")]
        let until = (claims.exp as u64).min(get_current_timestamp() + MEMORY);
        let mut good = self.shard(&shown.hash).lock();
        // Not after others took the place of these keys, and what they had found good was forgotten.
        if Arc::ptr_eq(&keys, &self.keys.load()) {
            good.put(shown.hash, (key, until));
        }
        Some(key)
    }
}

impl Claims {
    /// Two issuers' subjects of one name are two clients.
    fn key(&self) -> Option<Key> {
        let mut hash = Context::new(&SHA256);
        hash.update(&u64::try_from(self.iss.len()).ok()?.to_be_bytes());
        hash.update(self.iss.as_bytes());
        hash.update(self.sub.as_bytes());
        Some(Key::of_subject(hash.finish().as_ref().try_into().ok()?))
    }
}

impl Good {
    fn put(&mut self, hash: [u8; 32], found: (Key, u64)) {
        if self.young.len() >= REMEMBERED / SHARDS / 2 {
            std::mem::swap(&mut self.young, &mut self.old);
            self.young.clear();
        }
        self.young.insert(hash, found);
    }
}

/// The keys that the settings name; the error says what is wrong with them.
pub(crate) fn keys(settings: &Jwt) -> Result<Vec<Issued>, String> {
    let mut keys = Vec::new();
    if !settings.secret.is_empty() {
        let key = DecodingKey::from_secret(settings.secret.expose().as_bytes()).map_err(|error| error.to_string())?;
        keys.push(Issued { id: None, key, algorithm: Algorithm::HS256, rules: rules(settings, Algorithm::HS256) });
    }
    if let Some(file) = &settings.keys_file {
        #[derive(Deserialize)]
        struct Set {
            keys: Vec<serde_json::Value>,
        }
        let text = shop_config::read_text(file).map_err(|error| format!("cannot be read: {error}"))?;
        let set: Set = serde_json::from_str(&text).map_err(|error| format!("is not a JWK set: {error}"))?;
        // Sets have keys for other purposes too.
        keys.extend(set.keys.into_iter().filter_map(|key| public(settings, serde_json::from_value(key).ok()?)));
    }
    if keys.is_empty() {
        return Err("has no key for ES256, RS256 or EdDSA".to_owned());
    }
    Ok(keys)
}

/// A public key. What a key is for is read from the key, never from a token.
fn public(settings: &Jwt, key: Jwk) -> Option<Issued> {
    let algorithm = match &key.algorithm {
        AlgorithmParameters::RSA(_) => Algorithm::RS256,
        AlgorithmParameters::EllipticCurve(curve) if curve.curve == EllipticCurve::P256 => Algorithm::ES256,
        AlgorithmParameters::OctetKeyPair(pair) if pair.curve == EllipticCurve::Ed25519 => Algorithm::EdDSA,
        _ => return None,
    };
    let declared = key.common.key_algorithm.map(Algorithm::try_from);
    let fits = declared.is_none_or(|declared| declared.is_ok_and(|declared| declared == algorithm))
        && matches!(key.common.public_key_use, None | Some(PublicKeyUse::Signature));
    let decoding = DecodingKey::from_jwk(&key).ok().filter(|_| fits)?;
    Some(Issued { id: key.common.key_id, key: decoding, algorithm, rules: rules(settings, algorithm) })
}

fn rules(settings: &Jwt, algorithm: Algorithm) -> Validation {
    let mut rules = Validation::new(algorithm);
    let mut required = vec!["exp", "sub"];
    rules.validate_nbf = true;
    rules.validate_aud = !settings.audience.is_empty();
    if !settings.audience.is_empty() {
        rules.set_audience(&[&settings.audience]);
        required.push("aud");
    }
    if !settings.issuer.is_empty() {
        rules.set_issuer(&[&settings.issuer]);
        required.push("iss");
    }
    rules.set_required_spec_claims(&required);
    rules
}

#[cfg(test)]
mod tests;
