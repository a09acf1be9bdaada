//! The way of a request through the gateway, in reading order: limits, request id, CORS, CSRF, route, address, token, rate limit,
//! other servers' leave, backend, breaker, call, answer with its security headers.

mod access;
mod compress;
mod finish;
mod forward;
mod forward_auth;
mod grpc_web;
mod instead;
mod location;
mod mirror;
pub(crate) mod proxied_body;
mod recoded;
mod redirect;
pub(crate) mod tunnel;
mod unreadable;

use std::borrow::Cow;
use std::net::IpAddr;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::thread::LocalKey;
use std::time::Duration;

use bytes::Bytes;
use http::header::{self, HeaderValue};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{Response, StatusCode, Uri, Version};
use http_body::Body as _;
use shop_browser::cors;
use shop_http1::Edit as _;
use shop_http1::fields::Fields as _;
use shop_http1::request_head::{self, Fault};
use shop_http1::{Headers, response_head};
use shop_identity::Principal;
use shop_limit::{Attempts, Call as Counted, Ruling, Subject, Verdict};
use tokio::sync::Semaphore;
use tokio::time::Instant;

use self::compress::Wish;
use self::finish::{Browser, finish};
use self::forward::{Call, Forward};
use self::forward_auth::{Answer, Granted, Question};
use self::grpc_web::Web;
use self::instead::instead;
use crate::admin::events::Listener;
use crate::admin::operations;
use crate::admin::{self, Admin, dev_token};
use crate::docs::{self, Docs};
use crate::message::client::{Audience, Client};
use crate::message::headers::{self, Introduction, Onward};
use crate::message::reason::Reason;
use crate::message::refusal::{self, Refusal};
use crate::message::{grpc, path, upgrade};
use crate::proxy::location::Inside;
use crate::proxy::proxied_body::{Body, ProxiedBody};
use crate::proxy::recoded::{Recoded, Recoder};
use crate::proxy::tunnel::{Link, Tunnel};
use crate::record::RequestRecord;
use crate::record::asker::Asker;
use crate::routing::affinity::Visitor;
use crate::routing::operation::{Operation, SERVER};
use crate::routing::routes::{Deed, Destination, ForwardAuth, Route, Table};
use crate::server::ConnectionState;
use crate::server::handler::{Handler, Served, Spare};
use crate::settings::{BufferRequest, Config};
use crate::state::State;
use crate::state::generation::Generation;
use crate::state::guard::{self, Asked};
use crate::state::token;
use crate::upstream::body::{Broken, Incoming, RequestBody};
use crate::upstream::{ResponseBody, Timeouts};

/// Answers what clients ask.
pub(crate) struct Proxy {
    state: Arc<State>,
    pub(crate) admin: Admin,
    /// The reference of the API.
    docs: Docs,
    /// Bad tokens that clients showed.
    attempts: Attempts,
    /// Room for what compresses answers.
    encoders: Arc<Semaphore>,
    /// Room for copies of requests.
    copies: Arc<Semaphore>,
}

thread_local! {
    /// Room of requests that are over, for those that come.
    static SPARE: Spare<Proxy> = const { Spare::<Proxy>::new(Vec::new()) };
}

impl Proxy {
    /// What answers with what `state` knows.
    pub(crate) fn new(state: Arc<State>) -> Arc<Self> {
        let (admin, docs, attempts) = (Admin::default(), Docs::default(), token::attempts());
        let [encoders, copies] =
            [compress::MOST_ENCODERS, mirror::MOST_COPIES].map(|most| Arc::new(Semaphore::new(most)));
        Arc::new(Self { state, admin, docs, attempts, encoders, copies })
    }
}

impl Handler for Proxy {
    type Body = Body;
    type Tunnel = Tunnel;

