//! What callers want different, and how it comes about: checked like settings, all or nothing, one after the other.

use std::num::{NonZeroU16, NonZeroU32};
use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use serde_json::{Value, json};
use shop_config::{Duration, Problems};
use shop_fault::FieldError;

use super::audit::{self, Deed};
use super::breakers;
use super::input::{self, Precondition};
use crate::message::reason::Reason;
use crate::message::refusal::Refusal;
use crate::settings::desired::Desired;
use crate::settings::overrides::ServiceChanges;
use crate::settings::{Route, Service, Strategy};
use crate::state::State;
use crate::state::generation::Generation;
use crate::state::guard::Caller;
use crate::state::pending_change::PendingChange;
use shop_discovery::BackendUrl;
use shop_discovery::Protocol;

/// What a field of a change says.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Wish<T> {
    /// It is not there: nothing changes.
    #[default]
    Unsaid,
    /// `null`: as the settings have it.
    Undo,
    /// This.
    Set(T),
}

impl<'de, T: DeserializeOwned> Deserialize<'de> for Wish<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Option::deserialize(deserializer).map(|value| value.map_or(Self::Undo, Self::Set))
    }
}

impl<T> Wish<T> {
    /// Notes it where changes are kept.
    fn note(self, kept: &mut Option<T>) {
        match self {
            Self::Unsaid => {}
            Self::Undo => *kept = None,
            Self::Set(value) => *kept = Some(value),
        }
    }
}

/// What may be different about any service.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct ServiceChange {
    enabled: Wish<bool>,
    strategy: Wish<Strategy>,
}

/// The body of `PUT /admin/services/{service}`: with nothing but `enabled` and `strategy` it changes a service that there is, and
/// else it is all there is to say of one that settings do not have.
#[derive(Debug, Clone)]
pub(super) enum ServiceWish {
    Change(ServiceChange),
    Whole(Box<Service>),
}

/// What the body wishes.
pub(super) fn service_wish(body: &[u8]) -> Result<ServiceWish, Refusal> {
    let said: Value = input::parse(body)?;
    let is_change = said.as_object().is_none_or(|said| said.keys().all(|key| key == "enabled" || key == "strategy"));
    Ok(if is_change { ServiceWish::Change(input::parse(body)?) } else { ServiceWish::Whole(input::parse(body)?) })
}

/// The body of `POST /admin/services/{service}/backends`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NewBackend {
    #[serde(deserialize_with = "url")]
    url: BackendUrl,
    weight: Option<NonZeroU16>,
    draining: Option<bool>,
    #[serde(default = "http")]
    protocol: Protocol,
}

/// The body of `PUT /admin/services/{service}/backends/{backend}`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct BackendWish {
    weight: Option<NonZeroU16>,
    draining: Option<bool>,
    protocol: Option<Protocol>,
}

/// The body of `PUT /admin/ratelimit`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct LimitWish {
    enabled: Wish<bool>,
    requests: Wish<NonZeroU32>,
    window: Wish<Duration>,
    burst: Wish<NonZeroU32>,
}

const fn http() -> Protocol {
    Protocol::Http
}

fn url<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BackendUrl, D::Error> {
    String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
}

/// One change.
#[derive(Debug, Clone)]
pub(super) enum Change {
    Service {
        service: String,
        wish: ServiceWish,
    },
    RemoveService {
        service: String,
    },
    Route {
        route: String,
        settings: Box<Route>,
    },
    RemoveRoute {
        route: String,
    },
    Add {
        service: String,
        wish: NewBackend,
    },
    Alter {
        service: String,
        url: BackendUrl,
        protocol: Option<Protocol>,
        wish: BackendWish,
    },
    Remove {
        service: String,
        url: BackendUrl,
        protocol: Option<Protocol>,
    },
    Limit(LimitWish),
    /// Circuit breakers are closed: no change of what is desired, but one of what is.
    Reset {
        service: String,
        backend: Option<BackendUrl>,
        protocol: Option<Protocol>,
    },
    /// All changes of the admin API are undone.
    Forget,
}

/// How a change is to be made.
pub(super) struct Order {
    pub(super) dry_run: bool,
    /// Only in a state that it admits.
    pub(super) precondition: Precondition,
    pub(super) caller: Caller,
}

/// A change that was made, or could be.
pub(super) struct Done {
    /// The generation that is in force now.
    pub(super) revision: u64,
    pub(super) body: Value,
}

