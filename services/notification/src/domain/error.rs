//! Why the service says no, with the stable code each reason has outside.

use shop_fault::{Fault, Kind};
use shop_input::Fields;
use uuid::Uuid;

use super::{MAX_ENDPOINTS, Status};

/// What a rule or a store answers.
pub(crate) type Result<T> = std::result::Result<T, Error>;

/// Why something was refused.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// No notification has that id.
    #[error("notification {0} does not exist")]
    NotFound(Uuid),
    /// No endpoint has that id.
    #[error("webhook endpoint {0} does not exist")]
    EndpointNotFound(Uuid),
    /// The input breaks these rules.
    #[error(transparent)]
    Invalid(#[from] Fields),
    /// The caller expects another version than the current one.
    #[error("it is not in the state that was asked for: read it again")]
    VersionMismatch,
    /// Its status does not allow a retry.
    #[error("notification {id} is {status}, so it cannot be tried again")]
    InvalidState {
        /// Which notification.
        id: Uuid,
        /// The status it has.
        status: Status,
    },
    /// The secret that was made then is not the present one any more.
    #[error("the secret of endpoint {0} was rotated by this request, and again since: rotate it with another key")]
    RotatedSince(Uuid),
    /// There are as many endpoints as there may be.
    #[error("there are {MAX_ENDPOINTS} webhook endpoints already: delete one first")]
    TooManyEndpoints,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] Fault),
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        let detail = error.to_string();
        let fault = |kind, code: &'static str| Self::new(kind, code, detail);
        match error {
            Error::Store(fault) => fault,
            Error::Invalid(fields) => fields.into(),
            Error::NotFound(_) => fault(Kind::NotFound, "notification_not_found"),
            Error::EndpointNotFound(_) => fault(Kind::NotFound, "endpoint_not_found"),
            Error::VersionMismatch => fault(Kind::Precondition, "precondition_failed"),
            Error::InvalidState { status, .. } => {
                fault(Kind::Conflict, "invalid_state").with_member("notification_status", status.as_str().into())
            }
            Error::RotatedSince(_) => fault(Kind::Conflict, "rotated_since"),
            Error::TooManyEndpoints => fault(Kind::Conflict, "too_many_endpoints"),
        }
    }
}

#[cfg(test)]
mod tests {
    use shop_fault::FieldError;

    use super::*;

    #[test]
    fn every_refusal_has_its_status_and_code() {
        let id = Uuid::nil();
        for (error, status, code) in [
            (Error::NotFound(id), 404, "notification_not_found"),
            (Error::EndpointNotFound(id), 404, "endpoint_not_found"),
            (Error::Invalid(FieldError::new("url", "invalid", "must be a URL").into()), 422, "validation_failed"),
            (Error::VersionMismatch, 412, "precondition_failed"),
            (Error::InvalidState { id, status: Status::Sent }, 409, "invalid_state"),
            (Error::RotatedSince(id), 409, "rotated_since"),
            (Error::TooManyEndpoints, 409, "too_many_endpoints"),
            (Error::Store(Fault::new(Kind::Unavailable, "store_unavailable", "down")), 503, "store_unavailable"),
        ] {
            let fault = Fault::from(error);
            assert_eq!((fault.kind().status(), fault.code()), (status, code));
        }
    }
}
