//! Informational answers (1xx) that a backend sends before the final one: handed on to HTTP/1.1 clients as they come
//! (RFC 9110, section 15.2). hyper cannot send them over HTTP/2.

use std::sync::Arc;

use http::StatusCode;
use shop_http1::Headers;

use crate::message::headers;

/// More than these before one answer are a fault: real ones are one or two, or one every few seconds.
const MOST: u32 = 100;

/// Who is told of informational answers: a client's connection, of which nothing down here may know.
pub(crate) trait Inform: Send + Sync {
    /// Sends `head`, an informational answer, when there is room for it before the final one.
    fn inform(&self, head: &[u8]);
}

/// What a call's informational answers do.
pub(crate) struct Interim {
    client: Option<Arc<dyn Inform>>,
    count: u32,
}

impl Interim {
    /// Of a call for `client`, if it can be told.
    pub(crate) fn new(client: Option<Arc<dyn Inform>>) -> Self {
        Self { client, count: 0 }
    }

    /// One more came; false when there were too many.
    pub(crate) fn arrived(&mut self, status: StatusCode, mut headers: Headers) -> bool {
        if self.count >= MOST {
            return false;
        }
        self.count += 1;
        if let Some(client) = &self.client
            // The gateway says 100 by itself, when the backend asks for the body.
            && status != StatusCode::CONTINUE
        {
            headers::to_client(&mut headers);
            // Not written here: the connection itself polls this, and writes when there is nothing else to do.
            client.inform(&headers::lines(status, &headers));
        }
        true
    }
}
