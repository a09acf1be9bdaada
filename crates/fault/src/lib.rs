//! One vocabulary of failure: what went wrong, for whom, and the HTTP status and gRPC code that say so.
//!
//! Domain errors turn into a [`Fault`]; `shop-web` renders it as a problem (RFC 9457) and `shop-rpc` as a
//! status with details (`google.rpc.*`). The gateway's reasons are of these kinds too, but for the few that only a proxy
//! meets. Nothing else decides on status codes.

mod scope;

pub use scope::Scope;

use std::borrow::Cow;
use std::error::Error;
use std::fmt;
use std::time::Duration;

use serde::Serialize;
use serde_json::{Map, Value};

/// The class of a failure; decides the HTTP status and the gRPC code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// The request could not be read: bad JSON, bad parameter (400, `INVALID_ARGUMENT`).
    Malformed,
    /// No valid credentials (401, `UNAUTHENTICATED`).
    Unauthenticated,
    /// The payment provider declined (402, `FAILED_PRECONDITION`).
    PaymentRequired,
    /// Credentials do not allow this (403, `PERMISSION_DENIED`).
    Forbidden,
    /// The thing does not exist (404, `NOT_FOUND`).
    NotFound,
    /// The path exists, the method does not (405, `UNIMPLEMENTED`).
    MethodNotAllowed,
    /// No acceptable representation (406, `INVALID_ARGUMENT`).
    NotAcceptable,
    /// The current state forbids it (409, `FAILED_PRECONDITION`).
    Conflict,
    /// Something is at it already; the same request will be answered later (409, `ABORTED`).
    Busy,
    /// The caller's version is not the current one (412, `ABORTED`).
    Precondition,
    /// The change needs to say which version it is of (428 of RFC 6585, `FAILED_PRECONDITION`).
    PreconditionRequired,
    /// Body or head over the limit (413, `RESOURCE_EXHAUSTED`).
    TooLarge,
    /// Not a media type the endpoint reads (415, `INVALID_ARGUMENT`).
    UnsupportedMedia,
    /// Well-formed but not valid (422, `INVALID_ARGUMENT`).
    Invalid,
    /// Over a rate limit (429, `RESOURCE_EXHAUSTED`).
    TooManyRequests,
    /// A defect of ours (500, `INTERNAL`).
    Internal,
    /// An upstream answered nonsense or not at all (502, `UNAVAILABLE`).
    BadGateway,
    /// A dependency is down or we are draining; worth a retry (503, `UNAVAILABLE`).
    Unavailable,
    /// A deadline passed (504, `DEADLINE_EXCEEDED`).
    Timeout,
}

impl Kind {
    /// The HTTP status code (RFC 9110).
    pub const fn status(self) -> u16 {
        match self {
            Self::Malformed => 400,
            Self::Unauthenticated => 401,
            Self::PaymentRequired => 402,
            Self::Forbidden => 403,
            Self::NotFound => 404,
            Self::MethodNotAllowed => 405,
            Self::NotAcceptable => 406,
            Self::Conflict | Self::Busy => 409,
            Self::Precondition => 412,
            Self::PreconditionRequired => 428,
            Self::TooLarge => 413,
            Self::UnsupportedMedia => 415,
            Self::Invalid => 422,
            Self::TooManyRequests => 429,
            Self::Internal => 500,
            Self::BadGateway => 502,
            Self::Unavailable => 503,
            Self::Timeout => 504,
        }
    }

