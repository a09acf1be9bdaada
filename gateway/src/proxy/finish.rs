//! The last headers of every response, whoever made it: a backend, the gateway, or the refusal of a head that nobody could read.

use http::HeaderValue;
use shop_browser::cors;
use shop_http::request_id::HEADER as X_REQUEST_ID;
use shop_http1::Edit;
use shop_limit::Ruling;

use crate::state::generation::Generation;

/// Writes them. They come last, so that a backend cannot say otherwise.
pub(super) fn finish(
    headers: &mut impl Edit,
    request_id: &HeaderValue,
    ruling: Option<Ruling>,
    browser: Browser,
    generation: &Generation,
) {
    headers.copy(&X_REQUEST_ID, request_id);
    if let (Some(limiter), Some(ruling)) = (&generation.limiter, ruling) {
        limiter.tell(&ruling, headers);
    }
    browser.instruct(headers, generation);
}

/// What matters when the client is a browser.
pub(super) struct Browser {
    /// Whether it may be one at all.
    pub(super) is_possible: bool,
    /// Whether it speaks TLS.
    pub(super) is_secure: bool,
    /// What the rules for other sites' pages say; none when there are no rules for this request.
    pub(super) cors: Option<cors::Verdict>,
}

impl Browser {
    /// Tells it what it may do with the answer.
    fn instruct(self, headers: &mut impl Edit, generation: &Generation) {
        if !self.is_possible {
            return;
        }
        if let Some(security) = &generation.security {
            security.write(headers, self.is_secure);
        }
        if let (Some(cors), Some(verdict)) = (&generation.cors, self.cors) {
            cors.write(verdict, headers);
        }
    }
}
