//! Whether a client may use a route now: by its token, by how often it calls, and by what another server says.

use std::ops::ControlFlow;
use std::time::Duration;

use http::{HeaderValue, header};
use shop_http1::fields::Fields as _;
use shop_http1::{Headers, request_head};
use shop_limit::{Call as Counted, Subject, Verdict};

use super::access;
use super::forward_auth::{self, Answer, Granted, Question};
use super::reply::Reply;
use super::visit::{Proxy, Visit};
use crate::message::headers;
use crate::message::reason::Reason;
use crate::message::refusal::Refusal;
use crate::routing::routes::{ForwardAuth, Route};
use crate::state::generation::Generation;
use crate::state::token;

impl<'g> Visit<'g> {
    /// Whether the client may use the route now: how much of it is under way, whose token it shows, how often it calls, and what
    /// another server says, if one is asked, with the headers that it gives.
    pub(super) async fn admit(
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
    pub(super) async fn limit(
        &mut self,
        generation: &Generation,
        policy: Option<u16>,
        headers: &Headers,
    ) -> Result<(), Refusal> {
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
}
