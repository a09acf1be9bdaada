//! Which route a request is for, and what becomes of it there.

mod forward_auth;
mod mirror;
mod outside;
mod rewrite;
mod split;

use std::collections::BTreeMap;
use std::sync::Arc;

use http::{HeaderName, HeaderValue, Method, Uri};
use shop_browser::Cors;
use shop_http1::Headers;
use shop_http1::request_head::Parts;
use shop_limit::RoutePolicy;

pub(crate) use self::forward_auth::ForwardAuth;
pub(crate) use self::mirror::Mirror;
pub(crate) use self::outside::Outside;
use self::rewrite::Rewrite;
pub(crate) use self::rewrite::write_made;
use self::split::Split;
use super::matcher::{Asked, Conditions, Matcher};
use crate::metrics::RouteNumbers;
use crate::routing::trust::Trust;
use crate::routing::{Authority, Cluster, Service, Site};
use crate::settings;
use crate::settings::Access;
use crate::settings::route::{Compress, HeaderEdits, Redirect, Respond};
use crate::settings::timeouts::Times;
use shop_discovery::Protocol;

/// gRPC services that every backend has: a header says whose is meant. They tell of what is between services, too, so that
/// [`grpc_introspection`](crate::settings::Config::grpc_introspection) has to open them.
const EVERY: [&str; 3] =
    ["grpc.health.v1.Health", "grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection"];

/// Metadata of calls to [`EVERY`]: `shop-service: product`.
pub(crate) const SHOP_SERVICE: HeaderName = HeaderName::from_static("shop-service");

/// One route.
pub(crate) struct Route {
    /// As settings call it.
    pub(crate) name: Arc<str>,
    /// What it is called in logs, and what is counted of it.
    pub(crate) numbers: Arc<RouteNumbers>,
    pub(crate) deed: Deed,
    /// How the path becomes the service's.
    rewrite: Option<Rewrite>,
    /// Largest body in bytes.
    pub(crate) body_limit: u64,
    /// Changes on the way to the service, and to the client.
    pub(crate) request_headers: Option<Box<HeaderEdits>>,
    pub(crate) response_headers: Option<Box<HeaderEdits>>,
    /// Who may use it, where not everybody may.
    pub(crate) access: Option<Box<Access>>,
    /// Where its own limit is in [`Table::limits`], if it has one.
    pub(crate) limit: Option<u16>,
    /// Whether bodies are read whole before a backend is chosen.
    pub(crate) is_buffered: bool,
    /// Which other sites' pages may call it.
    pub(crate) cors: Sharing,
    /// Whether and which answers are compressed.
    pub(crate) compress: Option<Box<Compress>>,
    /// Browsers may call it as gRPC-Web.
    pub(crate) grpc_web: bool,
    /// Who gets copies.
    pub(crate) mirror: Option<Arc<Mirror>>,
    /// Who is asked whether a request may go on.
    pub(crate) forward_auth: Option<Box<ForwardAuth>>,
}

/// Which other sites' pages may call a route.
pub(crate) enum Sharing {
    /// As everywhere.
    Common,
    /// By rules of its own; none where only one's own pages may.
    Own(Option<Box<Cors>>),
}

/// What becomes of a request.
pub(crate) enum Deed {
    /// One of these services answers.
    Ask(Split),
    /// The client is sent elsewhere.
    Redirect(Box<Redirect>, Box<settings::PathPattern>),
    /// This is the answer.
    Respond(Box<Respond>, bytes::Bytes),
}

/// A service that a route leads to.
pub(crate) struct Destination {
    pub(crate) service: Arc<Service>,
    pub(crate) cluster: Arc<Cluster>,
    /// How long the gateway waits for it.
    pub(crate) times: Times,
    /// How its paths look from outside.
    pub(crate) outside: Arc<Outside>,
}

impl Route {
    /// The target for a backend: `path`, which fits, as the service knows it, with the query of `original`.
    pub(crate) fn target(&self, path: &str, original: &Uri) -> String {
        let query = original.query();
        let mut target = String::with_capacity(path.len() + query.map_or(0, |query| query.len() + 1) + 16);
        match &self.rewrite {
            None => target.push_str(path),
            Some(rewrite) => rewrite.write(path, &mut target),
        }
        if let Some(query) = query {
            target.push('?');
            target.push_str(query);
        }
        target
    }