    /// The reason phrase of [`Kind::status`], used as a problem's `title`.
    pub const fn title(self) -> &'static str {
        match self {
            Self::Malformed => "Bad Request",
            Self::Unauthenticated => "Unauthorized",
            Self::PaymentRequired => "Payment Required",
            Self::Forbidden => "Forbidden",
            Self::NotFound => "Not Found",
            Self::MethodNotAllowed => "Method Not Allowed",
            Self::NotAcceptable => "Not Acceptable",
            Self::Conflict | Self::Busy => "Conflict",
            Self::Precondition => "Precondition Failed",
            Self::PreconditionRequired => "Precondition Required",
            Self::TooLarge => "Content Too Large",
            Self::UnsupportedMedia => "Unsupported Media Type",
            Self::Invalid => "Unprocessable Content",
            Self::TooManyRequests => "Too Many Requests",
            Self::Internal => "Internal Server Error",
            Self::BadGateway => "Bad Gateway",
            Self::Unavailable => "Service Unavailable",
            Self::Timeout => "Gateway Timeout",
        }
    }

    /// The gRPC status code number (`google.rpc.Code`).
    pub const fn grpc(self) -> i32 {
        match self {
            Self::Malformed | Self::NotAcceptable | Self::UnsupportedMedia | Self::Invalid => 3,
            Self::Timeout => 4,
            Self::NotFound => 5,
            Self::Forbidden => 7,
            Self::TooLarge | Self::TooManyRequests => 8,
            Self::PaymentRequired | Self::Conflict | Self::PreconditionRequired => 9,
            Self::Busy | Self::Precondition => 10,
            Self::MethodNotAllowed => 12,
            Self::Internal => 13,
            Self::BadGateway | Self::Unavailable => 14,
            Self::Unauthenticated => 16,
        }
    }

    /// Whether the server is to blame (5xx).
    pub const fn is_server(self) -> bool {
        self.status() >= 500
    }

    /// Whether it passes: the same request may be answered later, so that this is no answer to keep.
    pub const fn is_passing(self) -> bool {
        matches!(self, Self::Busy | Self::TooManyRequests | Self::Unavailable | Self::Timeout)
    }
}

/// One field of the request that is not valid.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FieldError {
    /// Where: a path such as `items[0].quantity`.
    pub field: String,
    /// What kind of error, `snake_case` and stable.
    pub code: String,
    /// What to do about it.
    pub message: String,
}

impl FieldError {
    /// An error on `field`.
    pub fn new(field: impl Into<String>, code: impl Into<String>, message: impl Into<String>) -> Self {
        Self { field: field.into(), code: code.into(), message: message.into() }
    }
}

/// One thing whose state stands in the way (`google.rpc.PreconditionFailure.Violation`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Violation {
    /// What kind of violation, `snake_case` and stable, such as `insufficient_stock`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Which thing, such as `products/7`.
    pub subject: String,
    /// What is the matter with it.
    pub description: String,
}

impl Violation {
    /// A violation of `kind` on `subject`.
    pub fn new(kind: impl Into<String>, subject: impl Into<String>, description: impl Into<String>) -> Self {
        Self { kind: kind.into(), subject: subject.into(), description: description.into() }
    }
}

/// A failure as the outside may see it, with the cause that only the log sees.
pub struct Fault(Box<Inner>);

struct Inner {
    kind: Kind,
    code: Cow<'static, str>,
    detail: String,
    fields: Vec<FieldError>,
    violations: Vec<Violation>,
    members: Map<String, Value>,
    retry_after: Option<Duration>,
    source: Option<Box<dyn Error + Send + Sync>>,
}

impl Fault {
    /// A failure of `kind`; `code` is stable `snake_case`, `detail` is for people and names the thing.
    pub fn new(kind: Kind, code: impl Into<Cow<'static, str>>, detail: impl Into<String>) -> Self {
        Self(Box::new(Inner {
            kind,
            code: code.into(),
            detail: detail.into(),
            fields: Vec::new(),
            violations: Vec::new(),
            members: Map::new(),
            retry_after: None,
            source: None,
        }))
    }

    /// `validation_failed` on these fields.
    pub fn invalid(fields: Vec<FieldError>) -> Self {
        let detail = match fields.as_slice() {
            [only] => format!("{}: {}", only.field, only.message),
            many => format!("{} fields are not valid", many.len()),
        };
        let mut fault = Self::new(Kind::Invalid, "validation_failed", detail);
        fault.0.fields = fields;
        fault
    }

