//! Settings of reading requests ahead.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use shop_config::Problems;

/// Reading the body of a request whole before a backend is chosen, so that a client that sends slowly costs none of them
/// anything: for routes that ask for it, by [`Route::buffer_request`](super::Route::buffer_request).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BufferRequest {
    /// Bytes of a body that are held in memory; orders and forms fit.
    pub memory: usize,
    /// Where the rest of a larger body is kept meanwhile, in a file without a name. Nowhere by default: from there on such a
    /// body is streamed.
    pub folder: Option<PathBuf>,
}

impl Default for BufferRequest {
    fn default() -> Self {
        Self { memory: 64 * 1024, folder: None }
    }
}

impl BufferRequest {
    /// Finds wrong values.
    pub(super) fn check(&self, problems: &mut Problems) {
        problems.ensure(self.memory <= 1024 * 1024, "memory", "use at most 1048576 bytes: they are held per call");
    }
}
