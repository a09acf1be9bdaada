//! Informational answers (1xx) that a backend sends before the final one: handed on to HTTP/1.1 clients as they come
//! (RFC 9110, section 15.2). hyper cannot send them over HTTP/2.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use http::{Request, StatusCode};
use tokio::sync::Notify;

use crate::front::Watch;
use crate::headers;

/// More than these before one answer are a fault: real ones are one or two, or one every few seconds.
const MOST: u32 = 100;

/// What a call's informational answers do.
pub(crate) struct Interim {
    client: Option<Arc<Watch>>,
    count: AtomicU32,
    flood: Notify,
}

impl Interim {
    /// Of a call for `client`, if it can be told.
    pub(crate) fn new(client: Option<Arc<Watch>>) -> Arc<Self> {
        if let Some(client) = &client {
            client.awaits_answer(true);
        }
        Arc::new(Self { client, count: AtomicU32::new(0), flood: Notify::new() })
    }

    /// Listens for them on the connection that `request` takes.
    pub(crate) fn listen<B>(self: &Arc<Self>, request: &mut Request<B>) {
        let this = Arc::clone(self);
        hyper::ext::on_informational(request, move |answer| this.arrived(answer.status(), answer.headers()));
    }

    fn arrived(&self, status: StatusCode, headers: &http::HeaderMap) {
        if self.count.fetch_add(1, Relaxed) >= MOST {
            self.flood.notify_one();
        } else if let Some(client) = &self.client
            // The gateway says 100 by itself, when the backend asks for the body.
            && status != StatusCode::CONTINUE
        {
            let mut headers = headers.clone();
            headers::to_client(&mut headers);
            client.inform(&headers::lines(status, &headers));
        }
    }

    /// Returns when there were too many.
    pub(crate) async fn flooded(&self) {
        self.flood.notified().await;
    }

    /// The final answer is there, or will never be.
    pub(crate) fn end(&self) {
        if let Some(client) = &self.client {
            client.awaits_answer(false);
        }
    }
}
