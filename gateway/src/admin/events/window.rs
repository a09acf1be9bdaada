//! The last ten seconds of what is counted: enough to be steady, short enough to show what happens now.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::metrics::Totals;
use crate::routing::Backend;
use crate::routing::routes::Route;
use crate::state::State;
use crate::state::generation::Generation;

/// Looks kept, one a second; the first and the last are compared.
const KEPT: usize = 11;

/// The looks of the last seconds.
#[derive(Default)]
pub(super) struct Window(VecDeque<Look>);

struct Look {
    at: Instant,
    /// In the order of the table; the gateway's own come last.
    services: Vec<Totals>,
    /// By the route's place in memory.
    routes: HashMap<usize, Totals>,
    /// Requests sent, by the backend's place in memory: two of the same address are two.
    sent: HashMap<usize, u64>,
}

impl Window {
    /// Forgets all of them.
    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    /// One more look.
    pub(super) fn look(&mut self, state: &State, generation: &Generation) {
        let services = generation.table.services.iter().map(|service| &service.metrics).chain([&state.numbers.own]);
        let look = Look {
            at: Instant::now(),
            services: services.map(|metrics| metrics.totals()).collect(),
            routes: generation.table.routes.iter().map(|route| (route_key(route), route.numbers.totals())).collect(),
            sent: generation.backends().map(|backend| (key(backend), sent(backend))).collect(),
        };
        if self.0.len() == KEPT {
            self.0.pop_front();
        }
        self.0.push_back(look);
    }

    /// How long it is; none at the first look.
    pub(super) fn length(&self) -> Option<Duration> {
        let (first, last) = self.ends()?;
        Some(last.at.saturating_duration_since(first.at)).filter(|length| !length.is_zero())
    }

    /// `count` by second, to two digits; none when there is nothing to compare.
    pub(super) fn rate(&self, count: u64) -> Option<f64> {
        let seconds = self.length()?.as_secs_f64();
        let count = f64::from(u32::try_from(count).unwrap_or(u32::MAX));
        Some((count / seconds * 100.0).round() / 100.0)
    }

    /// What the service in this place of the table did; behind the last, the gateway itself.
    pub(super) fn of(&self, place: usize) -> Option<Totals> {
        let (first, last) = self.ends()?;
        Some(last.services.get(place)?.since(first.services.get(place)?))
    }

    /// What was done for a route.
    pub(super) fn of_route(&self, route: &Route) -> Option<Totals> {
        let (first, last) = self.ends()?;
        let key = route_key(route);
        Some(last.routes.get(&key)?.since(first.routes.get(&key)?))
    }

    /// What all of them did.
    pub(super) fn all(&self) -> Totals {
        let places = 0..self.0.back().map_or(0, |look| look.services.len());
        places.filter_map(|place| self.of(place)).fold(Totals::NONE, |mut all, one| {
            all.add(&one);
            all
        })
    }

    /// Requests by second that a backend was sent; none when it is new.
    pub(super) fn sent(&self, backend: &Arc<Backend>) -> Option<f64> {
        let (first, last) = self.ends()?;
        let key = key(backend);
        self.rate(last.sent.get(&key)?.saturating_sub(*first.sent.get(&key)?))
    }

    fn ends(&self) -> Option<(&Look, &Look)> {
        self.0.front().zip(self.0.back())
    }
}

/// Where what is counted of a route is in memory.
pub(super) fn route_key(route: &Route) -> usize {
    Arc::as_ptr(&route.numbers).addr()
}

pub(super) fn key(backend: &Arc<Backend>) -> usize {
    Arc::as_ptr(backend).addr()
}

pub(super) fn sent(backend: &Backend) -> u64 {
    backend.metrics.opened.get() + backend.metrics.reused.get()
}