    /// A defect of ours; the outside sees no more than that.
    pub fn internal(source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::new(Kind::Internal, "internal", "an internal error occurred").with_source(source)
    }

    /// Adds a field error.
    #[must_use]
    pub fn with_field(mut self, field: FieldError) -> Self {
        self.0.fields.push(field);
        self
    }

    /// Adds a violation.
    #[must_use]
    pub fn with_violation(mut self, violation: Violation) -> Self {
        self.0.violations.push(violation);
        self
    }

    /// Says when a retry makes sense (`Retry-After`, `google.rpc.RetryInfo`).
    #[must_use]
    pub fn with_retry_after(mut self, after: Duration) -> Self {
        self.0.retry_after = Some(after);
        self
    }

    /// Keeps the cause for the log.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        self.0.source = Some(source.into());
        self
    }

    /// Adds an extension member to the problem (RFC 9457, section 3.2).
    #[must_use]
    pub fn with_member(mut self, name: impl Into<String>, value: Value) -> Self {
        self.0.members.insert(name.into(), value);
        self
    }

    /// The class of the failure.
    pub fn kind(&self) -> Kind {
        self.0.kind
    }

    /// The stable code.
    pub fn code(&self) -> &str {
        &self.0.code
    }

    /// The sentence for people.
    pub fn detail(&self) -> &str {
        &self.0.detail
    }

    /// The fields at fault.
    pub fn fields(&self) -> &[FieldError] {
        &self.0.fields
    }

    /// The things whose state stands in the way.
    pub fn violations(&self) -> &[Violation] {
        &self.0.violations
    }

    /// Extension members of the problem.
    pub fn members(&self) -> &Map<String, Value> {
        &self.0.members
    }

    /// When a retry makes sense.
    pub fn retry_after(&self) -> Option<Duration> {
        self.0.retry_after
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.detail)
    }
}

impl fmt::Debug for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {}: {}", self.0.kind, self.0.code, self.0.detail)?;
        if let Some(source) = &self.0.source {
            write!(f, " ({source:?})")?;
        }
        Ok(())
    }
}

impl Error for Fault {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.0.source.as_deref().map(|source| source as &(dyn Error + 'static))
    }
}

/// A `grpc-status` in the words of the gRPC documents; one that they do not have is `_OTHER`, as OpenTelemetry has it.
pub fn grpc_word(status: usize) -> &'static str {
    const CODES: [&str; 17] = [
        "OK",
        "CANCELLED",
        "UNKNOWN",
        "INVALID_ARGUMENT",
        "DEADLINE_EXCEEDED",
        "NOT_FOUND",
        "ALREADY_EXISTS",
        "PERMISSION_DENIED",
        "RESOURCE_EXHAUSTED",
        "FAILED_PRECONDITION",
        "ABORTED",
        "OUT_OF_RANGE",
        "UNIMPLEMENTED",
        "INTERNAL",
        "UNAVAILABLE",
        "DATA_LOSS",
        "UNAUTHENTICATED",
    ];
    CODES.get(status).copied().unwrap_or("_OTHER")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_internal_fault_shows_nothing_of_its_cause() {
        let fault = Fault::internal(std::io::Error::other("password wrong for root"));
        assert_eq!((fault.kind().status(), fault.code()), (500, "internal"));
        assert!(!fault.to_string().contains("password"));
        assert!(fault.source().is_some());
    }

    #[test]
    fn one_invalid_field_is_named_in_the_detail() {
        let fault = Fault::invalid(vec![FieldError::new("price", "too_small", "must be over 0")]);
        assert_eq!(fault.to_string(), "price: must be over 0");
        assert_eq!(fault.kind().grpc(), 3);
    }
}
