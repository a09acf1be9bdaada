//! Who calls.
//!
//! Only what is known to be true counts. A key or token that anybody could make up would be a new client with every call.

use std::collections::HashSet;

use arc_swap::ArcSwap;
use http::HeaderName;
use ring::digest::{Context, SHA256, digest};
use shop_config::WatchedFile;
use shop_http1::fields::Fields;

use crate::call::{Call, Subject};
use crate::key::Key;
use crate::settings::{ApiKeys, ClientKey, RateLimit};

/// How clients are known.
pub(crate) struct Callers {
    order: Vec<ClientKey>,
    header: HeaderName,
    settings: ApiKeys,
    api_keys: ArcSwap<HashSet<[u8; 32]>>,
    file: WatchedFile,
}

impl Callers {
    /// Reads what the settings name.
    pub(crate) fn new(settings: &RateLimit) -> Self {
        let keys = &settings.api_keys;
        let callers = Self {
            order: settings.key.clone(),
            header: keys.header.parse().unwrap_or(HeaderName::from_static("x-api-key")),
            settings: keys.clone(),
            api_keys: ArcSwap::default(),
            file: WatchedFile::new(keys.file.clone()),
        };
        callers.refresh();
        callers
    }

    /// Reads files again that changed. What cannot be read changes nothing, and is said once.
    pub(crate) fn refresh(&self) {
        if !self.order.contains(&ClientKey::ApiKey) || !self.file.look() {
            return;
        }
        match self.settings.all() {
            Ok(keys) => self.api_keys.store(keys.into()),
            Err(error) => tracing::error!(error, "API keys stay as they were: rate_limit.api_keys.file is not good"),
        }
    }

    /// Who calls.
    pub(crate) fn of(&self, call: &Call<'_>) -> Key {
        let by = |kind: &ClientKey| match kind {
            ClientKey::Subject => call.subject.map(by_subject),
            ClientKey::ApiKey => self.by_api_key(call.headers),
            ClientKey::Ip => Some(Key::of_address(call.address)),
        };
        self.order.iter().find_map(by).unwrap_or_else(|| Key::of_address(call.address))
    }

    fn by_api_key(&self, headers: &dyn Fields) -> Option<Key> {
        let key = headers.value(&self.header)?;
        let hash: [u8; 32] = digest(&SHA256, key).as_ref().try_into().ok()?;
        self.api_keys.load().contains(&hash).then(|| Key::of_api_key(hash))
    }
}

/// Two issuers' subjects of one name are two clients.
fn by_subject(Subject { issuer, name }: Subject<'_>) -> Key {
    let mut hash = Context::new(&SHA256);
    hash.update(&(issuer.len() as u64).to_be_bytes());
    hash.update(issuer.as_bytes());
    hash.update(name.as_bytes());
    Key::of_subject(hash.finish().as_ref().try_into().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use http::HeaderMap;

    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    /// SHA-256 of `secret`.
    const HASH: &str = "2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b";

    fn callers(file: Option<std::path::PathBuf>) -> Callers {
        let api_keys = ApiKeys { hashes: vec![HASH.to_uppercase()], file, ..ApiKeys::default() };
        let settings = RateLimit { key: vec![ClientKey::ApiKey, ClientKey::Ip], api_keys, ..RateLimit::default() };
        Callers::new(&settings)
    }

    fn call(headers: &HeaderMap, address: IpAddr) -> Call<'_> {
        Call { policy: None, headers, address, subject: None }
    }

    fn with_key(key: &str) -> HeaderMap {
        HeaderMap::from_iter([(HeaderName::from_static("x-api-key"), key.parse().expect("a value"))])
    }

    #[test]
    fn a_known_api_key_is_a_client_and_an_invented_one_is_not() {
        let callers = callers(None);
        let (here, there) = (address("1.2.3.4"), address("5.6.7.8"));
        let known = callers.of(&call(&with_key("secret"), here));
        assert_eq!(known, callers.of(&call(&with_key("secret"), there)), "wherever it comes from");
        assert_eq!(known.to_string(), format!("key:{}{}", &HASH[..10], &HASH[16..32]));
        assert_eq!(callers.of(&call(&with_key("invented"), here)), Key::of_address(here));
        assert_eq!(callers.of(&call(&HeaderMap::new(), here)), Key::of_address(here));
    }

    #[test]
    fn a_file_of_keys_is_read_again_and_a_broken_one_changes_nothing() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("keys");
        std::fs::write(&path, "# nobody yet\n\n").expect("writes");
        let callers = callers(Some(path.clone()));
        let here = address("1.2.3.4");
        let is_known = |key: &str| callers.of(&call(&with_key(key), here)) != Key::of_address(here);
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
    fn a_subject_is_a_client_wherever_it_comes_from_and_another_one_with_each_issuer() {
        let settings = RateLimit { key: vec![ClientKey::Subject, ClientKey::Ip], ..RateLimit::default() };
        let callers = Callers::new(&settings);
        let headers = HeaderMap::new();
        let of = |issuer, name, from| {
            let subject = Some(Subject { issuer, name });
            callers.of(&Call { subject, ..call(&headers, address(from)) })
        };
        let ann = of("here", "ann", "1.2.3.4");
        assert_eq!(of("here", "ann", "5.6.7.8"), ann);
        assert!(
            [of("here", "bob", "1.2.3.4"), of("there", "ann", "1.2.3.4"), of("her", "eann", "1.2.3.4")]
                .iter()
                .all(|other| *other != ann)
        );
        let nobody = callers.of(&call(&headers, address("1.2.3.4")));
        assert_eq!(nobody, Key::of_address(address("1.2.3.4")));
    }
}
