//! What is said to a client whose head cannot be read, before its connection is closed.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{self, HeaderValue};
use http::{Method, Request, Version};
use shop_http1::request_head::Fault;

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
    let mut request = Request::new(());
    // Nothing of it can be relied on, its method neither.
    *request.method_mut() = Method::from_bytes(b"-").unwrap_or_default();
    *request.version_mut() = Version::HTTP_11;
    let mut record = RequestRecord::begin(state, connection.occupy(None), &request, connection.is_encrypted);
    let generation = state.settings.current();
    record.asked_by(Asker::unread(connection.peer, &generation.config.access_log));
    let id = record.request_id().clone();
    let reason = Reason::from(fault.kind);
    let mut response = Refusal::new(reason, fault.detail).problem(&fault.path, &id);
    let size = response.body().len();
    let headers = response.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(size));
    // What cannot be read may have come from a browser, too; of which site, nobody knows.
    let browser = Browser { is_possible: true, is_secure: connection.is_encrypted, cors: None };
    finish(headers, id, None, browser, &generation);
    record.answered(response.status(), Some(reason));
    record.complete();
    if !fault.speaks_http {
        return Bytes::new();
    }
    record.sent(size);
    let mut bytes = headers::lines(response.status(), response.headers());
    bytes.extend_from_slice(response.body());
    Bytes::from(bytes)
}
