//! How long nobody was served, and what was said instead.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Mutex;
use std::sync::atomic::Ordering;
use std::time::Duration;

use reqwest::Method;
use serde_json::json;
use shop_testing::Api;
use tokio::time::Instant;

use super::shoppers::Told;

/// What is watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Operation {
    /// A product is read.
    Reads,
    /// A basket is changed.
    Baskets,
    /// Payments are looked up, where they are kept.
    Payments,
}

pub(super) const OPERATIONS: [Operation; 3] = [Operation::Reads, Operation::Baskets, Operation::Payments];

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Reads => "reads",
            Self::Baskets => "baskets",
            Self::Payments => "payments",
        })
    }
}

/// When an operation was answered by neither door, for how long, and what was said instead.
pub(super) struct Gap {
    operation: Operation,
    at: Instant,
    lasted: Duration,
    why: String,
}

/// How often it is looked, and the shortest gap.
const STEP: Duration = Duration::from_millis(50);

/// Looks all the while whether one of both doors serves it.
pub(super) async fn watch(operation: Operation, doors: &[Api; 2], product: i64, told: &Told) -> Vec<Gap> {
    let mut gaps = Vec::new();
    let mut clock = tokio::time::interval(STEP);
    clock.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    while !told.closed.load(Ordering::SeqCst) {
        clock.tick().await;
        let at = Instant::now();
        let asked = tokio::join!(ask(operation, &doors[0], product), ask(operation, &doors[1], product));
        if let (Err(first), Err(second)) = asked {
            let why = if first == second {
                format!("{operation}: {first}")
            } else {
                format!("{operation}: {first}, {second}")
            };
            gaps.push(Gap { operation, at, lasted: at.elapsed().max(STEP), why });
        }
    }
    gaps
}

async fn ask(operation: Operation, door: &Api, product: i64) -> Result<(), String> {
    let request = match operation {
        Operation::Reads => door.request(Method::GET, &format!("/products/{product}")),
        Operation::Baskets => {
            door.request(Method::PUT, &format!("/baskets/watcher/items/{product}")).json(&json!({"quantity": 1}))
        }
        Operation::Payments => door.request(Method::GET, "/payments?user_id=watcher"),
    };
    match door.try_send(request.timeout(Duration::from_secs(2))).await {
        Ok(reply) if reply.status == 200 => Ok(()),
        Ok(reply) => Err(format!("{} {}", reply.status, reply.json()["code"])),
        Err(error) => Err(if error.is_timeout() { "no answer" } else { "no connection" }.to_owned()),
    }
}

/// How long nobody was served, by fault and operation: the median and the longest; and what was said instead.
#[expect(clippy::print_stderr, reason = "the figures are for whoever reads the run")]
pub(super) fn report(faults: &[(Instant, String)], gaps: &[Gap], told: &Told) {
    let count = |set: &Mutex<BTreeSet<String>>| set.lock().expect("no panic").len();
    let (payments, completed) = (count(&told.payments), count(&told.completed));
    eprintln!("region: {} faults, {payments} payments, {completed} of them said to be completed", faults.len());
    let (longest, what) = &*told.longest.lock().expect("no panic");
    eprintln!("region: the longest that a buyer waited was {longest:.1?}, for {what}");
    let mut by_kind = BTreeMap::<&str, Vec<[Duration; 3]>>::new();
    for (index, (began, kind)) in faults.iter().enumerate() {
        let is_of_it = |at: Instant| at >= *began && faults.get(index + 1).is_none_or(|(next, _)| at < *next);
        let away = OPERATIONS.map(|operation| {
            gaps.iter().filter(|gap| gap.operation == operation && is_of_it(gap.at)).map(|gap| gap.lasted).sum()
        });
        by_kind.entry(kind).or_default().push(away);
    }
    for (kind, times) in by_kind {
        let of = |(place, operation): (usize, Operation)| {
            let mut times: Vec<_> = times.iter().map(|times| times[place]).collect();
            times.sort_unstable();
            format!("{operation} {:.1?}, at most {:.1?}", times[times.len() / 2], times[times.len() - 1])
        };
        let away: Vec<_> = OPERATIONS.into_iter().enumerate().map(of).collect();
        eprintln!("region: {kind}: {} times, without service: {}", times.len(), away.join("; "));
    }
    let mut reasons = BTreeMap::<&str, Duration>::new();
    for gap in gaps {
        *reasons.entry(&gap.why).or_default() += gap.lasted;
    }
    for (why, lasted) in reasons {
        eprintln!("region: {lasted:.1?} of {why}");
    }
}