impl Change {
    /// In words, for the audit.
    fn what(&self) -> String {
        let name = |protocol: Option<Protocol>| protocol.map_or("", Protocol::word);
        match self {
            Self::Service { service, wish: ServiceWish::Change(_) } => format!("change service {service}"),
            Self::Service { service, wish: ServiceWish::Whole(_) } => format!("set service {service}"),
            Self::RemoveService { service } => format!("remove service {service}"),
            Self::Route { route, .. } => format!("set route {route}"),
            Self::RemoveRoute { route } => format!("remove route {route}"),
            Self::Add { service, wish } => format!("add backend {} {} to {service}", wish.url, wish.protocol.word()),
            Self::Alter { service, url, protocol, .. } => {
                format!("change backend {url} {} of {service}", name(*protocol))
            }
            Self::Remove { service, url, protocol } => format!("remove backend {url} {} of {service}", name(*protocol)),
            Self::Limit(_) => "change the rate limit".to_owned(),
            Self::Reset { service, backend: None, .. } => format!("reset circuit breakers of {service}"),
            Self::Reset { service, backend: Some(url), .. } => format!("reset circuit breaker {url} of {service}"),
            Self::Forget => "undo all changes of the admin API".to_owned(),
        }
    }

    /// Where what it adds to `generation` is found.
    pub(super) fn place(&self, generation: &Generation) -> Option<String> {
        let (service, wish) = match self {
            Self::Add { service, wish } => (service, wish),
            Self::Service { service, wish: ServiceWish::Whole(_) } => {
                return generation.config.services.get(service).is_none().then(|| format!("/admin/services/{service}"));
            }
            Self::Route { route, .. } => {
                return (!generation.config.routes.contains_key(route)).then(|| format!("/admin/routes/{route}"));
            }
            _ => return None,
        };
        let url = wish.url.to_string();
        let address = url.split_once("://")?.1.replace('[', "%5B").replace(']', "%5D");
        Some(format!("/admin/services/{service}/backends/{address}?protocol={}", wish.protocol.word()))
    }

    /// Makes it in `desired`; `generation` is what there is.
    fn make(self, desired: &mut Desired, generation: &Generation) -> Result<(), Refusal> {
        match self {
            Self::Service { service, wish: ServiceWish::Change(wish) } => {
                let changes = desired.overrides.service(&input::service(generation, &service)?.name);
                wish.enabled.note(&mut changes.enabled);
                wish.strategy.note(&mut changes.strategy);
            }
            Self::Service { service, wish: ServiceWish::Whole(settings) } => {
                if desired.settings.services.get(&service).is_some() {
                    let detail =
                        format!("{service} is in the settings; here enabled, strategy and backends can be changed");
                    return Err(Refusal::new(Reason::AlreadyExists, detail));
                }
                desired.overrides.added.insert(service, *settings);
            }
            Self::RemoveService { service } => {
                let service = &input::service(generation, &service)?.name;
                if desired.overrides.added.remove(&**service).is_none() {
                    let detail = format!("{service} is in the settings; take it out there, or switch it off here");
                    return Err(Refusal::new(Reason::AlreadyExists, detail));
                }
                desired.overrides.services.remove(&**service);
            }
            Self::Route { route, settings } => {
                if settings.names_a_file() {
                    let detail = "can be named by settings only: what a file holds would be everybody's to read";
                    return Err(input::wrong("respond.body_file", "invalid", detail));
                }
                let is_same = desired.settings.routes.get(&route) == Some(&settings);
                if is_same {
                    desired.overrides.routes.remove(&route);
                } else {
                    desired.overrides.routes.insert(route, Some(settings));
                }
            }
            Self::RemoveRoute { route } => {
                input::route(generation, &route)?;
                if desired.settings.routes.contains_key(&route) {
                    desired.overrides.routes.insert(route, None);
                } else {
                    desired.overrides.routes.remove(&route);
                }
            }
            Self::Add { service, wish } => {
                let service = input::service(generation, &service)?;
                if service.cluster(wish.protocol).find(&wish.url.host, wish.url.port).is_some() {
                    let detail = format!("{} has a backend {} already", service.name, wish.url);
                    return Err(Refusal::new(Reason::AlreadyExists, detail));
                }
                let mut url = wish.url;
                url.weight = wish.weight.unwrap_or(url.weight);
                url.draining = wish.draining.unwrap_or(url.draining);
                let is_named = desired.names(&service.name, wish.protocol, &url);
                desired.overrides.service(&service.name).add(wish.protocol, &url, is_named);
            }
            Self::Alter { service, url, protocol, wish } => {
                let service = input::service(generation, &service)?;
                let (cluster, member) = input::find(service, &url, protocol.or(wish.protocol))?;
                let changes = desired.overrides.service(&service.name);
                changes.change(cluster.protocol, member.backend.label(), wish.weight, wish.draining);
            }
            Self::Remove { service, url, protocol } => {
                let service = input::service(generation, &service)?;
                let (cluster, member) = input::find(service, &url, protocol)?;
                desired.overrides.service(&service.name).remove(
                    cluster.protocol,
                    member.backend.label(),
                    member.source,
                );
            }
            Self::Limit(wish) => {
                let limit = &mut desired.overrides.rate_limit;
                wish.enabled.note(&mut limit.enabled);
                wish.requests.note(&mut limit.requests);
                wish.window.note(&mut limit.window);
                wish.burst.note(&mut limit.burst);
            }
            // What it does is done elsewhere.
            Self::Reset { .. } => {}
            Self::Forget => desired.overrides = crate::settings::overrides::Overrides::default(),
        }
        desired.overrides.services.retain(|_, changes| *changes != ServiceChanges::default());
        desired.forget_strangers();
        Ok(())
    }
}

