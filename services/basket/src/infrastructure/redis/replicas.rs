//! Waiting until replicas have what was written, so that a failover loses nothing that was acknowledged.
//!
//! `WAIT` holds up everything behind it on its connection, so it has a connection of its own, and those who wait at once wait
//! together: what one round finds is so for all who had written before it began.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use redis::RedisResult;
use shop_config::Redis;

use super::link::Link;

/// Writes a note that says nothing and is gone at once, and tells the history of writes of which it is a part by then. Replicas
/// that have it have all that was written in that history before, over whichever connection.
const NOTE: &str = "redis.call('SET', KEYS[1], '', 'PX', 1) \
                    return string.match(redis.call('INFO', 'replication'), 'master_replid:(%x+)') or ''";

/// Histories that are kept in mind. Each failover begins one.
const HISTORIES: usize = 64;

/// How many replicas must have what was written before it is acknowledged.
pub(crate) struct Replicas {
    number: u32,
    /// How long one round takes at most.
    patience: Duration,
    /// Used for nothing else, and that of all else; none where the master alone has to have it.
    links: Option<[Link; 2]>,
    histories: Mutex<HashMap<String, Arc<History>>>,
}

/// Writes of one master, from when it became one.
#[derive(Default)]
struct History {
    /// How many have written.
    written: AtomicU64,
    /// For how many of them it is known whether replicas have it, and whether they have.
    known: tokio::sync::Mutex<(u64, bool)>,
}

impl Replicas {
    /// Of the Redis that `link` leads to, as many as the settings want.
    pub(crate) fn of(link: &Link, settings: &Redis) -> Self {
        let number = settings.wait_replicas;
        // The answer comes before the client stops waiting for it.
        let patience = settings.response_timeout.get() / 2;
        Self {
            number,
            patience,
            links: (number > 0).then(|| [link.another(), link.clone()]),
            histories: Mutex::default(),
        }
    }

    /// Whether there is anybody to wait for.
    pub(super) fn are_wanted(&self) -> bool {
        self.links.is_some()
    }

    /// Whether enough replicas have what was written in `history`. `key` is in the slot of what was written.
    pub(super) async fn have(&self, key: &str, history: &str) -> bool {
        let Some([link, other]) = &self.links else { return true };
        let here = self.history(history);
        let mine = here.written.fetch_add(1, SeqCst) + 1;
        let mut known = here.known.lock().await;
        if known.0 < mine {
            // Who writes from here on is in the next round.
            let all = here.written.load(SeqCst);
            let have = self.ask(link, key, history).await;
            // Those who wait for this round have its answer, too: they do not find out one after the other.
            *known = (all, matches!(have, Ok(true)));
            if !known.1 {
                // Somebody else may be the master by now, without a word to the server that was it.
                link.leave();
                other.leave();
            }
            match have {
                Ok(true) => {}
                Ok(false) => tracing::warn!(
                    wanted = self.number,
                    "too few replicas of Redis have what was written, within {:?} (redis.wait_replicas)",
                    self.patience
                ),
                Err(error) => {
                    tracing::warn!(error = %error, "it is not known whether Redis' replicas have what was written");
                }
            }
        }
        known.1
    }

    async fn ask(&self, link: &Link, key: &str, history: &str) -> RedisResult<bool> {
        let mut commands = redis::pipe();
        commands.cmd("EVAL").arg(NOTE).arg(1).arg(key);
        commands.cmd("WAIT").arg(self.number).arg(u64::try_from(self.patience.as_millis()).unwrap_or(u64::MAX));
        let (told, have): (String, u32) = link.pipeline(&commands).await?;
        // After a failover the new master's replicas say nothing of what the old one had.
        Ok(!history.is_empty() && told == history && have >= self.number)
    }

    fn history(&self, name: &str) -> Arc<History> {
        let mut histories = self.histories.lock().unwrap_or_else(PoisonError::into_inner);
        if histories.len() >= HISTORIES && !histories.contains_key(name) {
            // Who waits in an old one goes on by itself.
            histories.clear();
        }
        histories.entry(name.to_owned()).or_default().clone()
    }
}
