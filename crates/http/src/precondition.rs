//! `If-Match` and `If-None-Match` (RFC 9110, section 13), and the entity tags they name.
//!
//! An answer that would not be 2xx anyhow stays what it is, as section 13.2.1 asks: what is not there is 404, whatever was
//! expected of it. Nothing here has a modification date, so `If-(Un)Modified-Since` are not looked at (sections 13.1.3 and
//! 13.1.4).

use http::header::{IF_MATCH, IF_NONE_MATCH};
use http::{HeaderMap, HeaderName, HeaderValue};
use shop_fault::{Fault, FieldError, Kind};
use shop_input::{Expected, Tags};

/// The strong entity tag of `version`, quotes included (RFC 9110, section 8.8.3).
pub fn tag(version: i64) -> String {
    format!("\"v{version}\"")
}

/// What the caller expects of the resource it wants to change; 400 `invalid_if_match` or `invalid_if_none_match` when
/// a header cannot be read.
pub fn of(headers: &HeaderMap) -> Result<Expected, Fault> {
    let one_of = tags(headers, IF_MATCH)?.map(|tags| tags.versions(true));
    let none_of = tags(headers, IF_NONE_MATCH)?.map(|tags| tags.versions(false));
    Ok(Expected { one_of, none_of })
}

/// The same for a change of a list, which is always there and has no tag: no tag matches it, a star does.
pub fn of_list(headers: &HeaderMap) -> Result<(), Fault> {
    let expected = of(headers)?;
    // No resource has a version below zero.
    if expected.admits(-1) { Ok(()) } else { Err(failed()) }
}

/// What becomes of an answer that is ready to be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is sent.
    Send,
    /// The caller has it: 304 without content.
    NotModified,
}

/// Judges the answer to a read, of what has the entity tag `current`, in the order of section 13.2.2: 412 when it is not
/// what `If-Match` names.
pub fn judge(sent: &HeaderMap, current: Option<&[u8]>) -> Result<Verdict, Fault> {
    if tags(sent, IF_MATCH)?.is_some_and(|tags| !tags.match_strongly(current)) {
        return Err(failed());
    }
    let known = tags(sent, IF_NONE_MATCH)?.is_some_and(|tags| tags.match_weakly(current));
    Ok(if known { Verdict::NotModified } else { Verdict::Send })
}

/// 412 `precondition_failed`.
fn failed() -> Fault {
    let detail = "it is not in the state that If-Match or If-None-Match asks for; read it again";
    Fault::new(Kind::Precondition, "precondition_failed", detail)
}

/// The tags that `If-Match` or `If-None-Match` names; 400 `invalid_if_match` or `invalid_if_none_match`.
pub fn tags(headers: &HeaderMap, name: HeaderName) -> Result<Option<Tags<'_>>, Fault> {
    let (field, code) =
        if name == IF_MATCH { ("If-Match", "invalid_if_match") } else { ("If-None-Match", "invalid_if_none_match") };
    Tags::read(headers.get_all(name).iter().map(HeaderValue::as_bytes)).map_err(|malformed| {
        Fault::new(Kind::Malformed, code, format!("header {field}: {malformed}")).with_field(FieldError::new(
            field,
            code,
            malformed.to_string(),
        ))
    })
}

#[cfg(test)]
mod tests {
    use shop_input::Versions;

    use super::*;

    fn with(lines: &[(HeaderName, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(name, HeaderValue::from_static(value));
        }
        headers
    }

    #[test]
    fn what_is_expected_comes_from_every_line() {
        assert_eq!(of(&HeaderMap::new()).expect("absent"), Expected::default());
        let headers = with(&[(IF_MATCH, "\"v7\", W/\"v8\""), (IF_MATCH, "\"v9\", \"x\""), (IF_NONE_MATCH, "W/\"v1\"")]);
        let expected = of(&headers).expect("both");
        assert_eq!(expected.one_of, Some(Versions::Of(vec![7, 9])));
        assert_eq!(expected.none_of, Some(Versions::Of(vec![1])));
        assert_eq!(of(&with(&[(IF_NONE_MATCH, "*")])).expect("a star").none_of, Some(Versions::Any));
    }

    #[test]
    fn a_header_that_cannot_be_read_is_named() {
        for (name, field, code) in
            [(IF_MATCH, "If-Match", "invalid_if_match"), (IF_NONE_MATCH, "If-None-Match", "invalid_if_none_match")]
        {
            let fault = of(&with(&[(name, "v7")])).expect_err("no quotes");
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