    /// Whether not everybody may use it.
    pub(crate) fn is_guarded(&self) -> bool {
        self.access.is_some() || self.forward_auth.is_some()
    }

    /// What is cut off in front of the path, for `X-Forwarded-Prefix`.
    pub(crate) fn prefix(&self) -> Option<&HeaderValue> {
        self.rewrite.as_ref()?.prefix()
    }

    /// The services it leads to.
    pub(crate) fn destinations(&self) -> impl Iterator<Item = &Destination> {
        let split = match &self.deed {
            Deed::Ask(split) => Some(split),
            Deed::Redirect(..) | Deed::Respond(..) => None,
        };
        split.into_iter().flat_map(Split::all)
    }
}

/// All routes of one generation.
pub(crate) struct Table {
    http: Matcher<Arc<Route>>,
    grpc: Matcher<Arc<Route>>,
    /// By name.
    pub(crate) routes: Vec<Arc<Route>>,
    /// Whether one of them takes gRPC-Web.
    pub(crate) has_grpc_web: bool,
    /// Whether [`EVERY`] is open.
    is_introspective: bool,
    /// By name.
    pub(crate) services: Vec<Arc<Service>>,
    /// How the paths of each service look from outside, in the same order.
    outside: BTreeMap<Arc<str>, Arc<Outside>>,
    /// The servers that are asked whether requests may go on.
    pub(crate) authorities: Vec<Arc<Authority>>,
    /// How often clients may call the routes that say so.
    pub(crate) limits: Vec<RoutePolicy>,
    /// Whether pages of other sites may call some routes and not others.
    pub(crate) has_sharing: bool,
}

impl Table {
    /// The routes to the services that are desired; of the `previous` table it keeps all that is the same.
    pub(crate) fn new(site: &Site<'_>, previous: Option<&Self>) -> Self {
        let config = &site.merged.config;
        let services: Vec<_> = config
            .services
            .iter()
            .map(|(name, settings)| Service::new(name, settings, site, previous.and_then(|table| table.service(name))))
            .collect();
        let of =
            |service: &Arc<Service>| (Arc::clone(&service.name), Arc::new(Outside::of(&service.name, &config.routes)));
        let mut table = Self {
            http: Matcher::default(),
            grpc: Matcher::default(),
            routes: Vec::with_capacity(config.routes.len()),
            has_grpc_web: false,
            is_introspective: config.grpc_introspection,
            outside: services.iter().map(of).collect(),
            services,
            authorities: Vec::new(),
            limits: Vec::new(),
            has_sharing: config.routes.values().any(|route| route.enabled && route.cors.is_some()),
        };
        for (name, route) in config.routes.iter().filter(|(_, route)| route.enabled) {
            table.add(name, route, site, previous);
        }
        for (name, route) in introspection(config) {
            table.add(&name, &route, site, previous);
        }
        table.routes.sort_by(|one, other| one.name.cmp(&other.name));
        table
    }

