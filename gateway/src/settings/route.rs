//! Routes: which requests they are for, and what becomes of those.

mod ambiguity;
mod compress;
mod destination;
mod grpc_pattern;
mod header_rules;
mod host_pattern;
mod instead;
mod mirror;
mod path_pattern;

pub use compress::{Compress, MediaTypes};
pub use destination::{Destination, Destinations};
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
use shop_config::Problems;
use shop_discovery::Protocol;

use super::{Services, Timeouts};

/// All routes by name.
pub type Routes = BTreeMap<String, Route>;

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
    pub grpc: Option<GrpcPattern>,
    /// Requests with these methods, in capital letters; all when it is empty.
    pub methods: Vec<String>,
    /// Requests that have each of these headers, with this value and no other.
    pub headers: BTreeMap<String, String>,
    /// Requests that have each of these parameters in their query, with this value and no other.
    pub query: BTreeMap<String, String>,
    /// The services that answer.
    pub to: Destinations,
    /// Or: where clients are sent.
    pub redirect: Option<Redirect>,
    /// Or: the answer itself.
    pub respond: Option<Respond>,
    /// The path as the service knows it, with the route's own `{parameters}` and, with a star at its end, what is below the
    /// route's path; as it came when not set.
    pub rewrite: Option<PathPattern>,
    /// Headers on the way to the service.
    pub request_headers: HeaderRules,
    /// Headers on the way to the client.
    pub response_headers: HeaderRules,
    /// How long the gateway waits.
    pub timeouts: Timeouts,
    /// Largest body of a request in bytes, instead of `http.body_limit`.
    pub body_limit: Option<u64>,
    /// Whether answers are compressed.
    pub compress: Compress,
    /// Browsers may call the methods of a gRPC route, as gRPC-Web.
    pub grpc_web: bool,
    /// Another service that gets a copy of requests.
    pub mirror: Option<Mirror>,
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
            redirect: None,
            respond: None,
            rewrite: None,
            request_headers: HeaderRules::default(),
            response_headers: HeaderRules::default(),
            timeouts: Timeouts::default(),
            body_limit: None,
            compress: Compress::default(),
            grpc_web: false,
            mirror: None,
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
        self.path.as_ref().or(self.grpc.as_ref().map(GrpcPattern::path))
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
            ("compress", !self.compress.enabled),
            ("mirror", self.mirror.is_none()),
        ];
        for (key, is_unset) in only_http {
            problems.ensure(!is_grpc || is_unset, key, "is for HTTP, and this route is for gRPC");
        }
        problems.ensure(is_grpc || !self.grpc_web, "grpc_web", "is for gRPC, and this route is for HTTP");
        if let Some(rewrite) = &self.rewrite {
            problems.ensure(!self.to.0.is_empty(), "rewrite", "is for routes to a service");
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
            let known = services.iter().map(|(name, _)| name).collect::<Vec<_>>().join(", ");
            let is_known = services.get(name).is_some();
            problems.ensure(is_known, &key, format!("there is no service {name}; there are {known}"));
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
