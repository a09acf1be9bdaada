//! Everything the gateway can be told, with the architecture document's variables and defaults.

mod access_log;
mod admin;
pub(crate) mod backend_spec;
mod buffer_request;
pub(crate) mod desired;
mod docs;
pub(crate) mod listeners;
mod of_service;
pub(crate) mod overrides;
pub(crate) mod route;
pub(crate) mod services;
mod suite;
pub(crate) mod timeouts;
mod tls;

pub use access_log::{AccessField, AccessLog};
pub use admin::Admin;
pub(crate) use admin::SHORT_TOKEN;
pub use buffer_request::BufferRequest;
pub use docs::Docs;
pub use listeners::{
    ClientAuth, InvalidListenerAddress, Listener, ListenerAddress, ListenerTls, Listeners, ProxyProtocol,
};
pub use of_service::{ServiceBreaker, ServiceHealthCheck, ServiceLimits, ServiceRetries};
pub use route::{
    Access, Compress, Destination, Destinations, ForwardAuth, GrpcPattern, HeaderRules, HostPattern, MediaTypes,
    Mirror, PathPattern, Percent, Redirect, Require, Respond, Route, Routes,
};
pub use services::{Service, Services};
pub use timeouts::Timeouts;
pub use tls::Tls;

pub use shop_balance::settings::{
    CircuitBreaker, Hash, HealthCheck, LoadBalancer, OutlierDetection, Retries, Strategy,
};
pub use shop_browser::origins::{AllowedOrigin, InvalidOrigin};
pub use shop_browser::settings::{Cors, CorsChanges, Csrf, SecurityHeaders};
pub use shop_discovery::settings::{Discovery, NameServer};
pub use shop_discovery::{BackendUrl, Backends, InvalidBackend, SourceUrl};
pub use shop_limit::settings::{ApiKeys, ClientKey, RateLimit, RedisLimit, RouteLimit};
pub use shop_tls::{Certificate, ClientTls};

use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use shop_config::{Duration, Given, Http, Log, Otel, Problems, Settings, Stop, Var, settle_hosts};
use shop_identity::{IdentitySettings, Mode};

use crate::message::client::{Network, ProxyHeader};

