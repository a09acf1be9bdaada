//! Routes: which requests they are for, and what becomes of those.

mod access;
mod ambiguity;
mod compress;
mod destination;
mod forward_auth;
mod grpc_pattern;
mod header_rules;
mod host_pattern;
mod instead;
mod mirror;
mod path_pattern;

pub use access::{Access, Require};
pub use compress::{Compress, MediaTypes};
pub use destination::{Destination, Destinations};
pub use forward_auth::ForwardAuth;
pub(crate) use forward_auth::host as host_of;
pub use grpc_pattern::GrpcPattern;
pub(crate) use header_rules::HeaderEdits;
pub use header_rules::HeaderRules;
pub use host_pattern::HostPattern;
pub use instead::{Redirect, Respond};
pub use mirror::{Mirror, Percent};
pub use path_pattern::PathPattern;
pub(crate) use path_pattern::Segment;

use std::collections::BTreeMap;

use http::{HeaderName, HeaderValue, Method};
use serde::{Deserialize, Serialize};
use shop_browser::settings::CorsChanges;
use shop_config::Problems;
use shop_discovery::Protocol;
use shop_identity::Mode;
use shop_limit::settings::RouteLimit;

use super::{Config, Hash, Services, Timeouts};

/// All routes by name. Boxed, since a tree keeps room for about half as many again as it has.
pub type Routes = BTreeMap<String, Box<Route>>;

/// One route. Of those that a request fits, the one is taken with the most particular host, then path, then conditions: a host by
/// its name goes before one with a star, and that before none; from the left, segment by segment, a text goes before a parameter,
/// and that before the end of a path with a star; then methods before none, and more headers and query parameters before fewer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Route {
    /// Off: as if it were not there.
    pub enabled: bool,
    /// Requests to these hosts; all when it is empty.
    pub hosts: Vec<HostPattern>,
    /// HTTP requests to these paths.
    pub path: Option<PathPattern>,
    /// gRPC calls of these methods, instead.
    pub grpc: Option<Box<GrpcPattern>>,
    /// Requests with these methods, in capital letters; all when it is empty.
    pub methods: Vec<String>,
    /// Requests that have each of these headers, with this value and no other.
    pub headers: BTreeMap<String, String>,
    /// Requests that have each of these parameters in their query, with this value and no other.
    pub query: BTreeMap<String, String>,
    /// The services that answer.
    pub to: Destinations,
    /// What of a request says which of these services it goes to, always the same while their weights are; by chance when
    /// not set, and for requests that have nothing of the kind.
    pub hash: Option<Box<Hash>>,
    /// Or: where clients are sent.
    pub redirect: Option<Box<Redirect>>,
    /// Or: the answer itself.
    pub respond: Option<Box<Respond>>,
    /// The path as the service knows it, with the route's own `{parameters}` and, with a star at its end, what is below the
    /// route's path; as it came when not set.
    pub rewrite: Option<PathPattern>,
    /// Headers on the way to the service.
    pub request_headers: HeaderRules,
    /// Headers on the way to the client; of what the gateway answers itself, too.
    pub response_headers: HeaderRules,
    /// How long the gateway waits.
    pub timeouts: Timeouts,
    /// Largest body of a request in bytes, instead of `http.body_limit`.
    pub body_limit: Option<u64>,
    /// Who may use it; everybody by default.
    pub access: Access,
    /// How often one client may call it; what is not set there, and all of it when it is not there, is as `rate_limit` says.
    pub rate_limit: Option<Box<RouteLimit>>,
    /// Reads a request's body whole before a backend is chosen, as `buffer_request` says. Off by default: bodies are streamed,
    /// and a backend can refuse one before it is whole.
    pub buffer_request: bool,
    /// Which other sites' pages may call it and read the answers, where that is not as `cors` says.
    pub cors: Option<Box<CorsChanges>>,
    /// Whether answers are compressed.
    pub compress: Compress,
    /// Browsers may call the methods of a gRPC route, as gRPC-Web.
    pub grpc_web: bool,
    /// Another service that gets a copy of requests.
    pub mirror: Option<Box<Mirror>>,
    /// Another server that is asked whether a request may go on.
    pub forward_auth: Option<Box<ForwardAuth>>,
}

impl Default for Route {
    fn default() -> Self {
        Self {
            enabled: true,
            hosts: Vec::new(),
            path: None,
            grpc: None,
            methods: Vec::new(),
            headers: BTreeMap::new(),
            query: BTreeMap::new(),
            to: Destinations::default(),
            hash: None,
            redirect: None,
            respond: None,
            rewrite: None,
            request_headers: HeaderRules::default(),
            response_headers: HeaderRules::default(),
            timeouts: Timeouts::default(),
            body_limit: None,
            access: Access::default(),
            rate_limit: None,
            buffer_request: false,
            cors: None,
            compress: Compress::default(),
            grpc_web: false,
            mirror: None,
            forward_auth: None,
        }
    }
}

