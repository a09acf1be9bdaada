//! What one look at a source brings.

use std::time::Duration;

use crate::backend_url::BackendUrl;

/// What was found, and how long it may be believed.
pub(crate) struct Found {
    pub(crate) backends: Vec<BackendUrl>,
    pub(crate) lives: Duration,
}
