//! [`Fault`] to `google.rpc.Status` details and back, so that a code means the same over HTTP and gRPC.

use std::collections::HashMap;
use std::error::Error;

use shop_fault::{Fault, FieldError, Kind, Scope, Violation};
use tonic::metadata::MetadataValue;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, FieldViolation, PreconditionViolation, StatusExt};

/// `ErrorInfo.domain` of our own errors.
const DOMAIN: &str = "shop";

/// `ErrorInfo.metadata` key of the HTTP status: several of ours share one gRPC code.
const HTTP_STATUS: &str = "http_status";

/// The status of `fault`: `ErrorInfo` with the same `code` as HTTP, `BadRequest`, `PreconditionFailure`, `RetryInfo`; and for
/// who stands in front, whom a failure of ours speaks of.
pub fn status(fault: impl Into<Fault>) -> Status {
    let fault = fault.into();
    log(&fault);
    let mut metadata = HashMap::from([(HTTP_STATUS.to_owned(), fault.kind().status().to_string())]);
    metadata.extend(fault.members().iter().map(|(name, value)| (name.clone(), value.to_string())));
    let mut details = ErrorDetails::new();
    details.set_error_info(fault.code(), DOMAIN, metadata);
    if !fault.fields().is_empty() {
        let violation = |field: &FieldError| FieldViolation {
            field: field.field.clone(),
            description: field.message.clone(),
            reason: field.code.clone(),
            localized_message: None,
        };
        details.set_bad_request(fault.fields().iter().map(violation).collect::<Vec<_>>());
    }
    if !fault.violations().is_empty() {
        let violation = |v: &Violation| PreconditionViolation::new(&v.kind, &v.subject, &v.description);
        details.set_precondition_failure(fault.violations().iter().map(violation).collect::<Vec<_>>());
    }
    if let Some(after) = fault.retry_after() {
        details.set_retry_info(Some(after));
    }
    let mut status = Status::with_error_details(Code::from_i32(fault.kind().grpc()), fault.detail(), details);
    if fault.kind().is_server() {
        status.metadata_mut().insert(Scope::HEADER, MetadataValue::from_static(fault.scope().word()));
    }
    status
}

