//! `If-Match` and `If-None-Match` (RFC 9110, section 13), for every route alike.
//!
//! A read is judged when its answer leaves, by the `ETag` the handler set; no handler needs to know. A change hands what
//! the caller expects to its command with [`of`], for only the store can judge it without somebody coming in between.
//! Either way an answer that would not be 2xx anyhow stays what it is, as section 13.2.1 asks: what is not there is 404,
//! whatever was expected of it. Nothing here has a modification date, so `If-(Un)Modified-Since` are not looked at
//! (sections 13.1.3 and 13.1.4).

use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, ETAG, IF_MATCH, IF_NONE_MATCH};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use salvo::http::ResBody;
use salvo::{Request, Response};
use shop_fault::{Fault, FieldError, Kind};
use shop_input::{Expected, Tags};

use crate::Problem;
use crate::problem::render;

/// What the caller expects of the resource it wants to change; 400 `invalid_if_match` or `invalid_if_none_match` when
/// a header cannot be read.
pub fn of(req: &Request) -> Result<Expected, Problem> {
    let one_of = tags(req.headers(), IF_MATCH)?.map(|tags| tags.versions(true));
    let none_of = tags(req.headers(), IF_NONE_MATCH)?.map(|tags| tags.versions(false));
    Ok(Expected { one_of, none_of })
}

/// The same for a change of a list, which is always there and has no tag: no tag matches it, a star does.
pub fn of_list(req: &Request) -> Result<(), Problem> {
    let expected = of(req)?;
    // No resource has a version below zero.
    if expected.admits(-1) { Ok(()) } else { Err(failed().into()) }
}

/// Judges the answer to a read: 412 when it is not what `If-Match` names, 304 when it is what `If-None-Match` names.
pub(crate) fn judge(req: &Request, res: &mut Response) {
    let headers = req.headers();
    if !(headers.contains_key(IF_NONE_MATCH) || headers.contains_key(IF_MATCH))
        || !matches!(*req.method(), Method::GET | Method::HEAD)
        || !res.status_code.map_or(!res.body.is_none(), |status| status.is_success())
    {
        return;
    }
    match verdict(headers, res.headers().get(ETAG).map(HeaderValue::as_bytes)) {
        Ok(Verdict::Send) => {}
        Ok(Verdict::NotModified) => {
            res.status_code(StatusCode::NOT_MODIFIED);
            res.body = ResBody::None;
            // What describes the content goes with it; `ETag`, `Vary`, `Cache-Control` and the like stay (section 15.4.5).
            for header in [CONTENT_TYPE, CONTENT_LENGTH, CONTENT_ENCODING] {
                res.headers_mut().remove(header);
            }
        }
        Err(problem) => render(&problem.into(), req, res),
    }
}

/// What becomes of an answer that is ready to be sent.
enum Verdict {
    Send,
    NotModified,
}

/// In the order of section 13.2.2.
fn verdict(sent: &HeaderMap, current: Option<&[u8]>) -> Result<Verdict, Problem> {
    if tags(sent, IF_MATCH)?.is_some_and(|tags| !tags.match_strongly(current)) {
        return Err(failed().into());
    }
    let known = tags(sent, IF_NONE_MATCH)?.is_some_and(|tags| tags.match_weakly(current));
    Ok(if known { Verdict::NotModified } else { Verdict::Send })
}

fn failed() -> Fault {
    let detail = "it is not in the state that If-Match or If-None-Match asks for; read it again";
    Fault::new(Kind::Precondition, "precondition_failed", detail)
}

fn tags(headers: &HeaderMap, name: HeaderName) -> Result<Option<Tags<'_>>, Problem> {
    let (field, code) =
        if name == IF_MATCH { ("If-Match", "invalid_if_match") } else { ("If-None-Match", "invalid_if_none_match") };
    Tags::read(headers.get_all(name).iter().map(HeaderValue::as_bytes)).map_err(|malformed| {
        Fault::new(Kind::Malformed, code, format!("header {field}: {malformed}"))
            .with_field(FieldError::new(field, code, malformed.to_string()))
            .into()
    })
}

#[cfg(test)]
mod tests {
    use shop_input::Versions;

    use super::*;

    fn with(lines: &[(HeaderName, &'static str)]) -> Request {
        let mut req = Request::new();
        for (name, value) in lines {
            req.headers_mut().append(name, HeaderValue::from_static(value));
        }
        req
    }

    #[test]
    fn what_is_expected_comes_from_every_line() {
        assert_eq!(of(&Request::new()).expect("absent"), Expected::default());
        let req = with(&[(IF_MATCH, "\"v7\", W/\"v8\""), (IF_MATCH, "\"v9\", \"x\""), (IF_NONE_MATCH, "W/\"v1\"")]);
        let expected = of(&req).expect("both");
        assert_eq!(expected.one_of, Some(Versions::Of(vec![7, 9])));
        assert_eq!(expected.none_of, Some(Versions::Of(vec![1])));
        assert_eq!(of(&with(&[(IF_NONE_MATCH, "*")])).expect("a star").none_of, Some(Versions::Any));
    }

    #[test]
    fn a_header_that_cannot_be_read_is_named() {
        for (name, field, code) in
            [(IF_MATCH, "If-Match", "invalid_if_match"), (IF_NONE_MATCH, "If-None-Match", "invalid_if_none_match")]
        {
            let fault = Fault::from(of(&with(&[(name, "v7")])).expect_err("no quotes"));
            assert_eq!((fault.kind().status(), fault.code(), &*fault.fields()[0].field), (400, code, field));
        }
    }

    #[test]
    fn a_list_is_there_and_has_no_tag() {
        for (lines, taken) in [
            (&[][..], true),
            (&[(IF_MATCH, "*")], true),
            (&[(IF_MATCH, "\"v1\"")], false),
            (&[(IF_NONE_MATCH, "*")], false),
            (&[(IF_NONE_MATCH, "\"v1\"")], true),
        ] {
            assert_eq!(of_list(&with(lines)).is_ok(), taken, "{lines:?}");
        }
    }
}
