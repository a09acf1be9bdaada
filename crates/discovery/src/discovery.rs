//! Looks up backends, again and again, in DNS and in files. What was found last stays in force while a source fails: that
//! names cannot be resolved says nothing about those who had them.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use parking_lot::Mutex;
use shop_clock::chance;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::backend_url::BackendUrl;
use crate::dns::{Found, Names};
use crate::file;
use crate::known::Knowledge;
use crate::place::{Group, Place, Plan};
use crate::source::SourceUrl;

/// After a failure a source is asked again after this, then twice that, and so on up to the second: often enough to be
/// back soon, seldom enough for a name server that has trouble as it is.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// How long a start waits for the first answers, so that the first requests find backends.
const START: Duration = Duration::from_secs(1);

/// Whoever uses what is found.
pub trait Subscriber: Send + Sync + 'static {
    /// Where to look now.
    fn plan(&self) -> Plan;

    /// Puts into force what is known of `group`, for which it may wait. When it is its turn it asks for the `latest`, so that
    /// what is known last is what is last in force. An error says why that cannot be used; it is tried again.
    fn publish(&self, group: &Group, latest: &dyn Fn() -> Latest) -> Result<(), String>;

    /// A place answered.
    fn answered(&self, _: &Place) {}

    /// A place could not be looked up.
    fn failed(&self, _: &Place) {}

    /// A place is not asked any more.
    fn forgotten(&self, _: &Place) {}
}

/// What is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Latest {
    /// All backends of the group, each once, by address.
    pub backends: Vec<BackendUrl>,
    /// Whether any place of the service has answered for this protocol, even that there are none.
    pub has_answered: bool,
}

/// Everything that was looked up.
#[derive(Default)]
pub struct Discovery {
    known: Arc<Mutex<Knowledge>>,
}

/// Whom to ask, and for what.
struct Round<'a, S> {
    subscriber: &'a Arc<S>,
    plan: Plan,
    names: Names,
}

impl<'a, S: Subscriber> Round<'a, S> {
    fn new(subscriber: &'a Arc<S>) -> Self {
        let plan = subscriber.plan();
        Self { subscriber, names: Names::new(&plan.settings), plan }
    }

    /// Whether it is still what is to be asked.
    fn is_current(&self) -> bool {
        self.subscriber.plan() == self.plan
    }
}

impl Discovery {
    /// Looks everywhere once, for a moment at most: who does not answer now is asked again by [`Discovery::run`].
    pub async fn begin<S: Subscriber>(&self, subscriber: &Arc<S>) {
        let round = Round::new(subscriber);
        self.adopt(&round).await;
        let looks = join_all(round.plan.asked.iter().map(|place| self.look(&round, place)));
        // What could not be found by now is told when it fails for good.
        let _ = tokio::time::timeout(START, looks).await;
    }

    /// Looks until dropped, wherever `subscriber` says; `changes` tells when that may be elsewhere.
    pub async fn run<S: Subscriber, T>(&self, subscriber: &Arc<S>, mut changes: watch::Receiver<T>) {
        loop {
            changes.mark_unchanged();
            let round = Round::new(subscriber);
            self.adopt(&round).await;
            let following = join_all(round.plan.asked.iter().map(|place| self.follow(&round, place)));
            let outdated = async {
                // What is found makes new generations too; they are no reason to begin anew.
                while round.is_current() {
                    if changes.changed().await.is_err() {
                        return std::future::pending().await;
                    }
                }
            };
            tokio::select! {
                _ = following, if !round.plan.asked.is_empty() => {}
                () = outdated => {}
            }
        }
    }

    /// Forgets places that settings do not name any more, and what was found there unless others take their place. What is
    /// known of a service that is switched off is kept: it may be switched on when nobody answers.
    async fn adopt<S: Subscriber>(&self, round: &Round<'_, S>) {
        let dropped = self.known.lock().adopt(&round.plan.named);
        for place in dropped.iter().chain(&round.plan.named) {
            let is_asked =
                round.plan.asked.iter().any(|other| (&other.service, &other.url) == (&place.service, &place.url));
            if !is_asked {
                round.subscriber.forgotten(place);
            }
        }
        let published = self.known.lock().published();
        self.publish(round, published).await;
    }

