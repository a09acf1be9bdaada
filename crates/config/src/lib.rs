//! Settings of a process: built-in defaults, TOML files, environment variables and flags,
//! merged in that order, each value remembered with its source.
//!
//! A service writes one struct with a section per field, implements [`Settings`] for it, and calls [`start`].

#![expect(clippy::result_large_err, reason = "figment's error is met while a process starts and never again")]

mod command;
mod diff;
mod duration;
mod env;
mod explain;
mod layer;
mod load;
mod merged;
mod problem;
mod read;
#[cfg(test)]
mod sample;
mod schema;
mod secret;
mod section;
mod suggest;
mod text;
mod watched_file;

pub use command::{Begun, Start, start};
pub use diff::{Change, diff};
pub use duration::Duration;
pub use load::{Loaded, Sources, load};
pub use merged::Given;
pub use problem::{Problem, Problems, Warnings};
pub use secret::Secret;
pub use section::database::{Database, Engine, Pool, SslMode, Target, servers};
pub use section::kafka::{GroupProtocol, Kafka, KafkaTls, Sasl, SaslMechanism, SaslOauth, SecurityProtocol};
pub use section::log::{Log, LogFormat, Otel, Sampler};
pub use section::neighbour::Neighbour;
pub use section::redis::{Redis, RedisTarget, RedisTls};
pub use section::redis_url::{RedisLogin, RedisNodes};
pub use section::server::{Grpc, Http, Operations, Stop, check_servers, distinct_ports, settle_hosts};
pub use section::url::sqlite;
pub use text::{read_text, text_from, without_mark};
pub use watched_file::WatchedFile;

use std::borrow::Cow;

use serde::Serialize;
use serde::de::DeserializeOwned;

/// One named environment variable and the setting it fills.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Var {
    /// Name of the variable, such as `DB_PORT`. When the setting is a [`Secret`], `DB_PORT_FILE` names a file holding it.
    pub name: &'static str,
    /// Dotted key of the setting, such as `database.port`.
    pub key: Cow<'static, str>,
    /// One line for `--help`.
    pub doc: &'static str,
}

impl Var {
    /// A variable, its setting's dotted key and the line shown by `--help`.
    pub const fn new(name: &'static str, key: &'static str, doc: &'static str) -> Self {
        Self { name, key: Cow::Borrowed(key), doc }
    }

    /// The same variable for a process in which its setting is below `section`.
    #[must_use]
    pub fn within(self, section: &str) -> Self {
        Self { key: Cow::Owned(format!("{section}.{}", self.key)), ..self }
    }
}

/// Everything a process can be told from outside.
///
/// `Default` holds the built-in values; derive `Serialize` and `Deserialize` with
/// `#[serde(deny_unknown_fields, default)]` so that a misspelt key is an error.
pub trait Settings: Serialize + DeserializeOwned + Default + Send + 'static {
    /// Name of the binary, as shown by `--help` and `--version`.
    const NAME: &'static str;
    /// What the process is, in one line.
    const ABOUT: &'static str;

    /// The named environment variables. Every other setting is reached by `SHOP_SECTION__KEY`.
    fn vars() -> Vec<Var>;

    /// Variables that programs of the suite know and this one cannot take, because they would mean several of its settings;
    /// each with the names to use instead. When one is set, that is warned about.
    fn unheard() -> Vec<(&'static str, Vec<String>)> {
        Vec::new()
    }

    /// Keys and variables that there used to be, each with what to do instead. A key is refused with that, a variable warned
    /// about.
    fn gone() -> Vec<(&'static str, &'static str)> {
        Vec::new()
    }

    /// Notes what follows from a setting having been given at all, whatever its value. Nothing, usually.
    fn settle(&mut self, _given: &Given<'_>) {}

    /// Finds what types cannot: values that contradict each other or make no sense.
    fn check(&self, problems: &mut Problems);
}
