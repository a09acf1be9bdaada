//! The last headers of every response, whoever made it: a backend, the gateway, or the refusal of a head that nobody could read.

use std::borrow::Cow;

use http::{HeaderValue, Method, header};
use shop_browser::{Cors, cors};
use shop_http::request_id::HEADER as X_REQUEST_ID;
use shop_http1::Edit;
use shop_http1::fields::Fields as _;
use shop_http1::request_head::Parts;
use shop_limit::Ruling;

use crate::docs;
use crate::routing::routes::Sharing;
use crate::state::generation::Generation;

/// Writes them. They come last, so that a backend cannot say otherwise.
pub(super) fn finish(
    headers: &mut impl Edit,
    request_id: &HeaderValue,
    ruling: Option<Ruling>,
    browser: Browser<'_>,
    generation: &Generation,
) {
    headers.copy(&X_REQUEST_ID, request_id);
    if let (Some(limiter), Some(ruling)) = (&generation.limiter, ruling) {
        limiter.tell(&ruling, headers);
    }
    browser.instruct(headers, generation);
}

/// What matters when the client is a browser.
pub(super) struct Browser<'g> {
    /// Whether it may be one at all.
    pub(super) is_possible: bool,
    /// Whether it speaks TLS.
    pub(super) is_secure: bool,
    /// The rules for other sites' pages, and what they say; none when there are no rules for this request.
    pub(super) cors: Option<(&'g Cors, cors::Verdict)>,
}

impl<'g> Browser<'g> {
    /// Takes the rules for other sites' pages from the route of a request for `path`, if it has some of its own. That of a preflight
    /// is the route of the request that it asks for.
    pub(super) fn share(&mut self, generation: &'g Generation, head: &Parts, host: &HeaderValue, path: &str) {
        if docs::Route::find(generation, path).is_some() {
            return;
        }
        let mut method = Cow::Borrowed(&head.method);
        if cors::is_preflight(&head.method, &head.headers)
            && let Some(Ok(wanted)) = head.headers.value(&header::ACCESS_CONTROL_REQUEST_METHOD).map(Method::from_bytes)
        {
            method = Cow::Owned(wanted);
        }
        let find = |is_grpc| generation.table.find_for(is_grpc, path, host, &method, &head.uri, &head.headers);
        // A page may call it as gRPC-Web, and then by the rules for all.
        if generation.table.has_grpc_web && *method == Method::POST && find(true).is_some_and(|route| route.grpc_web) {
            return;
        }
        let found = find(false);
        if let Some(Sharing::Own(rules)) = found.map(|route| &route.cors) {
            self.cors = rules.as_deref().map(|cors| (cors, cors.judge(&head.headers)));
        }
    }

    /// Tells it what it may do with the answer.
    fn instruct(self, headers: &mut impl Edit, generation: &Generation) {
        if !self.is_possible {
            return;
        }
        if let Some(security) = &generation.security {
            security.write(headers, self.is_secure);
        }
        if let Some((cors, verdict)) = self.cors {
            cors.write(verdict, headers);
        }
    }
}
