//! Backends that can stand in for each other, and the choice among them.

use std::sync::Arc;
use std::time::Duration;

use shop_balance::breaker::State;
use shop_balance::settings::{CircuitBreaker, HealthCheck, LoadBalancer, Retries};
use shop_balance::{Availability, BackendSet, Balancer, Breaker, Candidate, Permit, RetryBudget, Trouble};

use super::{Backend, Site};
use crate::message::reason::Reason;
use crate::message::refusal::Refusal;
use crate::settings::backend_spec::{BackendSpec, Source};
use crate::upstream::Tls;
use shop_discovery::Protocol;

/// Backends that can stand in for each other, as one generation has them. A generation in which nothing of a cluster is
/// different shares it with the one before.
pub(crate) struct Cluster {
    service: Arc<str>,
    /// What its members speak.
    pub(crate) protocol: Protocol,
    /// At most 64.
    pub(crate) members: Vec<Member>,
    balancer: Balancer,
    availability: Availability,
    /// Members that get no new calls.
    draining: BackendSet,
    /// What retries may cost; none when there are no retries.
    pub(crate) budget: Option<Arc<RetryBudget>>,
    trial_after: Duration,
    made_of: MadeOf,
}

/// One backend and what this generation says about it.
pub(crate) struct Member {
    pub(crate) backend: Arc<Backend>,
    pub(crate) breaker: Option<Arc<Breaker>>,
    /// Its share under `weighted_round_robin`.
    pub(crate) weight: i64,
    /// It gets no new calls.
    pub(crate) draining: bool,
    /// Who named it.
    pub(crate) source: Source,
}

/// The settings that a cluster was made of.
struct MadeOf {
    specs: Vec<BackendSpec>,
    balancer: LoadBalancer,
    breaker: CircuitBreaker,
    retries: Retries,
    checked: bool,
    /// How those are called that are called over TLS.
    tls: Option<Arc<Tls>>,
    /// Whether there are places where more may be found.
    looked_up: bool,
}

/// Backends already tried for a call, one bit each.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Tried(BackendSet);

impl PartialEq for MadeOf {
    fn eq(&self, other: &Self) -> bool {
        let Self { specs, balancer, breaker, retries, checked, tls, looked_up } = self;
        let same_tls = match (tls, &other.tls) {
            (None, None) => true,
            (Some(mine), Some(others)) => Arc::ptr_eq(mine, others),
            _ => false,
        };
        same_tls
            && *specs == other.specs
            && *balancer == other.balancer
            && *breaker == other.breaker
            && *retries == other.retries
            && (*checked, *looked_up) == (other.checked, other.looked_up)
    }
}

impl Cluster {
    /// The backends of `service` that speak `protocol`; of the `previous` cluster it keeps all that is the same.
    pub(super) fn new(
        service: &Arc<str>,
        protocol: Protocol,
        site: &Site<'_>,
        tls: Option<&Arc<Tls>>,
        previous: Option<&Arc<Self>>,
    ) -> Arc<Self> {
        let config = &site.merged.config;
        let made_of = MadeOf {
            specs: site.merged.specs(service, protocol).to_vec(),
            balancer: config.balancer_of(service),
            breaker: config.circuit_breaker.clone(),
            retries: config.retries.clone(),
            checked: config.health_check.enabled,
            tls: tls.cloned(),
            looked_up: config.services.get(service).is_some_and(|settings| !settings.urls_of(protocol).1.is_empty()),
        };
        if let Some(same) = previous.filter(|previous| previous.made_of == made_of) {
            return Arc::clone(same);
        }
        let before = previous.map(|cluster| &cluster.made_of);
        let members: Vec<_> = made_of
            .specs
            .iter()
            .map(|spec| {
                let tls = tls.filter(|_| spec.tls);
                // Called in another way it is another backend.
                let is_same = |known: &&Member| known.backend.endpoint.is_over(tls);
                let known = previous.and_then(|cluster| cluster.find(&spec.host, spec.port)).filter(is_same);
                let same_rules = before.is_some_and(|before| before.breaker == made_of.breaker);
                Member::new((service, protocol), spec, tls, site, known.map(|known| (known, same_rules)))
            })
            .collect();
        let retries = made_of.retries.enabled && protocol == Protocol::Http;
        let budget = previous
            .filter(|cluster| cluster.made_of.retries == made_of.retries)
            .and_then(|cluster| cluster.budget.clone())
            .or_else(|| retries.then(|| Arc::new(RetryBudget::new(&made_of.retries))));
        let draining = members.iter().enumerate().filter(|(_, member)| member.draining);
        let draining = draining.map(|(place, _)| place).collect();
        let cluster = Self {
            service: Arc::clone(service),
            protocol,
            balancer: Balancer::new(&made_of.balancer, members.len()),
            availability: Availability::default(),
            draining,
            budget,
            trial_after: made_of.breaker.timeout.get(),
            members,
            made_of,
        };
        cluster.refresh();
        Arc::new(cluster)
    }