    async fn serve(
        self: Arc<Self>,
        worker: usize,
        connection: Arc<ConnectionState>,
        peer: IpAddr,
        request: request_head::Parts,
        incoming: Incoming,
    ) -> Served<Body, Tunnel> {
        let (uri, version) = (request.uri.clone(), request.version);
        let state = &self.state;
        let generation = state.settings.current_here();
        let mut visit = Visit::begin(state, &generation, worker, &connection, peer, &request);
        let is_translated = upgrade::is_translated(&request);
        let mut reply = visit.answer(&self, &generation, request, incoming).await;
        if is_translated {
            reply = reply.and_then(Reply::or_no_websocket);
        }
        let Visit { mut record, ruling, browser, route, is_edited, is_grpc, web, .. } = visit;
        let request_id = record.request_id().clone();
        let mut tunnel = None;
        let mut response = match reply {
            Ok(Reply::Backend(head, download)) => {
                record.answered(head.status, None);
                response_head::Response { head, body: Body::backend(download, record) }
            }
            Ok(Reply::Tunnel(head, link)) => {
                record.answered(head.status, None);
                record.goes_on();
                tunnel = Some(Tunnel::new(link, record, &generation.config));
                response_head::Response { head, body: Body::none() }
            }
            Ok(Reply::Events(response, listener)) => {
                record.answered(response.status(), None);
                response.map(|_| Body::events(listener, record)).into()
            }
            Ok(Reply::Own(response)) => {
                record.answered(response.status(), None);
                response.map(|bytes| Body::own(bytes, record)).into()
            }
            Err(refusal) => {
                let reason = refusal.reason;
                let mut response = if is_grpc {
                    record.grpc_status(Some(reason.grpc()));
                    match web {
                        None => refusal.grpc(),
                        Some(web) => web.own(refusal.grpc()),
                    }
                } else {
                    refusal.problem(uri.path(), &request_id)
                };
                if reason.closes() && version < Version::HTTP_2 {
                    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
                }
                record.answered(response.status(), Some(reason));
                response.map(|bytes| Body::own(bytes, record)).into()
            }
        };
        finish(&mut response.head.headers, &request_id, ruling, browser, &generation);
        if let Some(edits) = route.and_then(|route| route.response_headers.as_ref()) {
            if is_edited { edits.insist(&mut response.head.headers) } else { edits.apply(&mut response.head.headers) }
        }
        Served { response, tunnel }
    }

    fn refuse(&self, connection: &Arc<ConnectionState>, fault: &Fault) -> Bytes {
        unreadable::refuse(&self.state, connection, fault)
    }

    fn spare() -> &'static LocalKey<Spare<Self>> {
        &SPARE
    }
}

/// What is known of a request while it is answered.
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own, noted as it is seen")]
struct Visit<'g> {
    record: RequestRecord,
    /// Whose connections are used.
    worker: usize,
    /// Where it goes, once that is known.
    route: Option<&'g Route>,
    /// Whether the route's changes to the headers of its answer were made.
    is_edited: bool,
    peer: IpAddr,
    client: Client,
    browser: Browser<'g>,
    /// Who it is, if a token says so.
    principal: Option<Arc<Principal>>,
    is_late: bool,
    /// The connection of a client that takes informational answers.
    informed: Option<Arc<ConnectionState>>,
    is_encrypted: bool,
    /// The connection of a client that showed a certificate.
    certified: Option<Arc<ConnectionState>>,
    /// Whose listener it came in by.
    audience: Audience,
    is_grpc: bool,
    /// It came as gRPC-Web.
    web: Option<Web>,
    /// What the limiter said.
    ruling: Option<Ruling>,
    /// What it takes where answers are compressed.
    wish: Option<Wish>,
}

/// Who answers.
enum Reply {
    Own(Response<Bytes>),
    /// As long as the client listens.
    Events(Response<Bytes>, Listener),
    /// A backend, with 101, or 200 over HTTP/2.
    Tunnel(response_head::Parts, Link),
    Backend(response_head::Parts, Box<ProxiedBody>),
}

impl Reply {
    /// The same, unless its 2xx would say to who asked for a WebSocket over HTTP/2 that there is one.
    fn or_no_websocket(self) -> Result<Self, Refusal> {
        let status = match &self {
            Self::Own(response) | Self::Events(response, _) => response.status(),
            Self::Backend(head, _) => head.status,
            Self::Tunnel(..) => return Ok(self),
        };
        if status.is_success() {
            return Err(Refusal::new(Reason::UpstreamInvalid, "there is no WebSocket at this path"));
        }
        Ok(self)
    }
}

