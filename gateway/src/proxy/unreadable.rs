//! What is said to a client whose head cannot be read, before its connection is closed.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{self, HeaderValue};
use http::{Method, Request, Version};
use shop_http1::Edit as _;
use shop_http1::request_head::Fault;
use shop_http1::response_head::Response;

use super::finish::{Browser, finish};
use crate::message::headers;
use crate::message::reason::Reason;
use crate::message::refusal::Refusal;
use crate::record::RequestRecord;
use crate::record::asker::Asker;
use crate::server::ConnectionState;
use crate::state::State;

/// The answer to a head that must not be handed on, recorded like any other; empty if the client could not read it.
pub(super) fn refuse(state: &Arc<State>, connection: &Arc<ConnectionState>, fault: &Fault) -> Bytes {
    let (mut request, ()) = Request::new(()).into_parts();
    // Nothing of it can be relied on, its method neither.
    request.method = Method::from_bytes(b"-").unwrap_or_default();
    request.version = Version::HTTP_11;
    let mut record = RequestRecord::begin(state, connection.occupy(None), &request.into(), connection.is_encrypted);
    let generation = state.settings.current();
    record.asked_by(Asker::unread(connection.peer, &generation.config.access_log));
    let id = record.request_id().clone();
    let reason = Reason::from(fault.kind);
    let mut response: Response<_> = Refusal::new(reason, fault.detail).problem(&fault.path, &id).into();
    let size = response.body.len();
    let headers = &mut response.head.headers;
    headers.set(header::CONNECTION, HeaderValue::from_static("close"));
    headers.set(header::CONTENT_LENGTH, HeaderValue::from(size));
    // What cannot be read may have come from a browser, too; of which site, nobody knows.
    let browser = Browser { is_possible: true, is_secure: connection.is_encrypted, cors: None };
    finish(headers, &id, None, browser, &generation);
    record.answered(response.head.status, Some(reason));
    record.complete();
    if !fault.speaks_http {
        return Bytes::new();
    }
    record.sent(size);
    let mut bytes = headers::lines(response.head.status, &response.head.headers);
    bytes.extend_from_slice(&response.body);
    Bytes::from(bytes)
}
