//! The file that keeps the admin API's changes over a restart.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use anyhow::Context;
use serde::{Deserialize, Serialize};

use crate::settings::overrides::Overrides;
use crate::settings::{Route, services};

/// The format. Another one is not understood.
const VERSION: u32 = 1;

/// Where changes are kept.
pub(crate) struct StateFile(PathBuf);

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Content {
    version: u32,
    changes: Overrides,
}

impl StateFile {
    /// Opens the file, with the changes that are in it; none when it is not there yet.
    pub(crate) fn open(path: &Path) -> anyhow::Result<(Self, Overrides)> {
        let file = Self(path.to_owned());
        let advice = || {
            let path = path.display();
            format!("the state file {path} (admin.state_file) cannot be used; mend it, or remove it to begin anew")
        };
        let text = match shop_config::read_text(path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                anyhow::ensure!(file.folder().is_dir(), "{}: its folder does not exist", advice());
                return Ok((file, Overrides::default()));
            }
            Err(error) => return Err(error).with_context(advice),
        };
        let content: Content = serde_json::from_str(&text).with_context(advice)?;
        anyhow::ensure!(content.version == VERSION, "{}: version {} is not known", advice(), content.version);
        for (name, changes) in &content.changes.services {
            anyhow::ensure!(services::is_name(name), "{}: {name:?} is no name for a service", advice());
            if let Some(stray) = changes.strays().next() {
                anyhow::bail!("{}: {stray:?} is not http://host:port", advice());
            }
        }
        let names_a_file =
            content.changes.routes.iter().find(|(_, route)| route.as_deref().is_some_and(Route::names_a_file));
        if let Some((name, _)) = names_a_file {
            anyhow::bail!("{}: route {name} names a body_file, which settings alone may do", advice());
        }
        Ok((file, content.changes))
    }

    /// Writes `changes`: after a crash either they are there or those before. An error says that those before are.
    pub(crate) fn save(&self, changes: &Overrides) -> io::Result<()> {
        self.replace(changes, File::sync_all)
    }

    /// `settle` makes it outlive a crash of the system that the folder names the new file.
    fn replace(&self, changes: &Overrides, settle: impl FnOnce(&File) -> io::Result<()>) -> io::Result<()> {
        let text = serde_json::to_string_pretty(&Content { version: VERSION, changes: changes.clone() })?;
        let folder = File::open(self.folder())?;
        let mut file = tempfile::NamedTempFile::new_in(self.folder())?;
        file.write_all(text.as_bytes())?;
        file.as_file().sync_all()?;
        file.persist(&self.0)?;
        // The next start will find them: too late to say that nothing changed.
        if let Err(error) = settle(&folder) {
            let path = self.0.display();
            tracing::warn!(%error, "the changes are in {path}, but may not outlive a crash of the system: its folder cannot be synced");
        }
        Ok(())
    }

    fn folder(&self) -> &Path {
        match self.0.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn changes_that_are_in_the_file_are_saved_even_if_the_folder_cannot_be_synced() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("state.json");
        let (file, _) = StateFile::open(&path).expect("opens");
        let mut changes = Overrides::default();
        changes.service("product").enabled = Some(false);
        file.replace(&changes, |_| Err(io::ErrorKind::StorageFull.into())).expect("it is there");
        assert_eq!(StateFile::open(&path).expect("opens").1, changes);
    }

    #[test]
    fn what_is_saved_is_found_again_and_what_is_broken_is_named() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("state.json");
        let (file, none) = StateFile::open(&path).expect("opens");
        assert_eq!(none, Overrides::default());
        let mut changes = Overrides::default();
        changes.service("product").enabled = Some(false);
        changes.rate_limit.window = Some(shop_config::Duration::secs(7));
        for _ in 0..2 {
            file.save(&changes).expect("saves");
            assert_eq!(StateFile::open(&path).expect("opens").1, changes);
        }
        assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), 1, "nothing is left behind");
        for text in [
            "",
            "{",
            r#"{"version": 2, "changes": {}}"#,
            r#"{"version": 1, "changes": {"servcies": {}}}"#,
            r#"{"version": 1, "changes": {"services": {"No Name": {}}}}"#,
            r#"{"version": 1, "changes": {"services": {"product": {"http": {"a": {"change": "removed"}}}}}}"#,
        ] {
            fs::write(&path, text).expect("writes");
            let error = format!("{:#}", StateFile::open(&path).map(drop).expect_err(text));
            assert!(error.contains("state.json") && error.contains("admin.state_file"), "{error}");
        }
        let nowhere = StateFile::open(&folder.path().join("no/state.json")).map(drop).expect_err("no folder");
        assert!(nowhere.to_string().contains("folder"), "{nowhere}");
    }
}
