//! Entity tags of single resources, made from the version that every change counts up (RFC 9110, section 8.8.3).

use http::header::{ETAG, IF_MATCH, IF_NONE_MATCH};
use http::{HeaderMap, HeaderValue, StatusCode};
use salvo::{Request, Response};
use shop_fault::{Fault, Kind};

use crate::Problem;

/// The strong entity tag of `version`, quotes included.
pub fn of(version: i64) -> String {
    format!("\"v{version}\"")
}

/// Sets the `ETag` of a response.
pub fn set(res: &mut Response, version: i64) {
    if let Ok(tag) = HeaderValue::from_str(&of(version)) {
        res.headers_mut().insert(ETAG, tag);
    }
}

/// Sets the `ETag`; `true` when the caller has this very version (`If-None-Match`): the answer is then 304 without a body.
pub fn not_modified(req: &Request, res: &mut Response, version: i64) -> bool {
    set(res, version);
    let tag = of(version);
    let fresh = tags(req.headers(), IF_NONE_MATCH).any(|sent| sent == "*" || sent.trim_start_matches("W/") == tag);
    if fresh {
        res.status_code(StatusCode::NOT_MODIFIED);
    }
    fresh
}

/// The version that the caller wants to change; `None` when it does not care (no `If-Match`, or `*`).
///
/// A tag that is not one of ours can match nothing, so it is a 412 already.
pub fn if_match(req: &Request) -> Result<Option<i64>, Problem> {
    let sent: Vec<&str> = tags(req.headers(), IF_MATCH).collect();
    match sent.as_slice() {
        [] if !req.headers().contains_key(IF_MATCH) => Ok(None),
        ["*"] => Ok(None),
        [tag] => version(tag).map(Some).ok_or_else(failed),
        [] => Err(failed()),
        _ => Err(Fault::new(Kind::Malformed, "invalid_if_match", "send one entity tag in If-Match").into()),
    }
}

/// 412 `precondition_failed`: the resource has another version than `If-Match` asked for.
pub fn failed() -> Problem {
    let detail = "the resource has another version than If-Match asks for; read it again";
    Fault::new(Kind::Precondition, "precondition_failed", detail).into()
}

fn version(tag: &str) -> Option<i64> {
    let digits = tag.strip_prefix("\"v")?.strip_suffix('"')?;
    digits.parse().ok()
}

fn tags(headers: &HeaderMap, name: http::HeaderName) -> impl Iterator<Item = &str> {
    let values = headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).map(str::trim).filter(|tag| !tag.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(name: http::HeaderName, value: &'static str) -> Request {
        let mut req = Request::new();
        req.headers_mut().insert(name, HeaderValue::from_static(value));
        req
    }

    #[test]
    fn if_match_gives_the_version_asked_for() {
        assert_eq!(if_match(&Request::new()).expect("absent"), None);
        assert_eq!(if_match(&with(IF_MATCH, "*")).expect("any"), None);
        assert_eq!(if_match(&with(IF_MATCH, "\"v7\"")).expect("one"), Some(7));
    }

    #[test]
    fn a_tag_that_cannot_be_ours_fails_the_precondition() {
        for tag in ["W/\"v7\"", "v7", "\"\"", "\"v\"", "\"v99999999999999999999\"", ""] {
            let fault = Fault::from(if_match(&with(IF_MATCH, tag)).expect_err(tag));
            assert_eq!(fault.kind().status(), 412, "{tag}");
        }
        let fault = Fault::from(if_match(&with(IF_MATCH, "\"v1\", \"v2\"")).expect_err("two tags"));
        assert_eq!(fault.kind().status(), 400);
    }

    #[test]
    fn the_version_the_caller_has_is_not_sent_again() {
        let mut res = Response::new();
        assert!(not_modified(&with(IF_NONE_MATCH, "\"v6\", W/\"v7\""), &mut res, 7));
        assert_eq!(res.status_code, Some(StatusCode::NOT_MODIFIED));
        assert!(!not_modified(&with(IF_NONE_MATCH, "\"v6\""), &mut Response::new(), 7));
    }
}
