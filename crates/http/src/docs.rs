//! `/openapi.json` and `/docs`, a page to try the interface that needs nothing from outside.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::HeaderValue;
use http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, X_CONTENT_TYPE_OPTIONS};
use salvo::http::ResBody;
use salvo::oapi::{Info, OpenApi};
use salvo::{Depot, FlowCtrl, Handler, Request, Response, Router, async_trait};
use sha2::{Digest, Sha256};

/// The page reads `/openapi.json` and shows each operation with a form.
const PAGE: &str = include_str!("docs.html");

/// The page's own script and style are inline; nothing else may load or frame it.
const POLICY: &str = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; connect-src 'self'; \
                      frame-ancestors 'none'; base-uri 'none'; form-action 'none'";

/// The two routes for what `router` documents about itself.
pub(crate) fn routes(title: &str, router: &Router) -> Router {
    let info = Info::new(title, env!("CARGO_PKG_VERSION"));
    let document = OpenApi::with_info(info).merge_router(router).to_json().unwrap_or_default();
    let json = Fixed::new("application/json", document.into());
    let page = Fixed::new("text/html; charset=utf-8", bytes::Bytes::from_static(PAGE.as_bytes()));
    Router::new().push(Router::with_path("openapi.json").get(json)).push(Router::with_path("docs").get(page))
}

/// The same bytes for everyone.
struct Fixed {
    kind: &'static str,
    tag: Option<HeaderValue>,
    body: bytes::Bytes,
}

impl Fixed {
    /// Tagged with its hash, so that who has it is not sent it again until another version runs.
    fn new(kind: &'static str, body: bytes::Bytes) -> Self {
        let tag = format!("\"{}\"", URL_SAFE_NO_PAD.encode(&Sha256::digest(&body)[..12]));
        Self { kind, tag: HeaderValue::try_from(tag).ok(), body }
    }
}

#[async_trait]
impl Handler for Fixed {
    async fn handle(&self, _req: &mut Request, _depot: &mut Depot, res: &mut Response, _ctrl: &mut FlowCtrl) {
        let headers = res.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(self.kind));
        if let Some(tag) = &self.tag {
            headers.insert(ETAG, tag.clone());
        }
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
        headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        res.body = ResBody::Once(self.body.clone());
    }
}
