//! A text as it is sent: compressed for who takes that, and not again to who has it.

use std::io::{Read as _, Write as _};
use std::sync::OnceLock;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use bytes::Bytes;
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use sha2::{Digest as _, Sha256};

/// The same text for everybody.
#[derive(Debug, Clone)]
pub(crate) struct Sent {
    /// Taken out of the other when it is first asked for, which no browser does.
    plain: OnceLock<Bytes>,
    gzip: Bytes,
    digest: String,
    tag: HeaderValue,
    kind: HeaderValue,
    cache: HeaderValue,
}

impl Sent {
    /// A text that is compressed here.
    pub(crate) fn new(plain: Bytes, kind: HeaderValue, cache: HeaderValue) -> Self {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        // Writing into memory does not fail.
        let gzip = encoder.write_all(&plain).and_then(|()| encoder.finish()).unwrap_or_default();
        Self::of(plain.into(), gzip.into(), kind, cache)
    }

    /// A text that was compressed when it was built in.
    pub(crate) fn compressed(gzip: &'static [u8], kind: HeaderValue, cache: HeaderValue) -> Self {
        Self::of(OnceLock::new(), Bytes::from_static(gzip), kind, cache)
    }

    fn of(plain: OnceLock<Bytes>, gzip: Bytes, kind: HeaderValue, cache: HeaderValue) -> Self {
        let digest = BASE64_URL_SAFE_NO_PAD.encode(Sha256::digest(&gzip));
        // Weak, because both codings have it (RFC 9110, section 8.8.3.3).
        let tag = HeaderValue::from_str(&format!("W/\"{digest}\"")).unwrap_or(HeaderValue::from_static("W/\"\""));
        Self { plain, gzip, digest, tag, kind, cache }
    }

    /// A name for the content.
    pub(crate) fn digest(&self) -> &str {
        &self.digest
    }

    /// What it takes where it is built in.
    #[cfg(test)]
    pub(crate) fn weight(&self) -> usize {
        self.gzip.len()
    }

    /// The answer to a GET or HEAD with these headers.
    pub(crate) fn answer(&self, request: &HeaderMap) -> Response<Bytes> {
        let mut response = Response::new(Bytes::new());
        let headers = response.headers_mut();
        headers.insert(header::ETAG, self.tag.clone());
        headers.insert(header::CACHE_CONTROL, self.cache.clone());
        headers.insert(header::VARY, HeaderValue::from_static("accept-encoding"));
        if self.is_known(request) {
            *response.status_mut() = StatusCode::NOT_MODIFIED;
            return response;
        }
        headers.insert(header::CONTENT_TYPE, self.kind.clone());
        headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        if takes_gzip(request) {
            headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
            *response.body_mut() = self.gzip.clone();
        } else {
            *response.body_mut() = self.plain();
        }
        response
    }

    fn plain(&self) -> Bytes {
        let unpack = || {
            let mut plain = Vec::new();
            // What was built in is whole: a test reads it.
            let _ = GzDecoder::new(&*self.gzip).read_to_end(&mut plain);
            plain.into()
        };
        self.plain.get_or_init(unpack).clone()
    }

    /// Whether `If-None-Match` names it (RFC 9110, section 13.1.2).
    fn is_known(&self, request: &HeaderMap) -> bool {
        let tag = self.tag.as_bytes();
        values(request, &header::IF_NONE_MATCH).any(|known| {
            known == "*" || known.strip_prefix("W/").unwrap_or(known).as_bytes() == tag.get(2..).unwrap_or_default()
        })
    }
}

/// The members of a list header.
fn values<'a>(request: &'a HeaderMap, name: &header::HeaderName) -> impl Iterator<Item = &'a str> {
    request.get_all(name).iter().filter_map(|value| value.to_str().ok()).flat_map(|line| line.split(',')).map(str::trim)
}

/// Whether gzip is welcome (RFC 9110, section 12.5.3): named itself, or by `*` where it is not, with a weight above 0.
fn takes_gzip(request: &HeaderMap) -> bool {
    let weight = |wanted: &str| {
        values(request, &header::ACCEPT_ENCODING).find_map(|member| {
            let mut parts = member.split(';').map(str::trim);
            let name = parts.next()?;
            let is_it = name.eq_ignore_ascii_case(wanted)
                || (wanted.eq_ignore_ascii_case("gzip") && name.eq_ignore_ascii_case("x-gzip"));
            let weight = parts.find_map(|part| part.strip_prefix("q=").or_else(|| part.strip_prefix("Q=")));
            is_it.then(|| weight.is_none_or(|weight| weight.parse::<f32>().is_ok_and(|weight| weight > 0.0)))
        })
    };
    weight("gzip").or_else(|| weight("*")).unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asking(name: header::HeaderName, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(name, HeaderValue::from_str(value).expect("a value"))])
    }

    fn sent() -> Sent {
        let fresh = HeaderValue::from_static("no-cache");
        Sent::new(Bytes::from_static(b"{\"openapi\": \"3.1.0\"}"), HeaderValue::from_static("application/json"), fresh)
    }

    #[test]
    fn gzip_goes_to_those_who_say_they_take_it() {
        let table = [
            ("gzip", true),
            ("gzip, deflate, br, zstd", true),
            ("br, GZIP;q=0.1", true),
            ("x-gzip", true),
            ("*", true),
            ("gzip;q=0, *", false),
            ("gzip; q=0.000", false),
            ("br", false),
            ("identity", false),
            ("gzip;q=much", false),
            ("gzipped", false),
            ("", false),
        ];
        for (accepted, compressed) in table {
            let request = asking(header::ACCEPT_ENCODING, accepted);
            let response = sent().answer(&request);
            let coding = response.headers().get(header::CONTENT_ENCODING);
            assert_eq!(coding.is_some(), compressed, "{accepted}");
            assert_eq!(response.headers()[header::VARY], "accept-encoding");
            let mut body = String::new();
            if compressed {
                GzDecoder::new(&**response.body()).read_to_string(&mut body).expect("gzip");
            } else {
                body = String::from_utf8(response.body().to_vec()).expect("text");
            }
            assert_eq!(body, "{\"openapi\": \"3.1.0\"}", "{accepted}");
        }
    }

    #[test]
    fn who_has_it_is_not_sent_it_again() {
        let sent = sent();
        let tag = sent.tag.to_str().expect("text").to_owned();
        let strong = tag.trim_start_matches("W/").to_owned();
        for (known, is_known) in [
            (tag.as_str(), true),
            (strong.as_str(), true),
            (&*format!("\"other\", {tag}"), true),
            ("*", true),
            ("\"other\"", false),
            ("W/\"\"", false),
            ("", false),
        ] {
            let response = sent.answer(&asking(header::IF_NONE_MATCH, known));
            assert_eq!(response.status() == StatusCode::NOT_MODIFIED, is_known, "{known}");
            assert_eq!(response.body().is_empty(), is_known, "{known}");
            assert_eq!(response.headers()[header::ETAG], tag);
        }
    }
}
