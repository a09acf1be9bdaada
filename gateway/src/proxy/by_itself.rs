//! What the gateway answers by itself: its own routes, the admin API, redirects, preflights, the reference of the API.

use std::ops::ControlFlow;

use http::HeaderValue;
use shop_browser::cors;
use shop_http1::request_head;

use super::redirect;
use super::reply::Reply;
use super::visit::{Proxy, Visit};
use crate::admin::{self, dev_token, operations};
use crate::docs::{self, Docs};
use crate::message::client::Audience;
use crate::message::reason::Reason;
use crate::message::refusal::Refusal;
use crate::message::{headers, refusal};
use crate::routing::operation::Operation;
use crate::settings::Config;
use crate::state::generation::Generation;
use crate::state::guard::{self, Asked};
use crate::upstream::body::Incoming;

impl<'g> Visit<'g> {
    /// What the gateway answers by itself: its own routes, the admin API, redirects, preflights, the reference. Otherwise the
    /// request goes on with its body.
    pub(super) async fn by_itself(
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
}
