//! The token that comes with a call.

use http::{HeaderMap, HeaderValue, header};

use crate::Refusal;

/// Longer ones are not looked at. Issuers that put all of a person's groups into a token stay below.
const LONGEST: usize = 8 * 1024;

/// The bearer token of a call (RFC 6750, section 2.1), none when it has no `Authorization` at all. What looks like
/// credentials and is not one bearer token in the form of a JWS (RFC 7515, section 7.1) is refused, so that nobody takes
/// it for no token. Other places for tokens, queries, bodies and cookies, mean nothing.
pub fn bearer(headers: &HeaderMap) -> Result<Option<&str>, Refusal> {
    bearer_of(headers.get_all(header::AUTHORIZATION).iter().map(HeaderValue::as_bytes))
}

/// The same, by the values of `Authorization`.
pub fn bearer_of<'a>(mut values: impl Iterator<Item = &'a [u8]>) -> Result<Option<&'a str>, Refusal> {
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() || value.len() > LONGEST + "Bearer ".len() {
        return Err(Refusal::Invalid);
    }
    let text = std::str::from_utf8(value).map_err(|_| Refusal::Invalid)?;
    let (scheme, token) = text.split_once(' ').ok_or(Refusal::Invalid)?;
    let fits = scheme.eq_ignore_ascii_case("bearer") && is_compact_jws(token);
    fits.then_some(Some(token)).ok_or(Refusal::Invalid)
}

/// Whether it has three parts of base64url without padding: not five, which would be encrypted.
pub(crate) fn is_compact_jws(token: &str) -> bool {
    let mut dots = 0;
    let plain = token.bytes().all(|byte| {
        dots += usize::from(byte == b'.');
        byte == b'.' || byte == b'-' || byte == b'_' || byte.is_ascii_alphanumeric()
    });
    plain && dots == 2 && token.len() <= LONGEST
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn read(values: &[&str]) -> Result<Option<String>, Refusal> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(header::AUTHORIZATION, HeaderValue::from_bytes(value.as_bytes()).expect("a value"));
        }
        bearer(&headers).map(|token| token.map(str::to_owned))
    }

    #[test]
    fn one_bearer_token_is_read_and_anything_else_is_no_token() {
        assert_eq!(read(&[]), Ok(None));
        for fine in ["Bearer a.b.c", "bearer a.b.c", "BEARER a.b.c"] {
            assert_eq!(read(&[fine]), Ok(Some("a.b.c".to_owned())), "{fine}");
        }
        let long = format!("Bearer a.b.{}", "c".repeat(LONGEST));
        for bad in [
            &["Bearer a.b.c", "Bearer a.b.c"][..],
            &["Bearer a.b.c, Bearer a.b.c"],
            &["Bearer Bearer a.b.c"],
            &["Bearer  a.b.c"],
            &["Bearer a.b.c "],
            &["Bearer a.b"],
            &["Bearer a.b.c.d.e"],
            &["Bearer a.b.c="],
            &["Bearer a.b.c+/"],
            &["Bearer\ta.b.c"],
            &["Bearer"],
            &["Bearer "],
            &[""],
            &["Basic a.b.c"],
            &["Bearer é.b.c"],
            &[&long],
        ] {
            assert_eq!(read(bad), Err(Refusal::Invalid), "{bad:?}");
        }
    }
}