    fn add(&mut self, name: &str, route: &settings::Route, site: &Site<'_>, previous: Option<&Self>) {
        let config = &site.merged.config;
        // What is missing here was refused when settings were checked.
        let (Some(path), Some(deed)) =
            (route.path(), self.deed(route, config, previous.and_then(|table| table.route(name))))
        else {
            return;
        };
        let forward_auth = match &route.forward_auth {
            None => None,
            Some(auth) => match self.forward_auth(auth, site, previous) {
                Some(auth) => Some(Box::new(auth)),
                // A route that cannot ask is no route.
                None => return,
            },
        };
        let edits = |rules: &settings::HeaderRules| (!rules.is_empty()).then(|| Box::new(rules.edits()));
        let rewrite = route.rewrite.as_ref().map(|made| Rewrite::new(path, made));
        let pattern = route.pattern();
        let known = previous.and_then(|table| table.route(name)).map(|route| &route.numbers);
        let numbers = known.filter(|numbers| *numbers.pattern == *pattern).map(Arc::clone);
        let built = Arc::new(Route {
            name: name.into(),
            numbers: numbers.unwrap_or_else(|| Arc::new(RouteNumbers::new(pattern))),
            deed,
            rewrite,
            body_limit: route.body_limit.unwrap_or(config.http.body_limit),
            request_headers: edits(&route.request_headers),
            response_headers: edits(&route.response_headers),
            access: (!route.access.is_open()).then(|| Box::new(route.access.clone())),
            limit: self.limit(name, route),
            is_buffered: route.buffer_request,
            forward_auth,
            cors: match &route.cors {
                None => Sharing::Common,
                Some(changes) => Sharing::Own(Cors::new(&changes.over(&config.cors)).map(Box::new)),
            },
            compress: route.compress.enabled.then(|| Box::new(route.compress.clone())),
            grpc_web: route.grpc_web,
            mirror: route.mirror.as_ref().and_then(|mirror| self.mirror(mirror, route, site)),
        });
        self.has_grpc_web |= route.grpc_web;
        let matcher = match route.protocol() {
            Protocol::Http => &mut self.http,
            Protocol::Grpc => &mut self.grpc,
        };
        matcher.add(&route.hosts, path, &conditions(route), &built);
        self.routes.push(built);
    }

    /// Puts its limit to the others.
    fn limit(&mut self, name: &str, route: &settings::Route) -> Option<u16> {
        let limit = *route.rate_limit.clone()?;
        let place = self.limits.len().try_into().ok()?;
        self.limits.push(RoutePolicy { route: name.to_owned(), name: route.policy(), limit });
        Some(place)
    }

    /// Whom it asks: the same server as other routes that name it alike, or the `previous` table.
    fn forward_auth(
        &mut self,
        auth: &settings::ForwardAuth,
        site: &Site<'_>,
        previous: Option<&Self>,
    ) -> Option<ForwardAuth> {
        let (own, label) = (self.authorities.iter(), super::authority::label(auth)?);
        let mut all = own.chain(previous.iter().flat_map(|table| &table.authorities));
        let known = all.find(|known| known.is_of(&label, auth));
        let authority = known.cloned().or_else(|| Authority::new(auth, site))?;
        if !self.authorities.iter().any(|own| Arc::ptr_eq(own, &authority)) {
            self.authorities.push(Arc::clone(&authority));
        }
        ForwardAuth::new(auth, authority)
    }

    fn mirror(&self, mirror: &settings::Mirror, route: &settings::Route, site: &Site<'_>) -> Option<Arc<Mirror>> {
        let config = &site.merged.config;
        let service = Arc::clone(self.service(&mirror.service)?);
        let times = Times::of(&route.timeouts, &config.services.get(&mirror.service)?.timeouts, &config.upstream);
        Some(Arc::new(Mirror {
            cluster: Arc::clone(service.cluster(route.protocol())),
            times,
            share: mirror.percent.parts(),
            body_limit: mirror.body_limit,
            counts: site.metrics.mirror(&service.name),
            service,
        }))
    }

    fn deed(&self, route: &settings::Route, config: &settings::Config, before: Option<&Arc<Route>>) -> Option<Deed> {
        if let Some(redirect) = &route.redirect {
            return Some(Deed::Redirect(redirect.clone(), Box::new(route.path()?.clone())));
        }
        if let Some(respond) = &route.respond {
            let body = respond.body().map(bytes::Bytes::from).or_else(|error| {
                let known = match before.map(|route| &route.deed) {
                    Some(Deed::Respond(same, body)) if *same == *respond => Some(body.clone()),
                    _ => None,
                };
                tracing::warn!(
                    error,
                    "the body of a route cannot be read; what was read before is kept, if anything was"
                );
                known.ok_or(())
            });
            return Some(Deed::Respond(respond.clone(), body.ok()?));
        }
        let destination = |to: &settings::Destination| {
            let service = Arc::clone(self.service(&to.service)?);
            let of = &config.services.get(&to.service)?.timeouts;
            let destination = Destination {
                cluster: Arc::clone(service.cluster(route.protocol())),
                times: Times::of(&route.timeouts, of, &config.upstream),
                outside: Arc::clone(self.outside.get(&service.name)?),
                service,
            };
            Some((destination, to.weight))
        };
        Split::new(route.to.0.iter().filter_map(destination).collect(), route.hash.as_deref()).map(Deed::Ask)
    }

