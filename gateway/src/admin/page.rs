//! The live page: one HTML document that asks for nothing but events, and holds no data of its own.

use std::sync::LazyLock;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use http::{HeaderValue, Response, header};
use ring::digest::{SHA256, digest};

use crate::message::reason::Reason;
use crate::message::refusal::Refusal;

const STYLE: &str = include_str!("page/page.css");
const SCRIPT: &str = include_str!("page/page.js");
const PAGE: &str = concat!(
    include_str!("page/head.html"),
    "<style>",
    include_str!("page/page.css"),
    "</style>\n",
    include_str!("page/body.html"),
    "<script>",
    include_str!("page/page.js"),
    "</script>\n</body>\n</html>\n",
);

/// What the page may do: run this very script, look like this, and talk to its own gateway. Text that came over the
/// network cannot become HTML in it (Trusted Types), whatever it says.
static POLICY: LazyLock<HeaderValue> = LazyLock::new(|| {
    let hash = |text: &str| BASE64_STANDARD.encode(digest(&SHA256, text.as_bytes()));
    let policy = format!(
        "default-src 'none'; script-src 'sha256-{}'; style-src 'sha256-{}'; img-src data:; connect-src 'self'; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; \
         trusted-types 'none'",
        hash(SCRIPT),
        hash(STYLE)
    );
    // Were it not one, the gateway's own policy would stay, under which the page does nothing.
    HeaderValue::from_str(&policy).unwrap_or(HeaderValue::from_static("default-src 'none'"))
});

/// The page.
pub(super) fn page() -> Response<Bytes> {
    let mut response = Response::new(Bytes::from_static(PAGE.as_bytes()));
    let own = response.headers_mut();
    own.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    own.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    own.insert(header::CONTENT_SECURITY_POLICY, POLICY.clone());
    response
}

/// For who has no token yet: browsers send none when they open a page, so the page itself asks for it. Others are
/// refused as anywhere else.
pub(super) fn instead_of(refusal: Refusal) -> Refusal {
    if refusal.reason != Reason::AdminUnauthorized {
        return refusal;
    }
    refusal.page(PAGE).header(header::CONTENT_SECURITY_POLICY, POLICY.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_needs_nothing_from_elsewhere_and_its_parts_do_not_end_early() {
        assert_eq!(PAGE.matches("<style>").count() + PAGE.matches("<script>").count(), 2);
        assert_eq!(PAGE.matches("</style").count() + PAGE.matches("</script").count(), 2);
        for stranger in ["http://", "https://", "@import", "innerHTML", "eval(", "style=", "onclick="] {
            let found = PAGE.replace("http://www.w3.org/2000/svg", "").contains(stranger);
            assert!(!found, "{stranger}");
        }
        let policy = POLICY.to_str().expect("text");
        assert!(policy.contains("sha256-") && !policy.contains("unsafe"), "{policy}");
    }
}
