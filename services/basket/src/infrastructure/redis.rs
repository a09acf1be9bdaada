//! Baskets in Redis: one hash per user with the document and a revision, changed by compare-and-swap.
//!
//! A change is two round trips: read, and a script that writes if the revision is still the one that was read. The
//! revision is a new id with every write, so a script whose answer was lost can be sent again. Keys of one user share a
//! hash tag: on Redis Cluster a script finds all its keys in one slot.
//!
//! What Redis forgets is lost: run it with `appendonly yes` (`appendfsync everysec` or stricter) and
//! `maxmemory-policy noeviction` or `volatile-ttl`. A basket lives as long as its TTL; the marks of applied events
//! outlive any redelivery.

mod idempotency;
mod link;
mod replicas;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::try_join_all;
use redis::Value;
use shop_clock::SharedClock;
use shop_fault::{Fault, Kind};
use shop_redis::Script;
use time::OffsetDateTime;
use uuid::Uuid;

use self::link::fault;
use super::document;
use crate::domain::{Basket, Baskets, Change, Changed, Error, UserId, made_until};

pub(crate) use self::idempotency::RedisIdempotency;
pub(crate) use self::link::Link;
pub(crate) use self::replicas::Replicas;

/// How long it is remembered that an operation took effect: longer than a dead letter can be tried again.
const MARK_LIFE: Duration = shop_sql::INBOX_KEPT;

/// The same for one under an idempotency key: longer than the key lives, and than any request takes.
const KEYED_MARK_LIFE: Duration = Duration::from_hours(24 + 1);

/// Keys that are looked at in one call when somebody is forgotten: a millisecond of Redis' time.
const LOOKED_AT: u32 = 1000;

/// Attempts at one change. One writer wins every round, so this is about how many may fight over one basket at once.
const ATTEMPTS: u32 = 64;

/// What a caller is told whose change too few replicas have.
const NOT_COPIED: &str = "too few copies of the store have the change yet";

/// Longest pause before the next attempt.
const LONGEST_PAUSE_MS: u64 = 50;

/// Baskets in Redis.
pub(crate) struct RedisBaskets {
    link: Link,
    replicas: Arc<Replicas>,
    clock: SharedClock,
    script: Script,
    forwards: Script,
}

/// How an attempt to change a basket ended.
struct Swap {
    /// `applied`, `repeated` or `lost`.
    what: String,
    /// What is stored, unless it was applied.
    stored: Held,
    /// Of which history of writes that is, if somebody wants to know.
    history: String,
}

/// What was read.
struct Held {
    /// Empty when there is no basket.
    revision: String,
    /// Unless it is over its time.
    basket: Option<Basket>,
}

impl RedisBaskets {
    /// On an open connection.
    pub(crate) fn new(link: Link, replicas: Arc<Replicas>, clock: SharedClock) -> Self {
        let (script, forwards) =
            (Script::new(include_str!("redis/change.lua")), Script::new(include_str!("redis/forward.lua")));
        Self { link, replicas, clock, script, forwards }
    }

    /// What is stored for `user`, and whether `operation` took effect already; one round trip.
    async fn read(&self, user: &UserId, operation: Option<Uuid>) -> Result<(Held, bool), Error> {
        let mut commands = redis::pipe();
        commands.hmget(self.key(user), &["revision", "document"]);
        if let Some(operation) = operation {
            commands.exists(self.mark(user, operation));
        }
        let mut answers: Vec<Value> = self.link.pipeline(&commands).await.map_err(fault)?;
        let done = operation.is_some() && answers.pop() == Some(Value::Int(1));
        let fields = answers.pop().unwrap_or(Value::Nil);
        let (revision, text): (Option<String>, Option<String>) =
            redis::from_redis_value(fields).map_err(|error| fault(error.into()))?;
        Ok((self.held(user, revision.unwrap_or_default(), &text.unwrap_or_default())?, done))
    }

    fn held(&self, user: &UserId, revision: String, text: &str) -> Result<Held, Error> {
        let basket = if text.is_empty() { None } else { Some(document::read(user, text)?) };
        // Redis counts the TTL by its own clock; what is shown as expired must be gone by ours too.
        let basket = basket.filter(|basket| basket.expires_at > self.clock.now());
        Ok(Held { revision, basket })
    }