/// Settings of the gateway.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Address of every listener for clients that is given none of its own; this machine alone by default.
    pub host: Option<IpAddr>,
    /// Where clients connect, and how long the gateway waits for them.
    pub http: Http,
    /// Where clients connect with TLS.
    pub tls: Tls,
    /// Where else they connect, by name.
    pub listeners: Listeners,
    /// Limits that [`Config::http`] does not have.
    pub limits: Limits,
    /// How long the gateway waits for backends.
    pub upstream: Upstream,
    /// Whether the suite's own services and routes are there when nobody says anything of them.
    pub suite: bool,
    /// The services behind the gateway, by name.
    pub services: Services,
    /// Which requests go to which of them, by name.
    pub routes: Routes,
    /// Looking up backends.
    pub discovery: Discovery,
    /// Keeping calls away from backends that fail.
    pub circuit_breaker: CircuitBreaker,
    /// Sharing calls among the backends of a service.
    pub load_balancer: LoadBalancer,
    /// Asking backends whether they take calls.
    pub health_check: HealthCheck,
    /// Sending a call once more when a backend failed it.
    pub retries: Retries,
    /// Reading requests whole before a backend is chosen.
    pub buffer_request: BufferRequest,
    /// How often one client may call.
    pub rate_limit: RateLimit,
    /// Whose tokens are good. Bad ones are refused before a service is asked; who may do what is for services to say.
    pub identity: IdentitySettings,
    /// Lets clients call reflection and health of each gRPC service, by the metadata `shop-service`. Off by default: they tell
    /// of methods that are between services.
    pub grpc_introspection: bool,
    /// Which other sites' pages may call and read.
    pub cors: Cors,
    /// Refusing changes that other sites' pages send.
    pub csrf: Csrf,
    /// Headers that tell browsers to be careful with answers.
    pub security_headers: SecurityHeaders,
    /// Proxies in front of the gateway whose `X-Forwarded-*` and `Forwarded` are believed; none by default, because a
    /// client could write anything there.
    pub trusted_proxies: Vec<Network>,
    /// What these proxies write on every request, beside `X-Forwarded-For`: the headers that are believed when they come from
    /// one. In a header that a proxy leaves alone its own client speaks, so those not named here are taken off.
    /// `X-Forwarded-Proto` by default, which all write that end TLS; add `X-Forwarded-Host` where yours changes `Host`.
    pub trusted_headers: Vec<ProxyHeader>,
    /// Lets headers pass whose names have underscores, over HTTP. Off by default, as with nginx: some servers cannot tell them
    /// from names with dashes.
    pub underscores_in_headers: bool,
    /// The reference of the whole API.
    pub docs: Docs,
    /// The listener of operators: metrics, detailed health and the admin API.
    pub admin: Admin,
    /// Threads that serve connections; 0 is one per core.
    pub workers: usize,
    /// How the process stops.
    pub stop: Stop,
    /// After the signal to stop, go on serving everything for this long while `/health/ready` says 503, so that balancers
    /// turn away first. Nothing by default; a few seconds behind a balancer that polls.
    pub drain_delay: Duration,
    /// Log lines.
    pub log: Log,
    /// What the line of a request says of who asked.
    pub access_log: AccessLog,
    /// Traces.
    pub otel: Otel,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            host: None,
            // 10 MiB: far above any call of the shop, still bounded. Bodies are streamed, not held.
            http: Http { body_limit: 10 * 1024 * 1024, ..Http::on(8083) },
            tls: Tls::default(),
            listeners: Listeners::new(),
            limits: Limits::default(),
            upstream: Upstream::default(),
            suite: true,
            services: suite::SUITE.services.clone(),
            routes: suite::SUITE.routes.clone(),
            discovery: Discovery::default(),
            circuit_breaker: CircuitBreaker::default(),
            load_balancer: LoadBalancer::default(),
            health_check: HealthCheck::default(),
            retries: Retries::default(),
            buffer_request: BufferRequest::default(),
            rate_limit: RateLimit::default(),
            identity: IdentitySettings::default(),
            grpc_introspection: false,
            cors: Cors::default(),
            csrf: Csrf::default(),
            security_headers: SecurityHeaders::default(),
            trusted_proxies: Vec::new(),
            trusted_headers: vec![ProxyHeader::PROTO],
            underscores_in_headers: false,
            docs: Docs::default(),
            admin: Admin::default(),
            workers: 0,
            stop: Stop::default(),
            drain_delay: Duration::secs(0),
            log: Log::default(),
            access_log: AccessLog::default(),
            otel: Otel::default(),
        }
    }
}

impl Config {
    /// How calls are shared among the backends of `service`.
    pub(crate) fn balancer_of(&self, service: &str) -> LoadBalancer {
        let own = self.services.get(service).and_then(|settings| settings.strategy);
        let strategy = own.unwrap_or(self.load_balancer.strategy);
        LoadBalancer { strategy, ..self.load_balancer.clone() }
    }

    /// When calls are kept away from backends of `service` that fail.
    pub(crate) fn breaker_of(&self, service: &str) -> CircuitBreaker {
        let all = &self.circuit_breaker;
        self.services.get(service).map_or_else(|| all.clone(), |own| own.circuit_breaker.over(all))
    }

    /// When a call of `service` goes out once more.
    pub(crate) fn retries_of(&self, service: &str) -> Retries {
        let all = &self.retries;
        self.services.get(service).map_or_else(|| all.clone(), |own| own.retries.over(all))
    }

    /// How the backends of `service` are asked whether they take calls.
    pub(crate) fn health_check_of(&self, service: &str) -> HealthCheck {
        let Some(own) = self.services.get(service) else { return self.health_check.clone() };
        own.health_check.over(&self.health_check)
    }

    /// Finds what is wrong with what services say of sections that hold for all.
    fn check_sections_of_services(&self, problems: &mut Problems) {
        for (name, service) in self.services.iter() {
            let prefix = format!("services.{name}");
            let mut section = |key: &str, is_own: bool, check: &dyn Fn(&mut Problems)| {
                if is_own {
                    problems.within(&prefix, |p| p.within(key, |p| check(p)));
                }
            };
            let is_own = service.circuit_breaker != ServiceBreaker::default();
            section("circuit_breaker", is_own, &|p| self.breaker_of(name).check(p));
            let is_own = service.retries != ServiceRetries::default();
            section("retries", is_own, &|p| self.retries_of(name).check(p));
            let is_own = service.health_check != ServiceHealthCheck::default();
            section("health_check", is_own, &|p| self.health_check_of(name).check(p));
        }
    }
}

