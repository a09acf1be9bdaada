//! One issuer: its keys, where they come from, and what its tokens have to be like.

use std::collections::{BTreeMap, HashSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use arc_swap::ArcSwap;
use jsonwebtoken::{Algorithm, Validation, get_current_timestamp};
use parking_lot::Mutex;
use serde::Deserialize;
use shop_config::WatchedFile;
use tokio::sync::{Notify, Semaphore, watch};
use tokio::time::{Instant, sleep, sleep_until, timeout_at};

use crate::claims::{Claims, NotText};
use crate::fetch::Fetch;
use crate::keys::{self, Key};
use crate::settings::{IdentitySettings, Provider};
use crate::signer::{AUDIENCE, GUEST, ISSUER, SERVICE, Signer};
use crate::{Kind, Principal, Refusal, Role, Roles};

/// How often files are looked at.
const LOOK: Duration = Duration::from_secs(2);
/// How often an issuer is asked that does not say how long its keys are good, and the bounds of what it may say.
const REFRESH: Duration = Duration::from_mins(5);
const REFRESH_BOUNDS: (Duration, Duration) = (Duration::from_mins(1), Duration::from_mins(15));
/// The longest that a call waits for keys.
const PATIENCE: Duration = Duration::from_secs(5);
/// Calls that may wait for keys at once, and names of keys that an issuer is known not to have.
const MOST_WAITING: usize = 1024;
/// Keys tried for one token: sets in which so many fit have names for them.
const MOST_TRIED: usize = 4;
/// What keys of a set are for. Nobody is asked for the key of a token that is signed in another way.
const PUBLIC: [Algorithm; 6] =
    [Algorithm::RS256, Algorithm::RS384, Algorithm::PS256, Algorithm::ES256, Algorithm::ES384, Algorithm::EdDSA];

/// One issuer.
pub(crate) struct Issuer {
    rules: Rules,
    source: Source,
    keys: ArcSwap<Vec<Key>>,
    /// Until when the keys are good, in seconds since 1970.
    good_until: AtomicU64,
    answers: watch::Sender<Answer>,
    wanted: Notify,
    waiting: Semaphore,
    schedule: Mutex<Schedule>,
}

/// The last answer of the issuer: to which question, and whether it had keys.
#[derive(Debug, Clone, Copy, Default)]
struct Answer {
    to: u64,
    is_good: bool,
}

/// When the issuer may be asked again, and what it did not have when it was asked last.
struct Schedule {
    /// Counts the questions.
    asked: u64,
    is_asking: bool,
    next: Instant,
    absent: HashSet<String>,
}

/// What its tokens have to be like.
struct Rules {
    issuer: Arc<str>,
    audiences: Vec<String>,
    leeway: u64,
    max_lifetime: Option<u64>,
    whose: Whose,
}

enum Whose {
    /// The suite's own; its services show tokens for this one by its name.
    Own(String),
    /// Somebody else's.
    Others {
        roles_claim: String,
        roles: BTreeMap<String, Role>,
        user_claim: String,
        prefix: String,
        services: BTreeMap<String, String>,
    },
}

/// Where keys come from.
#[expect(clippy::large_enum_variant, reason = "there is one for each issuer")]
enum Source {
    Fixed,
    File(WatchedFile, PathBuf, fn(&str) -> Result<Vec<Key>, String>, Vec<Key>),
    Url { fetch: Fetch, url: Option<String>, issuer: String, cooldown: Duration, max_stale: Duration },
}

/// A token whose signature and times are good.
pub(crate) struct Checked {
    pub(crate) principal: Principal,
    pub(crate) id: Option<String>,
    pub(crate) issued: Option<u64>,
    /// With the leeway.
    pub(crate) expires: u64,
}

impl From<NotText> for Refusal {
    fn from(_: NotText) -> Self {
        Self::Invalid
    }
}

impl Issuer {
    /// The suite itself, as the service `name` trusts it: by the key of this process and those of others.
    pub(crate) fn own(settings: &IdentitySettings, signer: Option<&Signer>, name: &str) -> Self {
        let known = signer.map(|signer| signer.public().to_vec()).unwrap_or_default();
        let source = match &settings.internal.trusted_file {
            Some(file) => {
                Source::File(WatchedFile::new(Some(file.clone())), file.clone(), keys::of_file, known.clone())
            }
            None => Source::Fixed,
        };
        let rules = Rules {
            issuer: ISSUER.into(),
            audiences: vec![AUDIENCE.to_owned(), name.to_owned()],
            leeway: settings.leeway.get().as_secs(),
            max_lifetime: None,
            whose: Whose::Own(name.to_owned()),
        };
        Self::new(rules, source, known)
    }

    /// Somebody else.
    pub(crate) fn other(provider: &Provider, settings: &IdentitySettings) -> anyhow::Result<Self> {
        let mut known = Vec::new();
        let source = if let Some(file) = &provider.jwks_file {
            let read = |text: &str| keys::of_set(text.as_bytes());
            Source::File(WatchedFile::new(Some(file.clone())), file.clone(), read, Vec::new())
        } else if provider.secret.is_empty() {
            Source::Url {
                fetch: Fetch::new(provider)?,
                url: Some(provider.jwks_url.clone()).filter(|url| !url.is_empty()),
                issuer: provider.issuer.clone(),
                cooldown: settings.cooldown.get(),
                max_stale: settings.max_stale.get(),
            }
        } else {
            known.extend(Key::secret(provider.secret.expose()));
            Source::Fixed
        };
        let rules = Rules {
            issuer: provider.issuer.as_str().into(),
            audiences: vec![provider.audience.clone()],
            leeway: settings.leeway.get().as_secs(),
            max_lifetime: provider.max_lifetime.map(|most| most.get().as_secs()),
            whose: Whose::Others {
                roles_claim: provider.roles_claim.clone(),
                roles: provider.roles.clone(),
                user_claim: provider.user_claim.clone(),
                prefix: provider.user_prefix.clone(),
                services: provider.services.clone(),
            },
        };
        Ok(Self::new(rules, source, known))
    }

    fn new(rules: Rules, source: Source, known: Vec<Key>) -> Self {
        let is_remote = matches!(source, Source::Url { .. });
        let issuer = Self {
            rules,
            source,
            keys: ArcSwap::from_pointee(known),
            good_until: AtomicU64::new(if is_remote { 0 } else { u64::MAX }),
            answers: watch::Sender::default(),
            wanted: Notify::new(),
            waiting: Semaphore::new(MOST_WAITING),
            schedule: Mutex::new(Schedule { asked: 0, is_asking: false, next: Instant::now(), absent: HashSet::new() }),
        };
        issuer.look();
        issuer
    }

    /// `iss` of its tokens.
    pub(crate) fn name(&self) -> &str {
        &self.rules.issuer
    }

    /// Whether it has keys that are good now.
    pub(crate) fn has_keys(&self) -> bool {
        get_current_timestamp() < self.good_until.load(Ordering::Acquire)
    }

    /// Reads its file again if that changed; whether there are other keys now. What cannot be read changes nothing, and is
    /// said once.
    fn look(&self) -> bool {
        let Source::File(file, path, parse, known) = &self.source else { return false };
        if !file.look() {
            return false;
        }
        let read = shop_config::read_text(path).map_err(|error| format!("cannot be read: {error}"));
        match read.and_then(|text| parse(&text)) {
            Ok(mut keys) => {
                keys.extend(known.iter().cloned());
                self.keys.store(keys.into());
                true
            }
            Err(error) => {
                let file = path.display();
                tracing::error!(issuer = self.name(), %file, error, "keys of tokens stay as they were: {file} {error}");
                false
            }
        }
    }

    /// Keeps the keys as the issuer has them, for ever. `changed` is told of others.
    pub(crate) async fn keep(&self, changed: impl Fn()) {
        match &self.source {
            Source::Fixed => std::future::pending().await,
            Source::File(..) => loop {
                sleep(LOOK).await;
                if self.look() {
                    changed();
                }
            },
            Source::Url { fetch, url, issuer, cooldown, max_stale } => {
                let mut remote = Remote { fetch, given: url.as_deref(), issuer, found: None, last: None };
                loop {
                    let asked_again = self.ask(&mut remote, *cooldown, *max_stale, &changed).await;
                    tokio::select! {
                        () = sleep(asked_again) => {}
                        () = self.wanted.notified() => {
                            let next = self.schedule.lock().next;
                            sleep_until(next).await;
                        }
                    }
                }
            }
        }
    }

    /// Asks for the keys once; how long they are good.
    async fn ask(
        &self,
        remote: &mut Remote<'_>,
        cooldown: Duration,
        max_stale: Duration,
        changed: &impl Fn(),
    ) -> Duration {
        let to = {
            let mut schedule = self.schedule.lock();
            schedule.is_asking = true;
            schedule.asked += 1;
            schedule.asked
        };
        let answer = remote.keys().await;
        let is_good = answer.is_ok();
        let pause = match answer {
            Ok((news, max_age)) => {
                let until = get_current_timestamp().saturating_add(max_stale.as_secs());
                if let Some(keys) = news {
                    tracing::info!(issuer = self.name(), keys = keys.len(), "keys of {}: {}", self.name(), keys.len());
                    self.keys.store(keys.into());
                    changed();
                }
                self.good_until.store(until, Ordering::Release);
                max_age.min(max_stale / 2).max(cooldown)
            }
            Err(error) => {
                let issuer = self.name();
                tracing::warn!(issuer, error = format!("{error:#}"), "the keys of {issuer} cannot be had: {error:#}");
                cooldown
            }
        };
        {
            let mut schedule = self.schedule.lock();
            schedule.is_asking = false;
            schedule.next = Instant::now() + cooldown;
            schedule.absent.clear();
        }
        self.answers.send_replace(Answer { to, is_good });
        pause
    }

    /// Whose the token is; waits for keys when none fits.
    pub(crate) async fn check(&self, token: &str, algorithm: Algorithm, id: Option<&str>) -> Result<Checked, Refusal> {
        // An answer that comes while the keys at hand are tried is one to try them again with.
        let mut answers = self.answers.subscribe();
        if let Some(checked) = self.try_check(token, algorithm, id) {
            return checked;
        }
        let asked = self.worth_waiting(algorithm, id)?;
        let _waiting = self.waiting.try_acquire().map_err(|_| Refusal::Unavailable(Duration::from_secs(1)))?;
        let until = Instant::now() + PATIENCE;
        loop {
            self.answer(&mut answers, asked, until).await?;
            if let Some(checked) = self.try_check(token, algorithm, id) {
                return checked;
            }
            // What was asked for before the token came may be older than its key.
            if answers.borrow().to > asked {
                break;
            }
        }
        let mut schedule = self.schedule.lock();
        if let Some(id) = id.filter(|_| schedule.absent.len() < MOST_WAITING) {
            schedule.absent.insert(id.to_owned());
        }
        Err(Refusal::Invalid)
    }

    /// The same with the keys at hand; nothing when there is none that fits.
    fn try_check(&self, token: &str, algorithm: Algorithm, id: Option<&str>) -> Option<Result<Checked, Refusal>> {
        if !self.has_keys() {
            return None;
        }
        let keys = self.keys.load();
        let fitting = keys.iter().filter(|key| key.fits(algorithm, id)).take(MOST_TRIED);
        // The key of this name may be for another algorithm.
        let is_known = id.is_some() && keys.iter().any(|key| key.id.as_deref() == id);
        let mut refusal = is_known.then_some(Refusal::Invalid);
        for key in fitting {
            match jsonwebtoken::decode::<Claims>(token, &key.material, &self.rules.validation(algorithm)) {
                Ok(token) => return Some(self.rules.judge(&token.claims)),
                Err(error) => refusal = Some(refused(error.kind())),
            }
        }
        if refusal == Some(Refusal::Invalid) {
            // Perhaps there is another key in the place of this one: it is looked up, but nobody waits for that.
            self.wanted.notify_one();
        }
        refusal.map(Err)
    }

    /// Whether the issuer may have the key: how often it was asked until now.
    fn worth_waiting(&self, algorithm: Algorithm, id: Option<&str>) -> Result<u64, Refusal> {
        let is_remote = matches!(self.source, Source::Url { .. });
        // Without a name every key was tried that there is.
        if !is_remote || !PUBLIC.contains(&algorithm) || id.is_none() && self.has_keys() {
            return Err(Refusal::Invalid);
        }
        let schedule = self.schedule.lock();
        // Only until it may be asked again: what is not there now may come, and others know its name before.
        let is_fresh = !schedule.is_asking && Instant::now() < schedule.next;
        if self.has_keys() && is_fresh && id.is_some_and(|id| schedule.absent.contains(id)) {
            return Err(Refusal::Invalid);
        }
        Ok(schedule.asked)
    }

    /// Waits for a good answer of the issuer, if there may be one until then, or for any that was under way when it had been `asked`
    /// so often: what went wrong with that says nothing of the next.
    async fn answer(&self, answers: &mut watch::Receiver<Answer>, asked: u64, until: Instant) -> Result<(), Refusal> {
        let (is_asking, next) = {
            let schedule = self.schedule.lock();
            (schedule.is_asking, schedule.next)
        };
        let left = next.saturating_duration_since(Instant::now());
        let later = Refusal::Unavailable(left.max(Duration::from_secs(1)));
        if !is_asking {
            self.wanted.notify_one();
            if next > until && !answers.has_changed().unwrap_or_default() {
                return Err(later);
            }
        }
        match timeout_at(until, answers.changed()).await {
            Ok(Ok(())) if answers.borrow().is_good || answers.borrow().to <= asked => Ok(()),
            _ => Err(later),
        }
    }
}

fn refused(error: &jsonwebtoken::errors::ErrorKind) -> Refusal {
    match error {
        jsonwebtoken::errors::ErrorKind::ExpiredSignature => Refusal::Expired,
        _ => Refusal::Invalid,
    }
}

impl Rules {
    fn validation(&self, algorithm: Algorithm) -> Validation {
        let mut rules = Validation::new(algorithm);
        rules.leeway = self.leeway;
        rules.validate_nbf = true;
        rules.set_audience(&self.audiences);
        rules.set_issuer(&[&*self.issuer]);
        rules.set_required_spec_claims(&["exp", "sub", "aud", "iss"]);
        rules
    }

    /// Whose a token is that is signed and in time.
    fn judge(&self, claims: &Claims) -> Result<Checked, Refusal> {
        let now = get_current_timestamp();
        let subject = claims.text("sub")?.filter(|subject| !subject.is_empty()).ok_or(Refusal::Invalid)?;
        let issuer = claims.text("iss")?.filter(|issuer| **issuer == *self.issuer).ok_or(Refusal::Invalid)?;
        let expires = claims.time("exp")?.ok_or(Refusal::Invalid)?;
        let issued_at = claims.time("iat")?;
        let is_early = issued_at.is_some_and(|at| at > now + self.leeway);
        let is_long =
            self.max_lifetime.is_some_and(|most| issued_at.is_none_or(|at| expires > at.saturating_add(most)));
        if is_early || is_long {
            return Err(Refusal::Invalid);
        }
        let (kind, user, roles) = self.whose.of(subject, claims)?;
        // They stand in logs.
        if [subject, &user].iter().any(|name| name.contains(char::is_control)) {
            return Err(Refusal::Invalid);
        }
        let principal = Principal { issuer: issuer.into(), subject: subject.into(), user: user.into(), kind, roles };
        let id = claims.text("jti")?.map(str::to_owned);
        Ok(Checked { principal, id, issued: issued_at, expires: expires.saturating_add(self.leeway) })
    }
}

impl Whose {
    fn of(&self, subject: &str, claims: &Claims) -> Result<(Kind, String, Roles), Refusal> {
        match self {
            Self::Own(name) => {
                let audiences = claims.words("aud");
                let service = subject.strip_prefix(SERVICE);
                // A token for one service is none for another, nor is one for people.
                if !audiences.contains(&service.map_or(AUDIENCE, |_| name)) {
                    return Err(Refusal::Invalid);
                }
                if let Some(service) = service {
                    return Ok((Kind::Service, service.to_owned(), Roles::default()));
                }
                if subject.starts_with(GUEST) {
                    return Ok((Kind::Guest, subject.to_owned(), Roles::default()));
                }
                let roles = claims.words("roles").into_iter().filter_map(Role::parse).collect();
                Ok((Kind::Person, subject.to_owned(), roles))
            }
            Self::Others { roles_claim, roles, user_claim, prefix, services } => {
                if let Some(service) = services.get(subject) {
                    return Ok((Kind::Service, service.clone(), Roles::default()));
                }
                let user = claims.text(user_claim)?.filter(|user| !user.is_empty()).ok_or(Refusal::Invalid)?;
                let user = format!("{prefix}{user}");
                // These names mean something here.
                if user.starts_with(GUEST) || user.starts_with(SERVICE) || user == "me" {
                    return Err(Refusal::Invalid);
                }
                let theirs = claims.words(roles_claim).into_iter();
                let roles = theirs.filter_map(|word| roles.get(word).copied().or_else(|| Role::parse(word))).collect();
                Ok((Kind::Person, user, roles))
            }
        }
    }
}

/// An issuer that is asked for its keys.
struct Remote<'a> {
    fetch: &'a Fetch,
    /// Where its keys are, as the settings say.
    given: Option<&'a str>,
    issuer: &'a str,
    /// Where they are, as its discovery document says.
    found: Option<String>,
    /// What it said last.
    last: Option<bytes::Bytes>,
}