/// Paths that the gateway answers itself, before any route.
const OWN: [&str; 5] = ["/admin", "/docs", "/health", "/metrics", "/openapi.json"];

impl Route {
    /// What its calls speak.
    pub(crate) const fn protocol(&self) -> Protocol {
        if self.grpc.is_some() { Protocol::Grpc } else { Protocol::Http }
    }

    /// Its path, be it for HTTP or gRPC.
    pub(crate) fn path(&self) -> Option<&PathPattern> {
        self.path.as_ref().or(self.grpc.as_deref().map(GrpcPattern::path))
    }

    /// Whether its answer is what a file holds.
    pub(crate) fn names_a_file(&self) -> bool {
        self.respond.as_ref().is_some_and(|respond| respond.body_file.is_some())
    }

    /// Whether some of its calls go to `service`.
    pub(crate) fn leads_to(&self, service: &str) -> bool {
        self.to.0.iter().any(|to| to.service == service)
    }

    /// As logs name it.
    pub(crate) fn pattern(&self) -> String {
        match (&self.grpc, &self.path) {
            (Some(grpc), _) => grpc.pattern(),
            (None, path) => path.as_ref().map(ToString::to_string).unwrap_or_default(),
        }
    }

    /// Methods and pattern, which is what clients see as the name of its limit.
    pub(crate) fn policy(&self) -> String {
        match self.methods.as_slice() {
            [] => self.pattern(),
            methods => format!("{} {}", methods.join(","), self.pattern()),
        }
    }

    /// Finds wrong values.
    fn check(&self, services: &Services, problems: &mut Problems) {
        let is_grpc = self.grpc.is_some();
        problems.ensure(self.path.is_some() != is_grpc, "path", "set one of path and grpc");
        let deeds = [!self.to.0.is_empty(), self.redirect.is_some(), self.respond.is_some()];
        let is_one = deeds.into_iter().filter(|said| *said).count() == 1;
        problems.ensure(is_one, "to", "set one of to, redirect and respond");
        self.check_conditions(problems);
        self.check_destinations(services, problems);
        let only_http = [
            ("methods", self.methods.is_empty()),
            ("redirect", self.redirect.is_none()),
            ("respond", self.respond.is_none()),
            ("rewrite", self.rewrite.is_none()),
            ("body_limit", self.body_limit.is_none()),
            ("buffer_request", !self.buffer_request),
            ("cors", self.cors.is_none()),
            ("compress", !self.compress.enabled),
            ("mirror", self.mirror.is_none()),
        ];
        for (key, is_unset) in only_http {
            problems.ensure(!is_grpc || is_unset, key, "is for HTTP, and this route is for gRPC");
        }
        let has_service = !self.to.0.is_empty();
        problems.ensure(has_service || !self.buffer_request, "buffer_request", "is for routes to a service");
        problems.ensure(is_grpc || !self.grpc_web, "grpc_web", "is for gRPC, and this route is for HTTP");
        if let Some(path) = &self.path {
            let is_guarded = self.forward_auth.is_some() || !self.access.is_open();
            let is_plain = crate::message::path::other_reading(path.text()).is_none();
            let detail =
                "is read in two ways, and not everybody may use it: write @ and the like plainly, without ; and %2F";
            problems.ensure(is_plain || !is_guarded, "path", detail);
        }
        if let Some(rewrite) = &self.rewrite {
            problems.ensure(has_service, "rewrite", "is for routes to a service");
            self.check_made_of("rewrite", rewrite, problems);
        }
        if let Some(redirect) = &self.redirect {
            problems.within("redirect", |p| {
                redirect.check(p);
                if let Some(path) = &redirect.path {
                    self.check_made_of("path", path, p);
                }
            });
        }
        if let Some(respond) = &self.respond {
            problems.within("respond", |p| respond.check(p));
        }
        problems.within("request_headers", |p| self.request_headers.check(p));
        problems.within("response_headers", |p| self.response_headers.check(p));
        problems.within("timeouts", |p| self.timeouts.check(p));
        if let Some(auth) = &self.forward_auth {
            problems.within("forward_auth", |p| auth.check(p));
        }
        if let Some(limit) = &self.rate_limit {
            problems.within("rate_limit", |p| limit.check(&self.policy(), p));
        }
        let has_answers = !self.compress.enabled || !self.to.0.is_empty();
        problems.ensure(has_answers, "compress", "is for routes to a service");
        problems.within("compress", |p| self.compress.check(p));
        if let Some(mirror) = &self.mirror {
            problems.ensure(!self.to.0.is_empty(), "mirror", "is for routes to a service");
            let is_known = services.get(&mirror.service).is_some();
            problems.ensure(is_known, "mirror.service", format!("there is no service {}", mirror.service));
            problems.within("mirror", |p| mirror.check(p));
        }
    }