    /// One attempt to put `next` in place of what was `read`.
    async fn swap(&self, user: &UserId, operation: Option<Uuid>, read: &str, next: &Next<'_>) -> Result<Swap, Error> {
        let (key, mark) = (self.key(user), operation.map(|operation| self.mark(user, operation)));
        let keys: Vec<&str> = [Some(&key), mark.as_ref()].into_iter().flatten().map(String::as_str).collect();
        let mut call = self.script.call(&keys);
        let (verb, text, life) = match next {
            Next::Put(basket) => ("put", document::write(basket)?, basket.expires_at - self.clock.now()),
            Next::Drop => ("drop", String::new(), time::Duration::ZERO),
            Next::Keep => ("keep", String::new(), time::Duration::ZERO),
            Next::Look | Next::Refuse(_) => ("look", String::new(), time::Duration::ZERO),
        };
        call.arg(read).arg(self.clock.new_id().to_string()).arg(verb).arg(text);
        // A life of zero would delete at once; a basket whose clock ran ahead of ours still gets its millisecond.
        let is_keyed = operation.is_some_and(shop_idempotency::is_keyed);
        let mark_life = if is_keyed { KEYED_MARK_LIFE } else { MARK_LIFE };
        call.arg(life.whole_milliseconds().max(1).to_string()).arg(mark_life.as_millis().to_string());
        call.arg(u8::from(self.replicas.are_wanted()));
        let (what, revision, text, history): (String, String, String, String) =
            self.link.script(&call).await.map_err(fault)?;
        Ok(Swap { what, stored: self.held(user, revision, &text)?, history })
    }

    /// Waits until replicas have what was written for `user`, if there is to be any such waiting. What was written stands also
    /// if they have not; who repeats the operation waits for them again.
    async fn copied(&self, user: &UserId, history: &str) -> Result<(), Error> {
        self.enough(&self.link.key(&format!("basket-copied:{{{user}}}")), history).await
    }

    /// Whether replicas have what is in `history`, by a `key` in the slot of what was written or read.
    async fn enough(&self, key: &str, history: &str) -> Result<(), Error> {
        if self.replicas.have(key, history).await {
            return Ok(());
        }
        Err(Fault::new(Kind::Unavailable, "store_unavailable", NOT_COPIED).with_retry_after(link::RETRY_AFTER).into())
    }

    /// Notes, at the key of a basket, whose its lines became, or reads it; replicas have what this returns.
    async fn forwarding(&self, key: &str, to: Option<&UserId>) -> Result<Option<UserId>, Error> {
        let mut call = self.forwards.call(&[key]);
        call.arg(u8::from(self.replicas.are_wanted()))
            .arg(to.map_or("", UserId::as_str))
            .arg(MARK_LIFE.as_millis().to_string());
        let (to, history): (String, String) = self.link.script(&call).await.map_err(fault)?;
        self.enough(&format!("{key}:copied"), &history).await?;
        Ok((!to.is_empty()).then(|| UserId::stored(to)))
    }

    fn key(&self, user: &UserId) -> String {
        self.link.key(&format!("basket:{{{user}}}"))
    }

    fn mark(&self, user: &UserId, operation: Uuid) -> String {
        self.link.key(&format!("basket-done:{{{user}}}:{operation}"))
    }

    fn forward_key(&self, basket: Uuid) -> String {
        self.link.key(&format!("basket-forward:{{{basket}}}"))
    }

    /// Deletes what bears the user's name beside his basket: marks of operations, whose keys have it, and notes of whose a
    /// guest's lines became. They are looked for among all keys, a few at a time, for people are forgotten seldom; over one
    /// connection, for what is left to be looked at is nothing that another server would know.
    async fn forget_traces(&self, user: &UserId) -> Result<(), Error> {
        let mut connection = self.link.pinned().await.map_err(fault)?;
        for node in connection.nodes().await.map_err(fault)? {
            let mut cursor = "0".to_owned();
            loop {
                let mut scan = redis::cmd("SCAN");
                // No part of the installation's prefix, which may be a pattern.
                scan.arg(&cursor).arg("MATCH").arg("*basket-[df]o*").arg("COUNT").arg(LOOKED_AT);
                let (next, keys): (String, Vec<String>) =
                    self.link.query_at(&mut connection, &node, &scan).await.map_err(fault)?;
                self.forget_among(keys, user).await?;
                if next == "0" {
                    break;
                }
                cursor = next;
            }
        }
        Ok(())
    }

    /// Deletes which of the keys bear the user's name. Each is asked for by itself, for a cluster may have them in different
    /// slots; over the one connection they are a pipeline.
    async fn forget_among(&self, mut keys: Vec<String>, user: &UserId) -> Result<(), Error> {
        let (marks, forwards) = (self.link.key(&format!("basket-done:{{{user}}}:")), self.link.key("basket-forward:"));
        let noted: Vec<_> = keys.extract_if(.., |key| key.starts_with(&forwards)).collect();
        keys.retain(|key| key.starts_with(&marks));
        let whose = noted.iter().map(|key| async move {
            let mut look = redis::cmd("GET");
            look.arg(key);
            self.link.query::<Option<String>>(&look).await
        });
        let whose = try_join_all(whose).await.map_err(fault)?;
        let his = noted.into_iter().zip(whose).filter(|(_, whose)| whose.as_deref() == Some(user.as_str()));
        let noted: Vec<_> = his.map(|(key, _)| key).collect();
        let gone = keys.iter().chain(&noted).map(|key| async move {
            let mut forget = redis::cmd("UNLINK");
            forget.arg(key);
            self.link.query::<()>(&forget).await
        });
        try_join_all(gone).await.map_err(fault)?;
        // So that replicas forget it, too; what is in the slot of the user is seen to in the end.
        try_join_all(noted.iter().map(|key| self.forwarding(key, None))).await?;
        Ok(())
    }

