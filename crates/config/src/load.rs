//! Merging the layers into one value.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fmt;
use std::path::PathBuf;

use figment::error::{Error, Kind};
use figment::value::{Dict, Value};

use crate::layer::{self, Layer};
use crate::merged::{DEFAULT, Given, Merged};
use crate::read::{Reader, Reading};
use crate::schema::{self, Schema};
use crate::text::read_text;
use crate::{Problem, Problems, Settings, Warnings, env, secret, suggest};

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

impl Sources {
    /// The files that settings `S` come from: those named by flags, then those that variables name for secrets.
    pub fn files_of<S: Settings>(&self) -> Vec<PathBuf> {
        let secrets = Schema::of::<S>().map(|schema| env::files(&S::vars(), &self.env, &schema)).unwrap_or_default();
        self.files.iter().cloned().chain(secrets).collect()
    }
}

/// Settings that passed every check.
pub struct Loaded<S> {
    /// The settings.
    pub settings: S,
    /// What was set and has no effect.
    pub warnings: Warnings,
    merged: Merged,
}

/// What it was made of has secrets.
impl<S: fmt::Debug> fmt::Debug for Loaded<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Loaded").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl<S: Settings> Loaded<S> {
    /// Every effective value and where it came from, one per line, secrets masked.
    pub fn explain(&self) -> String {
        crate::explain::table(&crate::explain::entries(&self.settings, &self.merged))
    }
}

/// Merges all layers and checks the result; every problem is reported, not only the first.
pub fn load<S: Settings>(sources: &Sources) -> Result<Loaded<S>, Problems> {
    let mut problems = Problems::default();
    let schema = match Schema::of::<S>() {
        Ok(schema) => schema,
        Err(message) => {
            problems.add("", format!("the built-in defaults are broken: {message}"));
            return Err(problems);
        }
    };
    let mut layers = vec![Layer::typed(DEFAULT, schema.defaults.clone())];
    files(sources, &schema, &mut layers, &mut problems);
    env::layers::<S>(&sources.env, &schema, &mut layers, &mut problems);
    for (key, value) in &sources.set {
        layers.push(Layer::text(format!("flag --set {key}"), &layer::path(key), value));
    }
    let read = read::<S>(layers, &schema, &mut problems);
    match read {
        Some((mut settings, merged)) => {
            settings.settle(&Given(&merged));
            check(&settings, &merged, &schema, &mut problems);
            if problems.is_empty() {
                return Ok(Loaded { settings, warnings: problems.into_warnings(), merged });
            }
            Err(problems)
        }
        None => Err(problems),
    }
}

fn files(sources: &Sources, schema: &Schema, layers: &mut Vec<Layer>, problems: &mut Problems) {
    for file in &sources.files {
        let source = format!("file {}", file.display());
        let dict = read_text(file).map_err(|error| error.to_string()).and_then(|text| parse(&text));
        match dict.and_then(|dict| layer::by_name(dict, &schema.defaults)) {
            Ok(dict) => layers.push(Layer::typed(source, dict)),
            Err(message) => problems.push(Problem { key: String::new(), message, value: None, source: Some(source) }),
        }
    }
}

/// TOML as a tree. The message is reduced to position and reason: a line of the file might show a secret.
fn parse(text: &str) -> Result<Dict, String> {
    use figment::providers::{Format, Toml};
    Toml::from_str(text).map_err(|error| {
        let line = error.span().map_or(1, |span| text[..span.start.min(text.len())].matches('\n').count() + 1);
        format!("line {line}: {}", error.message().replace('\n', ", "))
    })
}

/// Reads the merged tree. A value that does not fit is reported and taken out of every layer but the defaults, until all fits,
/// so that one run finds everything. In a list it is passed over instead: the others keep their places.
fn read<S: Settings>(mut layers: Vec<Layer>, schema: &Schema, problems: &mut Problems) -> Option<(S, Merged)> {
    let mut skip = BTreeSet::new();
    loop {
        let merged = match Merged::of(&layers) {
            Ok(merged) => merged,
            Err(error) => {
                problems.add("", error.to_string());
                return None;
            }
        };
        let reading = Reading { layers: Some(&merged.layers), probe: None, skip: &skip, secrets: RefCell::default() };
        let result = S::deserialize(Reader { reading: &reading, value: &merged.tree, path: String::new() });
        let error = match result {
            Ok(settings) => return Some((settings, merged)),
            Err(error) => error,
        };
        let at = error.path.join(".");
        // What is missing where something wrong was passed over is not missing.
        let below = format!("{at}.");
        let follows = matches!(error.kind, Kind::MissingField(_))
            && skip.iter().any(|skipped: &String| skipped.starts_with(&below));
        if !follows {
            problems.push(problem(&error, &merged, schema, &S::gone()));
        }
        if merged.is_in_list(&error.path) && skip.insert(at) {
            continue;
        }
        if !remove(&mut layers, &error.path) {
            return None;
        }
    }
}

