//! Looks up backends, again and again, in DNS and in files. What was found last stays in force while a source fails: that
//! names cannot be resolved says nothing about those who had them.

mod file;
mod names;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures_util::future::join_all;
use parking_lot::Mutex;
use shop_clock::{Clock, SystemClock};
use tokio::time::Instant;

use self::names::Names;
use crate::chance;
use crate::check::Protocol;
use crate::config::{BackendUrl, Config, Discovery as Settings, SourceUrl};
use crate::rotation::MOST;
use crate::shared::Shared;
use crate::wanted::Source;

/// However short or long a record says it may be kept: nobody is asked more than once a second, and a change is noticed
/// within five minutes.
const SHORTEST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_mins(5);
/// After a failure a source is asked again after this, then twice that, and so on up to the second: often enough to be
/// back soon, seldom enough for a name server that has trouble as it is.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// How long a start waits for the first answers, so that the first requests find backends.
const START: Duration = Duration::from_secs(1);

/// Where one service looks for backends that speak one protocol.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Place {
    service: &'static str,
    protocol: Protocol,
    url: SourceUrl,
}

impl Place {
    fn kind(&self) -> Source {
        match self.url {
            SourceUrl::Dns { .. } | SourceUrl::Srv { .. } => Source::Dns,
            SourceUrl::File { .. } => Source::File,
        }
    }
}

/// What is known of a place.
struct Known {
    place: Place,
    /// In one order, so that the same set is no news. None before the first answer.
    found: Option<Vec<BackendUrl>>,
    due: Instant,
    /// In a row.
    failures: u32,
}

/// What was found for how long.
struct Found {
    backends: Vec<BackendUrl>,
    lives: Duration,
}

/// Everything that was looked up.
#[derive(Default)]
pub(crate) struct Discovery {
    known: Mutex<Vec<Known>>,
    /// Where something was put into force.
    published: Mutex<BTreeSet<(&'static str, Protocol, Source)>>,
}

/// Whom to ask, and for what.
struct Round<'a> {
    shared: &'a Shared,
    settings: Settings,
    places: Vec<Place>,
    names: Result<Names, String>,
}

impl<'a> Round<'a> {
    fn new(shared: &'a Shared) -> Self {
        let live = shared.live();
        let settings = live.config.discovery.clone();
        let places = places(&live.config);
        let needs_names = places.iter().any(|place| place.kind() == Source::Dns);
        let names = if needs_names { Names::new(&settings) } else { Err("no names to resolve".to_owned()) };
        Self { shared, settings, places, names }
    }

    /// Whether settings still ask for the same.
    fn is_current(&self) -> bool {
        let live = self.shared.live();
        live.config.discovery == self.settings && places(&live.config) == self.places
    }
}

fn places(config: &Config) -> Vec<Place> {
    let mut places = Vec::new();
    for (service, settings) in config.services.by_name().into_iter().filter(|(_, settings)| settings.enabled) {
        for protocol in Protocol::ALL {
            let urls = settings.urls_of(protocol).1.iter();
            places.extend(urls.map(|url| Place { service, protocol, url: url.clone() }));
        }
    }
    places
}

impl Discovery {
    /// Looks everywhere once, for a moment at most: who does not answer now is asked again by [`Discovery::run`].
    pub(crate) async fn begin(&self, shared: &Shared) {
        let round = Round::new(shared);
        self.adopt(&round);
        let looks = join_all(round.places.iter().map(|place| self.look(&round, place)));
        // What could not be found by now is told when it fails for good.
        let _ = tokio::time::timeout(START, looks).await;
    }

    /// Looks until dropped, wherever settings say.
    pub(crate) async fn run(&self, shared: &Shared) {
        let mut changes = shared.changes();
        loop {
            changes.mark_unchanged();
            let round = Round::new(shared);
            self.adopt(&round);
            let following = join_all(round.places.iter().map(|place| self.follow(&round, place)));
            let outdated = async {
                // What is found makes new generations too; they are no reason to begin anew.
                while round.is_current() {
                    if changes.changed().await.is_err() {
                        return std::future::pending().await;
                    }
                }
            };
            tokio::select! {
                _ = following, if !round.places.is_empty() => {}
                () = outdated => {}
            }
        }
    }