    fn check_conditions(&self, problems: &mut Problems) {
        if let Some(path) = &self.path {
            let first = path.text().split('/').nth(1).unwrap_or_default();
            let is_own = OWN.iter().any(|own| own[1..] == *first);
            problems.ensure(!is_own, "path", format!("/{first} is the gateway's own; choose another"));
        }
        for (index, method) in self.methods.iter().enumerate() {
            let is_method = Method::from_bytes(method.as_bytes()).is_ok() && *method == method.to_ascii_uppercase();
            let key = format!("methods.{index}");
            problems.ensure(is_method, &key, format!("{method:?} is not a method in capital letters"));
            problems.ensure(method != "CONNECT", &key, "CONNECT has no path, and is refused before any route");
        }
        for (name, value) in &self.headers {
            let key = format!("headers.{name}");
            problems.ensure(HeaderName::from_bytes(name.as_bytes()).is_ok(), &key, "is not the name of a header");
            problems.ensure(HeaderValue::from_str(value).is_ok(), &key, "is not the value of a header");
        }
        let is_named = self.query.keys().all(|name| !name.is_empty());
        problems.ensure(is_named, "query", "a parameter needs a name");
    }

    fn check_destinations(&self, services: &Services, problems: &mut Problems) {
        for (index, destination) in self.to.0.iter().enumerate() {
            let key = format!("to.{index}");
            let name = &destination.service;
            let is_first = self.to.0[..index].iter().all(|other| other.service != *name);
            problems.ensure(is_first, &key, format!("{name} is there twice"));
            if services.get(name).is_none() {
                let known = services.iter().map(|(name, _)| name).collect::<Vec<_>>().join(", ");
                problems.add(&key, format!("there is no service {name}; there are {known}"));
            }
        }
        if let Some(hash) = &self.hash {
            hash.check(problems);
            let is_split = self.to.0.len() > 1;
            problems.ensure(is_split, "hash", "is for routes to several services; those have one for their backends");
            let cookie = |service: &str| services.get(service)?.hash.as_ref()?.cookie.clone();
            let is_taken = self.to.0.iter().filter_map(|to| cookie(&to.service)).any(|own| Some(own) == hash.cookie);
            problems.ensure(!is_taken, "hash.cookie", "tells the backends of one of the services apart; name another");
        }
        let has_share = self.to.0.is_empty() || self.to.0.iter().any(|destination| destination.weight > 0);
        problems.ensure(has_share, "to", "one of the services needs a weight above 0");
    }

    /// A path that is made of the route's own has nothing that the latter does not give.
    fn check_made_of(&self, key: &str, made: &PathPattern, problems: &mut Problems) {
        let Some(path) = &self.path else { return };
        for segment in made.segments() {
            let is_given = matches!(segment, Segment::Literal(_)) || path.segments().contains(segment);
            if let (false, Segment::Any(name)) = (is_given, segment) {
                problems.add(key, format!("the route's path has no {{{name}}}"));
            }
        }
        let fits = !made.has_more() || path.has_more();
        problems.ensure(fits, key, "ends with a star, and the route's path does not: there is nothing below it");
    }
}

/// Finds files that cannot be read.
pub(super) fn check_files(routes: &Routes, problems: &mut Problems) {
    for (name, route) in routes.iter().filter(|(_, route)| route.enabled) {
        if let Some(respond) = &route.respond {
            problems.within(name, |p| p.within("respond", |p| respond.check_files(p)));
        }
        if let Some(auth) = &route.forward_auth {
            problems.within(name, |p| p.within("forward_auth", |p| auth.check_files(p)));
        }
    }
}

/// Finds wrong values in all routes, and routes between which no rule decides.
pub(super) fn check(routes: &Routes, services: &Services, problems: &mut Problems) {
    for (name, route) in routes {
        let is_name = super::services::is_name(name);
        problems.ensure(is_name, name, "is no name for a route: use small letters, digits and dashes");
        if route.enabled {
            problems.within(name, |p| route.check(services, p));
        }
    }
    ambiguity::check(routes, problems);
}

/// Finds what does not go together with the rest of the settings.
pub(super) fn check_policies(config: &Config, problems: &mut Problems) {
    let has_tokens = config.identity.mode == Mode::Required;
    for (name, route) in config.routes.iter().filter(|(_, route)| route.enabled) {
        problems.within(name, |p| {
            p.within("access", |p| route.access.check(has_tokens, p));
            if let Some(changes) = &route.cors {
                p.within("cors", |p| changes.over(&config.cors).check(p));
            }
        });
    }
}
