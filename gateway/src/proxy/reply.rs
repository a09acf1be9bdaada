//! Who answers a request, and what the client gets of a backend's answer.

use bytes::Bytes;
use http::{HeaderValue, Response, Version};
use http_body::Body as _;
use shop_browser::cors;
use shop_http1::{Headers, response_head};

use super::forward::Call;
use super::location::{self, Inside};
use super::proxied_body::{Flow, ProxiedBody};
use super::recoded::{Recoded, Recoder};
use super::tunnel::Link;
use super::visit::Visit;
use crate::admin::events::Listener;
use crate::message::reason::Reason;
use crate::message::refusal::Refusal;
use crate::message::{grpc, headers, upgrade};
use crate::routing::routes::Destination;
use crate::upstream::{ResponseBody, Timeouts};

/// Who answers.
pub(super) enum Reply {
    Own(Response<Bytes>),
    /// As long as the client listens.
    Events(Response<Bytes>, Listener),
    /// A backend, with 101, or 200 over HTTP/2.
    Tunnel(response_head::Parts, Link),
    Backend(response_head::Parts, Box<ProxiedBody>),
}

impl Reply {
    /// The same, unless its 2xx would say to who asked for a WebSocket over HTTP/2 that there is one.
    pub(super) fn or_no_websocket(self) -> Result<Self, Refusal> {
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

impl Visit<'_> {
    /// What becomes of a backend's answer to a request with the headers `sent`.
    pub(super) fn reply(&mut self, to: &Destination, call: Call, sent: &Headers, timeouts: &Timeouts) -> Reply {
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
            state: Flow::default(),
        };
        Reply::Backend(head, Box::new(download))
    }
}

/// The backend agreed to speak another protocol. Where there are rules for other sites' pages, its own do not count. Over HTTP/2
/// its proof is for the gateway to look at, which `sent` the key.
pub(super) fn switch(
    has_rules: bool,
    call: Call,
    protocol: &HeaderValue,
    sent: Option<&Headers>,
) -> Result<Reply, Refusal> {
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