fn within_limit(uri: &Uri, most: usize) -> Result<(), Refusal> {
    if uri.path_and_query().is_some_and(|target| target.as_str().len() > most) {
        return Err(Refusal::new(Reason::UriTooLong, format!("the request target is longer than {most} bytes")));
    }
    Ok(())
}

impl<'g> Visit<'g> {
    /// Of a request that has just come.
    fn begin(
        state: &Arc<State>,
        generation: &'g Generation,
        worker: usize,
        connection: &Arc<ConnectionState>,
        peer: IpAddr,
        request: &request_head::Parts,
    ) -> Self {
        let headers = &request.headers;
        let is_grpc = grpc::is_call(request.version, headers) && !upgrade::is_translated(request);
        let config = &generation.config;
        let client = Client::of(peer, headers, &config.trusted_proxies);
        let occupied = connection.occupy(client.through_proxy.then_some(client.address));
        let browser = Browser {
            is_secure: headers::is_secure(headers, client, &config.trusted_headers, connection.is_encrypted),
            // What speaks gRPC and names no origin is none, and has no use for headers that make browsers careful.
            is_possible: !is_grpc || headers.has(&header::ORIGIN),
            cors: generation.cors.as_ref().map(|cors| (cors, cors.judge(headers))),
        };
        let mut record = RequestRecord::begin(state, occupied, request, connection.is_encrypted);
        record.asked_by(Asker::of(client.address, connection.certificate(), request, &config.access_log));
        Self {
            record,
            worker,
            route: None,
            is_edited: false,
            peer,
            client,
            browser,
            principal: None,
            is_late: connection.is_late,
            informed: (request.version == Version::HTTP_11).then(|| Arc::clone(connection)),
            is_encrypted: connection.is_encrypted,
            certified: connection.certificate().map(|_| Arc::clone(connection)),
            audience: connection.audience,
            is_grpc,
            web: None,
            ruling: None,
            wish: None,
        }
    }

    /// The host that the requests of the connection are for, nearly all of them.
    fn introduced(&self) -> Option<&HeaderValue> {
        self.informed.as_ref()?.introduction.get().map(Introduction::host)
    }

