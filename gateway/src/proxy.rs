//! The way of a request through the gateway, in reading order: limits, request id, CORS, CSRF, route, address, token, rate limit,
//! other servers' leave, backend, breaker, call, answer with its security headers.

mod access;
mod admit;
mod by_itself;
mod compress;
mod find;
mod finish;
mod forward;
mod forward_auth;
mod grpc_web;
mod instead;
mod location;
mod mirror;
mod onward;
pub(crate) mod proxied_body;
mod recoded;
mod redirect;
mod reply;
pub(crate) mod tunnel;
mod unreadable;
mod visit;

pub(crate) use self::visit::Proxy;

use std::net::IpAddr;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::thread::LocalKey;

use bytes::Bytes;
use http::header::{self, HeaderValue};
use http::{StatusCode, Uri, Version};
use shop_http1::Edit as _;
use shop_http1::request_head::{self, Fault};
use shop_http1::response_head;

use self::compress::Wish;
use self::find::normal;
use self::finish::finish;
use self::forward::Forward;
use self::instead::instead;
use self::onward::backend_uri;
use self::proxied_body::Body;
use self::reply::{Reply, switch};
use self::tunnel::Tunnel;
use self::visit::Visit;
use crate::message::headers;
use crate::message::reason::Reason;
use crate::message::refusal::Refusal;
use crate::message::upgrade;
use crate::routing::affinity::Visitor;
use crate::routing::routes::Deed;
use crate::server::ConnectionState;
use crate::server::handler::{Handler, Served, Spare};
use crate::settings::BufferRequest;
use crate::state::generation::Generation;
use crate::upstream::body::{Broken, Incoming};

thread_local! {
    /// Room of requests that are over, for those that come.
    static SPARE: Spare<Proxy> = const { Spare::<Proxy>::new(Vec::new()) };
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

fn within_limit(uri: &Uri, most: usize) -> Result<(), Refusal> {
    if uri.path_and_query().is_some_and(|target| target.as_str().len() > most) {
        return Err(Refusal::new(Reason::UriTooLong, format!("the request target is longer than {most} bytes")));
    }
    Ok(())
}

impl<'g> Visit<'g> {
    /// The straight path, from the head of the request to that of its answer.
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
}
