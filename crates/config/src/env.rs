//! Environment variables as layers: the named ones, their `_FILE` twins, and `SHOP_SECTION__KEY` for everything.
//!
//! Nothing that was set is passed over in silence: what names no setting, or none alone, is warned about.

use std::collections::BTreeMap;
use std::path::PathBuf;

use figment::value::Value;

use crate::layer::{Layer, path};
use crate::schema::Schema;
use crate::text::read_text;
use crate::{Problem, Problems, Settings, Var, suggest};

/// In front of every variable that is spelt after a setting's key.
pub(crate) const PREFIX: &str = "SHOP_";

/// Ours, but not settings: switches of tests and of crash points.
const NOT_SETTINGS: [&str; 2] = ["SHOP_TEST_", "SHOP_CRASH_"];

/// In front of variables that OpenTelemetry defines; empty ones count as not set there.
const OTEL: &str = "OTEL_";

/// Adds a layer per variable that names a setting; the `SHOP_` ones come last and win.
pub(crate) fn layers<S: Settings>(
    env: &[(String, String)],
    schema: &Schema,
    layers: &mut Vec<Layer>,
    problems: &mut Problems,
) {
    // Sorted, so that the outcome never depends on the order of the environment.
    let env = env.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let mut reading =
        Reading { env, vars: S::vars(), schema, layers, problems, setters: BTreeMap::new(), links: Vec::new() };
    // The first of two for one setting wins: a program lists the narrower one first.
    for var in S::vars().iter().rev() {
        reading.named(var);
    }
    reading.prefixed();
    reading.unheard::<S>();
    reading.gone::<S>();
    reading.misspelt::<S>();
    reading.told_links();
}

/// The files that variables name for secrets.
pub(crate) fn files(vars: &[Var], env: &[(String, String)], schema: &Schema) -> Vec<PathBuf> {
    let names_secret = |name: &str| {
        let Some(base) = name.strip_suffix("_FILE") else { return false };
        let key = base.strip_prefix(PREFIX).map(key_of);
        let var = vars.iter().find(|var| var.name == base);
        key.is_some_and(|key| schema.secrets.contains(&key))
            || var.is_some_and(|var| schema.secrets.contains(var.key.as_ref()))
    };
    env.iter().filter(|(name, _)| names_secret(name)).map(|(_, file)| PathBuf::from(file)).collect()
}

struct Reading<'a> {
    env: BTreeMap<&'a str, &'a str>,
    vars: Vec<Var>,
    schema: &'a Schema,
    layers: &'a mut Vec<Layer>,
    problems: &'a mut Problems,
    /// By key, the variable that set it last, and to what.
    setters: BTreeMap<String, (String, String)>,
    /// Variables that Kubernetes made.
    links: Vec<&'a str>,
}