/// Takes what is at `path` out of all layers but the defaults. Where one layer has a plain value in place of a section, only that
/// goes: the section in the other layers may be fine.
fn remove(layers: &mut [Layer], path: &[String]) -> bool {
    let given = layers.get_mut(1..).unwrap_or_default();
    let plain = given.iter().any(|layer| layer.has_leaf(path));
    given
        .iter_mut()
        .filter(|layer| !plain || layer.has_leaf(path))
        .map(|layer| layer.remove(path))
        .fold(false, std::ops::BitOr::bitor)
}

fn problem(error: &Error, merged: &Merged, schema: &Schema, gone: &[(&str, &str)]) -> Problem {
    let key = error.path.join(".");
    let unknown = matches!(error.kind, Kind::UnknownField(..));
    // The value of an unknown key may be a secret under a misspelt name.
    let value = if unknown { None } else { merged.find(&error.path).map(|value| shown(value, &key, schema)) };
    Problem { message: message(error, &key, schema, gone), value, source: merged.source(&error.path), key }
}

fn shown(value: &Value, key: &str, schema: &Schema) -> String {
    match value {
        _ if schema.hides(key) => secret::MASK.to_owned(),
        // Quoted, so that a text in place of a number shows, and an empty text can be seen.
        Value::String(_, text) => format!("{text:?}"),
        other => schema::text(other),
    }
}

fn message(error: &Error, key: &str, schema: &Schema, gone: &[(&str, &str)]) -> String {
    // In a program with more sections its own stands in front.
    let is = |known: &str| key.strip_suffix(known).is_some_and(|before| before.is_empty() || before.ends_with('.'));
    match &error.kind {
        Kind::UnknownField(..) if let Some((_, instead)) = gone.iter().find(|(known, _)| is(known)) => {
            format!("is not a setting any more: {instead}")
        }
        Kind::UnknownField(name, siblings) => {
            let section = error.path.get(..error.path.len().saturating_sub(1)).unwrap_or_default().join(".");
            match suggest::key(&section, name, siblings, &schema.keys) {
                Some(key) => format!("is not a setting; did you mean {key}?"),
                None => format!("is not a setting; known here: {}", siblings.join(", ")),
            }
        }
        Kind::UnknownVariant(name, variants) => match suggest::nearest(name, variants.iter().copied()) {
            Some(variant) => format!("is not one of {}; did you mean {variant}?", variants.join(", ")),
            None => format!("is not one of {}", variants.join(", ")),
        },
        Kind::InvalidType(_, wanted) | Kind::InvalidValue(_, wanted) => format!("expected {}", plain(wanted)),
        Kind::MissingField(name) => format!("{name} is missing; set it"),
        Kind::Message(text) if text == "invalid IP address syntax" => {
            "expected an IP address, such as 0.0.0.0 or ::1".to_owned()
        }
        other => other.to_string(),
    }
}

/// Rust's names of types in words.
fn plain(wanted: &str) -> String {
    let range = |max: &str| format!("a whole number from 0 to {max}");
    match wanted {
        "u8" => range("255"),
        "u16" => range("65535"),
        "u32" => range("4294967295"),
        "u64" | "usize" => "a whole number, 0 or more".to_owned(),
        "a nonzero u16" | "a nonzero u32" | "a nonzero u64" | "a nonzero usize" => "a whole number above 0".to_owned(),
        "i8" | "i16" | "i32" | "i64" | "isize" => "a whole number".to_owned(),
        "f32" | "f64" => "a number".to_owned(),
        "a boolean" => "true or false".to_owned(),
        "a string" => "a text".to_owned(),
        "a sequence" => "a list".to_owned(),
        other => match other.strip_prefix("struct ") {
            Some(_) => "a section with keys of its own".to_owned(),
            None => other.to_owned(),
        },
    }
}

/// Adds what the settings themselves object to, with value and source, unless the same key was reported already.
fn check<S: Settings>(settings: &S, merged: &Merged, schema: &Schema, problems: &mut Problems) {
    let mut found = Problems::default();
    settings.check(&mut found);
    let (wrong, useless) = found.into_lists();
    for problem in useless {
        for (key, source) in merged.given(&problem.key) {
            problems.warnings_mut().add(format!("{key} ({source}): {}", problem.message));
        }
    }
    for mut problem in wrong {
        let below = format!("{}.", problem.key);
        if problems.iter().any(|known| known.key == problem.key || known.key.starts_with(&below)) {
            continue;
        }
        let path = layer::path(&problem.key);
        problem.value = merged.find(&path).map(|value| shown(value, &problem.key, schema));
        problem.source = merged.source(&path);
        problems.push(problem);
    }
}

#[cfg(test)]
mod tests;
