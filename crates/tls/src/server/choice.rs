//! Which certificate a client gets.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use crate::certificate::Pair;

/// The certificates that new connections get.
#[derive(Debug)]
pub(super) struct Current(ArcSwap<Choice>);

/// The certificates by name.
#[derive(Debug)]
pub(super) struct Choice {
    first: Arc<CertifiedKey>,
    /// By the name of a host, or one with a star for its first label. Several when the keys are of several kinds.
    named: HashMap<String, Vec<Arc<CertifiedKey>>>,
}

impl Choice {
    pub(super) fn of<'a>(mut pairs: impl Iterator<Item = &'a Pair> + Clone) -> Option<Self> {
        let mut named: HashMap<String, Vec<_>> = HashMap::new();
        // One alone is for whatever name a client says: clients judge for themselves whether it is the one.
        let are_several = pairs.clone().nth(1).is_some();
        for pair in pairs.clone().filter(|_| are_several) {
            for name in &pair.names {
                named.entry(name.clone()).or_default().push(Arc::clone(&pair.certified));
            }
        }
        Some(Self { first: Arc::clone(&pairs.next()?.certified), named })
    }

    fn find(&self, name: &str) -> Option<&[Arc<CertifiedKey>]> {
        let name = if name.bytes().any(|byte| byte.is_ascii_uppercase()) {
            Cow::Owned(name.to_ascii_lowercase())
        } else {
            Cow::Borrowed(name)
        };
        let starred = || name.split_once('.').and_then(|(_, rest)| self.named.get(&format!("*.{rest}")));
        self.named.get(&*name).or_else(starred).map(Vec::as_slice)
    }
}

impl Current {
    pub(super) fn new(choice: Choice) -> Self {
        Self(ArcSwap::from_pointee(choice))
    }

    pub(super) fn replace(&self, choice: Choice) {
        self.0.store(Arc::new(choice));
    }
}

impl ResolvesServerCert for Current {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let choice = self.0.load();
        if choice.named.is_empty() {
            return Some(Arc::clone(&choice.first));
        }
        let found = hello.server_name().and_then(|name| choice.find(name)).unwrap_or_default();
        let fits = |one: &&Arc<CertifiedKey>| one.key.choose_scheme(hello.signature_schemes()).is_some();
        let chosen = found.iter().find(fits).or_else(|| found.first());
        Some(Arc::clone(chosen.unwrap_or(&choice.first)))
    }
}
