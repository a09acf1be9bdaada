//! The last ten minutes, kept whether anybody watches or not: who opens the page sees what led to what is there now.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use serde_json::{Value, json};
use shop_balance::breaker::State as BreakerState;
use shop_clock::{Clock as _, SystemClock};
use tokio::time::MissedTickBehavior;

use super::window::{key, sent};
use crate::message::reason::Reason;
use crate::metrics::Totals;
use crate::routing::routes::Route;
use crate::routing::{Backend, Member};
use crate::state::State;
use crate::state::generation::Generation;

/// From one point to the next.
const STEP: Duration = Duration::from_secs(5);
/// Points kept: ten minutes.
const POINTS: usize = 120;
/// Routes of a point that are kept: the busiest.
const ROUTES: usize = 100;

/// The points so far.
#[derive(Default)]
pub(crate) struct History(Mutex<Kept>);

#[derive(Default)]
struct Kept {
    /// What had been counted at the last point.
    before: Option<Look>,
    points: VecDeque<Point>,
}

struct Look {
    at: Instant,
    services: HashMap<Arc<str>, Totals>,
    /// Of those that were ever asked: there may be ten thousand that were not.
    routes: HashMap<Arc<str>, Totals>,
    /// By the backend's place in memory.
    sent: HashMap<usize, u64>,
}

#[derive(Default)]
struct Point {
    services: HashMap<Arc<str>, Totals>,
    /// Of those that anything was done for.
    routes: HashMap<Arc<str>, Totals>,
    /// By the backend's place in memory, which nobody else gets as long as it is remembered here.
    backends: HashMap<usize, Seen>,
    seconds: f64,
}

/// What was seen of a backend.
struct Seen {
    _backend: Weak<Backend>,
    /// Requests by second.
    rate: f64,
    standing: u8,
}

/// How a backend stands, as the page paints it: 0 well, 1 on trial, 2 left alone by its breaker, 3 down.
fn standing(member: &Member) -> u8 {
    match member.breaker.as_ref().map(|breaker| breaker.state()) {
        Some(BreakerState::Open) => 2,
        Some(BreakerState::HalfOpen) => 1,
        _ if member.backend.state() == shop_balance::Seen::Down => 3,
        _ => 0,
    }
}

/// To two digits.
fn round(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}

impl History {
    /// One more point.
    fn look(&self, generation: &Generation) {
        let (services, routes) = (&generation.table.services, generation.table.routes.iter());
        let look = Look {
            at: Instant::now(),
            services: services.iter().map(|service| (Arc::clone(&service.name), service.metrics.totals())).collect(),
            routes: routes.filter_map(asked).collect(),
            sent: generation.backends().map(|backend| (key(backend), sent(backend))).collect(),
        };
        let mut kept = self.0.lock();
        if let Some(before) = kept.before.take() {
            let seconds = look.at.saturating_duration_since(before.at).as_secs_f64().max(0.001);
            let since =
                |(name, now): (&Arc<str>, &Totals)| Some((Arc::clone(name), now.since(before.services.get(name)?)));
            let since_of_route = |(name, now): (&Arc<str>, &Totals)| {
                let seen = now.since(before.routes.get(name).unwrap_or(&Totals::NONE));
                (seen.requests > 0).then(|| (Arc::clone(name), seen))
            };
            let members = services.iter().flat_map(|service| service.members());
            let of = |member: &Member| {
                let place = key(&member.backend);
                let count = look.sent.get(&place)?.saturating_sub(*before.sent.get(&place)?);
                let count = f64::from(u32::try_from(count).unwrap_or(u32::MAX));
                let rate = round(count / seconds);
                Some((place, Seen { _backend: Arc::downgrade(&member.backend), rate, standing: standing(member) }))
            };
            if kept.points.len() == POINTS {
                kept.points.pop_front();
            }
            kept.points.push_back(Point {
                services: look.services.iter().filter_map(since).collect(),
                routes: busiest(look.routes.iter().filter_map(since_of_route).collect()),
                backends: members.filter_map(of).collect(),
                seconds,
            });
        }
        kept.before = Some(look);
    }

