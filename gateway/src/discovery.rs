//! Looks up backends, again and again, in DNS and in files. What was found last stays in force while a source fails: that
//! names cannot be resolved says nothing about those who had them.

pub(crate) mod backends;
mod file;
mod known;
mod names;
pub(crate) mod source;

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use parking_lot::Mutex;
use shop_balance::MOST;
use shop_clock::{Clock, SystemClock, chance};
use tokio::time::Instant;

use self::known::{Group, Knowledge};
use self::names::Names;
use crate::discovery::backends::BackendUrl;
use crate::discovery::source::{Discovery as Settings, SourceUrl};
use crate::services::check::Protocol;
use crate::settings::Config;
use crate::settings::wanted::Source;
use crate::state::shared::Shared;

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

    /// What its backends are put into force with.
    fn group(&self) -> Group {
        (self.service, self.protocol, self.kind())
    }
}

/// What was found for how long.
struct Found {
    backends: Vec<BackendUrl>,
    lives: Duration,
}

/// Everything that was looked up.
#[derive(Default)]
pub(crate) struct Discovery {
    known: Arc<Mutex<Knowledge>>,
}

/// Whom to ask, and for what.
struct Round<'a> {
    shared: &'a Arc<Shared>,
    settings: Settings,
    /// What settings name.
    named: Vec<Place>,
    /// Those of services that are not switched off.
    places: Vec<Place>,
    names: Names,
}

impl<'a> Round<'a> {
    fn new(shared: &'a Arc<Shared>) -> Self {
        let live = shared.live();
        let settings = live.config.discovery.clone();
        let (named, places) = places(&live.config);
        Self { shared, names: Names::new(&settings), settings, named, places }
    }

    /// Whether settings still ask for the same.
    fn is_current(&self) -> bool {
        let live = self.shared.live();
        let (named, places) = places(&live.config);
        live.config.discovery == self.settings && named == self.named && places == self.places
    }
}

/// All places that are named, and those of them that are to be asked.
fn places(config: &Config) -> (Vec<Place>, Vec<Place>) {
    let (mut named, mut asked) = (Vec::new(), Vec::new());
    for (service, settings) in config.services.by_name() {
        for protocol in Protocol::ALL {
            for url in &settings.urls_of(protocol).1 {
                let place = Place { service, protocol, url: url.clone() };
                if settings.enabled {
                    asked.push(place.clone());
                }
                named.push(place);
            }
        }
    }
    (named, asked)
}

impl Discovery {
    /// Looks everywhere once, for a moment at most: who does not answer now is asked again by [`Discovery::run`].
    pub(crate) async fn begin(&self, shared: &Arc<Shared>) {
        let round = Round::new(shared);
        self.adopt(&round).await;
        let looks = join_all(round.places.iter().map(|place| self.look(&round, place)));
        // What could not be found by now is told when it fails for good.
        let _ = tokio::time::timeout(START, looks).await;
    }

