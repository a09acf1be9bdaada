//! `If-Match` and `If-None-Match` ([`shop_http::precondition`]), for every route alike.
//!
//! A read is judged when its answer leaves, by the `ETag` the handler set; no handler needs to know. A change hands what
//! the caller expects to its command with [`of`], for only the store can judge it without somebody coming in between.

use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, ETAG, IF_MATCH, IF_NONE_MATCH};
use http::{HeaderValue, Method, StatusCode};
use salvo::http::ResBody;
use salvo::{Request, Response};
use shop_http::precondition::{self, Verdict};
use shop_input::Expected;

use crate::Problem;
use crate::problem::render;

/// What the caller expects of the resource it wants to change; 400 when a header cannot be read.
pub fn of(req: &Request) -> Result<Expected, Problem> {
    Ok(precondition::of(req.headers())?)
}

/// The same for a change of a list, which is always there and has no tag: no tag matches it, a star does.
pub fn of_list(req: &Request) -> Result<(), Problem> {
    Ok(precondition::of_list(req.headers())?)
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
    match precondition::judge(headers, res.headers().get(ETAG).map(HeaderValue::as_bytes)) {
        Ok(Verdict::Send) => {}
        Ok(Verdict::NotModified) => {
            res.status_code(StatusCode::NOT_MODIFIED);
            res.body = ResBody::None;
            // What describes the content goes with it; `ETag`, `Vary`, `Cache-Control` and the like stay (section 15.4.5).
            for header in [CONTENT_TYPE, CONTENT_LENGTH, CONTENT_ENCODING] {
                res.headers_mut().remove(header);
            }
        }
        Err(fault) => render(&fault, req, res),
    }
}