/// Limits on what a client may send.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Largest request head in bytes; four times nginx's default, enough for any cookie jar.
    pub head: u32,
    /// Longest request target in bytes; nginx's default.
    pub uri: usize,
    /// Longest pause in a request body.
    pub body_idle: Duration,
    /// Longest time a client may refuse to take more of an answer.
    pub write_stall: Duration,
    /// Calls one HTTP/2 connection may have open at once; hyper's default.
    pub h2_streams: u32,
    /// Client connections open at once; beyond, those that were idle longest are closed. 0, the default, is two thirds of the
    /// open files that the system allows: a request takes a second one, towards its backend.
    pub connections: usize,
    /// Connections of one address, of IPv6 the /64; 0 is no limit. Far above any browser, enough for an office behind one
    /// address, and a fraction of what a process can hold. `trusted_proxies` have no limit.
    pub connections_per_address: usize,
    /// Requests of one client whose answers are not over; 0 is no limit. Through `trusted_proxies` their clients count.
    pub unfinished_per_address: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            head: 32 * 1024,
            uri: 8 * 1024,
            body_idle: Duration::secs(30),
            write_stall: Duration::secs(30),
            h2_streams: 200,
            connections: 0,
            connections_per_address: 1024,
            unfinished_per_address: 512,
        }
    }
}

/// How long the gateway waits for backends.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Upstream {
    /// To connect; a backend in the same data centre answers within milliseconds or not at all.
    pub connect_timeout: Duration,
    /// From the last byte of the request to the head of the answer. Above the services' own 30 s, so that their answer wins.
    pub first_byte_timeout: Duration,
    /// Longest pause in an answer's body.
    pub idle_timeout: Duration,
    /// Longest silence in a tunnel, such as a WebSocket. One hour, as is usual: they are meant to wait, and what is really
    /// gone shows by itself when either side sends.
    pub tunnel_idle: Duration,
    /// The whole exchange, of HTTP calls only: a gRPC stream lives as long as its `grpc-timeout` says.
    pub total_timeout: Duration,
    /// How long an unused connection is kept; below the services' 75 s, so that the gateway closes first.
    pub pool_idle: Duration,
    /// Unused connections kept per backend and worker.
    pub pool_size: usize,
}

impl Default for Upstream {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::secs(2),
            first_byte_timeout: Duration::secs(35),
            idle_timeout: Duration::secs(60),
            tunnel_idle: Duration::secs(3600),
            total_timeout: Duration::secs(300),
            pool_idle: Duration::secs(60),
            pool_size: 256,
        }
    }
}

impl Settings for Config {
    const NAME: &'static str = "gateway";
    const ABOUT: &'static str = "The shop's API gateway: one port for HTTP and gRPC in front of all services.";

