//! Backends that can stand in for each other, and the choice among them.

mod made_of;

use std::sync::Arc;
use std::time::Duration;

use shop_balance::breaker::State;
use shop_balance::settings::{CircuitBreaker, HealthCheck, Retries};
use shop_balance::{
    Availability, BackendSet, Balancer, Breaker, Candidate, Outliers, Permit, RetryBudget, Trouble, Verdict, WIDE,
    hashing,
};

use self::made_of::MadeOf;
use super::affinity::{Affinity, Key, Visitor};
use super::{Backend, Room, Site};
use crate::message::reason::Reason;
use crate::message::refusal::Refusal;
use crate::settings::backend_spec::{BackendSpec, Source};
use crate::upstream::Tls;
use shop_discovery::Protocol;

/// How often a backend is checked while its breaker waits, and how soon after it opened: a good check lets calls be tried again.
pub(super) const WATCHED: Duration = Duration::from_secs(1);

/// Backends that can stand in for each other, as one generation has them. A generation in which nothing of a cluster is
/// different shares it with the one before.
pub(crate) struct Cluster {
    service: Arc<str>,
    /// What its members speak.
    pub(crate) protocol: Protocol,
    /// At most [`MOST`](shop_balance::MOST).
    pub(crate) members: Vec<Member>,
    balancer: Balancer,
    /// Where the key of a call is, if calls have any.
    affinity: Option<Affinity>,
    availability: Availability,
    /// Members that get no new calls.
    draining: BackendSet<WIDE>,
    /// What retries may cost; none when there are no retries.
    pub(crate) budget: Option<Arc<RetryBudget>>,
    /// What compares its members; none when nobody does.
    outliers: Option<Arc<Outliers>>,
    /// Room for calls; none when there is no limit.
    pub(crate) room: Option<Arc<Room>>,
    trial_after: Duration,
    made_of: MadeOf,
}

/// One backend and what this generation says about it.
pub(crate) struct Member {
    pub(crate) backend: Arc<Backend>,
    pub(crate) breaker: Option<Arc<Breaker>>,
    /// Its share under `weighted_round_robin`.
    pub(crate) weight: i64,
    /// What tells it from the others when calls have keys: where it is, whatever it speaks there.
    identity: u64,
    /// It gets no new calls.
    pub(crate) draining: bool,
    /// Who named it.
    pub(crate) source: Source,
}

/// Backends already tried for a call, one bit each.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tried(BackendSet<WIDE>);

