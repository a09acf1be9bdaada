//! Who calls.
//!
//! Only what is known to be true counts. A key or token that anybody could make up would be a new client with every call.

use std::collections::HashSet;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::time::Duration;

use arc_swap::ArcSwap;
use governor::clock::DefaultClock;
use http::{HeaderMap, HeaderName};
use ring::digest::{SHA256, digest};

use crate::budgets::Budgets;
use crate::key::Key;
use crate::local::LocalCounter;
use crate::rate::{Rate, Verdict};
use crate::settings::{ApiKeys, ClientKey, RateLimit};
use crate::token::{Shown, Tokens};
use shop_config::WatchedFile;

/// How clients are known.
pub(crate) struct Callers {
    order: Vec<ClientKey>,
    header: HeaderName,
    settings: ApiKeys,
    api_keys: ArcSwap<HashSet<[u8; 32]>>,
    file: WatchedFile,
    tokens: Option<Tokens>,
    /// Tokens that are checked for an address: whoever makes them up shall not keep everybody busy with signatures.
    checks: LocalCounter,
}

/// The policy under which checks of tokens are counted; there are never as many others.
const CHECKS: u16 = u16::MAX;

impl Callers {
    /// Reads what the settings name.
    pub(crate) fn new(settings: &RateLimit, budgets: &Budgets) -> Self {
        let keys = &settings.api_keys;
        let callers = Self {
            order: settings.key.clone(),
            header: keys.header.parse().unwrap_or(HeaderName::from_static("x-api-key")),
            settings: keys.clone(),
            api_keys: ArcSwap::default(),
            file: WatchedFile::new(keys.file.clone()),
            tokens: settings.key.contains(&ClientKey::Subject).then(|| Tokens::new(&settings.jwt)),
            checks: LocalCounter::new(
                // A hundred people behind one address may come at once, and ten more each second.
                Rate { per_call: Duration::from_millis(100), burst: NonZeroU32::MIN.saturating_add(99) },
                budgets,
                DefaultClock::default(),
            ),
        };
        callers.refresh();
        callers
    }

    /// Reads files again that changed. What cannot be read changes nothing, and is said once.
    pub(crate) fn refresh(&self) {
        if let Some(tokens) = &self.tokens {
            tokens.refresh();
        }
        if !self.order.contains(&ClientKey::ApiKey) || !self.file.look() {
            return;
        }
        match self.settings.all() {
            Ok(keys) => self.api_keys.store(keys.into()),
            Err(error) => tracing::error!(error, "API keys stay as they were: rate_limit.api_keys.file is not good"),
        }
    }

    /// Who calls.
    pub(crate) fn of(&self, headers: &HeaderMap, address: IpAddr) -> Key {
        let by = |kind: &ClientKey| match kind {
            ClientKey::Subject => self.by_token(headers, address),
            ClientKey::ApiKey => self.by_api_key(headers),
            ClientKey::Ip => Some(Key::of_address(address)),
        };
        self.order.iter().find_map(by).unwrap_or_else(|| Key::of_address(address))
    }

    fn by_token(&self, headers: &HeaderMap, address: IpAddr) -> Option<Key> {
        let tokens = self.tokens.as_ref()?;
        let shown = Shown::of(headers)?;
        tokens.known(&shown).or_else(|| {
            let busy = self.checks.check(Key::of_address(address).below(CHECKS));
            matches!(busy, Verdict::Allowed { .. }).then(|| tokens.check(&shown))?
        })
    }

