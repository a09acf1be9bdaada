//! Why the gateway itself answered: one stable word, the same in the answer, the log and the metric.

use http::{HeaderValue, StatusCode};
use shop_fault::Kind;
use shop_http1::request_head::FaultKind;

/// Why a request was not answered by a backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reason {
    /// The head is not one a proxy may forward: bad host, ambiguous framing.
    BadRequest,
    /// The path has a malformed escape or tries to leave its prefix.
    BadPath,
    /// `CONNECT` and `TRACE`, or a method that an own route does not have.
    MethodRefused,
    /// The client stopped sending its body.
    BodyTimeout,
    /// The body is over the limit.
    BodyTooLarge,
    /// The request's head is over the limit, in bytes or in lines.
    HeadTooLarge,
    /// The request target is over the limit.
    UriTooLong,
    /// An `Expect` other than `100-continue`.
    ExpectationFailed,
    /// Came in cleartext, and settings send such clients to TLS.
    TlsRequired,
    /// No route has this prefix.
    NoRoute,
    /// Another site's page made the user's browser send a change.
    CrossOriginRefused,
    /// The service is switched off by a setting.
    ServiceDisabled,
    /// The client is over its rate.
    RateLimited,
    /// The circuit breakers of all backends are open.
    BreakerOpen,
    /// The service has no backend to send this to.
    NoHealthyBackend,
    /// No connection to the backend could be made.
    ConnectFailed,
    /// The backend closed or broke the connection before its answer was complete.
    UpstreamReset,
    /// The backend's answer is not HTTP, or not one a proxy may forward.
    UpstreamInvalid,
    /// The backend did not answer in time.
    UpstreamTimeout,
    /// Nothing moved through a tunnel for too long; seen in logs and metrics only.
    TunnelIdle,
    /// The gateway is shutting down.
    Draining,
    /// The client went away; seen in logs and metrics only.
    ClientClosed,
    /// The admin API wants a token, and this is none or another.
    AdminUnauthorized,
    /// The admin API answers this machine only, as long as no token is set.
    AdminForbidden,
    /// The admin API knows no such service or backend.
    NotFound,
    /// The backend to add is there already.
    AlreadyExists,
    /// The state is not the one that `If-Match` names.
    PreconditionFailed,
    /// A change is not JSON.
    UnsupportedMedia,
    /// A change is not valid JSON.
    MalformedJson,
    /// A query parameter of the admin API is unknown or makes no sense.
    InvalidParameter,
    /// A change is not one that settings could have.
    ValidationFailed,
    /// A change could not be kept, so it was not made.
    StateNotSaved,
}

impl From<FaultKind> for Reason {
    fn from(kind: FaultKind) -> Self {
        match kind {
            FaultKind::Invalid => Self::BadRequest,
            FaultKind::HeadTooLarge => Self::HeadTooLarge,
            FaultKind::UriTooLong => Self::UriTooLong,
        }
    }
}

impl Reason {
    /// Every reason, in the order of their discriminants.
    pub(crate) const ALL: [Self; 32] = [
        Self::BadRequest,
        Self::BadPath,
        Self::MethodRefused,
        Self::BodyTimeout,
        Self::BodyTooLarge,
        Self::HeadTooLarge,
        Self::UriTooLong,
        Self::ExpectationFailed,
        Self::TlsRequired,
        Self::NoRoute,
        Self::CrossOriginRefused,
        Self::ServiceDisabled,
        Self::RateLimited,
        Self::BreakerOpen,
        Self::NoHealthyBackend,
        Self::ConnectFailed,
        Self::UpstreamReset,
        Self::UpstreamInvalid,
        Self::UpstreamTimeout,
        Self::TunnelIdle,
        Self::Draining,
        Self::ClientClosed,
        Self::AdminUnauthorized,
        Self::AdminForbidden,
        Self::NotFound,
        Self::AlreadyExists,
        Self::PreconditionFailed,
        Self::UnsupportedMedia,
        Self::MalformedJson,
        Self::InvalidParameter,
        Self::ValidationFailed,
        Self::StateNotSaved,
    ];

