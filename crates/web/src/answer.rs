//! Answers that were made elsewhere.

use bytes::Bytes;
use salvo::Response;
use salvo::http::ResBody;

/// Gives `from` as the response.
pub(crate) fn answer(from: http::Response<Bytes>, res: &mut Response) {
    let (head, body) = from.into_parts();
    res.status_code(head.status);
    res.headers_mut().extend(head.headers);
    res.body = if body.is_empty() { ResBody::None } else { ResBody::Once(body) };
}