    /// Looks until dropped, wherever settings say.
    pub(crate) async fn run(&self, shared: &Arc<Shared>) {
        let mut changes = shared.changes();
        loop {
            changes.mark_unchanged();
            let round = Round::new(shared);
            self.adopt(&round).await;
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

    /// Forgets places that settings do not name any more, and what was found there unless others take their place. What is
    /// known of a service that is switched off is kept: it may be switched on when nobody answers.
    async fn adopt(&self, round: &Round<'_>) {
        let dropped = self.known.lock().adopt(&round.named);
        for place in dropped.iter().chain(&round.named) {
            let is_asked = round.places.iter().any(|other| (other.service, &other.url) == (place.service, &place.url));
            if !is_asked {
                round.shared.metrics.forget_source(place.service, &place.url.to_string());
            }
        }
        let published = self.known.lock().published();
        self.publish(round, published).await;
    }

    async fn follow(&self, round: &Round<'_>, place: &Place) {
        loop {
            let due = self.known.lock().with(place, |known| known.due);
            tokio::time::sleep_until(due.unwrap_or_else(Instant::now)).await;
            self.look(round, place).await;
        }
    }

    async fn look(&self, round: &Round<'_>, place: &Place) {
        let found = match &place.url {
            SourceUrl::File { path } => file::read(path, place.protocol)
                .await
                .map(|backends| Found { backends, lives: round.settings.file_interval.get() }),
            SourceUrl::Dns { name, port, weight } => round.names.addresses(name, *port, *weight).await,
            SourceUrl::Srv { name } => round.names.services(name).await,
        };
        match found {
            Ok(found) => self.found(round, place, found).await,
            Err(why) => self.failed(round, place, &why),
        }
    }

    async fn found(&self, round: &Round<'_>, place: &Place, found: Found) {
        let Found { mut backends, lives } = found;
        // DNS answers in any order.
        backends.sort_by(|one, other| (&one.host, one.port).cmp(&(&other.host, other.port)));
        backends.dedup_by(|one, other| (&one.host, one.port) == (&other.host, other.port));
        let (service, source) = (place.service, place.url.to_string());
        round.shared.metrics.source_answered(service, &source, SystemClock.now().unix_timestamp());
        let count = backends.len();
        let news = self.known.lock().found(place, backends, Instant::now() + lives);
        let Some(news) = news else { return };
        if news.is_back || news.is_new {
            tracing::info!(service, source, count, "backends of {service} at {source}: {count}");
        }
        self.publish(round, news.groups).await;
    }

    fn failed(&self, round: &Round<'_>, place: &Place, why: &str) {
        let (service, source) = (place.service, place.url.to_string());
        round.shared.metrics.source_failed(service, &source);
        let mut known = self.known.lock();
        let left = known.left_for(place);
        let news = known.with(place, |known| {
            let pause = FIRST_PAUSE.saturating_mul(1 << known.failures.min(6)).min(LONGEST_PAUSE);
            known.due = Instant::now() + chance::around(pause);
            known.failures += 1;
            (known.failures == 1).then(|| known.found.as_ref().map(Vec::len))
        });
        drop(known);
        match news.flatten() {
            Some(Some(count)) => tracing::warn!(
                service,
                source,
                error = why,
                "{source} cannot be looked up; the {count} backends of {service} known from it are kept"
            ),
            Some(None) if left > 0 => tracing::warn!(
                service,
                source,
                error = why,
                "{source} cannot be looked up yet; the {left} backends of {service} from where it was looked up before \
                 are kept"
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

    /// Puts into force what is known of these.
    async fn publish(&self, round: &Round<'_>, groups: Vec<Group>) {
        let (shared, known) = (Arc::clone(round.shared), Arc::clone(&self.known));
        // Another change may be on its way to a disk. Should nobody wait for this one any more, it is made all the same.
        let publish = move || groups.into_iter().for_each(|group| put_into_force(&shared, &known, group));
        if tokio::task::spawn_blocking(publish).await.is_err() {
            tracing::error!("what was found could not be put into force");
        }
    }
}

fn put_into_force(shared: &Shared, known: &Mutex<Knowledge>, group @ (service, protocol, kind): Group) {
    let mut draft = shared.draft();
    // Not before it is our turn: what is known last shall be what is last in force.
    let (mut backends, has_answered) = {
        let mut known = known.lock();
        (known.publish(group), known.has_answered(service, protocol))
    };
    if backends.len() > MOST {
        tracing::warn!(
            service,
            "{} backends of {service} were found; the first {MOST} are used, put a balancer in front of the others",
            backends.len()
        );
    }
    backends.truncate(MOST);
    draft.wanted.found(service, protocol, kind, backends);
    if has_answered {
        draft.wanted.answered(service, protocol);
    }
    let problems = draft.settle().map(|settled| drop(settled.commit())).err();
    let problems = problems.map(|problems| problems.to_string());
    if known.lock().settled(group, problems.clone()) {
        tracing::warn!(service, problems, "what was found for {service} cannot be used for now");
    }
}