    fn vars() -> Vec<Var> {
        let ours = [
            Var::new("PORT", "http.port", "port for HTTP and gRPC"),
            Var::new("TLS_CERT_FILE", "tls.cert_file", "PEM file with the certificate; no TLS when unset"),
            Var::new("TLS_KEY_FILE", "tls.key_file", "PEM file with its key"),
            Var::new("TLS_PORT", "tls.port", "port for HTTPS and gRPC over TLS"),
            Var::new("LOG_LEVEL", "log.level", "error, warn, info, debug or trace"),
            Var::new("LOG_FORMAT", "log.format", "json or text"),
            Var::new("CIRCUIT_BREAKER_ENABLED", "circuit_breaker.enabled", "whether failing backends are left alone"),
            Var::new("CIRCUIT_BREAKER_MAX_REQUESTS", "circuit_breaker.max_requests", "calls at once on trial"),
            Var::new("CIRCUIT_BREAKER_INTERVAL", "circuit_breaker.interval", "window in which failures are counted"),
            Var::new("CIRCUIT_BREAKER_TIMEOUT", "circuit_breaker.timeout", "how long a failing backend is left alone"),
            Var::new("LOAD_BALANCER_ENABLED", "load_balancer.enabled", "whether calls are shared among backends"),
            Var::new("LOAD_BALANCER_STRATEGY", "load_balancer.strategy", "round_robin, least_connections, …"),
            Var::new("RATE_LIMIT_ENABLED", "rate_limit.enabled", "whether clients are limited"),
            Var::new("RATE_LIMIT_REQUESTS", "rate_limit.requests", "calls per client and window"),
            Var::new("RATE_LIMIT_WINDOW", "rate_limit.window", "the window"),
            Var::new("RATE_LIMIT_BURST", "rate_limit.burst", "calls per client at once"),
            Var::new(
                "RATE_LIMIT_REDIS_URL",
                "rate_limit.redis.url",
                "redis://…, to count together with other gateways",
            ),
            Var::new("CORS_ORIGINS", "cors.origins", "comma list of sites whose pages may call; none by default"),
            Var::new("CORS_CREDENTIALS", "cors.credentials", "whether these pages' calls carry cookies"),
            Var::new("CSRF_ENABLED", "csrf.enabled", "whether changes sent by other sites' pages are refused"),
            Var::new("CSRF_TRUSTED_ORIGINS", "csrf.trusted_origins", "comma list of sites that may send them"),
            Var::new("SECURITY_HEADERS_ENABLED", "security_headers.enabled", "whether answers get security headers"),
            Var::new("DOCS_ENABLED", "docs.enabled", "whether /docs and /openapi.json describe the whole API"),
            Var::new("ADMIN_HOST", "admin.host", "address for metrics and the admin API; 127.0.0.1 by default"),
            Var::new("ADMIN_PORT", "admin.port", "port for metrics and the admin API"),
            Var::new("ADMIN_TOKEN", "admin.token", "bearer token of the admin API; without one, this machine only"),
            Var::new("ADMIN_STATE_FILE", "admin.state_file", "file that keeps the admin API's changes over a restart"),
        ];
        ours.into_iter().chain(suite::vars()).chain(IdentitySettings::vars()).chain(Otel::vars()).collect()
    }

    fn gone() -> Vec<(&'static str, &'static str)> {
        let instead = "tokens are checked as identity says, for all they are good for; a shared secret is identity.secret, a \
                       file of keys identity.jwks_file, each beside identity.issuer and identity.audience";
        let of_routes = [
            ("upstream.routes", "a route has times of its own: set routes.NAME.timeouts"),
            ("rate_limit.routes", "a route has a limit of its own: set routes.NAME.rate_limit"),
            ("buffer_request.routes", "a route says it of itself: set routes.NAME.buffer_request = true"),
        ];
        ["rate_limit.jwt", "RATE_LIMIT_JWT_SECRET"].map(|name| (name, instead)).into_iter().chain(of_routes).collect()
    }

    fn settle(&mut self, given: &Given<'_>) {
        settle_hosts(self.host, given, [("http.host", &mut self.http.host)]);
        if !self.suite {
            self.services.retain(|name| given.has(&format!("services.{name}")));
            self.routes.retain(|name, _| given.has(&format!("routes.{name}")));
        }
    }

    fn check(&self, problems: &mut Problems) {
        self.check_values(problems);
        self.check_identity(problems);
        problems.within("tls", |p| self.tls.check_files(p));
        problems.within("services", |p| self.services.check_files(p));
        problems.within("routes", |p| route::check_files(&self.routes, p));
        listeners::check_files(&self.listeners, problems);
    }
}

impl Config {
    /// The problems that [`check_values`](Self::check_values) finds, if there are any.
    pub(crate) fn valid(&self) -> Result<(), Problems> {
        let mut problems = Problems::default();
        self.check_values(&mut problems);
        if problems.is_empty() { Ok(()) } else { Err(problems) }
    }

