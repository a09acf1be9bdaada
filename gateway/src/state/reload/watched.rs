//! Files that are looked at every second. Their contents count, whatever happens to the names: an editor renames, and
//! Kubernetes swaps a link.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// From one look to the next: settings are read once in a long while, and this costs microseconds.
const LOOK: Duration = Duration::from_secs(1);
/// A file that is being written is left alone until it has stayed the same for this long.
const SETTLE: Duration = Duration::from_millis(250);

/// Files, and what they held when they were last looked at.
pub(super) struct Watched {
    files: Arc<[PathBuf]>,
    seen: u64,
}

impl Watched {
    /// Looks for the first time.
    pub(super) async fn new(files: Vec<PathBuf>) -> Self {
        let files: Arc<[PathBuf]> = files.into();
        Self { seen: contents(&files).await, files }
    }

    /// Returns when the files hold something else and have stopped changing. Dropped half-way, it loses nothing.
    pub(super) async fn changed(&mut self) {
        if self.files.is_empty() {
            return std::future::pending().await;
        }
        loop {
            tokio::time::sleep(LOOK).await;
            let mut now = contents(&self.files).await;
            if now == self.seen {
                continue;
            }
            loop {
                tokio::time::sleep(SETTLE).await;
                let later = contents(&self.files).await;
                if later == now {
                    break;
                }
                now = later;
            }
            self.seen = now;
            return;
        }
    }

    /// What they hold now is no news.
    pub(super) async fn note(&mut self) {
        self.seen = contents(&self.files).await;
    }
}

/// A digest of what the files hold; one that cannot be read counts as such. Read away from the runtime: a disk may hang.
async fn contents(files: &Arc<[PathBuf]>) -> u64 {
    let files = Arc::clone(files);
    let read = move || {
        let mut digest = DefaultHasher::new();
        for file in &*files {
            std::fs::read(file).map_err(|error| error.kind()).hash(&mut digest);
        }
        digest.finish()
    };
    // It can only fail by a panic, of which there is none in it.
    tokio::task::spawn_blocking(read).await.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    /// Whether a change is noticed within a few looks.
    async fn notices(watched: &mut Watched) -> bool {
        tokio::time::timeout(LOOK * 3, watched.changed()).await.is_ok()
    }

    #[tokio::test(start_paused = true)]
    async fn renames_and_swapped_links_are_noticed_and_touching_is_not() {
        let folder = tempfile::tempdir().expect("a folder");
        let at = |name: &str| folder.path().join(name);
        fs::create_dir(at("v1")).expect("a folder");
        fs::create_dir(at("v2")).expect("a folder");
        fs::write(at("v1/x.toml"), "a").expect("writes");
        fs::write(at("v2/x.toml"), "b").expect("writes");
        symlink("v1", at("data")).expect("links");
        symlink("data/x.toml", at("x.toml")).expect("links");
        let mut watched = Watched::new(vec![at("x.toml")]).await;
        fs::write(at("v1/x.toml"), "a").expect("writes");
        assert!(!notices(&mut watched).await, "the same again");
        symlink("v2", at("data.new")).expect("links");
        fs::rename(at("data.new"), at("data")).expect("swaps");
        assert!(notices(&mut watched).await, "the link points elsewhere");
        fs::write(at("new"), "c").expect("writes");
        fs::rename(at("new"), at("v2/x.toml")).expect("renames");
        assert!(notices(&mut watched).await, "another file under the name");
        fs::remove_file(at("x.toml")).expect("removes");
        assert!(notices(&mut watched).await, "gone");
        assert!(!notices(&mut watched).await, "told once");
        fs::write(at("x.toml"), "d").expect("writes");
        watched.note().await;
        assert!(!notices(&mut watched).await, "no news");
    }
}
