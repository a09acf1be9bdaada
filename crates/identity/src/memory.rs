//! Tokens found good, so that a signature is checked once and not with every call.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use ring::digest::{SHA256, digest};

use crate::authenticator::Verified;

/// Tokens remembered. To check one takes a hundred times as long as to find it here.
const REMEMBERED: usize = 32_768;
/// Threads seldom wait for each other with as many.
const SHARDS: usize = 16;

/// By the hash of the whole token, signature included: what differs in one bit is another token.
#[derive(Default)]
pub(crate) struct Memory([Mutex<Shard>; SHARDS]);

/// The hash of a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Hash([u8; 32]);

impl Hash {
    pub(crate) fn of(token: &str) -> Self {
        Self(digest(&SHA256, token.as_bytes()).as_ref().try_into().unwrap_or_default())
    }
}

/// Two generations: what was not asked for while one filled up is forgotten.
#[derive(Default)]
struct Shard {
    young: HashMap<Hash, Arc<Verified>>,
    old: HashMap<Hash, Arc<Verified>>,
}

impl Memory {
    fn shard(&self, hash: Hash) -> &Mutex<Shard> {
        &self.0[usize::from(hash.0[0]) % SHARDS]
    }

    pub(crate) fn get(&self, hash: Hash) -> Option<Arc<Verified>> {
        let mut shard = self.shard(hash).lock();
        if let Some(found) = shard.young.get(&hash) {
            return Some(found.clone());
        }
        let found = shard.old.remove(&hash)?;
        shard.put(hash, found.clone());
        Some(found)
    }

    pub(crate) fn put(&self, hash: Hash, verified: Arc<Verified>) {
        self.shard(hash).lock().put(hash, verified);
    }

    pub(crate) fn forget(&self, hash: Hash) {
        let mut shard = self.shard(hash).lock();
        shard.young.remove(&hash);
        shard.old.remove(&hash);
    }
}

impl Shard {
    fn put(&mut self, hash: Hash, verified: Arc<Verified>) {
        if self.young.len() >= REMEMBERED / SHARDS / 2 {
            std::mem::swap(&mut self.young, &mut self.old);
            self.young.clear();
        }
        self.young.insert(hash, verified);
    }
}