    /// Whether it matters how long its members take.
    pub(crate) fn wants_latency(&self) -> bool {
        matches!(self.balancer, Balancer::PowerOfTwo)
    }

    /// Where each member stands, in a word: `first`, `failed_lately`, `reserve`, `out` or `draining`.
    pub(crate) fn standings(&self) -> impl Iterator<Item = &'static str> {
        let (usable, spare) = self.left(Tried::default());
        let fit = self.fit(usable);
        self.members.iter().enumerate().map(move |(place, member)| match place {
            _ if member.draining => "draining",
            place if fit.has(place) => "first",
            place if usable.has(place) => "failed_lately",
            place if spare.has(place) => "reserve",
            _ => "out",
        })
    }

    /// Members in the order in which a call would try them, as far as chance is not part of it: each with where it stands
    /// and the state of its breaker. Nobody's turn is taken.
    pub(crate) fn outlook(&self) -> Vec<(&Member, &'static str, Option<&'static str>)> {
        let standings: Vec<_> = self.standings().collect();
        let mut order = Vec::with_capacity(self.members.len());
        for desired in ["first", "failed_lately", "reserve", "out", "draining"] {
            let places = standings.iter().enumerate().filter(|(_, standing)| **standing == desired);
            let places = places.map(|(place, _)| place).collect();
            order.extend(self.balancer.order(&self.members, places));
        }
        let state = |member: &Member| member.breaker.as_ref().map(|breaker| breaker.state().word());
        let one = |place: usize| {
            let member = self.members.get(place)?;
            Some((member, *standings.get(place)?, state(member)))
        };
        order.into_iter().filter_map(one).collect()
    }

    /// Why a call would be refused now, if it would.
    pub(crate) fn refuses(&self) -> Option<Reason> {
        let (usable, spare) = self.left(Tried::default());
        let open = |member: &Member| member.breaker.as_ref().is_some_and(|breaker| breaker.state() == State::Open);
        let takers = self.members.iter().enumerate().filter(|(place, _)| (usable | spare).has(*place));
        let mut takers = takers.map(|(_, member)| open(member)).peekable();
        if takers.peek().is_none() {
            return Some(Reason::NoHealthyBackend);
        }
        takers.all(|is_open| is_open).then_some(Reason::BreakerOpen)
    }

    /// What its members were made of.
    pub(crate) fn specs(&self) -> &[BackendSpec] {
        &self.made_of.specs
    }

    /// The member at this address.
    pub(crate) fn find(&self, host: &str, port: u16) -> Option<&Member> {
        self.members.iter().find(|member| member.backend.address() == (host, port))
    }

    /// Whether a call may be one on trial: the breaker of a member is not closed.
    pub(crate) fn may_try(&self) -> bool {
        self.members.iter().filter_map(|member| member.breaker.as_ref()).any(|breaker| breaker.state() != State::Closed)
    }

    /// The next backend that is not in `tried`, with its breaker's permission for a request that is there whole or not.
    ///
    /// Checks say who is in rotation. Of these, backends that failed a moment ago are passed over first and asked only when
    /// there is no other: they may have recovered, and a refusal would be certain. Last come those that checks threw out.
    pub(crate) fn pick(&self, tried: &mut Tried, is_whole: bool) -> Result<(Arc<Backend>, Option<Permit>), Refusal> {
        let (usable, spare) = self.left(*tried);
        let fit = self.fit(usable);
        // A call takes one turn, however many backends it needs.
        let mut repeat = !tried.0.is_empty();
        let mut refused = false;
        for mut left in [fit, usable.without(fit), spare] {
            while !left.is_empty() {
                let place = self.choose(left, repeat);
                repeat = true;
                left.remove(place);
                let member = &self.members[place];
                let permit = member.breaker.as_ref().map(|breaker| breaker.permit(is_whole));
                if let Some(None) = permit {
                    refused = true;
                    continue;
                }
                tried.0.insert(place);
                return Ok((Arc::clone(&member.backend), permit.flatten()));
            }
        }
        Err(if refused {
            Refusal::new(Reason::BreakerOpen, format!("the circuit breakers of {} are open", self.service))
                .retry_after(self.trial_after)
        } else {
            let detail = if self.members.is_empty() && self.made_of.looked_up {
                format!("the backends of {} have not been found yet", self.service)
            } else {
                format!("{} has no backend for this call", self.service)
            };
            Refusal::new(Reason::NoHealthyBackend, detail).retry_after(Duration::from_secs(1))
        })
    }

    /// Whether a backend in rotation has not been tried and its breaker would let a call through.
    pub(crate) fn has_other(&self, tried: Tried) -> bool {
        let (usable, _) = self.left(tried);
        let mut others = self.members.iter().enumerate().filter(|(place, _)| usable.has(*place));
        others.any(|(_, member)| member.breaker.as_ref().is_none_or(|breaker| breaker.would_permit()))
    }

    /// Who is in rotation, and who in reserve, of those not tried.
    fn left(&self, tried: Tried) -> (BackendSet, BackendSet) {
        let open = BackendSet::first(self.members.len()).without(self.draining | tried.0);
        let (usable, spare) = self.availability.get();
        (usable & open, spare & open)
    }

    /// Those of `places` that did not fail a moment ago.
    fn fit(&self, places: BackendSet) -> BackendSet {
        let members = self.members.iter().enumerate();
        let unfit = members.filter(|(place, member)| places.has(*place) && !member.backend.health.is_fit());
        places.without(unfit.map(|(place, _)| place).collect())
    }

    /// The balancer's choice among `places`; who recovered lately gives part of its share to the others.
    fn choose(&self, places: BackendSet, repeat: bool) -> usize {
        let first = self.balancer.choose(&self.members, places, repeat);
        let mut place = first;
        let mut others = places;
        while !self.members[place].backend.admit() {
            others.remove(place);
            if others.is_empty() {
                // All of them recovered lately; nobody is left to spare them.
                return first;
            }
            place = self.balancer.choose(&self.members, others, true);
        }
        place
    }

    /// Notes what a check of `backend` found.
    pub(crate) fn checked(&self, backend: &Backend, outcome: Result<(), Trouble>, settings: &HealthCheck) {
        if backend.checked(outcome, settings) {
            self.tell(self.refresh());
        }
    }

    /// Works out anew who is in rotation; returns whether the panic rule applies now, when that has changed.
    pub(crate) fn refresh(&self) -> Option<bool> {
        // Without checks their last word is nobody's.
        if !self.made_of.checked {
            return None;
        }
        let verdict = |member: &Member| (!member.draining).then(|| member.backend.checks.verdict());
        self.availability.update(self.members.iter().map(verdict))
    }

    fn tell(&self, panics: Option<bool>) {
        // With one backend there is nobody to choose from anyway.
        let service = &*self.service;
        match panics.filter(|_| self.members.len() > 1) {
            Some(true) => tracing::warn!(
                service,
                "half or more of the backends of {service} fail their health checks: failed checks are ignored"
            ),
            Some(false) => tracing::info!(service, "most backends of {service} pass their health checks again"),
            None => {}
        }
    }
}

