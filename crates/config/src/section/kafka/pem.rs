//! Files in PEM that settings name.

use std::path::Path;

use crate::{Problems, read_text};

/// The text of a file, which has to have one of `words`. A file that is none of what it should be is a problem by name.
pub(super) fn pem(path: Option<&Path>, key: &str, words: &[&str], problems: &mut Problems) -> Option<String> {
    let path = path?;
    match read_text(path) {
        Ok(text) if words.iter().any(|word| text.contains(word)) => return Some(text),
        Ok(_) => problems.add(key, format!("{} is no PEM file with a {}", path.display(), words[0])),
        Err(error) => problems.add(key, format!("{} cannot be read: {error}", path.display())),
    }
    None
}
