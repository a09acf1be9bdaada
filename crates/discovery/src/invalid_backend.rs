//! Why a text names neither a backend nor a place to look for some.

/// Why a text is not a backend's URL.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidBackend {
    /// Another scheme than `http` and `https`.
    #[error("{0} is neither an http nor an https URL")]
    Scheme(String),
    /// A path, a query or a user.
    #[error("{0} has more than host and port; write http://host:port")]
    Extra(String),
    /// No host, or a port that is none.
    #[error("{0} has no usable host and port; write http://host:port")]
    Address(String),
    /// Something other than `weight=N` or `draining` after a semicolon.
    #[error("{0} has an unknown option; write ;weight=N with N from 1 to 65535, or ;draining")]
    Option(String),
    /// Something looked up, without what is needed for that.
    #[error("{0} cannot be looked up; write dns://name:port, srv://_http._tcp.name or file:///path")]
    Source(String),
}