impl Reading<'_> {
    fn warn(&mut self, warning: impl Into<String>) {
        self.problems.warnings_mut().add(warning);
    }

    fn set(&mut self, name: &str, key: &str, value: &str, source: String) {
        let setter = (name.to_owned(), value.to_owned());
        if let Some((earlier, other)) = self.setters.insert(key.to_owned(), setter)
            && other != value
        {
            self.warn(format!("{earlier} has no effect: {name} sets {key} too, and wins; leave one of them out"));
        }
        // What stands for bytes that are no UTF-8: with other letters in their place no password would do.
        if value.contains(char::REPLACEMENT_CHARACTER) {
            self.problems.push(Problem {
                key: key.to_owned(),
                message: "has bytes that are not UTF-8; write it in UTF-8".to_owned(),
                value: None,
                source: Some(source),
            });
            return;
        }
        self.layers.push(Layer::text(source, &path(key), value));
    }

    fn named(&mut self, var: &Var) {
        let (name, key) = (var.name, var.key.as_ref());
        let twin = format!("{name}_FILE");
        let is_secret = self.schema.secrets.contains(key);
        let is_var = self.vars.iter().any(|var| var.name == twin);
        let file = self.env.get(twin.as_str()).copied().filter(|_| !is_var);
        if file.is_some() && !is_secret {
            self.warn(format!("{twin} has no effect: only secrets are read from files; set {name}"));
        }
        match (self.env.get(name).copied(), file.filter(|_| is_secret)) {
            (Some(_), Some(_)) => self.problems.push(Problem {
                key: key.to_owned(),
                message: format!("set only one of {name} and {twin}"),
                value: None,
                source: Some(format!("environment variables {name} and {twin}")),
            }),
            (Some(value), None) if is_link(value) => {
                let (name, _) = self.env.get_key_value(name).unwrap_or((&"", &""));
                self.links.push(name);
            }
            // "The SDK MUST interpret an empty value of an environment variable the same way as when the variable is unset."
            (Some(""), None) if name.starts_with(OTEL) => {}
            (Some(value), None) => self.set(name, key, value, format!("environment variable {name}")),
            (None, Some(file)) => self.read_secret(&twin, file, key),
            (None, None) => {}
        }
    }

    /// The `SHOP_` ones. A name that begins with one of our sections is meant for us, and an error when it is misspelt; others
    /// are other people's.
    fn prefixed(&mut self) {
        for (name, value) in self.env.clone() {
            let Some(rest) = name.strip_prefix(PREFIX) else { continue };
            let is_var = self.vars.iter().any(|var| var.name == name);
            if NOT_SETTINGS.iter().any(|prefix| name.starts_with(prefix)) || is_var {
                continue;
            }
            let key = key_of(rest);
            if let Some(key) = key.strip_suffix("_file").filter(|key| self.schema.secrets.contains(*key)) {
                self.read_secret(name, value, key);
            } else if self.schema.knows(&key) {
                self.set(name, &key, value, format!("environment variable {name}"));
            } else if is_service_link(name, value) {
                self.links.push(name);
            } else if let Some((section, _)) = key.split_once('.')
                && self.is_ours(section)
            {
                self.layers.push(Layer::text(format!("environment variable {name}"), &path(&key), value));
            } else {
                let meant = self.meant(rest, &key);
                self.warn(format!("{name} is not a setting{meant}"));
            }
        }
    }

    /// Whether a section is called so, or nearly.
    fn is_ours(&self, section: &str) -> bool {
        let sections = self.schema.keys.iter().filter_map(|key| key.split_once('.')).map(|(section, _)| section);
        // Those by names of one's own have no keys yet.
        let is_empty = |value: &Value| value.as_dict().is_some_and(figment::value::Dict::is_empty);
        let empty = self.schema.defaults.iter().filter(|(_, value)| is_empty(value)).map(|(name, _)| name.as_str());
        suggest::slip(section, sections.chain(empty)).is_some()
    }

    fn meant(&self, rest: &str, key: &str) -> String {
        if let Some(var) = self.vars.iter().find(|var| var.name == rest) {
            return format!("; did you mean {}?", var.name);
        }
        let tops = self.schema.keys.iter().map(String::as_str).filter(|known| !known.contains('.'));
        match suggest::slip(key, tops) {
            Some(near) => format!("; did you mean {PREFIX}{}?", near.to_ascii_uppercase()),
            None => " of this program".to_owned(),
        }
    }

    /// Those that would mean several settings here.
    fn unheard<S: Settings>(&mut self) {
        for (name, instead) in S::unheard() {
            for (name, file) in [(name.to_owned(), ""), (format!("{name}_FILE"), ", each also with _FILE")] {
                match self.env.get_key_value(name.as_str()).map(|(name, value)| (*name, *value)) {
                    None | Some((_, "")) => {}
                    Some((name, value)) if is_link(value) => self.links.push(name),
                    Some((name, _)) => {
                        let instead = instead.join(", ");
                        self.warn(format!(
                            "{name} has no effect: it could mean several settings here; set the one that is meant: \
                             {instead}{file}"
                        ));
                    }
                }
            }
        }
    }

    fn gone<S: Settings>(&mut self) {
        for (name, instead) in S::gone() {
            let twin = format!("{name}_FILE");
            if let Some((name, _)) = self.env.get_key_value(name).or_else(|| self.env.get_key_value(twin.as_str())) {
                self.warn(format!("{name} has no effect any more: {instead}"));
            }
        }
    }

    /// Names that are one of ours but for one letter. Short ones are near to anything, and each program knows some of these two.
    fn misspelt<S: Settings>(&mut self) {
        const SHORT: usize = 8;
        let others = S::unheard();
        let names: Vec<&str> =
            self.vars.iter().map(|var| var.name).chain(others.iter().map(|(name, _)| *name)).collect();
        let is_neighbour = |name: &str| name.ends_with("_SERVICE_URL") || name.ends_with("_SERVICE_URLS");
        for (name, value) in self.env.clone() {
            let known = names.contains(&name) || name.starts_with(PREFIX) || is_neighbour(name) || value.is_empty();
            let meant = names.iter().find(|near| near.len() >= SHORT && strsim::damerau_levenshtein(name, near) == 1);
            if let Some(meant) = meant.filter(|_| !known) {
                self.warn(format!("{name} is not a setting; did you mean {meant}?"));
            }
        }
    }

    /// All of Kubernetes' in one line: there are seven for each service.
    fn told_links(&mut self) {
        if !self.links.is_empty() {
            self.links.sort_unstable();
            self.links.dedup();
            let names = self.links.join(", ");
            self.warn(format!(
                "made by Kubernetes for a service of that name, and so no settings: {names}. enableServiceLinks: false in \
                 the pod leaves them out"
            ));
        }
    }

    /// A secret from a file, as Docker and Kubernetes mount them. One line end is dropped: editors add it.
    fn read_secret(&mut self, name: &str, file: &str, key: &str) {
        match read_text(file) {
            Ok(text) => {
                let secret = text.strip_suffix('\n').unwrap_or(&text);
                let secret = secret.strip_suffix('\r').unwrap_or(secret);
                if secret.is_empty() {
                    self.warn(format!("the file {file} ({name}) is empty, and so {key} is"));
                }
                self.set(name, key, secret, format!("file {file} (environment variable {name})"));
            }
            Err(error) => self.problems.push(Problem {
                key: key.to_owned(),
                message: format!("the file {file} cannot be read: {error}"),
                value: None,
                source: Some(format!("environment variable {name}")),
            }),
        }
    }
}

/// `SECTION__KEY` as a dotted key.
fn key_of(name: &str) -> String {
    name.to_ascii_lowercase().replace("__", ".")
}

/// Kubernetes gives every pod `<SERVICE>_PORT=tcp://10.0.0.1:80` for every service in its namespace; a service called
/// `redis` so overwrites nothing, but invents a `REDIS_PORT`.
fn is_link(value: &str) -> bool {
    ["tcp://", "udp://", "sctp://"].iter().any(|scheme| value.starts_with(scheme))
}

/// Whether this is such a link to a service called `shop` or `shop-…`, which nobody meant as a setting.
fn is_service_link(name: &str, value: &str) -> bool {
    let endings = [
        "_SERVICE_HOST",
        "_SERVICE_PORT",
        "_TCP_PROTO",
        "_TCP_PORT",
        "_TCP_ADDR",
        "_UDP_PROTO",
        "_UDP_PORT",
        "_UDP_ADDR",
        "_SCTP_PROTO",
        "_SCTP_PORT",
        "_SCTP_ADDR",
    ];
    is_link(value) || name.contains("_SERVICE_PORT_") || endings.iter().any(|end| name.ends_with(end))
}