    /// Waits a little, longer with every lost race, never twice the same: two that collided do not collide again.
    async fn pause(&self, attempt: u32) {
        let most = (1_u64 << attempt.min(16)).min(LONGEST_PAUSE_MS);
        let chance = self.clock.new_id().as_u64_pair().1;
        tokio::time::sleep(Duration::from_millis(chance % (most + 1))).await;
    }
}

enum Next<'a> {
    Put(&'a Basket),
    Drop,
    /// Nothing but the mark.
    Keep,
    /// Nothing at all.
    Look,
    /// Nothing, for what was read does not allow it.
    Refuse(Error),
}

#[async_trait]
impl Baskets for RedisBaskets {
    async fn get(&self, user: &UserId) -> Result<Option<Basket>, Error> {
        if !self.replicas.are_wanted() {
            return Ok(self.read(user, None).await?.0.basket);
        }
        // A server that was the master until just now does not know what was acknowledged since; but it has lost the replicas
        // without which nothing is.
        let Swap { stored, history, .. } = self.swap(user, None, "", &Next::Look).await?;
        self.copied(user, &history).await?;
        Ok(stored.basket)
    }

    async fn change(&self, user: &UserId, operation: Option<Uuid>, change: Change<'_>) -> Result<Changed, Error> {
        let (mut held, mut done) = self.read(user, operation).await?;
        let waits = self.replicas.are_wanted();
        if done && !waits {
            return Ok(Changed::Repeated(held.basket));
        }
        for attempt in 1..=ATTEMPTS {
            let mut after = held.basket.clone();
            let refusal = if done { None } else { change(&mut after).err() };
            let next = match (&after, refusal) {
                (_, Some(refusal)) if !waits => return Err(refusal),
                _ if done => Next::Look,
                // Replicas shall have what this call was refused for,
                (_, Some(refusal)) => Next::Refuse(refusal),
                _ if after == held.basket && operation.is_none() && !waits => return Ok(Changed::Applied(after)),
                // or found as it wants it.
                _ if after == held.basket && operation.is_none() => Next::Look,
                _ if after == held.basket => Next::Keep,
                (Some(basket), _) => Next::Put(basket),
                (None, _) => Next::Drop,
            };
            let Swap { what, stored, history } = self.swap(user, operation, &held.revision, &next).await?;
            let is_as_read = !done && stored.revision == held.revision;
            match what.as_str() {
                "applied" => {
                    shop_idempotency::began();
                    self.copied(user, &history).await?;
                    return Ok(Changed::Applied(after));
                }
                "repeated" => {
                    self.copied(user, &history).await?;
                    return Ok(Changed::Repeated(stored.basket));
                }
                _ => match next {
                    Next::Look if is_as_read => {
                        self.copied(user, &history).await?;
                        return Ok(Changed::Applied(after));
                    }
                    Next::Refuse(refusal) if is_as_read => {
                        self.copied(user, &history).await?;
                        return Err(refusal);
                    }
                    _ => (held, done) = (stored, false),
                },
            }
            self.pause(attempt).await;
        }
        Err(Error::Contended(user.clone()))
    }

    async fn forward(&self, basket: Uuid, to: &UserId) -> Result<(), Error> {
        self.forwarding(&self.forward_key(basket), Some(to)).await.map(drop)
    }

    async fn forwarded(&self, basket: Uuid) -> Result<Option<UserId>, Error> {
        self.forwarding(&self.forward_key(basket), None).await
    }

    async fn forget(&self, user: &UserId, at: OffsetDateTime) -> Result<(), Error> {
        // What a later basket is remembered by is still needed.
        if self.change(user, None, &made_until(at)).await?.into_basket().is_some() {
            return Ok(());
        }
        self.forget_traces(user).await?;
        self.get(user).await.map(drop)
    }

    async fn sweep(&self) -> Result<u64, Error> {
        Ok(0) // every key has a TTL
    }

    async fn check(&self) -> Result<(), String> {
        self.link.check().await.map_err(|error| link::words(&error).to_owned())
    }
}