    /// Finds what is wrong with whose tokens are good, in the files that name them, too.
    pub(crate) fn check_identity(&self, problems: &mut Problems) {
        let keys: Vec<_> = self.listeners.keys().map(|name| format!("listeners.{name}.address")).collect();
        let named = keys.iter().zip(self.listeners.values()).map(|(key, one)| (key.as_str(), one.address.0));
        let all: Vec<_> = [("http.host", self.http.addr())].into_iter().chain(named).collect();
        self.identity.check(&all, problems);
    }

    /// Finds wrong values without looking at anything else: files may change at any time, and what a running process
    /// does about that is its own affair.
    fn check_values(&self, problems: &mut Problems) {
        self.http.check("http", problems);
        problems.ensure(
            self.http.timeout == Http::default().timeout,
            "http.timeout",
            "has no effect here; set upstream.first_byte_timeout or upstream.total_timeout",
        );
        problems.ensure(self.http.linger.is_zero(), "http.linger", "has no effect here; set drain_delay");
        problems.within("tls", |p| self.tls.check(self.http.port, p));
        let tls = self.tls.is_on().then(|| ("tls.port", self.tls.addr(self.http.host)));
        let clients: Vec<_> = [("http.port", self.http.addr())].into_iter().chain(tls).collect();
        self.admin.check(&clients, problems);
        let others: Vec<_> = clients.into_iter().chain([("admin.port", self.admin.addr())]).collect();
        listeners::check(&self.listeners, &others, problems);
        self.log.check("log", problems);
        self.otel.check("otel", problems);
        problems.within("limits", |p| {
            let head = "use 1024 to 61440 bytes: services take 64 KiB, with the lines that are added here";
            p.ensure((1024..=60 * 1024).contains(&self.limits.head), "head", head);
            p.ensure((64..=65_000).contains(&self.limits.uri), "uri", "use 64 to 65000 bytes");
            p.ensure(!self.limits.body_idle.is_zero(), "body_idle", "must be more than 0");
            p.ensure(!self.limits.write_stall.is_zero(), "write_stall", "must be more than 0");
            p.ensure(self.limits.h2_streams > 0, "h2_streams", "must be at least 1");
        });
        problems.within("upstream", |p| {
            for (key, value) in [
                ("connect_timeout", self.upstream.connect_timeout),
                ("first_byte_timeout", self.upstream.first_byte_timeout),
                ("idle_timeout", self.upstream.idle_timeout),
                ("tunnel_idle", self.upstream.tunnel_idle),
                ("total_timeout", self.upstream.total_timeout),
            ] {
                p.ensure(!value.is_zero(), key, "must be more than 0");
            }
        });
        problems.within("services", |p| self.services.check(p));
        self.check_sections_of_services(problems);
        problems.ensure(
            self.load_balancer.strategy != Strategy::ConsistentHash,
            "load_balancer.strategy",
            "is for calls without a key; set services.NAME.strategy = consistent_hash, with what is hashed in hash",
        );
        for (name, _) in self.services.iter().filter(|(_, service)| service.enabled && service.urls.is_empty()) {
            let is_asked =
                self.routes.values().any(|route| route.enabled && route.path.is_some() && route.leads_to(name));
            problems.ensure(!is_asked, &format!("services.{name}.urls"), services::at_least_one(name));
        }
        problems.within("routes", |p| route::check(&self.routes, &self.services, p));
        problems.within("routes", |p| route::check_policies(self, p));
        problems.within("discovery", |p| self.discovery.check(p));
        problems.within("circuit_breaker", |p| self.circuit_breaker.check(p));
        problems.within("cors", |p| self.cors.check(p));
        problems.within("csrf", |p| self.csrf.check(p));
        problems.within("security_headers", |p| self.security_headers.check(p));
        problems.within("docs", |p| self.docs.check(p));
        problems.within("health_check", |p| self.health_check.check(p));
        problems.within("retries", |p| self.retries.check(p));
        problems.within("buffer_request", |p| self.buffer_request.check(p));
        problems.within("rate_limit", |p| self.rate_limit.check(p));
        problems.ensure(
            !self.rate_limit.key.contains(&ClientKey::Subject) || self.identity.mode == Mode::Required,
            "rate_limit.key",
            "subject needs identity.mode = required: else nobody looks whether tokens are good",
        );
        problems.ensure(self.workers <= 1024, "workers", "use at most 1024, or 0 for one per core");
    }
}