    async fn answer(
        &mut self,
        proxy: &Proxy,
        generation: &'g Generation,
        mut head: request_head::Parts,
        incoming: Incoming,
    ) -> Result<Reply, Refusal> {
        let config = &generation.config;
        within_limit(&head.uri, config.limits.uri)?;
        headers::check(&head)?;
        let host = headers::host(&head, self.introduced())?;
        let normal = normal(head.uri.path())?;
        let incoming = match self.by_itself(proxy, generation, &head, &host, &normal, incoming).await? {
            ControlFlow::Break(reply) => return Ok(reply),
            ControlFlow::Continue(incoming) => incoming,
        };
        let route = self.route(&generation.table, &normal, &host, &head)?;
        if let Some(rules) = &route.access {
            access::from(rules, self.client.address)?;
        }
        let incoming = match self.web {
            None => incoming,
            Some(web) => web.enter(&mut head.headers, incoming),
        };
        let granted = match self.admit(proxy, generation, route, &head, &normal, &host).await? {
            ControlFlow::Break(reply) => return Ok(reply),
            ControlFlow::Continue(granted) => granted,
        };
        let visitor = Visitor {
            headers: &head.headers,
            address: self.client.address,
            is_secure: self.browser.is_secure,
            keeps_cookies: !self.is_grpc,
        };
        let (to, cookie) = match &route.deed {
            Deed::Ask(split) => split.choose(&visitor),
            deed => {
                let host = headers::public_host(&head.headers, self.client, &config.trusted_headers, &host);
                return instead(deed, &normal, &head, self.browser.is_secure, host).map(Reply::Own);
            }
        };
        self.record.goes_to_service(&to.service.metrics);
        if !to.service.enabled {
            let detail = format!("the {} service is switched off", to.service.name);
            return Err(Refusal::new(Reason::ServiceDisabled, detail));
        }
        let key = to.cluster.key(&visitor);
        let mut upload = self.upload(config, route.body_limit, &head, incoming)?;
        let is_translated = upgrade::is_translated(&head);
        let upgrade = if is_translated { Some(upgrade::WEBSOCKET) } else { upgrade::asked(&head, !upload.is_none()) };
        let upgrade = upgrade.filter(|_| !self.is_grpc);
        let timeouts = self.timeouts(config, to, &head, &upload);
        self.wish = route.compress.as_ref().map(|_| Wish::of(&head, &proxy.encoders));
        let is_unsized = upload.is_unsized();
        if granted.is_some() || route.request_headers.is_some() {
            // They could say what is taken off the head.
            head.headers.remove_all(&header::TRAILER);
            upload.drop_trailers();
        }
        self.introduce(config, route, &host, is_unsized, upgrade.as_ref(), granted, &mut head.headers);
        let mut onward = request_head::Parts {
            uri: backend_uri(route.target(&normal, &head.uri), self.is_grpc.then_some(&host))?,
            version: if self.is_grpc { Version::HTTP_2 } else { Version::HTTP_11 },
            method: head.method,
            headers: head.headers,
        };
        if let Some(mirror) = &route.mirror
            && upgrade.is_none()
        {
            mirror::begin(mirror, &proxy.copies, &onward, &mut upload, self.worker, timeouts.pool_size);
        }
        if route.is_buffered && !upload.is_none() {
            let BufferRequest { memory, folder } = &config.buffer_request;
            // Boxed: other calls shall not carry the room for it.
            let buffered = Box::pin(upload.buffer(*memory, folder.as_deref(), timeouts.end)).await;
            buffered.map_err(|Broken(reason)| forward::refusal(reason))?;
        }
        let forward = Forward {
            record: &mut self.record,
            head: &mut onward,
            worker: self.worker,
            cluster: &to.cluster,
            timeouts: &timeouts,
            retries: to.cluster.retries(),
            key: key.number,
            is_grpc: self.is_grpc,
            informed: self.informed.as_ref(),
            upgrade: upgrade.as_ref(),
            place: None,
            retry_wait_left: to.cluster.retries().longest_wait.get(),
        };
        let call = forward.call(upload).await?;
        self.record.waited(call.waited);
        if let Some(protocol) = upgrade.filter(|_| call.response.head.status == StatusCode::SWITCHING_PROTOCOLS) {
            let sent = Some(&onward.headers).filter(|_| is_translated);
            return switch(self.browser.cors.is_some(), call, &protocol, sent);
        }
        let mut reply = self.reply(to, call, &onward.headers, &timeouts);
        if let Reply::Backend(head, _) = &mut reply {
            cookie.into_iter().chain(key.cookie).for_each(|cookie| head.headers.add(header::SET_COOKIE, cookie));
        }
        Ok(reply)
    }

    /// Whether the client may use the route now: how much of it is under way, whose token it shows, how often it calls, and what
    /// another server says, if one is asked, with the headers that it gives.
    async fn admit(
        &mut self,
        proxy: &Proxy,
        generation: &'g Generation,
        route: &'g Route,
        head: &request_head::Parts,
        normal: &str,
        host: &HeaderValue,
    ) -> Result<ControlFlow<Reply, Option<(&'g ForwardAuth, Granted)>>, Refusal> {
        if self.is_late {
            let refusal = Refusal::new(Reason::Draining, "the gateway is shutting down");
            return Err(refusal.retry_after(Duration::from_secs(1)));
        }
        let most = generation.config.limits.unfinished_per_address;
        if most > 0 && self.record.unfinished() > most {
            let detail = format!("{most} requests of this client are not over yet");
            return Err(Refusal::new(Reason::TooManyUnfinished, detail).retry_after(Duration::from_secs(1)));
        }
        self.identify(proxy, generation, &head.headers).await?;
        if let Some(rules) = &route.access {
            access::by(rules, self.principal.as_deref())?;
        }
        self.limit(generation, route.limit, &head.headers).await?;
        let Some(auth) = &route.forward_auth else { return Ok(ControlFlow::Continue(None)) };
        let leave = self.ask_leave(generation, auth, head, normal, host).await?;
        Ok(leave.map_continue(|headers| Some((&**auth, headers))))
    }

