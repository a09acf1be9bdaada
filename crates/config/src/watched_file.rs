//! A file that is read again when it changes.

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

/// A file that a setting names, if it does.
pub struct WatchedFile {
    path: Option<PathBuf>,
    seen: Mutex<Option<State>>,
}

/// What tells one content from another; none when there is no such file.
type State = Option<(SystemTime, u64)>;

impl WatchedFile {
    /// The file at `path`, not looked at yet.
    pub fn new(path: Option<PathBuf>) -> Self {
        Self { path, seen: Mutex::default() }
    }

    /// Looks at it: whether it is another than at the last look; true at the first. A file that is away is no other: it is being
    /// replaced.
    pub fn look(&self) -> bool {
        let data = self.path.as_ref().and_then(|path| std::fs::metadata(path).ok());
        let state = data.and_then(|data| Some((data.modified().ok()?, data.len())));
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.is_some() && state.is_none() {
            return false;
        }
        seen.replace(state) != Some(state)
    }
}
