//! What a call has to be before its method runs. tonic answers `INTERNAL` to what only the caller did wrong: the caller would
//! look for the fault here, and whoever stands in front would keep others away from a service that is well.

use std::time::Duration;

use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use shop_fault::{Fault, FieldError, Kind, Scope};
use tokio::time::Instant;
use tonic::body::Body;
use tonic::{Code, Status};

use crate::status;

const GRPC: &[u8] = b"application/grpc";
const TIMEOUT: &str = "grpc-timeout";

/// When a call has to be done, and who said so.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Deadline {
    pub(crate) at: Instant,
    is_callers: bool,
}

impl Deadline {
    /// The caller's, at most `longest` from now.
    pub(crate) fn of(headers: &HeaderMap, longest: Duration) -> Self {
        let asked = timeout(headers).ok().flatten().filter(|asked| *asked < longest);
        Self { at: Instant::now() + asked.unwrap_or(longest), is_callers: asked.is_some() }
    }

    /// It passed. Whose it was is in the code: a caller in a hurry says nothing about the service.
    pub(crate) fn fault(&self) -> Fault {
        if self.is_callers {
            Fault::new(Kind::Timeout, "deadline_passed", "the caller's deadline passed")
        } else {
            Fault::new(Kind::Timeout, "timeout", "the call took longer than this service allows")
        }
    }
}

/// The answer to a call whose head alone is wrong.
pub(crate) fn refusal(headers: &HeaderMap) -> Option<Response<Body>> {
    let (fault, http) =
        if let Some(refused) = medium(headers) { refused } else { (timeout(headers).err()?, StatusCode::OK) };
    let mut answer = status(fault).into_http();
    *answer.status_mut() = http;
    Some(answer)
}

/// What is wrong with the content type. Of the formats there are in gRPC, ours is protobuf; who names none of them does not
/// speak gRPC, and is answered in HTTP (gRPC over HTTP/2, "Content-Type").
fn medium(headers: &HeaderMap) -> Option<(Fault, StatusCode)> {
    let medium = headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes).unwrap_or_default();
    let fault = |detail| Fault::new(Kind::UnsupportedMedia, "unsupported_media_type", detail);
    let format = medium.split_at_checked(GRPC.len()).filter(|(begin, _)| begin.eq_ignore_ascii_case(GRPC));
    let format = format.map(|(_, rest)| rest.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii());
    match format {
        Some(b"") => None,
        Some(format) if format.eq_ignore_ascii_case(b"+proto") => None,
        Some([b'+', ..]) => Some((fault("send protobuf: application/grpc or application/grpc+proto"), StatusCode::OK)),
        _ => Some((fault("send application/grpc"), StatusCode::UNSUPPORTED_MEDIA_TYPE)),
    }
}

/// Reads `grpc-timeout`: up to eight digits and a unit (gRPC over HTTP/2, "Timeout"). Nothing when it was not sent.
fn timeout(headers: &HeaderMap) -> Result<Option<Duration>, Fault> {
    let mut sent = headers.get_all(TIMEOUT).iter();
    let Some(value) = sent.next() else { return Ok(None) };
    let read = value.to_str().ok().filter(|_| sent.next().is_none()).and_then(grpc_timeout);
    read.map(Some).ok_or_else(|| {
        let message = "must be one value: 1 to 8 digits and one of H, M, S, m, u, n";
        Fault::new(Kind::Malformed, "invalid_timeout", format!("{TIMEOUT}: {message}"))
            .with_field(FieldError::new(TIMEOUT, "invalid", message))
    })
}

fn grpc_timeout(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.is_empty() || digits.len() > 8 || !digits.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    let n = digits.parse().ok()?;
    Some(match unit {
        "H" => Duration::from_secs(n * 3600),
        "M" => Duration::from_secs(n * 60),
        "S" => Duration::from_secs(n),
        "m" => Duration::from_millis(n),
        "u" => Duration::from_micros(n),
        "n" => Duration::from_nanos(n),
        _ => return None,
    })
}