    /// Makes the headers those that the service gets.
    #[expect(clippy::too_many_arguments, reason = "each is known where it is called, and nowhere else")]
    fn introduce(
        &self,
        config: &Config,
        route: &Route,
        host: &HeaderValue,
        is_unsized: bool,
        upgrade: Option<&HeaderValue>,
        granted: Option<(&ForwardAuth, Granted)>,
        headers: &mut Headers,
    ) {
        let onward = Onward {
            client: self.client,
            trusted: &config.trusted_headers,
            peer: self.peer,
            encrypted: self.is_encrypted,
            certificate: self.certified.as_ref().and_then(|connection| connection.certificate()),
            host,
            prefix: route.prefix(),
            is_unsized,
            underscores: config.underscores_in_headers,
            http2: self.is_grpc,
            upgrade,
            introduction: self.informed.as_ref().map(|connection| &connection.introduction),
        };
        headers::to_backend(headers, &onward);
        if let Some((auth, said)) = granted {
            forward_auth::grant(auth, said, headers);
        }
        if let Some(edits) = &route.request_headers {
            edits.apply(headers);
        }
        self.record.hand_on(headers);
    }

    /// What the gateway answers by itself: its own routes, the admin API, redirects, preflights, the reference. Otherwise the
    /// request goes on with its body.
    async fn by_itself(
        &mut self,
        proxy: &Proxy,
        generation: &'g Generation,
        head: &request_head::Parts,
        host: &HeaderValue,
        normal: &str,
        incoming: Incoming,
    ) -> Result<ControlFlow<Reply, Incoming>, Refusal> {
        let config = &generation.config;
        let own = Operation::find(normal).filter(|_| !self.is_grpc);
        let admin = admin::route(normal).filter(|_| !self.is_grpc);
        if admin.is_some() || own.is_some_and(Operation::is_for_operators) {
            self.operators_only(config, head, host)?;
        }
        let is_dev_token = dev_token::is_at(generation, normal) && !self.is_grpc;
        if own.is_some() || admin.is_some() || is_dev_token {
            // Health, metrics, tokens and the admin API are for operators, not for other sites' pages.
            self.browser.cors = None;
        } else if generation.table.has_sharing && !self.is_grpc {
            self.browser.share(generation, head, host, normal);
        }
        if let Some(csrf) = &generation.csrf {
            let host = headers::public_host(&head.headers, self.client, &config.trusted_headers, host);
            let cors = self.browser.cors.as_ref().map(|(_, verdict)| verdict);
            refusal::own_pages_only(csrf.judge(&head.method, &head.headers, host, cors))?;
        }
        if let Some(own) = own {
            self.record.own(own.path());
            let response = operations::answer(own, self.audience, &head.method, &head.headers.to_map(), &proxy.state)?;
            return Ok(ControlFlow::Break(Reply::Own(response)));
        }
        // On this machine itself nobody listens in: operators need no certificate there.
        let is_here = self.audience == Audience::Clients && self.peer.to_canonical().is_loopback();
        let is_near = self.audience == Audience::Operators || is_here;
        let may_be_open = (admin.is_some() || is_dev_token) && is_near;
        if config.tls.redirect && !self.browser.is_secure && !may_be_open {
            let host = headers::public_host(&head.headers, self.client, &config.trusted_headers, host);
            return Err(redirect::to_tls(&config.tls, host, &head.uri));
        }
        if let Some(route) = admin.or(is_dev_token.then_some(dev_token::PATH)) {
            self.record.own(route);
            let (peer, client, request_id) = (self.peer, self.client, self.record.request_id());
            let head = &head.to_http();
            let asked = Asked { head, path: normal, host, peer, client, request_id, audience: self.audience };
            if is_dev_token {
                return dev_token::answer(generation, &asked).map(|response| ControlFlow::Break(Reply::Own(response)));
            }
            let (response, listener) = admin::answer(&proxy.admin, &proxy.state, generation, asked, incoming).await?;
            return Ok(ControlFlow::Break(match listener {
                None => Reply::Own(response),
                Some(listener) => Reply::Events(response, listener),
            }));
        }
        if self.audience == Audience::Operators {
            return Err(Refusal::new(Reason::NoRoute, "this is the listener of operators; the clients' is another"));
        }
        if let Some((cors, verdict)) = &self.browser.cors
            && cors::is_preflight(&head.method, &head.headers)
        {
            self.record.own(cors::PREFLIGHT);
            return Ok(ControlFlow::Break(Reply::Own(cors.preflight(verdict))));
        }
        if let Some(route) = docs::Route::find(generation, normal).filter(|_| !self.is_grpc) {
            return self.refer(route, &proxy.docs, generation, head).await.map(ControlFlow::Break);
        }
        Ok(ControlFlow::Continue(incoming))
    }

