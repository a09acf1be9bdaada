//! What is wrong with the settings, all of it, with the place each value came from.

use std::fmt;

/// One thing to mend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Dotted key of the setting; empty when a whole file could not be read.
    pub key: String,
    /// What is wrong and what to do about it.
    pub message: String,
    /// The value as given, `***` for a secret.
    pub value: Option<String>,
    /// Where the value came from, such as `environment variable DB_PORT`.
    pub source: Option<String>,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut start = self.key.clone();
        if let Some(value) = &self.value {
            start.push_str(" = ");
            start.push_str(value);
        }
        if let Some(source) = &self.source {
            if start.is_empty() {
                start.push_str(source);
            } else {
                start.push_str(" (");
                start.push_str(source);
                start.push(')');
            }
        }
        write!(f, "{start}: {}", self.message)
    }
}

/// The problems found so far. Printed one per line.
#[derive(Debug, Default)]
pub struct Problems {
    list: Vec<Problem>,
    useless: Vec<Problem>,
    warnings: Warnings,
    prefix: Vec<String>,
}

/// What was set and has no effect, each in a sentence. No reason not to start.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Warnings(Vec<String>);

impl Warnings {
    /// Logs each; call it once there is a log.
    pub fn log(&self) {
        for warning in &self.0 {
            tracing::warn!("{warning}");
        }
    }

    /// The sentences.
    pub fn sentences(&self) -> &[String] {
        &self.0
    }

    pub(crate) fn add(&mut self, warning: impl Into<String>) {
        let warning = warning.into();
        if !self.0.contains(&warning) {
            self.0.push(warning);
        }
    }
}

impl Problems {
    /// Reports the setting `key` (dotted, relative to the current section) with what to do about it.
    /// The loader adds value and source.
    pub fn add(&mut self, key: &str, message: impl Into<String>) {
        let key = self.full(key);
        self.push(Problem { key, message: message.into(), value: None, source: None });
    }

    /// Warns, if the setting `key` or any below it was given by anybody, that it has no effect, and says what would have.
    pub fn useless(&mut self, key: &str, message: impl Into<String>) {
        let key = self.full(key);
        self.useless.push(Problem { key, message: message.into(), value: None, source: None });
    }

    fn full(&self, key: &str) -> String {
        let mut full: Vec<&str> = self.prefix.iter().map(String::as_str).collect();
        if !key.is_empty() {
            full.push(key);
        }
        full.join(".")
    }

    /// Runs `check` with all its keys below `section`, for settings made of whole other settings.
    pub fn within(&mut self, section: &str, check: impl FnOnce(&mut Self)) {
        self.prefix.push(section.to_owned());
        check(self);
        self.prefix.pop();
    }

    /// Reports unless `fine`.
    pub fn ensure(&mut self, fine: bool, key: &str, message: impl Into<String>) {
        if !fine {
            self.add(key, message);
        }
    }

    /// Whether nothing was found.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// How many were found.
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// The problems in the order they were found.
    pub fn iter(&self) -> std::slice::Iter<'_, Problem> {
        self.list.iter()
    }

    pub(crate) fn push(&mut self, problem: Problem) {
        self.list.push(problem);
    }

    /// How many there are, in words: `1 problem`, `2 problems`.
    pub fn count(&self) -> String {
        match self.list.len() {
            1 => "1 problem".to_owned(),
            count => format!("{count} problems"),
        }
    }

    /// What has no effect, beside what is wrong.
    pub fn warnings(&self) -> &Warnings {
        &self.warnings
    }

    pub(crate) fn warnings_mut(&mut self) -> &mut Warnings {
        &mut self.warnings
    }

    pub(crate) fn into_warnings(self) -> Warnings {
        self.warnings
    }

    /// What is wrong, and what has no effect if it was given.
    pub(crate) fn into_lists(self) -> (Vec<Problem>, Vec<Problem>) {
        (self.list, self.useless)
    }
}

impl<'a> IntoIterator for &'a Problems {
    type Item = &'a Problem;
    type IntoIter = std::slice::Iter<'a, Problem>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.list.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}