impl Cluster {
    /// The backends of `service` that speak `protocol`; of the `previous` cluster it keeps all that is the same.
    pub(super) fn new(
        service: &Arc<str>,
        protocol: Protocol,
        site: &Site<'_>,
        tls: Option<&Arc<Tls>>,
        previous: Option<&Arc<Self>>,
    ) -> Arc<Self> {
        let made_of = MadeOf::of(site.merged, service, protocol);
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
                let known = known.map(|known| (known, same_rules));
                Member::new((service, protocol), spec, tls, site, &made_of.breaker, known)
            })
            .collect();
        let retries = made_of.retries.enabled && protocol == Protocol::Http;
        let budget = previous
            .filter(|cluster| cluster.made_of.retries == made_of.retries)
            .and_then(|cluster| cluster.budget.clone())
            .or_else(|| retries.then(|| Arc::new(RetryBudget::new(&made_of.retries))));
        let outliers = previous
            .filter(|cluster| cluster.made_of.outliers == made_of.outliers)
            .map_or_else(|| Outliers::new(&made_of.outliers).map(Arc::new), |cluster| cluster.outliers.clone());
        if outliers.is_none() {
            for member in &members {
                member.backend.forget_outlier();
            }
        }
        let room = previous
            .filter(|cluster| cluster.made_of.limits == made_of.limits)
            .map_or_else(|| Room::new(&made_of.limits), |cluster| cluster.room.clone());
        let draining = members.iter().enumerate().filter(|(_, member)| member.draining);
        let draining = draining.map(|(place, _)| place).collect();
        let cluster = Self {
            service: Arc::clone(service),
            protocol,
            balancer: Balancer::new(&made_of.balancer, members.len()),
            affinity: made_of.hash.as_ref().and_then(Affinity::new),
            availability: Availability::default(),
            draining,
            budget,
            outliers,
            room,
            trial_after: made_of.breaker.timeout.get(),
            members,
            made_of,
        };
        cluster.refresh();
        Arc::new(cluster)
    }

    /// Whether it matters how long its members take.
    pub(crate) fn wants_latency(&self) -> bool {
        matches!(self.balancer, Balancer::PowerOfTwo) || self.outliers.is_some()
    }

    /// Where each member stands, in a word: `first`, `failed_lately`, `reserve`, `out` or `draining`.
    pub(crate) fn standings(&self) -> impl Iterator<Item = &'static str> {
        let (usable, spare) = self.left::<WIDE>(&Tried::default());
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
            let places: BackendSet<WIDE> = places.map(|(place, _)| place).collect();
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
        let (usable, spare) = self.left::<WIDE>(&Tried::default());
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

    /// How its members are asked whether they take calls.
    pub(crate) fn health_check(&self) -> &HealthCheck {
        &self.made_of.health_check
    }

    /// When nobody checks any more, forgets what checks found.
    pub(crate) fn forget_checks(&self) {
        if !self.health_check().enabled {
            self.members.iter().for_each(|member| member.backend.checks.forget());
        }
    }

    /// When a call goes out once more.
    pub(crate) fn retries(&self) -> &Retries {
        &self.made_of.retries
    }

    /// What says which of its members a call of `visitor` belongs to.
    pub(crate) fn key(&self, visitor: &Visitor<'_>) -> Key {
        self.affinity.as_ref().map_or_else(Key::default, |affinity| affinity.key(visitor))
    }

    /// The member at this address.
    pub(crate) fn find(&self, host: &str, port: u16) -> Option<&Member> {
        self.members.iter().find(|member| member.backend.address() == (host, port))
    }

    /// What keeps calls away from `backend` while it fails.
    fn breaker_of(&self, backend: &Arc<Backend>) -> Option<&Arc<Breaker>> {
        self.members.iter().find(|member| Arc::ptr_eq(&member.backend, backend))?.breaker.as_ref()
    }

    /// How long after a check of `backend` the next one is due.
    pub(crate) fn check_interval(&self, backend: &Arc<Backend>) -> Duration {
        let usual = self.health_check().interval.get();
        let waits = |breaker: &Arc<Breaker>| breaker.state() == State::Open && !breaker.would_permit();
        if self.breaker_of(backend).is_some_and(waits) { usual.min(WATCHED) } else { usual }
    }

    /// Whether a call may be one on trial: the breaker of a member is not closed.
    pub(crate) fn may_try(&self) -> bool {
        self.members.iter().filter_map(|member| member.breaker.as_ref()).any(|breaker| breaker.state() != State::Closed)
    }

    /// The next backend that is not in `tried`, with its breaker's permission for a request that is there whole or not.
    ///
    /// Checks say who is in rotation. Of these, backends that failed a moment ago are passed over first and asked only when
    /// there is no other: they may have recovered, and a refusal would be certain. Last come those that checks threw out.
    ///
    /// A call with a `key` gets of each of these the one that the key belongs to.
    pub(crate) fn pick(
        &self,
        tried: &mut Tried,
        is_whole: bool,
        key: Option<u64>,
    ) -> Result<(Arc<Backend>, Option<Permit>), Refusal> {
        // Nearly all lists are short, and do not pay for those that are long.
        if self.members.len() <= BackendSet::<1>::ROOM {
            self.pick_of::<1>(tried, is_whole, key)
        } else {
            self.pick_of::<WIDE>(tried, is_whole, key)
        }
    }

    #[inline]
    fn pick_of<const WORDS: usize>(
        &self,
        tried: &mut Tried,
        is_whole: bool,
        key: Option<u64>,
    ) -> Result<(Arc<Backend>, Option<Permit>), Refusal> {
        let (usable, spare) = self.left::<WORDS>(tried);
        let fit = self.fit(usable);
        // A call takes one turn, however many backends it needs.
        let mut repeat = !tried.0.is_empty();
        let mut refused = false;
        for mut left in [fit, usable.without(fit), spare] {
            while !left.is_empty() {
                let place = match key {
                    Some(key) => hashing::owner(&self.members, left, key),
                    None => self.choose(left, repeat),
                };
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
        Err(self.nobody(refused))
    }

    /// Why nobody takes a call; `refused` by breakers, or because there is nobody.
    fn nobody(&self, refused: bool) -> Refusal {
        if refused {
            Refusal::new(Reason::BreakerOpen, format!("the circuit breakers of {} are open", self.service))
                .retry_after(self.trial_after)
        } else {
            let detail = if self.members.is_empty() && self.made_of.looked_up {
                format!("the backends of {} have not been found yet", self.service)
            } else {
                format!("{} has no backend for this call", self.service)
            };
            Refusal::new(Reason::NoHealthyBackend, detail).retry_after(Duration::from_secs(1))
        }
    }

    /// Whether a backend in rotation has not been tried and its breaker would let a call through.
    pub(crate) fn has_other(&self, tried: &Tried) -> bool {
        let (usable, _) = self.left::<WIDE>(tried);
        let mut others = self.members.iter().enumerate().filter(|(place, _)| usable.has(*place));
        others.any(|(_, member)| member.breaker.as_ref().is_none_or(|breaker| breaker.would_permit()))
    }

    /// Who is in rotation, and who in reserve, of those not tried.
    fn left<const WORDS: usize>(&self, tried: &Tried) -> (BackendSet<WORDS>, BackendSet<WORDS>) {
        let closed = self.draining.resized::<WORDS>() | tried.0.resized();
        let open = BackendSet::first(self.members.len()).without(closed);
        let (usable, spare) = self.availability.get();
        (usable & open, spare & open)
    }

    /// Those of `places` that did not fail a moment ago.
    fn fit<const WORDS: usize>(&self, places: BackendSet<WORDS>) -> BackendSet<WORDS> {
        let members = self.members.iter().enumerate();
        let unfit = members.filter(|(place, member)| places.has(*place) && !member.backend.health.is_fit());
        places.without(unfit.map(|(place, _)| place).collect())
    }

    /// The balancer's choice among `places`; who recovered lately gives part of its share to the others.
    fn choose<const WORDS: usize>(&self, places: BackendSet<WORDS>, repeat: bool) -> usize {
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
    pub(crate) fn checked(&self, backend: &Arc<Backend>, outcome: Result<(), Trouble>) {
        // A check that was not made says nothing.
        if let (Some(breaker), Ok(()) | Err(Trouble::Silent(_) | Trouble::Declines(_))) =
            (self.breaker_of(backend), &outcome)
        {
            breaker.checked(outcome.is_ok());
        }
        if backend.checked(outcome, self.health_check()) {
            self.tell(self.refresh());
        }
        // Calls may have ceased, and an ejection be over.
        if let Some(outliers) = self.outliers.as_ref().filter(|outliers| outliers.is_due()) {
            self.compare(outliers);
        }
    }

    /// Notes that a call to `backend` took so long until its answer began, for the comparison with the others.
    pub(crate) fn observed(&self, backend: &Backend, took: Duration, is_ill: bool) {
        let Some(outliers) = &self.outliers else { return };
        backend.outlier.note(took, is_ill);
        if outliers.is_due() {
            self.compare(outliers);
        }
    }

    /// Ejects those that did worse than the others, and lets those come back whose time is over.
    fn compare(&self, outliers: &Outliers) {
        let part = |member: &Member| !member.draining;
        let list: Vec<_> = self.members.iter().map(|member| part(member).then_some(&member.backend.outlier)).collect();
        let news = outliers.compare(&list);
        for (place, why) in news.ejected {
            self.members[place].backend.compared(Some(why));
        }
        for place in news.back {
            self.members[place].backend.compared(None);
        }
        // Without news, too: they may have come to the cluster of another generation, which has the same members.
        self.tell(self.refresh());
    }

    /// What speaks for and against a member that gets calls. Who is ejected is as one that fell silent, so that the panic rule
    /// holds for both.
    fn verdict(&self, member: &Member) -> Verdict {
        let is_ejected = member.backend.ejected().is_some();
        match member.backend.checks.verdict() {
            verdict if verdict.is_bad() => verdict,
            _ if is_ejected => Verdict::Silent,
            // Without checks everybody is as well as the others.
            _ if !self.health_check().enabled => Verdict::Healthy,
            verdict => verdict,
        }
    }

    /// Works out anew who is in rotation; returns whether the panic rule applies now, when that has changed.
    pub(crate) fn refresh(&self) -> Option<bool> {
        // Without checks their last word is nobody's.
        if !self.health_check().enabled && self.outliers.is_none() {
            return None;
        }
        let verdict = |member: &Member| (!member.draining).then(|| self.verdict(member));
        self.availability.update(self.members.iter().map(verdict))
    }

    fn tell(&self, panics: Option<bool>) {
        // With one backend there is nobody to choose from anyway.
        let service = &*self.service;
        match panics.filter(|_| self.members.len() > 1) {
            Some(true) => tracing::warn!(
                service,
                "half or more of the backends of {service} fail their health checks or are ejected: that is ignored"
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

    #[inline]
    fn identity(&self) -> u64 {
        self.identity
    }
}

impl Member {
    /// The backend of `spec`, with what a `known` one and its breaker, if its rules are the same, have learnt.
    fn new(
        (service, protocol): (&str, Protocol),
        spec: &BackendSpec,
        tls: Option<&Arc<Tls>>,
        site: &Site<'_>,
        settings: &CircuitBreaker,
        known: Option<(&Self, bool)>,
    ) -> Self {
        let config = &site.merged.config;
        let slow_start = config.load_balancer.slow_start.get();
        let backend = match known {
            Some((known, _)) => Arc::clone(&known.backend),
            None => Arc::new(Backend::new(service, spec, protocol, tls, slow_start, site)),
        };
        backend.grow_within(slow_start);
        let breaker = match known.filter(|(_, same_rules)| *same_rules) {
            Some((known, _)) => known.breaker.clone(),
            None => settings.rules().map(|rules| backend.new_breaker(rules)),
        };
        Self {
            backend,
            breaker,
            weight: spec.weight.get().into(),
            identity: hashing::number(format!("{}:{}", spec.host, spec.port).as_bytes()),
            draining: spec.draining,
            source: spec.source,
        }
    }
}