    /// Forgets places that nobody asks for any more, and what was found there.
    fn adopt(&self, round: &Round<'_>) {
        let dropped = {
            let mut known = self.known.lock();
            let (kept, dropped): (Vec<_>, Vec<_>) =
                std::mem::take(&mut *known).into_iter().partition(|known| round.places.contains(&known.place));
            *known = kept;
            for place in &round.places {
                if !known.iter().any(|known| known.place == *place) {
                    known.push(Known { place: place.clone(), found: None, due: Instant::now(), failures: 0 });
                }
            }
            dropped
        };
        for Known { place, .. } in dropped {
            let is_asked = round.places.iter().any(|other| (other.service, &other.url) == (place.service, &place.url));
            if !is_asked {
                round.shared.metrics.forget_source(place.service, &place.url.to_string());
            }
        }
        let published: Vec<_> = self.published.lock().iter().copied().collect();
        for (service, protocol, kind) in published {
            self.publish(round.shared, service, protocol, kind);
        }
    }

    async fn follow(&self, round: &Round<'_>, place: &Place) {
        loop {
            let due = self.with(place, |known| known.due);
            tokio::time::sleep_until(due.unwrap_or_else(Instant::now)).await;
            self.look(round, place).await;
        }
    }

    fn with<T>(&self, place: &Place, see: impl FnOnce(&mut Known) -> T) -> Option<T> {
        self.known.lock().iter_mut().find(|known| known.place == *place).map(see)
    }

    async fn look(&self, round: &Round<'_>, place: &Place) {
        let found = match (&place.url, &round.names) {
            (SourceUrl::File { path }, _) => file::read(path, place.protocol)
                .await
                .map(|backends| Found { backends, lives: round.settings.file_interval.get() }),
            (_, Err(why)) => Err(why.clone()),
            (SourceUrl::Dns { name, port, weight }, Ok(names)) => names.addresses(name, *port, *weight).await,
            (SourceUrl::Srv { name }, Ok(names)) => names.services(name).await,
        };
        match found {
            Ok(found) => self.found(round, place, found),
            Err(why) => self.failed(round, place, &why),
        }
    }

    fn found(&self, round: &Round<'_>, place: &Place, found: Found) {
        let Found { mut backends, lives } = found;
        // DNS answers in any order.
        backends.sort_by(|one, other| (&one.host, one.port).cmp(&(&other.host, other.port)));
        backends.dedup_by(|one, other| (&one.host, one.port) == (&other.host, other.port));
        let (service, source) = (place.service, place.url.to_string());
        round.shared.metrics.source_answered(service, &source, SystemClock.now().unix_timestamp());
        let count = backends.len();
        let news = self.with(place, |known| {
            known.due = Instant::now() + lives;
            let is_back = std::mem::take(&mut known.failures) > 0;
            let is_new = known.found.as_ref() != Some(&backends);
            if is_new {
                known.found = Some(backends);
            }
            (is_back, is_new)
        });
        let Some((is_back, is_new)) = news else { return };
        if is_back || is_new {
            tracing::info!(service, source, count, "backends of {service} at {source}: {count}");
        }
        if is_new {
            self.publish(round.shared, service, place.protocol, place.kind());
        }
    }

    fn failed(&self, round: &Round<'_>, place: &Place, why: &str) {
        let (service, source) = (place.service, place.url.to_string());
        round.shared.metrics.source_failed(service, &source);
        let news = self.with(place, |known| {
            let pause = FIRST_PAUSE.saturating_mul(1 << known.failures.min(6)).min(LONGEST_PAUSE);
            known.due = Instant::now() + chance::around(pause);
            known.failures += 1;
            (known.failures == 1).then(|| known.found.as_ref().map(Vec::len))
        });
        match news.flatten() {
            Some(Some(count)) => tracing::warn!(
                service,
                source,
                error = why,
                "{source} cannot be looked up; the {count} backends of {service} known from it are kept"
            ),
            Some(None) => tracing::warn!(
                service,
                source,
                error = why,
                "{source} cannot be looked up yet; {service} has no backends from it"
            ),
            None => {}
        }
    }

    /// Puts into force what is known of one kind of source.
    fn publish(&self, shared: &Shared, service: &'static str, protocol: Protocol, kind: Source) {
        let mut all = BTreeMap::new();
        for known in self.known.lock().iter() {
            let place = &known.place;
            if (place.service, place.protocol, place.kind()) == (service, protocol, kind) {
                for backend in known.found.iter().flatten() {
                    all.entry((backend.host.clone(), backend.port)).or_insert_with(|| backend.clone());
                }
            }
        }
        if all.len() > MOST {
            tracing::warn!(
                service,
                "{} backends of {service} were found; the first {MOST} are used, put a balancer in front of the others",
                all.len()
            );
        }
        let backends = all.into_values().take(MOST).collect();
        self.published.lock().insert((service, protocol, kind));
        let mut draft = shared.draft();
        draft.wanted.found(service, protocol, kind, backends);
        match draft.settle() {
            Ok(settled) => drop(settled.commit()),
            Err(problems) => tracing::warn!(service, %problems, "what was found for {service} cannot be used"),
        }
    }
}
