//! Of whom a failure speaks: of one request, or of the service. Whoever keeps calls away from services that fail, such as the
//! gateway, needs to know, or one caller's trouble becomes everybody's.

use crate::Fault;

/// Of whom a failure speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scope {
    /// Of this request: of what it asks for, or of a neighbour that it needs. Others may well be answered.
    Request,
    /// Of the service: any request would have met it.
    Service,
}

impl Scope {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Request, Self::Service];

    /// The header, and the gRPC metadata, that says it of an answer. For who stands in front of a service; the gateway takes
    /// it off.
    pub const HEADER: &str = "x-fault-scope";

    /// Codes that speak of the service. All others speak of a request: a code that is missing here makes a breaker slower, one
    /// too many lets a caller open it for everybody.
    pub const CODES_OF_THE_SERVICE: [&str; 4] = [
        // Nearly every request needs the store.
        "store_unavailable",
        "unavailable",
        // The process ends, and its port is closed next.
        "stopping",
        // The service's own limit; a deadline of the caller's is `deadline_passed`.
        "timeout",
    ];

    /// As [`Scope::HEADER`] says it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Request => "request",
            Self::Service => "service",
        }
    }

    /// What a value of [`Scope::HEADER`] says; nothing when it is neither word.
    pub fn parse(value: &[u8]) -> Option<Self> {
        Self::ALL.into_iter().find(|scope| scope.word().as_bytes() == value)
    }
}

impl Fault {
    /// Of whom it speaks.
    pub fn scope(&self) -> Scope {
        let of_service = self.kind().is_server() && Scope::CODES_OF_THE_SERVICE.contains(&self.code());
        if of_service { Scope::Service } else { Scope::Request }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Kind;

    #[test]
    fn only_a_failure_that_everybody_meets_speaks_of_the_service() {
        for (kind, code, scope) in [
            (Kind::Unavailable, "store_unavailable", Scope::Service),
            (Kind::Unavailable, "stopping", Scope::Service),
            (Kind::Timeout, "timeout", Scope::Service),
            // Its own word for a refusal of the caller's.
            (Kind::Forbidden, "unavailable", Scope::Request),
            (Kind::Timeout, "deadline_passed", Scope::Request),
            // One row that cannot be read.
            (Kind::Internal, "internal", Scope::Request),
            // Reads need no neighbour.
            (Kind::Unavailable, "product_service_unavailable", Scope::Request),
            (Kind::BadGateway, "basket_failed", Scope::Request),
            (Kind::Unavailable, "store_busy", Scope::Request),
            (Kind::Busy, "payment_unsettled", Scope::Request),
        ] {
            assert_eq!(Fault::new(kind, code, "").scope(), scope, "{kind:?} {code}");
        }
    }

    #[test]
    fn a_scope_is_read_as_it_is_written() {
        for scope in Scope::ALL {
            assert_eq!(Scope::parse(scope.word().as_bytes()), Some(scope));
        }
        for other in [&b""[..], b"Request", b"request, service", b"everybody"] {
            assert_eq!(Scope::parse(other), None);
        }
    }
}
