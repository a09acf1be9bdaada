//! Informational answers (1xx) that a backend sends before the final one: handed on to HTTP/1.1 clients as they come
//! (RFC 9110, section 15.2). hyper cannot send them over HTTP/2.

use std::sync::Arc;

use http::{HeaderMap, StatusCode};

use crate::message::headers;
use crate::server::Watch;

/// More than these before one answer are a fault: real ones are one or two, or one every few seconds.
const MOST: u32 = 100;

/// What a call's informational answers do.
pub(crate) struct Interim {
    client: Option<Arc<Watch>>,
    count: u32,
}

impl Interim {
    /// Of a call for `client`, if it can be told.
    pub(crate) fn new(client: Option<Arc<Watch>>) -> Self {
        Self { client, count: 0 }
    }

    /// One more came; false when there were too many.
    pub(crate) fn arrived(&mut self, status: StatusCode, mut headers: HeaderMap) -> bool {
        if self.count >= MOST {
            return false;
        }
        self.count += 1;
        if let Some(client) = &self.client
            // The gateway says 100 by itself, when the backend asks for the body.
            && status != StatusCode::CONTINUE
        {
            headers::to_client(&mut headers);
            client.inform(&headers::lines(status, &headers));
        }
        true
    }
}
