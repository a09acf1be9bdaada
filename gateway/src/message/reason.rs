//! Why the gateway itself answered: one stable word, the same in the answer, the log and the metric.

use http::{HeaderValue, StatusCode};
use shop_fault::Kind;
use shop_http1::request_head::FaultKind;

/// Makes [`Reason`] of a list of names and words.
macro_rules! reasons {
    ($($(#[doc = $doc:literal])+ $name:ident = $word:literal,)+) => {
        /// Why a request was not answered by a backend.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(crate) enum Reason {
            $($(#[doc = $doc])+ $name,)+
        }

        impl Reason {
            /// Every reason, in the order of their discriminants.
            pub(crate) const ALL: [Self; [$($word),+].len()] = [$(Self::$name),+];

            /// The word: `code` of the problem, `X-Gateway-Reason`, field of the log, label of the metric.
            pub(crate) const fn word(self) -> &'static str {
                match self {
                    $(Self::$name => $word,)+
                }
            }
        }
    };
}

reasons! {
    /// The head is not one a proxy may forward: bad host, ambiguous framing.
    BadRequest = "bad_request",
    /// The path has a malformed escape or tries to leave its prefix.
    BadPath = "bad_path",
    /// `CONNECT` and `TRACE`, or a method that an own route does not have.
    MethodRefused = "method_refused",
    /// The client stopped sending its body.
    BodyTimeout = "body_timeout",
    /// The body is over the limit.
    BodyTooLarge = "body_too_large",
    /// The request's head is over the limit, in bytes or in lines.
    HeadTooLarge = "head_too_large",
    /// The request target is over the limit.
    UriTooLong = "uri_too_long",
    /// An `Expect` other than `100-continue`.
    ExpectationFailed = "expectation_failed",
    /// Came in cleartext, and settings send such clients to TLS.
    TlsRequired = "tls_required",
    /// No route has this prefix.
    NoRoute = "no_route",
    /// Another site's page made the user's browser send a change.
    CrossOriginRefused = "cross_origin_refused",
    /// The service is switched off by a setting.
    ServiceDisabled = "service_disabled",
    /// The route is not for clients of this address.
    AddressRefused = "address_refused",
    /// The route wants a token, and there is none.
    TokenMissing = "token_missing",
    /// The token is none, not for the shop, or not signed by anybody whom it trusts.
    TokenInvalid = "token_invalid",
    /// The token was good once.
    TokenExpired = "token_expired",
    /// The token is good, and its bearer has none of the roles that the route wants.
    Forbidden = "forbidden",
    /// The server that says who may use the route gave no answer, or not in time.
    AuthUnavailable = "auth_unavailable",
    /// The keys to check tokens with cannot be had.
    IdentityUnavailable = "identity_unavailable",
    /// Only for callers on this machine itself.
    LocalOnly = "local_only",
    /// The client is over its rate.
    RateLimited = "rate_limited",
    /// The client has as many requests under way as it may.
    TooManyUnfinished = "too_many_unfinished",
    /// The circuit breakers of all backends are open.
    BreakerOpen = "breaker_open",
    /// The service has no backend to send this to.
    NoHealthyBackend = "no_healthy_backend",
    /// This machine has no descriptors, ports or memory for another connection.
    GatewayExhausted = "gateway_exhausted",
    /// No connection to the backend could be made.
    ConnectFailed = "connect_failed",
    /// The gateway's own files for TLS to the service cannot be used, or settings name nobody whose certificate would do.
    TlsUnusable = "tls_unusable",
    /// No TLS with the backend: its certificate is not good, or it does not take the gateway's.
    UpstreamTlsFailed = "upstream_tls_failed",
    /// The backend closed or broke the connection before its answer was complete.
    UpstreamReset = "upstream_reset",
    /// The backend's answer is not HTTP, or not one a proxy may forward.
    UpstreamInvalid = "upstream_invalid",
    /// So many calls are with the backend that this one found no place in time.
    UpstreamBusy = "upstream_busy",
    /// The backend did not answer in time.
    UpstreamTimeout = "upstream_timeout",
    /// Nothing moved through a tunnel for too long; seen in logs and metrics only.
    TunnelIdle = "tunnel_idle",
    /// The gateway is shutting down.
    Draining = "draining",
    /// The client went away; seen in logs and metrics only.
    ClientClosed = "client_closed",
    /// The admin API wants a token, and this is none or another.
    AdminUnauthorized = "admin_unauthorized",
    /// The admin API answers this machine only, as long as no token is set.
    AdminForbidden = "admin_forbidden",
    /// The admin API knows no such service or backend.
    NotFound = "not_found",
    /// The backend to add is there already.
    AlreadyExists = "already_exists",
    /// The state is not the one that `If-Match` names.
    PreconditionFailed = "precondition_failed",
    /// A change is not JSON.
    UnsupportedMedia = "unsupported_media_type",
    /// A change is not valid JSON.
    MalformedJson = "malformed_json",
    /// A query parameter of the admin API is unknown or makes no sense.
    InvalidParameter = "invalid_parameter",
    /// A change is not one that settings could have.
    ValidationFailed = "validation_failed",
    /// A change could not be kept, so it was not made.
    StateNotSaved = "state_not_saved",
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
    /// Its kind in the vocabulary of all failures; none is what only a proxy meets.
    pub(crate) const fn kind(self) -> Option<Kind> {
        Some(match self {
            Self::BadRequest | Self::BadPath | Self::MalformedJson | Self::InvalidParameter => Kind::Malformed,
            Self::MethodRefused => Kind::MethodNotAllowed,
            Self::BodyTooLarge => Kind::TooLarge,
            Self::NoRoute | Self::NotFound => Kind::NotFound,
            Self::CrossOriginRefused
            | Self::AddressRefused
            | Self::Forbidden
            | Self::AdminForbidden
            | Self::LocalOnly => Kind::Forbidden,
            Self::AdminUnauthorized | Self::TokenMissing | Self::TokenInvalid | Self::TokenExpired => {
                Kind::Unauthenticated
            }
            Self::AlreadyExists => Kind::Conflict,
            Self::PreconditionFailed => Kind::Precondition,
            Self::UnsupportedMedia => Kind::UnsupportedMedia,
            Self::ValidationFailed => Kind::Invalid,
            Self::RateLimited | Self::TooManyUnfinished => Kind::TooManyRequests,
            Self::IdentityUnavailable
            | Self::AuthUnavailable
            | Self::ServiceDisabled
            | Self::BreakerOpen
            | Self::NoHealthyBackend
            | Self::GatewayExhausted
            | Self::TlsUnusable
            | Self::UpstreamBusy
            | Self::Draining
            | Self::StateNotSaved => Kind::Unavailable,
            Self::ConnectFailed | Self::UpstreamTlsFailed | Self::UpstreamReset | Self::UpstreamInvalid => {
                Kind::BadGateway
            }
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
