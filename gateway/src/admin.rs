//! The admin API: what the gateway is doing, why, and what is to be different. Its paths, from guard to answer.

mod audit;
mod breakers;
mod change;
pub(crate) mod dev_token;
pub(crate) mod events;
mod explain;
mod input;
pub(crate) mod operations;
mod page;
pub(crate) mod report;

use std::sync::Arc;

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header};
use serde_json::Value;
use shop_limit::Attempts;

use self::change::{Change, Order};
use self::input::{Precondition, Query};
use crate::admin::events::{Events, Listener};
use crate::message::reason::Reason;
use crate::message::refusal::Refusal;
use crate::state::State;
use crate::state::generation::Generation;
use crate::state::guard::{self, Asked, Caller};
use crate::upstream::body::Incoming;

const PREFIX: &str = "/admin/";

/// A path of the admin API.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Route<'a> {
    Status,
    Services,
    Routes,
    Rule(&'a str),
    Service(&'a str),
    Backends(&'a str),
    Backend(&'a str, &'a str),
    LoadBalancer(&'a str),
    Breaker(&'a str),
    Reset(&'a str),
    RateLimit,
    Config,
    Changes,
    Explain,
    Ui,
    Events,
}

impl<'a> Route<'a> {
    fn find(path: &'a str) -> Option<Self> {
        let segments: Vec<_> = path.strip_prefix(PREFIX)?.split('/').collect();
        Some(match *segments.as_slice() {
            ["status"] => Self::Status,
            ["services"] => Self::Services,
            ["routes"] => Self::Routes,
            ["routes", route] => Self::Rule(route),
            ["services", service] => Self::Service(service),
            ["services", service, "backends"] => Self::Backends(service),
            ["services", service, "backends", backend] => Self::Backend(service, backend),
            ["loadbalancer", service] => Self::LoadBalancer(service),
            ["circuitbreaker", service] => Self::Breaker(service),
            ["circuitbreaker", service, "reset"] => Self::Reset(service),
            ["ratelimit"] => Self::RateLimit,
            ["config"] => Self::Config,
            ["changes"] => Self::Changes,
            ["explain"] => Self::Explain,
            ["ui"] => Self::Ui,
            ["events"] => Self::Events,
            _ => return None,
        })
    }

    /// As logs name it.
    const fn pattern(self) -> &'static str {
        match self {
            Self::Status => "/admin/status",
            Self::Services => "/admin/services",
            Self::Routes => "/admin/routes",
            Self::Rule(_) => "/admin/routes/{route}",
            Self::Service(_) => "/admin/services/{service}",
            Self::Backends(_) => "/admin/services/{service}/backends",
            Self::Backend(..) => "/admin/services/{service}/backends/{backend}",
            Self::LoadBalancer(_) => "/admin/loadbalancer/{service}",
            Self::Breaker(_) => "/admin/circuitbreaker/{service}",
            Self::Reset(_) => "/admin/circuitbreaker/{service}/reset",
            Self::RateLimit => "/admin/ratelimit",
            Self::Config => "/admin/config",
            Self::Changes => "/admin/changes",
            Self::Explain => "/admin/explain",
            Self::Ui => "/admin/ui",
            Self::Events => "/admin/events",
        }
    }

    /// What `Allow` says.
    const fn methods(self) -> &'static str {
        match self {
            Self::RateLimit => "GET, HEAD, PUT",
            Self::Backends(_) => "GET, HEAD, POST",
            Self::Service(_) | Self::Rule(_) | Self::Backend(..) => "GET, HEAD, PUT, DELETE",
            Self::Reset(_) => "POST",
            Self::Changes => "GET, HEAD, DELETE",
            _ => "GET, HEAD",
        }
    }

    /// Query parameters beyond those of changes.
    const fn parameters(self) -> &'static [&'static str] {
        match self {
            Self::Explain => &["path", "method", "host", "client", "origin", "protocol"],
            Self::Backend(..) => &["protocol"],
            Self::Reset(_) => &["backend", "protocol"],
            _ => &[],
        }
    }
}

/// Whether `path` belongs to the admin API, with the name of its route for logs.
pub(crate) fn route(path: &str) -> Option<&'static str> {
    let is_ours = path == "/admin" || path.starts_with(PREFIX);
    is_ours.then(|| Route::find(path).map_or("/admin/*", Route::pattern))
}

/// What the admin API has of its own.
pub(crate) struct Admin {
    /// Tells pages what goes on.
    pub(crate) events: Events,
    /// Wrong tokens.
    attempts: Attempts,
}

impl Default for Admin {
    fn default() -> Self {
        Self { events: Events::default(), attempts: guard::attempts() }
    }
}

/// Answers, after the guard let the caller in. With a listener, what it hears goes on as long as the caller listens.
pub(crate) async fn answer(
    admin: &Admin,
    state: &Arc<State>,
    generation: &Generation,
    asked: Asked<'_>,
    body: Incoming,
) -> Result<(Response<Bytes>, Option<Listener>), Refusal> {
    let route = Route::find(asked.path);
    let (caller, pass) = generation.guard.admit(&asked, &admin.attempts).await.map_err(|refusal| {
        audit::denied(&asked, &refusal);
        // The page can ask for the token.
        if route == Some(Route::Ui) { page::instead_of(refusal) } else { refusal }
    })?;
    let Some(route) = route else {
        return Err(Refusal::new(Reason::NoRoute, format!("no route of the admin API is {}", asked.path)));
    };
    let method = &asked.head.method;
    if !route.methods().split(", ").any(|allowed| allowed == method.as_str()) {
        return Err(Refusal::of_method(route.pattern(), method, route.methods()));
    }
    if route == Route::Events && *method == Method::GET {
        Query::of(asked.head.uri.query(), &[])?;
        // There is not room for many, so that no other site shall make a browser take it.
        generation.guard.own_pages_only(&asked)?;
        admin.events.has_room()?;
        let history = admin.events.history.told(generation);
        return Ok((stream_head(), Some(admin.events.listen(pass, &history)?)));
    }
    whole(state, generation, route, asked, body, caller).await.map(|response| (response, None))
}

/// Everything but events.
async fn whole(
    state: &Arc<State>,
    generation: &Generation,
    route: Route<'_>,
    asked: Asked<'_>,
    body: Incoming,
    caller: Caller,
) -> Result<Response<Bytes>, Refusal> {
    let method = &asked.head.method;
    if matches!(*method, Method::GET | Method::HEAD) {
        let query = Query::of(asked.head.uri.query(), route.parameters())?;
        return read(state, generation, route, &query);
    }
    let what = format!("{method} {}", asked.path);
    let understood = understand(route, &asked, body).await;
    let (change, dry_run, precondition) = match understood {
        Ok(understood) => understood,
        Err(refusal) => {
            audit::refused(&caller, &what, generation.revision, &refusal);
            return Err(refusal);
        }
    };
    let order = Order { dry_run, precondition, caller };
    let place = change.place(generation).filter(|_| !order.dry_run);
    let done = {
        let state = Arc::clone(state);
        // A generation takes a while to make and the state file longer to write: not on a thread that serves.
        tokio::task::spawn_blocking(move || change::carry_out(&state, change, &order)).await
    };
    let done = done.map_err(|_| Refusal::new(Reason::StateNotSaved, "the change could not be made"))??;
    let mut response = json(state, done.revision, &done.body);
    if let Some(place) = place.and_then(|place| HeaderValue::from_str(&place).ok()) {
        *response.status_mut() = StatusCode::CREATED;
        response.headers_mut().insert(header::LOCATION, place);
    }
    Ok(response)
}

/// What the caller wants changed, whether only to see what would become of it, and in which states.
async fn understand(
    route: Route<'_>,
    asked: &Asked<'_>,
    body: Incoming,
) -> Result<(Change, bool, Precondition), Refusal> {
    let Parts { method, uri, headers, .. } = asked.head;
    let query = Query::of(uri.query(), &[route.parameters(), &["dry_run"]].concat())?;
    let (dry_run, precondition) = (query.flag("dry_run")?, Precondition::of(headers)?);
    Ok((change_of(route, method, &query, headers, body).await?, dry_run, precondition))
}

/// The head of a stream of events (`text/event-stream`, WHATWG HTML, section 9.2).
fn stream_head() -> Response<Bytes> {
    let mut response = Response::default();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // nginx, and those that do as it does, would collect events before they hand them on.
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}

fn read(
    state: &State,
    generation: &Generation,
    route: Route<'_>,
    query: &Query<'_>,
) -> Result<Response<Bytes>, Refusal> {
    let body = match route {
        Route::Ui => return Ok(page::page()),
        Route::Events => return Ok(stream_head()),
        Route::Status => report::status(state, generation),
        Route::Services => report::services(generation),
        Route::Routes => report::routes(state, generation),
        Route::Rule(name) => report::route(state, generation, name)?,
        Route::Service(service) | Route::Backends(service) => {
            report::service(input::service(generation, service)?, generation)
        }
        Route::Backend(service, backend) => {
            let service = input::service(generation, service)?;
            let (cluster, member) = input::backend(service, backend, query.protocol()?)?;
            report::backend(cluster.protocol, member)
        }
        Route::LoadBalancer(service) => report::balancer(input::service(generation, service)?, generation),
        Route::Breaker(service) => breakers::report(input::service(generation, service)?, generation),
        Route::RateLimit => report::limits(generation),
        Route::Config => report::config(state, generation),
        Route::Changes => report::changes(state),
        Route::Explain => explain::explain(generation, query)?,
        // Its methods have no GET.
        Route::Reset(_) => Value::Null,
    };
    Ok(json(state, generation.revision, &body))
}

async fn change_of(
    route: Route<'_>,
    method: &Method,
    query: &Query<'_>,
    headers: &HeaderMap,
    body: Incoming,
) -> Result<Change, Refusal> {
    Ok(match route {
        Route::Service(service) if *method == Method::DELETE => Change::RemoveService { service: service.to_owned() },
        Route::Service(service) => {
            let wish = change::service_wish(&input::bytes(headers, body).await?)?;
            Change::Service { service: service.to_owned(), wish }
        }
        Route::Rule(name) if *method == Method::DELETE => Change::RemoveRoute { route: name.to_owned() },
        Route::Rule(name) => {
            Change::Route { route: name.to_owned(), settings: Box::new(input::json(headers, body).await?) }
        }
        Route::Backends(service) => {
            Change::Add { service: service.to_owned(), wish: input::json(headers, body).await? }
        }
        Route::Backend(service, backend) => {
            let (service, url, protocol) = (service.to_owned(), input::address(backend)?, query.protocol()?);
            if *method == Method::DELETE {
                Change::Remove { service, url, protocol }
            } else {
                Change::Alter { service, url, protocol, wish: input::json(headers, body).await? }
            }
        }
        Route::Reset(service) => {
            let backend = query.get("backend").map(input::address).transpose()?;
            Change::Reset { service: service.to_owned(), backend, protocol: query.protocol()? }
        }
        Route::RateLimit => Change::Limit(input::json(headers, body).await?),
        _ => Change::Forget,
    })
}

/// JSON that no cache keeps, with the state it belongs to.
fn json(state: &State, revision: u64, body: &Value) -> Response<Bytes> {
    let mut response = shop_http::operations::json(body);
    if let Ok(tag) = HeaderValue::from_str(&state.settings.etag(revision)) {
        response.headers_mut().insert(header::ETAG, tag);
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_path_has_its_route_and_anything_below_admin_is_guarded() {
        let table = [
            ("/admin/status", Some("/admin/status")),
            ("/admin/services", Some("/admin/services")),
            ("/admin/services/product/backends/a:1", Some("/admin/services/{service}/backends/{backend}")),
            ("/admin/circuitbreaker/product/reset", Some("/admin/circuitbreaker/{service}/reset")),
            ("/admin/routes", Some("/admin/routes")),
            ("/admin/routes/search", Some("/admin/routes/{route}")),
            ("/admin", Some("/admin/*")),
            ("/admin/", Some("/admin/*")),
            ("/admin/status/", Some("/admin/*")),
            ("/admin/ui", Some("/admin/ui")),
            ("/admin/events", Some("/admin/events")),
            ("/admin/nothing", Some("/admin/*")),
            ("/administrator", None),
            ("/api/admin/status", None),
        ];
        for (path, expected) in table {
            assert_eq!(route(path), expected, "{path}");
        }
    }
}