    /// Hides what is for operators from everybody else who comes by the clients' port.
    fn operators_only(&self, config: &Config, head: &request_head::Parts, host: &HeaderValue) -> Result<(), Refusal> {
        let may = self.audience == Audience::Operators
            || config.admin.on_client_port
                && self.audience == Audience::Clients
                && guard::is_local(&head.headers, host, self.peer);
        if may {
            return Ok(());
        }
        Err(Refusal::new(Reason::NoRoute, "metrics, details and the admin API are on a listener of their own"))
    }

    /// Answers with the reference of the API.
    async fn refer(
        &mut self,
        route: docs::Route<'_>,
        docs: &Docs,
        generation: &Generation,
        head: &request_head::Parts,
    ) -> Result<Reply, Refusal> {
        self.record.own(route.pattern());
        if route.is_counted() {
            self.limit(generation, None, &head.headers).await?;
        }
        route.answer(docs, generation, &head.to_http()).await.map(Reply::Own)
    }

    fn route(
        &mut self,
        table: &'g Table,
        path: &str,
        host: &HeaderValue,
        head: &request_head::Parts,
    ) -> Result<&'g Route, Refusal> {
        let web = if table.has_grpc_web && !self.is_grpc { Web::of(head) } else { None };
        if web.is_some() && table.find(true, path, host, head).is_some_and(|route| route.grpc_web) {
            self.web = web;
            self.is_grpc = true;
        }
        let Some(route) = table.find(self.is_grpc, path, host, head) else {
            let detail = if self.is_grpc && table.is_everybodys(path) {
                "every service has this one; say whose with the metadata shop-service".to_owned()
            } else {
                format!("no route leads to {path}")
            };
            return Err(Refusal::new(Reason::NoRoute, detail));
        };
        if let Some(other) = path::other_reading(path) {
            let guarded = table.find(self.is_grpc, &other, host, head).filter(|route| route.is_guarded());
            if guarded.is_some_and(|guarded| !Arc::ptr_eq(guarded, route)) {
                let detail = "some servers would read the path as another one, which not everybody may use";
                return Err(Refusal::new(Reason::BadPath, detail));
            }
        }
        let service = route.destinations().next().map(|to| &to.service.metrics);
        self.record.routed(&route.numbers, service);
        self.route = Some(route);
        Ok(route)
    }

    /// Finds out whose token comes with the request, before its body is read and a backend is chosen. The token goes on as it
    /// came: what its bearer may do is for the service to say, and nothing else about him is told or believed.
    async fn identify(&mut self, proxy: &Proxy, generation: &Generation, headers: &Headers) -> Result<(), Refusal> {
        let Some(authenticator) = generation.identity.authenticator() else { return Ok(()) };
        let name = header::AUTHORIZATION;
        let Some(token) = shop_identity::bearer_of(headers.values(&name))? else { return Ok(()) };
        self.principal = Some(match authenticator.known(token) {
            Some(principal) => principal,
            // Boxed: calls with tokens that are known shall not carry the room for it.
            None => Box::pin(token::check(authenticator, token, self.client.address, &proxy.attempts)).await?,
        });
        Ok(())
    }

    /// Takes the request off what its client may do, by the `policy` of its route, or by that for everything.
    async fn limit(&mut self, generation: &Generation, policy: Option<u16>, headers: &Headers) -> Result<(), Refusal> {
        let Some(limiter) = &generation.limiter else { return Ok(()) };
        let subject = self.principal.as_deref().map(|who| Subject { issuer: &who.issuer, name: &who.subject });
        let call = Counted { policy, headers, address: self.client.address, subject };
        self.ruling = limiter.check(&call, self.record.span()).await;
        match self.ruling.map(|ruling| ruling.verdict) {
            None | Some(Verdict::Allowed { .. }) => Ok(()),
            Some(Verdict::Refused { retry_after }) => {
                Err(Refusal::new(Reason::RateLimited, "too many requests; slow down").retry_after(retry_after))
            }
        }
    }

    /// Asks another server whether the request may go on: with which headers, or what the client gets instead.
    async fn ask_leave(
        &mut self,
        generation: &Generation,
        auth: &ForwardAuth,
        head: &request_head::Parts,
        path: &str,
        host: &HeaderValue,
    ) -> Result<ControlFlow<Reply, Granted>, Refusal> {
        let trusted = &generation.config.trusted_headers;
        let question = Question {
            method: &head.method,
            path,
            query: head.uri.query(),
            host: headers::public_host(&head.headers, self.client, trusted, host),
            is_secure: self.browser.is_secure,
            client: self.client.address.to_string(),
            headers: &head.headers,
            request_id: self.record.request_id(),
        };
        // Boxed: other calls shall not carry the room for it.
        Ok(match Box::pin(forward_auth::ask(auth, &question, self.worker)).await? {
            Answer::Granted(headers) => ControlFlow::Continue(headers),
            Answer::Refused(answer) => {
                let (answer, status) = forward_auth::refused(answer, &head.method, self.is_grpc);
                self.record.grpc_status(status);
                ControlFlow::Break(Reply::Own(match self.web {
                    None => answer,
                    Some(web) => web.own(answer),
                }))
            }
        })
    }

    /// The body, refused before a backend is bothered when its announced size is over the limit.
    fn upload(
        &mut self,
        config: &Config,
        limit: u64,
        head: &request_head::Parts,
        incoming: Incoming,
    ) -> Result<RequestBody, Refusal> {
        // A stream of gRPC messages has no size; the services limit each message.
        let limit = if self.is_grpc { u64::MAX } else { limit };
        let announced = head.headers.text(&header::CONTENT_LENGTH);
        if announced.and_then(|length| length.parse().ok()).is_some_and(|length: u64| length > limit) {
            return Err(Refusal::new(Reason::BodyTooLarge, format!("the body is larger than {limit} bytes")));
        }
        let longest_pause = (!self.is_grpc).then(|| config.limits.body_idle.get());
        let upload = RequestBody::new(incoming, limit, longest_pause);
        self.record.uploads(upload.progress());
        Ok(upload)
    }

    fn timeouts(
        &self,
        config: &Config,
        to: &Destination,
        head: &request_head::Parts,
        upload: &RequestBody,
    ) -> Timeouts {
        let times = &to.times;
        let whole = if self.is_grpc { grpc::timeout(&head.headers) } else { times.total };
        let begun = Instant::now();
        Timeouts {
            connect: times.connect,
            head: (!self.is_grpc).then_some(times.first_byte),
            sign: times.first_byte,
            begun,
            end: whole.map(|whole| begun + whole),
            upload: upload.progress(),
            pool_size: config.upstream.pool_size,
        }
    }

    /// What becomes of a backend's answer to a request with the headers `sent`.
    fn reply(&mut self, to: &Destination, call: Call, sent: &Headers, timeouts: &Timeouts) -> Reply {
        let Call { response, outcome, permit, in_flight, .. } = call;
        let response_head::Response { mut head, body: incoming } = response;
        if self.is_grpc {
            self.record.grpc_status(grpc::status(&head.headers));
        }
        // Of the connection to the backend (RFC 9110, section 2.5): an old backend's clients may keep theirs.
        head.version = Version::HTTP_11;
        headers::to_client(&mut head.headers);
        if self.browser.cors.is_some() {
            cors::overrule(&mut head.headers);
        }
        if !self.is_grpc {
            let inside = Inside { backend: in_flight.backend().address(), sent, outside: &to.outside };
            location::rewrite(&mut head.headers, &inside);
        }
        if let Some(edits) = self.route.and_then(|route| route.response_headers.as_ref()) {
            edits.apply(&mut head.headers);
            self.is_edited = true;
        }
        let wish = self.wish.take().zip(self.route.and_then(|route| route.compress.as_ref()));
        let size = incoming.size_hint().exact();
        let encoder = wish.and_then(|(wish, settings)| wish.grant(&mut head, sent, settings, size));
        let framer = self.web.and_then(|web| web.leave(&mut head));
        let recoder = encoder.map(Recoder::Compress).or(framer.map(Recoder::Web));
        let download = ProxiedBody {
            incoming,
            permit,
            in_flight,
            longest_pause: to.times.idle.filter(|_| !self.is_grpc),
            end: timeouts.end,
            grpc: self.is_grpc && outcome.is_none(),
            recoded: recoder.map(Recoded::new),
            state: crate::proxy::proxied_body::Flow::default(),
        };
        Reply::Backend(head, Box::new(download))
    }
}

