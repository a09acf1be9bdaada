//! Tokens found good, so that a signature is checked once and not with every call.

use std::collections::HashMap;
use std::hash::Hasher as _;
use std::sync::Arc;

use parking_lot::Mutex;
use siphasher::sip128::{Hasher128 as _, SipHasher24};
use uuid::Uuid;

use crate::principal::Principal;

/// Tokens remembered. To check one takes a hundred times as long as to find it here.
const REMEMBERED: usize = 32_768;
/// Threads seldom wait for each other with as many.
const SHARDS: usize = 16;

/// A token that was found good.
pub(crate) struct Verified {
    pub(crate) principal: Arc<Principal>,
    pub(crate) id: Option<String>,
    pub(crate) issued: Option<u64>,
    pub(crate) expires: u64,
    pub(crate) generation: u64,
    pub(crate) issuer: usize,
}

/// By the hash of the whole token, signature included: what differs in one bit is another token. The hash is SipHash-2-4 of 128
/// bits (Aumasson and Bernstein, 2012) under a key that nobody knows and that dies with the process, so that no two tokens can be
/// made to share one; it takes less than half of SHA-256's time.
pub(crate) struct Memory {
    hasher: SipHasher24,
    shards: [Mutex<Shard>; SHARDS],
}

/// The hash of a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Hash(u128);

/// Two generations: what was not asked for while one filled up is forgotten.
#[derive(Default)]
struct Shard {
    young: HashMap<Hash, Arc<Verified>>,
    old: HashMap<Hash, Arc<Verified>>,
}

impl Default for Memory {
    fn default() -> Self {
        // Six of the 128 bits say that it is a random UUID.
        Self { hasher: SipHasher24::new_with_key(Uuid::new_v4().as_bytes()), shards: Default::default() }
    }
}

impl Memory {
    /// The hash by which this memory knows a token.
    pub(crate) fn hash(&self, token: &str) -> Hash {
        let mut hasher = self.hasher;
        hasher.write(token.as_bytes());
        Hash(hasher.finish128().as_u128())
    }

    fn shard(&self, hash: Hash) -> &Mutex<Shard> {
        let [any, ..] = hash.0.to_le_bytes();
        &self.shards[usize::from(any) % SHARDS]
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