/// Makes `change`, or tries it out. It may write a file: call it where that does not hold up others.
pub(super) fn carry_out(state: &State, change: Change, order: &Order) -> Result<Done, Refusal> {
    let what = change.what();
    let pending = state.begin_change();
    let before = pending.before.revision;
    let done = attempt(state, pending, change, order, &what);
    if let Err(refusal) = &done {
        audit::refused(&order.caller, &what, before, refusal);
    }
    done
}

fn attempt(
    state: &State,
    mut pending: PendingChange<'_>,
    change: Change,
    order: &Order,
    what: &str,
) -> Result<Done, Refusal> {
    let before = pending.before.revision;
    let tag = state.settings.etag(before);
    if !order.precondition.admits(&tag) {
        let detail = format!("the state is {tag} by now; look at it again");
        return Err(Refusal::new(Reason::PreconditionFailed, detail));
    }
    let generation = Arc::clone(&pending.before);
    if let Change::Reset { service, backend, protocol } = &change {
        let (body, lines) = breakers::reset(&generation, service, backend.as_ref(), *protocol, order.dry_run)?;
        audit::done(&order.caller, &Deed { what, dry_run: order.dry_run, before, after: before, changed: &lines });
        return Ok(Done { revision: before, body });
    }
    let kept = pending.desired.overrides.clone();
    change.make(&mut pending.desired, &generation)?;
    let validated = pending.validate().map_err(|problems| refusal_of(&problems))?;
    let changed = validated.changed.clone();
    let mut revision = before;
    if !order.dry_run {
        if validated.desired().overrides != kept
            && let Some(file) = &state.settings.file
        {
            file.save(&validated.desired().overrides).map_err(|error| {
                Refusal::new(
                    Reason::StateNotSaved,
                    format!("the state file cannot be written, nothing changed: {error}"),
                )
            })?;
        }
        revision = validated.commit().revision;
    }
    let lines: Vec<_> = changed.iter().map(ToString::to_string).collect();
    let deed = Deed { what, dry_run: order.dry_run, before, after: revision, changed: &lines };
    audit::done(&order.caller, &deed);
    let body = json!({"dry_run": order.dry_run, "revision": revision, "changed": changed});
    Ok(Done { revision, body })
}

/// What checks of settings found, named by the settings' keys.
fn refusal_of(problems: &Problems) -> Refusal {
    let errors =
        problems.iter().map(|problem| FieldError::new(problem.key.clone(), "invalid", problem.message.clone()));
    let first = problems.iter().next().map(|problem| format!("{}: {}", problem.key, problem.message));
    Refusal::new(Reason::ValidationFailed, first.unwrap_or_default()).fields(errors.collect())
}

#[cfg(test)]
mod tests {
    use shop_testing::hostile::{VALUES, assert_for_people};

    use super::*;

    /// What is said of `body`, when it is refused.
    fn said<T: DeserializeOwned>(body: &str) -> Vec<String> {
        let Err(refusal) = input::parse::<T>(body.as_bytes()) else { return Vec::new() };
        let errors = refusal.errors.into_iter().map(|error| error.message);
        errors.chain([refusal.detail.into_owned()]).collect()
    }

    #[test]
    fn every_field_refuses_in_words_for_people() {
        for field in
            ["enabled", "strategy", "url", "weight", "draining", "protocol", "requests", "window", "burst", "x"]
        {
            for value in VALUES {
                let body = format!("{{\"{field}\":{value}}}");
                let refused = [
                    said::<ServiceChange>(&body),
                    said::<Service>(&body),
                    said::<Route>(&body),
                    said::<NewBackend>(&body),
                    said::<BackendWish>(&body),
                    said::<LimitWish>(&body),
                ];
                assert!(refused.iter().any(|said| !said.is_empty()), "{body} is refused by some");
                refused.iter().flatten().for_each(|text| assert_for_people(text, &body));
            }
        }
    }
}