/// The one form of `path`; that of the server itself stays.
fn normal(path: &str) -> Result<Cow<'_, str>, Refusal> {
    if path == SERVER {
        return Ok(path.into());
    }
    path::normalise(path).map_err(|error| Refusal::new(Reason::BadPath, error.to_string()))
}

/// The backend agreed to speak another protocol. Where there are rules for other sites' pages, its own do not count. Over HTTP/2
/// its proof is for the gateway to look at, which `sent` the key.
fn switch(has_rules: bool, call: Call, protocol: &HeaderValue, sent: Option<&Headers>) -> Result<Reply, Refusal> {
    let Call { response, in_flight, .. } = call;
    let response_head::Response { mut head, body } = response;
    let stream = match body {
        ResponseBody::Left(body) => body.into_stream(),
        ResponseBody::Right(_) => None,
    };
    let (backend, early) = stream.ok_or_else(|| {
        Refusal::new(Reason::UpstreamInvalid, "the service switched protocols where there is none to switch to")
    })?;
    headers::to_client(&mut head.headers);
    match sent {
        None => upgrade::write(&mut head.headers, protocol),
        Some(sent) if upgrade::translate_back(&mut head, sent) => {}
        Some(_) => {
            return Err(Refusal::new(
                Reason::UpstreamInvalid,
                "the service opened a WebSocket without reading its key",
            ));
        }
    }
    if has_rules {
        cors::overrule(&mut head.headers);
    }
    Ok(Reply::Tunnel(head, Link { backend, early, in_flight }))
}

/// `target` in origin-form for HTTP/1.1, absolute for HTTP/2, whose `:authority` is the host.
fn backend_uri(target: String, http2_host: Option<&HeaderValue>) -> Result<Uri, Refusal> {
    let bad = || Refusal::new(Reason::BadPath, "the request target is not valid");
    let target = PathAndQuery::from_maybe_shared(Bytes::from(target)).map_err(|_| bad())?;
    let mut parts = http::uri::Parts::default();
    parts.path_and_query = Some(target);
    if let Some(host) = http2_host {
        parts.scheme = Some(Scheme::HTTP);
        parts.authority = Some(Authority::try_from(host.as_bytes()).map_err(|_| bad())?);
    }
    Uri::from_parts(parts).map_err(|_| bad())
}