/// `answer`, unless it is tonic's own word on a message that it could not read, which is the caller's fault. Methods fail with
/// [`status`], which says whom a failure speaks of; an `INTERNAL` that does not say it came before the method.
pub(crate) fn put_right(answer: Response<Body>) -> Response<Body> {
    if answer.headers().contains_key(Scope::HEADER) {
        return answer;
    }
    let Some(said) = Status::from_header_map(answer.headers()) else { return answer };
    let fault = match said.code() {
        Code::Internal => Fault::new(
            Kind::Malformed,
            "malformed_message",
            format!("the request is not one message of this method: {}", said.message()),
        ),
        Code::OutOfRange => Fault::new(Kind::TooLarge, "message_too_large", said.message()),
        _ => return answer,
    };
    status(fault).into_http()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn headers(name: &'static str, values: &[&'static str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(name, HeaderValue::from_static(value));
        }
        headers
    }

    #[test]
    fn grpc_timeouts_are_read_in_every_unit() {
        assert_eq!(grpc_timeout("2S"), Some(Duration::from_secs(2)));
        assert_eq!(grpc_timeout("1H"), Some(Duration::from_hours(1)));
        assert_eq!(grpc_timeout("3M"), Some(Duration::from_mins(3)));
        assert_eq!(grpc_timeout("99999999m"), Some(Duration::from_millis(99_999_999)));
        assert_eq!(grpc_timeout("7u"), Some(Duration::from_micros(7)));
        assert_eq!(grpc_timeout("5n"), Some(Duration::from_nanos(5)));
    }

    #[test]
    fn what_is_not_one_grpc_timeout_is_refused_by_name() {
        assert_eq!(timeout(&HeaderMap::new()).expect("none is fine"), None);
        for bad in [&[""][..], &["S"], &["2"], &["2s"], &["-2S"], &["123456789S"], &["1 S"], &["1S", "1S"]] {
            let fault = timeout(&headers(TIMEOUT, bad)).expect_err("refused");
            assert_eq!((fault.code(), fault.fields()[0].field.as_str()), ("invalid_timeout", TIMEOUT), "{bad:?}");
        }
    }

    #[test]
    fn a_deadline_that_passed_says_whose_it_was() {
        let longest = Duration::from_secs(30);
        for (sent, code, scope) in [
            (&[][..], "timeout", Scope::Service),
            (&["1m"], "deadline_passed", Scope::Request),
            (&["1H"], "timeout", Scope::Service),
        ] {
            let fault = Deadline::of(&headers(TIMEOUT, sent), longest).fault();
            assert_eq!((fault.code(), fault.scope()), (code, scope), "{sent:?}");
        }
    }

    #[test]
    fn only_protobuf_is_taken() {
        for fine in
            ["application/grpc", "application/grpc+proto", "application/grpc; v=1", "Application/GRPC+Proto;v=1"]
        {
            assert!(medium(&headers("content-type", &[fine])).is_none(), "{fine}");
        }
        for (other, http) in [
            ("application/grpc+json", 200),
            ("application/grpc+", 200),
            ("application/grpc-web", 415),
            ("application/json", 415),
            ("", 415),
        ] {
            let (fault, status) = medium(&headers("content-type", &[other])).expect("refused");
            assert_eq!((fault.kind(), status.as_u16()), (Kind::UnsupportedMedia, http), "{other}");
        }
        assert!(medium(&HeaderMap::new()).is_some());
    }

    #[test]
    fn an_internal_status_that_a_method_made_is_left_alone() {
        let ours = put_right(status(Fault::internal("a defect")).into_http());
        assert_eq!(Status::from_header_map(ours.headers()).map(|status| status.code()), Some(Code::Internal));
        let tonics = put_right(Status::internal("Missing request message.").into_http());
        assert_eq!(Status::from_header_map(tonics.headers()).map(|status| status.code()), Some(Code::InvalidArgument));
    }

    /// One that does would be taken for the caller's fault.
    #[test]
    fn no_method_makes_an_internal_status_by_itself() {
        fn look(folder: &Path, found: &mut Vec<String>) -> usize {
            let mut seen = 0;
            for entry in std::fs::read_dir(folder).expect("a folder") {
                let path = entry.expect("an entry").path();
                if path.is_dir() {
                    seen += look(&path, found);
                } else if path.extension().is_some_and(|extension| extension == "rs") {
                    let text = std::fs::read_to_string(&path).expect("text");
                    seen += 1;
                    if text.contains("Status::internal") || text.contains("Code::Internal,") {
                        found.push(path.display().to_string());
                    }
                }
            }
            seen
        }
        let services = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../services");
        let mut found = Vec::new();
        let seen: usize = ["product", "basket", "payment"]
            .map(|service| look(&services.join(service).join("src"), &mut found))
            .into_iter()
            .sum();
        assert!(seen > 50 && found.is_empty(), "{seen} files; use shop_rpc::status(Fault::internal(…)) in {found:?}");
    }
}
