//! Why a call is not let in.

use std::time::Duration;

use http::HeaderValue;
use shop_fault::{Fault, Kind};

/// Why a call is not let in (RFC 6750, section 3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.detail())]
pub enum Refusal {
    /// There is no token, and this is not for everybody.
    Missing,
    /// The token is none, not for us, or not signed by anybody whom we trust.
    Invalid,
    /// The token was good once.
    Expired,
    /// The token is good, and its bearer may not do this.
    Forbidden,
    /// The keys to check it with cannot be had; try again after so long.
    Unavailable(Duration),
}

impl Refusal {
    /// Its code, as in problems and in gRPC's `ErrorInfo.reason`.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Missing => "token_missing",
            Self::Invalid => "token_invalid",
            Self::Expired => "token_expired",
            Self::Forbidden => "forbidden",
            Self::Unavailable(_) => "identity_unavailable",
        }
    }

    /// What to do about it.
    pub const fn detail(self) -> &'static str {
        match self {
            Self::Missing => "send a token: Authorization: Bearer …",
            Self::Invalid => "the token is not valid here; get a new one from an issuer that this shop trusts",
            Self::Expired => "the token has expired; get a new one",
            Self::Forbidden => "the token is good, but its bearer may not do this",
            Self::Unavailable(_) => "the keys of tokens cannot be had just now; try again",
        }
    }

    /// The class of the failure.
    pub const fn kind(self) -> Kind {
        match self {
            Self::Missing | Self::Invalid | Self::Expired => Kind::Unauthenticated,
            Self::Forbidden => Kind::Forbidden,
            Self::Unavailable(_) => Kind::Unavailable,
        }
    }

    /// The value of `WWW-Authenticate`, which every 401 has, and a 403 for want of a role (RFC 6750, section 3).
    pub const fn challenge(self) -> Option<HeaderValue> {
        let text = match self {
            Self::Missing => "Bearer",
            Self::Invalid => r#"Bearer error="invalid_token", error_description="not valid here""#,
            Self::Expired => r#"Bearer error="invalid_token", error_description="expired""#,
            Self::Forbidden => r#"Bearer error="insufficient_scope""#,
            Self::Unavailable(_) => return None,
        };
        Some(HeaderValue::from_static(text))
    }

    /// The refusal whose code this is; of one that passes, without the time.
    pub fn of_code(code: &str) -> Option<Self> {
        let all = [Self::Missing, Self::Invalid, Self::Expired, Self::Forbidden, Self::Unavailable(Duration::ZERO)];
        all.into_iter().find(|refusal| refusal.code() == code)
    }
}

impl From<Refusal> for Fault {
    fn from(refusal: Refusal) -> Self {
        let fault = Self::new(refusal.kind(), refusal.code(), refusal.detail());
        match refusal {
            Refusal::Unavailable(after) => fault.with_retry_after(after),
            _ => fault,
        }
    }
}