/// The fault a status stands for: ours come back as they were, others by their code.
pub fn fault(status: Status) -> Fault {
    let details = status.get_error_details();
    let info = details.error_info().filter(|info| info.domain == DOMAIN);
    let Some(info) = info else {
        let kind = kind(status.code());
        let detail = if kind.is_server() { "a neighbouring service failed" } else { status.message() };
        return Fault::new(kind, code(status.code()), detail).with_source(status);
    };
    let sent = info.metadata.get(HTTP_STATUS).and_then(|number| {
        KINDS.iter().find(|k| k.grpc() == i32::from(status.code()) && k.status().to_string() == *number)
    });
    let kind = sent.copied().unwrap_or_else(|| kind(status.code()));
    let mut fault = Fault::new(kind, info.reason.clone(), status.message());
    for (name, value) in info.metadata.iter().filter(|(name, _)| *name != HTTP_STATUS) {
        if let Ok(value) = serde_json::from_str(value) {
            fault = fault.with_member(name, value);
        }
    }
    for field in details.bad_request().map(|bad| bad.field_violations.as_slice()).unwrap_or_default() {
        fault = fault.with_field(FieldError::new(&field.field, &field.reason, &field.description));
    }
    for v in details.precondition_failure().map(|failed| failed.violations.as_slice()).unwrap_or_default() {
        fault = fault.with_violation(Violation::new(&v.r#type, &v.subject, &v.description));
    }
    if let Some(after) = details.retry_info().and_then(|info| info.retry_delay) {
        fault = fault.with_retry_after(after);
    }
    fault.with_source(status)
}

const KINDS: [Kind; 19] = [
    Kind::Malformed,
    Kind::Unauthenticated,
    Kind::PaymentRequired,
    Kind::Forbidden,
    Kind::NotFound,
    Kind::MethodNotAllowed,
    Kind::NotAcceptable,
    Kind::Conflict,
    Kind::Busy,
    Kind::Precondition,
    Kind::PreconditionRequired,
    Kind::TooLarge,
    Kind::UnsupportedMedia,
    Kind::Invalid,
    Kind::TooManyRequests,
    Kind::Internal,
    Kind::BadGateway,
    Kind::Unavailable,
    Kind::Timeout,
];

/// The kind of a status that is not one of ours.
fn kind(code: Code) -> Kind {
    match code {
        Code::InvalidArgument | Code::OutOfRange => Kind::Invalid,
        Code::NotFound => Kind::NotFound,
        Code::AlreadyExists | Code::FailedPrecondition | Code::Aborted => Kind::Conflict,
        Code::PermissionDenied => Kind::Forbidden,
        Code::Unauthenticated => Kind::Unauthenticated,
        Code::ResourceExhausted => Kind::TooManyRequests,
        Code::Unavailable => Kind::Unavailable,
        Code::DeadlineExceeded => Kind::Timeout,
        Code::Ok | Code::Cancelled | Code::Unknown | Code::Unimplemented | Code::Internal | Code::DataLoss => {
            Kind::BadGateway
        }
    }
}

/// The `snake_case` code of a status that is not one of ours.
fn code(code: Code) -> &'static str {
    match code {
        Code::Ok | Code::Cancelled | Code::Unknown | Code::Unimplemented | Code::Internal | Code::DataLoss => {
            "upstream_failed"
        }
        Code::InvalidArgument => "invalid_argument",
        Code::DeadlineExceeded => "timeout",
        Code::NotFound => "not_found",
        Code::AlreadyExists => "already_exists",
        Code::PermissionDenied => "forbidden",
        Code::ResourceExhausted => "too_many_requests",
        Code::FailedPrecondition => "failed_precondition",
        Code::Aborted => "aborted",
        Code::OutOfRange => "out_of_range",
        Code::Unavailable => "unavailable",
        Code::Unauthenticated => "unauthenticated",
    }
}

/// The cause of a failure of ours is logged here, once, and goes no further.
fn log(fault: &Fault) {
    let cause = fault.source().map(ToString::to_string).unwrap_or_default();
    match fault.kind() {
        Kind::Internal => tracing::error!(code = fault.code(), error = cause, "call failed: {cause}"),
        kind if kind.is_server() => tracing::warn!(code = fault.code(), error = cause, "call failed: {fault}"),
        // Its words tell the caller what it sent, which is nobody else's business.
        _ => tracing::debug!(code = fault.code(), "call refused: {}", fault.code()),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_fault_survives_the_way_there_and_back() {
        for kind in KINDS {
            let sent = Fault::new(kind, "insufficient_stock", "product 7 has only 2 left")
                .with_field(FieldError::new("items[0].quantity", "too_large", "is more than there is"))
                .with_violation(Violation::new("insufficient_stock", "products/7", "2 left"))
                .with_member("changes", serde_json::json!([{"product_id": 7}]))
                .with_retry_after(Duration::from_secs(2));
            let status = status(sent);
            assert_eq!(status.code() as i32, kind.grpc());
            let back = fault(status);
            assert_eq!(
                (back.kind(), back.code(), back.detail()),
                (kind, "insufficient_stock", "product 7 has only 2 left")
            );
            assert_eq!(back.fields()[0], FieldError::new("items[0].quantity", "too_large", "is more than there is"));
            assert_eq!(back.violations()[0], Violation::new("insufficient_stock", "products/7", "2 left"));
            assert_eq!(back.members()["changes"][0]["product_id"], 7);
            assert_eq!(back.retry_after(), Some(Duration::from_secs(2)));
        }
    }

    #[test]
    fn a_failure_of_ours_says_of_whom_it_speaks() {
        for (kind, code, scope) in [
            (Kind::Unavailable, "store_unavailable", Some("service")),
            (Kind::Unavailable, "product_service_unavailable", Some("request")),
            (Kind::Internal, "internal", Some("request")),
            (Kind::Busy, "payment_unsettled", None),
            (Kind::NotFound, "product_not_found", None),
        ] {
            let status = status(Fault::new(kind, code, "no"));
            let said = status.metadata().get(Scope::HEADER).map(|value| value.to_str().expect("text"));
            assert_eq!(said, scope, "{code}");
        }
    }

    #[test]
    fn the_cause_of_an_internal_fault_stays_at_home() {
        let status = status(Fault::internal(std::io::Error::other("password wrong for root")));
        assert_eq!(status.code(), Code::Internal);
        assert!(!format!("{status:?}").contains("password"));
        assert!(!status.details().windows(8).any(|window| window == b"password"));
    }

    #[test]
    fn a_foreign_status_is_read_by_its_code() {
        assert_eq!(fault(Status::unavailable("connect refused")).kind(), Kind::Unavailable);
        assert_eq!(fault(Status::deadline_exceeded("")).kind(), Kind::Timeout);
        assert_eq!(fault(Status::not_found("no such thing")).detail(), "no such thing");
        let internal = fault(Status::internal("stack trace"));
        assert_eq!((internal.kind(), internal.detail()), (Kind::BadGateway, "a neighbouring service failed"));
    }
}
