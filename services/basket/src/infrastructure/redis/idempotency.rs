//! Idempotency keys in Redis: one hash per key, gone by itself when its time is over.
//!
//! What is kept is bounded, since baskets need the room: long answers are made again instead of kept, and keys beyond a
//! generous number an hour live a short time.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::try_join_all;
use shop_clock::{SharedClock, millis};
use shop_idempotency::{Begin, BoxError, Claim, KEEP, LEASE, Lease, Store, Stored};
use shop_redis::{Call, Script};
use time::OffsetDateTime;

use super::link::Link;
use super::replicas::Replicas;

/// Longest body that is kept. A longer one is of a long basket; its repeat runs again under the operation's id, by which the
/// basket knows what was done, and answers with the basket as it is then.
const LONGEST: usize = 1024;

/// Keys that one caller may have in an hour at their full life: more than anybody's hands make.
const KEYS_OF_ONE: u32 = 500;

/// The same of all callers together, of each process: with what one takes at most in Redis (2.8 KiB) 330 MiB a day.
const KEYS_OF_ALL: u32 = 5_000;

/// How long a key beyond them lives: as long as a client may go on repeating.
const SHORT: Duration = Duration::from_mins(10);

/// Keys and answers in Redis.
pub(crate) struct RedisIdempotency {
    link: Link,
    replicas: Arc<Replicas>,
    clock: SharedClock,
    begin: Script,
    end: Script,
    hour: Mutex<Hour>,
}

/// How many keys were taken at their full life in the hour at hand. One caller's others do not count: they would cost everybody
/// else the answers of a day.
#[derive(Default)]
struct Hour {
    number: i64,
    all: u32,
    of: HashMap<String, u32>,
}

impl Hour {
    /// How long a key lives that `principal` takes now. Callers without a name, where nobody asks who calls, are not told apart.
    fn life(&mut self, principal: &str, now: OffsetDateTime) -> Duration {
        let number = now.unix_timestamp().div_euclid(3600);
        if number != self.number {
            *self = Self { number, ..Self::default() };
        }
        if self.all >= KEYS_OF_ALL {
            return SHORT;
        }
        if !principal.is_empty() {
            let taken = self.of.entry(principal.to_owned()).or_default();
            if *taken >= KEYS_OF_ONE {
                return SHORT;
            }
            *taken += 1;
        }
        self.all += 1;
        KEEP
    }
}

impl RedisIdempotency {
    /// On an open connection.
    pub(crate) fn new(link: Link, replicas: Arc<Replicas>, clock: SharedClock) -> Self {
        let [begin, end] = [include_str!("begin.lua"), include_str!("end.lua")].map(Script::new);
        Self { link, replicas, clock, begin, end, hour: Mutex::default() }
    }

    /// What is done with a lease, and for whom.
    fn end(&self, lease: &Lease, verb: &str) -> Call {
        let mut call = self.end.call(&[&lease.name]);
        call.arg(lease.owner.to_string()).arg(verb);
        call
    }

    async fn run(&self, calls: Vec<Call>) -> Result<(), BoxError> {
        // Together: on the one connection they are a pipeline.
        try_join_all(calls.iter().map(|call| self.link.script::<()>(call))).await?;
        Ok(())
    }

    async fn hold(&self, leases: &[Lease], until: i64) -> Result<(), BoxError> {
        let held = leases.iter().map(|lease| {
            let mut call = self.end(lease, "hold");
            call.arg(until);
            call
        });
        self.run(held.collect()).await
    }
}

#[async_trait]
impl Store for RedisIdempotency {
    async fn begin(&self, claim: &Claim) -> Result<Begin, BoxError> {
        let (now, owner) = (self.clock.now(), self.clock.new_id());
        let life = self.hour.lock().unwrap_or_else(PoisonError::into_inner).life(&claim.principal, now);
        // The braces are a hash tag: on Redis Cluster both keys are in one slot, if there are none in the name.
        let braces = self.link.is_cluster() && claim.name().contains(['{', '}']);
        let name = if braces { claim.second_name() } else { claim.name().to_owned() };
        let name = self.link.key(&format!("idempotency:{name}"));
        let second = format!("{{{name}}}:{}", claim.method);
        let mut call = self.begin.call(&[&name, &second]);
        call.arg(claim.method).arg(&claim.fingerprint.asked[..]).arg(self.clock.new_id().to_string());
        call.arg(owner.to_string()).arg(millis(now)).arg(millis(now + LEASE)).arg(ms(life));
        call.arg(&claim.fingerprint.bytes[..]).arg(u8::from(self.replicas.are_wanted()));
        let (what, first, next, last, history): (String, String, String, Vec<u8>, String) =
            self.link.script(&call).await?;
        Ok(match what.as_str() {
            "run" => {
                let lease = Lease { name: first, owner };
                // A key that is forgotten while what was done by it is not would have it done again.
                let key = format!("{{{}}}:copied", tag(&lease.name));
                if !self.replicas.have(&key, &history).await {
                    self.release(&[lease]).await?;
                    return Err(super::NOT_COPIED.into());
                }
                Begin::Run { lease, operation: next.parse()?, fresh: last == b"fresh" }
            }
            "replay" => {
                Begin::Replay(Stored { status: first.parse()?, headers: serde_json::from_str(&next)?, body: last })
            }
            "in_flight" => Begin::InFlight,
            _ => Begin::Mismatch,
        })
    }

    async fn renew(&self, leases: &[Lease]) -> Result<(), BoxError> {
        self.hold(leases, millis(self.clock.now() + LEASE)).await
    }

    async fn finish(&self, answers: &[(Lease, Stored)]) -> Result<(), BoxError> {
        let calls = answers.iter().map(|(lease, answer)| {
            if answer.body.len() > LONGEST {
                let mut call = self.end(lease, "hold");
                call.arg(0);
                return Ok(call);
            }
            let headers = serde_json::to_string(&answer.headers)?;
            let mut call = self.end(lease, "finish");
            call.arg(answer.status).arg(headers).arg(&answer.body[..]);
            Ok(call)
        });
        self.run(calls.collect::<Result<_, BoxError>>()?).await
    }

    async fn release(&self, leases: &[Lease]) -> Result<(), BoxError> {
        self.hold(leases, 0).await
    }

    async fn forget(&self, lease: &Lease) -> Result<(), BoxError> {
        self.run(vec![self.end(lease, "forget")]).await
    }
}

/// What decides on a key's slot, where it is made as here.
fn tag(name: &str) -> &str {
    name.strip_prefix('{').and_then(|rest| rest.split_once('}')).map_or(name, |(tag, _)| tag)
}

fn ms(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_caller_without_end_costs_nobody_else_the_answers_of_a_day() {
        let (mut hour, now) = (Hour::default(), OffsetDateTime::UNIX_EPOCH);
        let long = |hour: &mut Hour, who: &str, calls: u32| (0..calls).filter(|_| hour.life(who, now) == KEEP).count();
        assert_eq!(long(&mut hour, "mallory", 2 * KEYS_OF_ALL), 500);
        assert_eq!(long(&mut hour, "ada", 1), 1);
        // All together still have their bound.
        let rest = (0..20).map(|other| long(&mut hour, &other.to_string(), KEYS_OF_ONE)).sum::<usize>();
        assert_eq!(rest, 5_000 - 500 - 1);
    }
}
