//! Merging the layers into one value.

use std::path::PathBuf;

use crate::{Problems, Settings};

/// What the outside said, in one place so that tests need no real environment.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    /// TOML files, later ones win.
    pub files: Vec<PathBuf>,
    /// Environment variables; those that name no setting are ignored.
    pub env: Vec<(String, String)>,
    /// `--set key=value`, later ones win.
    pub set: Vec<(String, String)>,
}

/// Settings that passed every check.
#[derive(Debug)]
pub struct Loaded<S> {
    /// The settings.
    pub settings: S,
}

/// Merges all layers and checks the result; every problem is reported, not only the first.
pub fn load<S: Settings>(_sources: &Sources) -> Result<Loaded<S>, Problems> {
    todo!()
}