    async fn follow<S: Subscriber>(&self, round: &Round<'_, S>, place: &Place) {
        loop {
            let due = self.known.lock().with(place, |known| known.due);
            tokio::time::sleep_until(due.unwrap_or_else(Instant::now)).await;
            self.look(round, place).await;
        }
    }

    async fn look<S: Subscriber>(&self, round: &Round<'_, S>, place: &Place) {
        let found = match &place.url {
            SourceUrl::File { path } => file::read(path, place.protocol)
                .await
                .map(|backends| Found { backends, lives: round.plan.settings.file_interval.get() }),
            SourceUrl::Dns { name, port, weight } => round.names.addresses(name, *port, *weight).await,
            SourceUrl::Srv { name } => round.names.services(name).await,
        };
        match found {
            Ok(found) => self.found(round, place, found).await,
            Err(why) => self.failed(round, place, &why),
        }
    }

    async fn found<S: Subscriber>(&self, round: &Round<'_, S>, place: &Place, found: Found) {
        let Found { mut backends, lives } = found;
        // DNS answers in any order.
        backends.sort_by(|one, other| (&one.host, one.port).cmp(&(&other.host, other.port)));
        backends.dedup_by(|one, other| (&one.host, one.port) == (&other.host, other.port));
        let (service, source) = (&*place.service, place.url.to_string());
        round.subscriber.answered(place);
        let count = backends.len();
        let news = self.known.lock().found(place, backends, Instant::now() + lives);
        let Some(news) = news else { return };
        if news.is_back || news.is_new {
            tracing::info!(service, source, count, "backends of {service} at {source}: {count}");
        }
        self.publish(round, news.groups).await;
    }

    fn failed<S: Subscriber>(&self, round: &Round<'_, S>, place: &Place, why: &str) {
        let (service, source) = (&*place.service, place.url.to_string());
        round.subscriber.failed(place);
        let mut known = self.known.lock();
        let left = known.left_for(place);
        let news = known.with(place, |known| {
            let pause = FIRST_PAUSE.saturating_mul(1 << known.failures.min(6)).min(LONGEST_PAUSE);
            known.due = Instant::now() + chance::around(pause);
            known.failures += 1;
            (known.failures == 1).then(|| known.found.as_ref().map(Vec::len))
        });
        drop(known);
        let kept = match news.flatten() {
            None => return,
            Some(Some(count)) => format!("; the {count} backends of {service} known from it are kept"),
            Some(None) if left > 0 => {
                format!(" yet; the {left} backends of {service} from where it was looked up before are kept")
            }
            Some(None) => format!(" yet; {service} has no backends from it"),
        };
        tracing::warn!(service, source, error = why, "{source} cannot be looked up{kept}");
    }

    /// Puts into force what is known of these.
    async fn publish<S: Subscriber>(&self, round: &Round<'_, S>, groups: Vec<Group>) {
        let (subscriber, known) = (Arc::clone(round.subscriber), Arc::clone(&self.known));
        // Another change may be on its way to a disk. Should nobody wait for this one any more, it is made all the same.
        let publish = move || groups.into_iter().for_each(|group| put_into_force(&*subscriber, &known, &group));
        if tokio::task::spawn_blocking(publish).await.is_err() {
            tracing::error!("what was found could not be put into force");
        }
    }
}

fn put_into_force(subscriber: &impl Subscriber, known: &Mutex<Knowledge>, group: &Group) {
    let latest = || {
        let mut known = known.lock();
        Latest { backends: known.publish(group), has_answered: known.has_answered(&group.service, group.protocol) }
    };
    let problems = subscriber.publish(group, &latest).err();
    let service = &*group.service;
    if known.lock().settled(group, problems.clone()) {
        tracing::warn!(service, problems, "what was found for {service} cannot be used for now");
    }
}