impl Remote<'_> {
    /// The keys, if they are others than the last time, and how long they are good.
    async fn keys(&mut self) -> anyhow::Result<(Option<Vec<Key>>, Duration)> {
        let url = match (self.given, self.found.take()) {
            (Some(given), _) => given.to_owned(),
            (None, Some(found)) => found,
            (None, None) => self.discover().await?,
        };
        let fetched = self.fetch.get(&url).await?;
        let (least, most) = REFRESH_BOUNDS;
        let max_age = fetched.max_age.map_or(REFRESH, |age| age.clamp(least, most));
        let is_same = self.last.as_ref() == Some(&fetched.body);
        let keys = if is_same {
            None
        } else {
            Some(keys::of_set(&fetched.body).map_err(|error| anyhow::anyhow!("what {url} answers {error}"))?)
        };
        self.last = Some(fetched.body);
        // Whatever else is answered there, the keys may have moved.
        self.found = Some(url);
        Ok((keys, max_age))
    }

    /// Where the keys are (`OpenID` Connect Discovery 1.0, section 4).
    async fn discover(&self) -> anyhow::Result<String> {
        #[derive(Deserialize)]
        struct Document {
            issuer: String,
            jwks_uri: String,
        }
        let url = format!("{}/.well-known/openid-configuration", self.issuer.trim_end_matches('/'));
        let fetched = self.fetch.get(&url).await?;
        let document: Document =
            serde_json::from_slice(&fetched.body).with_context(|| format!("{url} is no discovery document"))?;
        ensure!(
            document.issuer == self.issuer,
            "{url} is of {:?}, not of {:?}: identity.issuer has to be the same to the letter",
            document.issuer,
            self.issuer
        );
        Ok(document.jwks_uri)
    }
}
