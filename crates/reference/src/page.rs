//! The page at `/docs`, and its parts below.

use std::sync::LazyLock;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, header};

use crate::sent::Sent;

/// The page runs its own scripts, looks its own way, and talks to where it is from; nothing else may load or frame it.
/// Pictures in style sheets are data.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; \
     base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
);

const HTML: HeaderValue = HeaderValue::from_static("text/html; charset=utf-8");
const SCRIPT: HeaderValue = HeaderValue::from_static("text/javascript; charset=utf-8");
const STYLE: HeaderValue = HeaderValue::from_static("text/css; charset=utf-8");

/// Parts are asked for by their content, so what is kept is never old.
const FOR_EVER: HeaderValue = HeaderValue::from_static("public, max-age=31536000, immutable");
/// The page names its parts, so it has to be that of this build.
const FRESH: HeaderValue = HeaderValue::from_static("no-cache");

static PARTS: LazyLock<[(&str, Sent); 4]> = LazyLock::new(|| {
    [
        (
            "swagger-ui.js",
            Sent::compressed(include_bytes!(concat!(env!("OUT_DIR"), "/swagger-ui.js.gz")), SCRIPT, FOR_EVER),
        ),
        (
            "swagger-ui.css",
            Sent::compressed(include_bytes!(concat!(env!("OUT_DIR"), "/swagger-ui.css.gz")), STYLE, FOR_EVER),
        ),
        ("page.js", Sent::new(Bytes::from_static(include_bytes!("page.js")), SCRIPT, FOR_EVER)),
        ("page.css", Sent::new(Bytes::from_static(include_bytes!("page.css")), STYLE, FOR_EVER)),
    ]
});

static PAGE: LazyLock<Sent> = LazyLock::new(|| {
    let mut html = include_str!("page.html").to_owned();
    for (name, part) in PARTS.iter() {
        html = html.replace(&format!("{{{name}}}"), part.digest());
    }
    Sent::new(html.into(), HTML, FRESH)
});

/// The answer to a GET or HEAD of a path below `/docs`, without a slash at its start: the page itself is the empty one. It
/// reads the document next to it, `/openapi.json`. Nothing when there is no such path.
pub fn page(path: &str, request: &HeaderMap) -> Option<Response<Bytes>> {
    let sent = match path {
        "" => &*PAGE,
        _ => PARTS.iter().find(|(name, _)| *name == path).map(|(_, part)| part)?,
    };
    let mut response = sent.answer(request);
    response.headers_mut().insert(header::CONTENT_SECURITY_POLICY, POLICY);
    Some(response)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn text(path: &str) -> String {
        let response = page(path, &HeaderMap::new()).unwrap_or_else(|| panic!("no {path}"));
        String::from_utf8(response.into_body().to_vec()).expect("text")
    }

    #[test]
    fn the_page_names_its_parts_by_content_and_all_are_there() {
        let html = text("");
        let named: BTreeSet<_> =
            html.split('"').filter_map(|part| part.strip_prefix("docs/")?.split_once("?v=")).collect();
        assert_eq!(
            named.iter().map(|(name, _)| *name).collect::<BTreeSet<_>>(),
            PARTS.iter().map(|(name, _)| *name).collect()
        );
        assert!(named.iter().all(|(_, digest)| digest.len() > 20 && !digest.contains('{')), "{html}");
    }

    #[test]
    fn the_parts_of_swagger_ui_are_whole() {
        let embedded: usize = PARTS.iter().map(|(_, part)| part.weight()).sum();
        assert!(embedded < 1024 * 1024, "{embedded} bytes in every binary");
        let script = text("swagger-ui.js");
        assert!(script.len() > 1_000_000 && script.contains("SwaggerUIBundle"), "{}", script.len());
        assert!(text("swagger-ui.css").contains(".swagger-ui .opblock"));
    }

    #[test]
    fn nothing_of_the_page_runs_or_looks_but_by_its_parts() {
        let html = text("");
        for stranger in ["http://", "https://", "//", "<style", "style=", "onclick=", "javascript:"] {
            assert!(!html.contains(stranger), "{stranger}");
        }
        assert_eq!(html.matches("<script").count(), html.matches("<script src=\"docs/").count());
        assert!(!text("swagger-ui.css").contains("@import") && !text("page.css").contains("url("));
        let policy = POLICY;
        let policy = policy.to_str().expect("text");
        assert!(!policy.contains("unsafe") && !policy.contains("http"), "{policy}");
        assert!(page("nowhere", &HeaderMap::new()).is_none());
    }
}