impl Candidate for Member {
    #[inline]
    fn in_flight(&self) -> usize {
        self.backend.in_flight()
    }

    #[inline]
    fn latency(&self) -> Option<f64> {
        self.backend.latency.seconds()
    }

    #[inline]
    fn weight(&self) -> i64 {
        self.weight
    }
}

impl Member {
    /// The backend of `spec`, with what a `known` one and its breaker, if its rules are the same, have learnt.
    fn new(
        (service, protocol): (&str, Protocol),
        spec: &BackendSpec,
        tls: Option<&Arc<Tls>>,
        site: &Site<'_>,
        known: Option<(&Self, bool)>,
    ) -> Self {
        let config = &site.merged.config;
        let slow_start = config.load_balancer.slow_start.get();
        let backend = match known {
            Some((known, _)) => Arc::clone(&known.backend),
            None => Arc::new(Backend::new(service, spec, protocol, tls, slow_start, site)),
        };
        backend.grow_within(slow_start);
        let settings = &config.circuit_breaker;
        let breaker = match known.filter(|(_, same_rules)| *same_rules) {
            Some((known, _)) => known.breaker.clone(),
            None => settings.rules().map(|rules| backend.new_breaker(rules)),
        };
        Self { backend, breaker, weight: spec.weight.get().into(), draining: spec.draining, source: spec.source }
    }
}