    fn by_api_key(&self, headers: &HeaderMap) -> Option<Key> {
        let key = headers.get(&self.header)?;
        let hash: [u8; 32] = digest(&SHA256, key.as_bytes()).as_ref().try_into().ok()?;
        self.api_keys.load().contains(&hash).then(|| Key::of_api_key(hash))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    /// SHA-256 of `secret`.
    const HASH: &str = "2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b";

    fn callers(file: Option<std::path::PathBuf>) -> Callers {
        let api_keys = ApiKeys { hashes: vec![HASH.to_uppercase()], file, ..ApiKeys::default() };
        let settings = RateLimit { key: vec![ClientKey::ApiKey, ClientKey::Ip], api_keys, ..RateLimit::default() };
        Callers::new(&settings, &Budgets::new(1000))
    }

    fn with_key(key: &str) -> HeaderMap {
        HeaderMap::from_iter([(HeaderName::from_static("x-api-key"), key.parse().expect("a value"))])
    }

    #[test]
    fn a_known_api_key_is_a_client_and_an_invented_one_is_not() {
        let callers = callers(None);
        let (here, there) = (address("1.2.3.4"), address("5.6.7.8"));
        let known = callers.of(&with_key("secret"), here);
        assert_eq!(known, callers.of(&with_key("secret"), there), "wherever it comes from");
        assert_eq!(known.to_string(), format!("key:{}{}", &HASH[..10], &HASH[16..32]));
        assert_eq!(callers.of(&with_key("invented"), here), Key::of_address(here));
        assert_eq!(callers.of(&HeaderMap::new(), here), Key::of_address(here));
    }

    #[test]
    fn a_file_of_keys_is_read_again_and_a_broken_one_changes_nothing() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("keys");
        std::fs::write(&path, "# nobody yet\n\n").expect("writes");
        let callers = callers(Some(path.clone()));
        let here = address("1.2.3.4");
        let is_known = |key: &str| callers.of(&with_key(key), here) != Key::of_address(here);
        assert!(is_known("secret") && !is_known("other"));
        // SHA-256 of `other`.
        let other = "d9298a10d1b0735837dc4bd85dac641b0f3cef27a47e5d53a54f2f3f5b2fcffa";
        std::fs::write(&path, format!("  {other}\n")).expect("writes");
        callers.refresh();
        assert!(is_known("secret") && is_known("other"));
        std::fs::write(&path, "nonsense, and of another length").expect("writes");
        callers.refresh();
        assert!(is_known("secret") && is_known("other"));
    }

    #[test]
    fn made_up_tokens_are_no_clients_and_are_checked_only_so_often() {
        use base64::Engine;
        let secret = "0123456789abcdef0123456789abcdef";
        let token = |subject: &str| {
            let encode = |text: &[u8]| base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(text);
            let claims = format!(r#"{{"sub":"{subject}","exp":4102444800}}"#);
            let message = format!("{}.{}", encode(br#"{"alg":"HS256"}"#), encode(claims.as_bytes()));
            let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, secret.as_bytes());
            let signature = encode(ring::hmac::sign(&key, message.as_bytes()).as_ref());
            let value = format!("bearer {message}.{signature}").parse().expect("a value");
            HeaderMap::from_iter([(http::header::AUTHORIZATION, value)])
        };
        let mut settings = RateLimit { key: vec![ClientKey::Subject, ClientKey::Ip], ..RateLimit::default() };
        settings.jwt.secret = shop_config::Secret::from(secret);
        let callers = Callers::new(&settings, &Budgets::new(1000));
        let (here, there) = (address("1.2.3.4"), address("5.6.7.8"));
        let ann = callers.of(&token("ann"), here);
        assert_ne!(ann, Key::of_address(here));
        assert_eq!(callers.of(&token("ann"), there), ann);
        for number in 0..1000 {
            let value = format!("Bearer e30.{number}.x").parse().expect("a value");
            let headers = HeaderMap::from_iter([(http::header::AUTHORIZATION, value)]);
            assert_eq!(callers.of(&headers, here), Key::of_address(here));
        }
        // The test may be so slow that some checks are allowed again meanwhile.
        let checked = (0..300).filter(|who| callers.of(&token(&format!("new{who}")), here) != Key::of_address(here));
        assert!(checked.count() < 200, "too many signatures are checked for one address");
        assert_eq!(callers.of(&token("ann"), here), ann, "who is known still is");
        assert_ne!(callers.of(&token("bob"), there), Key::of_address(there), "elsewhere all goes on");
    }
}