    /// All points of what `generation` has: numbers by second, durations in milliseconds, none where nothing was seen.
    pub(crate) fn told(&self, generation: &Generation) -> Value {
        let kept = self.0.lock();
        let services = generation.table.services.iter().map(|service| {
            let of = |point: &Point| point.services.get(&service.name).map(|totals| (totals.clone(), point.seconds));
            let seen: Vec<_> = kept.points.iter().map(of).collect();
            (service.name.to_string(), series(&seen))
        });
        let is_seen = |name: &Arc<str>| kept.points.iter().any(|point| point.routes.contains_key(name));
        let routes = generation.table.routes.iter().filter(|route| is_seen(&route.name)).map(|route| {
            let of =
                |point: &Point| Some((point.routes.get(&route.name).cloned().unwrap_or(Totals::NONE), point.seconds));
            let seen: Vec<_> = kept.points.iter().map(of).collect();
            (route.name.to_string(), series(&seen))
        });
        let backends = generation.table.services.iter().flat_map(|service| {
            service.clusters().into_iter().flat_map(|cluster| {
                cluster.members.iter().map(|member| {
                    let place = key(&member.backend);
                    let seen: Vec<_> = kept.points.iter().map(|point| point.backends.get(&place)).collect();
                    let name = format!("{} {} {}", service.name, cluster.protocol.word(), member.backend.label());
                    let rate: Vec<_> = seen.iter().map(|seen| seen.map(|seen| seen.rate)).collect();
                    let state: Vec<_> = seen.iter().map(|seen| seen.map(|seen| seen.standing)).collect();
                    (name, json!({"rate": rate, "state": state}))
                })
            })
        });
        json!({
            "step_seconds": STEP.as_secs(),
            "points": POINTS,
            "until": shop_clock::millis(SystemClock.now()),
            "services": services.collect::<BTreeMap<_, _>>(),
            "routes": routes.collect::<BTreeMap<_, _>>(),
            "backends": backends.collect::<BTreeMap<_, _>>(),
        })
    }
}

/// What was counted of a route, if anything was.
fn asked(route: &Arc<Route>) -> Option<(Arc<str>, Totals)> {
    let totals = route.numbers.totals();
    (totals.requests > 0).then(|| (Arc::clone(&route.name), totals))
}

/// Those that can be shown, of as many as there are.
fn busiest(mut routes: Vec<(Arc<str>, Totals)>) -> HashMap<Arc<str>, Totals> {
    routes.sort_by_key(|(_, totals)| std::cmp::Reverse(totals.requests));
    routes.into_iter().take(ROUTES).collect()
}

/// The numbers of one service, point by point.
fn series(seen: &[Option<(Totals, f64)>]) -> Value {
    let each = |number: &dyn Fn(&Totals, f64) -> Option<f64>| -> Vec<Option<f64>> {
        let one = |seen: &Option<(Totals, f64)>| seen.as_ref().and_then(|(totals, seconds)| number(totals, *seconds));
        seen.iter().map(|seen| one(seen).map(round)).collect()
    };
    let by_second = |count: u64, seconds: f64| Some(f64::from(u32::try_from(count).unwrap_or(u32::MAX)) / seconds);
    let was_met = |reason: &Reason| seen.iter().flatten().any(|(totals, _)| totals.refusals(*reason) > 0);
    let rate = |reason: Reason| each(&|totals, seconds| by_second(totals.refusals(reason), seconds));
    let reasons = Reason::ALL.into_iter().filter(was_met);
    let reasons: BTreeMap<_, _> = reasons.map(|reason| (reason.word(), rate(reason))).collect();
    json!({
        "rate": each(&|totals, seconds| by_second(totals.requests, seconds)),
        "failed": each(&|totals, seconds| by_second(totals.failed, seconds)),
        "p50": each(&|totals, _| totals.quantile(0.5)),
        "p99": each(&|totals, _| totals.quantile(0.99)),
        "reasons": reasons,
    })
}

/// Keeps points, for ever.
pub(crate) async fn keep(history: &History, state: &State) {
    let mut ticks = tokio::time::interval(STEP);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        history.look(&state.settings.current());
    }
}
