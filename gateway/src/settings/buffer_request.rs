//! Settings of reading requests ahead.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use shop_config::Problems;

/// Reading the body of a request whole before a backend is chosen, so that a client that sends slowly costs none of them
/// anything.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BufferRequest {
    /// The paths for which it is done, as clients write them, each with all below it. None by default: bodies are streamed,
    /// and a backend can refuse one before it is whole.
    pub routes: Vec<String>,
    /// Bytes of a body that are held in memory; orders and forms fit.
    pub memory: usize,
    /// Where the rest of a larger body is kept meanwhile, in a file without a name. Nowhere by default: from there on such a
    /// body is streamed.
    pub folder: Option<PathBuf>,
}

impl Default for BufferRequest {
    fn default() -> Self {
        Self { routes: Vec::new(), memory: 64 * 1024, folder: None }
    }
}

impl BufferRequest {
    /// Finds wrong values; `is_normal` says whether paths are in the one form that requests have.
    pub(super) fn check(&self, is_normal: impl Fn(&str) -> bool, problems: &mut Problems) {
        for (index, route) in self.routes.iter().enumerate() {
            let is_path = route.starts_with('/') && is_normal(route);
            problems.ensure(is_path, &format!("routes.{index}"), "write a path such as /api/products");
        }
        problems.ensure(self.memory <= 1024 * 1024, "memory", "use at most 1048576 bytes: they are held per call");
    }

    /// Whether the body of a request for `path` is read ahead.
    pub(crate) fn covers(&self, path: &str) -> bool {
        self.routes.iter().any(|route| {
            let rest = path.strip_prefix(route.trim_end_matches('/'));
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_route_covers_whole_segments_and_what_is_below() {
        let settings =
            BufferRequest { routes: vec!["/api/products".into(), "/api/users/".into()], ..Default::default() };
        for (path, expected) in [
            ("/api/products", true),
            ("/api/products/7", true),
            ("/api/users", true),
            ("/api/users/7/data", true),
            ("/api/productsx", false),
            ("/api", false),
        ] {
            assert_eq!(settings.covers(path), expected, "{path}");
        }
        assert!(!BufferRequest::default().covers("/api/products"));
    }
}