    /// The route of a request with a normalised path; of a gRPC call where `is_grpc` says so.
    pub(crate) fn find(&self, is_grpc: bool, path: &str, host: &HeaderValue, head: &Parts) -> Option<&Arc<Route>> {
        self.find_for(is_grpc, path, host, &head.method, &head.uri, &head.headers)
    }

    /// The same by what decides.
    pub(crate) fn find_for(
        &self,
        is_grpc: bool,
        path: &str,
        host: &HeaderValue,
        method: &Method,
        uri: &Uri,
        headers: &Headers,
    ) -> Option<&Arc<Route>> {
        let mut lower = String::new();
        let host = bare(host, &mut lower);
        let matcher = if is_grpc { &self.grpc } else { &self.http };
        matcher.find(&Asked { host, path, method, query: uri.query(), headers })
    }

    /// Whether a gRPC method is one that every backend has, and that clients may call.
    pub(crate) fn is_everybodys(&self, path: &str) -> bool {
        let service = path.strip_prefix('/').and_then(|rest| rest.split('/').next()).unwrap_or_default();
        self.is_introspective && EVERY.contains(&service)
    }

    /// TLS towards all who are called over TLS.
    pub(crate) fn trusts(&self) -> impl Iterator<Item = &Arc<Trust>> {
        let of_services = self.services.iter().filter_map(|service| service.trust.as_ref());
        of_services.chain(self.authorities.iter().filter_map(|authority| authority.trust()))
    }

    /// The patterns of all routes to a service.
    pub(crate) fn patterns(&self, service: &str) -> Vec<&str> {
        let leads = |route: &&Arc<Route>| route.destinations().any(|to| *to.service.name == *service);
        self.routes.iter().filter(leads).map(|route| &*route.numbers.pattern).collect()
    }

    /// The route of this name.
    pub(crate) fn route(&self, name: &str) -> Option<&Arc<Route>> {
        let place = self.routes.binary_search_by(|route| (*route.name).cmp(name)).ok()?;
        self.routes.get(place)
    }

    /// The path that clients know an inner one of `service` by.
    pub(crate) fn public(&self, service: &str, inner: &str) -> Option<String> {
        self.outside.get(service)?.public(inner)
    }

    /// The service of this name.
    pub(crate) fn service(&self, name: &str) -> Option<&Arc<Service>> {
        let place = self.services.binary_search_by(|service| (*service.name).cmp(name)).ok()?;
        self.services.get(place)
    }
}

/// What a route asks for beside host and path; checked before.
fn conditions(route: &settings::Route) -> Conditions {
    Conditions {
        methods: route.methods.iter().filter_map(|method| method.parse().ok()).collect(),
        headers: route.headers.iter().filter_map(|(name, value)| Some((name.parse().ok()?, value.clone()))).collect(),
        query: route.query.iter().map(|(name, value)| (name.clone(), value.clone())).collect(),
    }
}

/// The routes to what every gRPC backend has, if they are open.
fn introspection(config: &settings::Config) -> impl Iterator<Item = (String, settings::Route)> {
    let of = |(name, _): (&str, &settings::Service)| {
        let name = name.to_owned();
        EVERY.iter().enumerate().filter_map(move |(place, every)| {
            let route = settings::Route {
                grpc: Some(Box::new(every.parse().ok()?)),
                headers: [(SHOP_SERVICE.as_str().to_owned(), name.clone())].into(),
                to: name.parse().ok()?,
                ..settings::Route::default()
            };
            Some((format!("introspection-{name}-{place}"), route))
        })
    };
    config.services.iter().filter(|_| config.grpc_introspection).flat_map(of)
}