    /// The word: `code` of the problem, `X-Gateway-Reason`, field of the log, label of the metric.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::BadRequest => "bad_request",
            Self::BadPath => "bad_path",
            Self::MethodRefused => "method_refused",
            Self::BodyTimeout => "body_timeout",
            Self::BodyTooLarge => "body_too_large",
            Self::HeadTooLarge => "head_too_large",
            Self::UriTooLong => "uri_too_long",
            Self::ExpectationFailed => "expectation_failed",
            Self::TlsRequired => "tls_required",
            Self::NoRoute => "no_route",
            Self::CrossOriginRefused => "cross_origin_refused",
            Self::ServiceDisabled => "service_disabled",
            Self::RateLimited => "rate_limited",
            Self::BreakerOpen => "breaker_open",
            Self::NoHealthyBackend => "no_healthy_backend",
            Self::ConnectFailed => "connect_failed",
            Self::UpstreamReset => "upstream_reset",
            Self::UpstreamInvalid => "upstream_invalid",
            Self::UpstreamTimeout => "upstream_timeout",
            Self::TunnelIdle => "tunnel_idle",
            Self::Draining => "draining",
            Self::ClientClosed => "client_closed",
            Self::AdminUnauthorized => "admin_unauthorized",
            Self::AdminForbidden => "admin_forbidden",
            Self::NotFound => "not_found",
            Self::AlreadyExists => "already_exists",
            Self::PreconditionFailed => "precondition_failed",
            Self::UnsupportedMedia => "unsupported_media_type",
            Self::MalformedJson => "malformed_json",
            Self::InvalidParameter => "invalid_parameter",
            Self::ValidationFailed => "validation_failed",
            Self::StateNotSaved => "state_not_saved",
        }
    }

    /// Its kind in the vocabulary of all failures; none is what only a proxy meets.
    pub(crate) const fn kind(self) -> Option<Kind> {
        Some(match self {
            Self::BadRequest | Self::BadPath | Self::MalformedJson | Self::InvalidParameter => Kind::Malformed,
            Self::MethodRefused => Kind::MethodNotAllowed,
            Self::BodyTooLarge => Kind::TooLarge,
            Self::NoRoute | Self::NotFound => Kind::NotFound,
            Self::CrossOriginRefused | Self::AdminForbidden => Kind::Forbidden,
            Self::AdminUnauthorized => Kind::Unauthenticated,
            Self::AlreadyExists => Kind::Conflict,
            Self::PreconditionFailed => Kind::Precondition,
            Self::UnsupportedMedia => Kind::UnsupportedMedia,
            Self::ValidationFailed => Kind::Invalid,
            Self::RateLimited => Kind::TooManyRequests,
            Self::ServiceDisabled
            | Self::BreakerOpen
            | Self::NoHealthyBackend
            | Self::Draining
            | Self::StateNotSaved => Kind::Unavailable,
            Self::ConnectFailed | Self::UpstreamReset | Self::UpstreamInvalid => Kind::BadGateway,
            Self::UpstreamTimeout | Self::TunnelIdle => Kind::Timeout,
            Self::TlsRequired
            | Self::BodyTimeout
            | Self::HeadTooLarge
            | Self::UriTooLong
            | Self::ExpectationFailed
            | Self::ClientClosed => return None,
        })
    }

    /// The status of the problem, its kind's if it has one; 499 (nginx's number) stands for a client that left.
    pub(crate) fn status(self) -> StatusCode {
        let status = match self {
            Self::TlsRequired => 308,
            Self::BodyTimeout => 408,
            Self::UriTooLong => 414,
            Self::ExpectationFailed => 417,
            Self::HeadTooLarge => 431,
            Self::ClientClosed => 499,
            _ => self.kind().unwrap_or(Kind::Internal).status(),
        };
        StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_REQUEST)
    }

    /// The `grpc-status` number, where gRPC has no closer one its kind's: `NO_ROUTE` is `UNIMPLEMENTED`, as gRPC maps a 404.
    pub(crate) fn grpc(self) -> u8 {
        match self {
            Self::ClientClosed => 1,
            Self::UriTooLong | Self::ExpectationFailed => 3,
            Self::BodyTimeout => 4,
            Self::AlreadyExists => 6,
            Self::HeadTooLarge => 8,
            Self::TlsRequired | Self::PreconditionFailed => 9,
            Self::NoRoute => 12,
            Self::UpstreamInvalid => 13,
            _ => u8::try_from(self.kind().unwrap_or(Kind::Internal).grpc()).unwrap_or(u8::MAX),
        }
    }

    /// Whether the connection ends with the answer: what follows on it may be the rest of a request nobody understood.
    pub(crate) const fn closes(self) -> bool {
        matches!(self, Self::BadRequest | Self::HeadTooLarge | Self::BodyTooLarge | Self::BodyTimeout | Self::Draining)
    }

    /// The word as a header value.
    pub(crate) const fn header(self) -> HeaderValue {
        HeaderValue::from_static(self.word())
    }

    /// The place in [`Reason::ALL`].
    pub(crate) const fn index(self) -> usize {
        self as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_is_at_its_index_and_has_a_word_of_its_own() {
        let words: std::collections::HashSet<_> = Reason::ALL.iter().map(|reason| reason.word()).collect();
        assert_eq!(words.len(), Reason::ALL.len());
        for (place, reason) in Reason::ALL.into_iter().enumerate() {
            assert_eq!(reason.index(), place);
            assert!(reason.status().as_u16() >= 300 && reason.grpc() <= 16);
        }
    }
}
