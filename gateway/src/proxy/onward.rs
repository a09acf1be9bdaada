//! What of a request goes on to a service, and for how long that is waited for.

use bytes::Bytes;
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderValue, Uri, header};
use shop_http1::fields::Fields as _;
use shop_http1::{Headers, request_head};
use tokio::time::Instant;

use super::forward_auth::{self, Granted};
use super::visit::Visit;
use crate::message::grpc;
use crate::message::headers::{self, Onward};
use crate::message::reason::Reason;
use crate::message::refusal::Refusal;
use crate::routing::routes::{Destination, ForwardAuth, Route};
use crate::settings::Config;
use crate::upstream::Timeouts;
use crate::upstream::body::{Incoming, RequestBody};

impl Visit<'_> {
    /// Makes the headers those that the service gets.
    #[expect(clippy::too_many_arguments, reason = "each is known where it is called, and nowhere else")]
    pub(super) fn introduce(
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

    /// The body, refused before a backend is bothered when its announced size is over the limit.
    pub(super) fn upload(
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

    pub(super) fn timeouts(
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
}

/// `target` in origin-form for HTTP/1.1, absolute for HTTP/2, whose `:authority` is the host.
pub(super) fn backend_uri(target: String, http2_host: Option<&HeaderValue>) -> Result<Uri, Refusal> {
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