/// The host in small letters, without its port; `lower` has room for it.
fn bare<'a>(host: &'a HeaderValue, lower: &'a mut String) -> &'a str {
    let host = host.to_str().unwrap_or_default();
    let end = match host.rfind(':') {
        Some(colon) if !host[colon..].contains(']') => colon,
        _ => host.len(),
    };
    let host = host[..end].trim_end_matches('.');
    if !host.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return host;
    }
    lower.push_str(host);
    lower.make_ascii_lowercase();
    lower
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Metrics;
    use crate::settings::desired::Desired;

    #[test]
    fn the_suites_paths_lead_to_its_services() {
        let metrics = Metrics::new(shop_telemetry::Metrics::new("gateway"));
        let merged = Desired::default().merged();
        let table = Table::new(&Site { merged: &merged, workers: 1, metrics: &metrics }, None);
        let host = HeaderValue::from_static("shop.example");
        let find = |is_grpc, path: &str| {
            let uri: Uri = path.parse().expect("a path");
            let route =
                table.find_for(is_grpc, path, &host, &Method::GET, &uri, &Headers::from(http::HeaderMap::new()))?;
            Some((route.destinations().next()?.service.name.to_string(), route.target(path, &uri)))
        };
        let cases = [
            ("/api/products", Some(("product", "/products"))),
            ("/api/products/", Some(("product", "/products/"))),
            ("/api/products/7/x?y=z", Some(("product", "/products/7/x?y=z"))),
            ("/api/baskets/u1/items", Some(("basket", "/baskets/u1/items"))),
            ("/api/guests", Some(("basket", "/guests"))),
            ("/api/payments", Some(("payment", "/payments"))),
            ("/api/users/u1/payments", Some(("payment", "/users/u1/payments"))),
            ("/api/users/u1/data", Some(("payment", "/users/u1/data"))),
            ("/api/webhooks/stripe", Some(("payment", "/webhooks/stripe"))),
            ("/api/notifications", Some(("notification", "/notifications"))),
            ("/api/webhooks/stripes", None),
            ("/api/productsx", None),
            ("/api/Products", None),
            ("/api", None),
            ("/apiproducts", None),
            ("/products", None),
            ("/", None),
        ];
        for (path, expected) in cases {
            let uri: Uri = path.parse().expect("a path");
            let found =
                table.find_for(false, uri.path(), &host, &Method::GET, &uri, &Headers::from(http::HeaderMap::new()));
            let found = found.map(|route| {
                let service = route.destinations().next().map(|to| to.service.name.to_string()).unwrap_or_default();
                (service, route.target(uri.path(), &uri))
            });
            assert_eq!(found, expected.map(|(service, inner)| (service.to_owned(), inner.to_owned())), "{path}");
        }
        for (path, expected) in [
            ("/shop.basket.v1.BasketService/GetBasket", Some("basket")),
            ("/shop.basket.v2.BasketService/GetBasket", None),
            ("/shop.product.v1.StockService/ReserveStock", None),
            ("/shop.payment.v1.SettlementService/GetOutcomes", None),
            ("/shop.notification.v1.PersonalService/GetUserRecords", None),
            ("/shop.product.v1.productservice/GetProduct", None),
            ("/shop.product.v1.ProductServiceX/GetProduct", None),
            ("/shop.product.v1.ProductService", None),
            ("/shop.product.v1.ProductService/", None),
            ("/shop.product.v1.ProductService/A/B", None),
            ("/grpc.health.v1.Health/Check", None),
        ] {
            assert_eq!(find(true, path).map(|(service, _)| service).as_deref(), expected, "{path}");
            assert!(!table.is_everybodys(path), "{path}");
        }
    }

    #[test]
    fn a_host_is_compared_without_its_port_and_in_small_letters() {
        for (host, expected) in [
            ("Shop.Example:8080", "shop.example"),
            ("shop.example.", "shop.example"),
            ("[::1]:80", "[::1]"),
            ("[::1]", "[::1]"),
            ("shop.example", "shop.example"),
        ] {
            assert_eq!(bare(&HeaderValue::from_static(host), &mut String::new()), expected, "{host}");
        }
    }
}
