//! Environment variables as layers: the named ones, their `_FILE` twins, and `SHOP_SECTION__KEY` for everything.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::layer::{Layer, path};
use crate::schema::Schema;
use crate::{Problem, Problems, Var};

/// In front of every variable that is spelt after a setting's key.
pub(crate) const PREFIX: &str = "SHOP_";

/// Ours, but not settings: switches of tests and of crash points.
const NOT_SETTINGS: [&str; 2] = ["SHOP_TEST_", "SHOP_CRASH_"];

/// Adds a layer per variable that names a setting; the `SHOP_` ones come last and win.
pub(crate) fn layers(
    vars: &[Var],
    env: &[(String, String)],
    schema: &Schema,
    layers: &mut Vec<Layer>,
    problems: &mut Problems,
) {
    // Sorted, so that the outcome never depends on the order of the environment.
    let env: BTreeMap<&str, &str> = env.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    for var in vars {
        named(var, &env, schema, layers, problems);
    }
    for (name, value) in &env {
        let Some(rest) = name.strip_prefix(PREFIX) else {
            continue;
        };
        if NOT_SETTINGS.iter().any(|prefix| name.starts_with(prefix)) || is_service_link(name, value) {
            continue;
        }
        let key = rest.to_ascii_lowercase().replace("__", ".");
        match key.strip_suffix("_file").filter(|key| schema.secrets.contains(*key)) {
            Some(key) => from_file(name, value, key, layers, problems),
            None => layers.push(Layer::text(format!("environment variable {name}"), &path(&key), *value)),
        }
    }
}

/// The files that variables name for secrets.
pub(crate) fn files(vars: &[Var], env: &[(String, String)], schema: &Schema) -> Vec<PathBuf> {
    let names_secret = |name: &str| {
        let Some(base) = name.strip_suffix("_FILE") else { return false };
        let key = base.strip_prefix(PREFIX).map(|rest| rest.to_ascii_lowercase().replace("__", "."));
        let var = vars.iter().find(|var| var.name == base);
        key.is_some_and(|key| schema.secrets.contains(&key)) || var.is_some_and(|var| schema.secrets.contains(var.key))
    };
    env.iter().filter(|(name, _)| names_secret(name)).map(|(_, file)| PathBuf::from(file)).collect()
}

fn named(var: &Var, env: &BTreeMap<&str, &str>, schema: &Schema, layers: &mut Vec<Layer>, problems: &mut Problems) {
    let twin = format!("{}_FILE", var.name);
    let file = env.get(twin.as_str()).filter(|_| schema.secrets.contains(var.key));
    match (env.get(var.name), file) {
        (Some(_), Some(_)) => problems.push(Problem {
            key: var.key.to_owned(),
            message: format!("set only one of {} and {twin}", var.name),
            value: None,
            source: Some(format!("environment variables {} and {twin}", var.name)),
        }),
        (Some(value), None) if is_link(value) => problems.push(Problem {
            key: var.key.to_owned(),
            message: format!(
                "this looks like a Kubernetes service link, not a setting; set {} in the pod, or enableServiceLinks: false",
                var.name
            ),
            value: Some((*value).to_owned()),
            source: Some(format!("environment variable {}", var.name)),
        }),
        (Some(value), None) => {
            layers.push(Layer::text(format!("environment variable {}", var.name), &path(var.key), *value));
        }
        (None, Some(file)) => from_file(&twin, file, var.key, layers, problems),
        (None, None) => {}
    }
}

/// A secret from a file, as Docker and Kubernetes mount them. One line end is dropped: editors add it.
fn from_file(name: &str, file: &str, key: &str, layers: &mut Vec<Layer>, problems: &mut Problems) {
    match std::fs::read_to_string(file) {
        Ok(text) => {
            let secret = text.strip_suffix('\n').unwrap_or(&text);
            let secret = secret.strip_suffix('\r').unwrap_or(secret);
            layers.push(Layer::text(format!("file {file} (environment variable {name})"), &path(key), secret));
        }
        Err(error) => problems.push(Problem {
            key: key.to_owned(),
            message: format!("the file {file} cannot be read: {error}"),
            value: None,
            source: Some(format!("environment variable {name}")),
        }),
    }
}

/// Kubernetes gives every pod `<SERVICE>_PORT=tcp://10.0.0.1:80` for every service in its namespace; a service called
/// `redis` so overwrites nothing, but invents a `REDIS_PORT`.
fn is_link(value: &str) -> bool {
    ["tcp://", "udp://", "sctp://"].iter().any(|scheme| value.starts_with(scheme))
}

/// Whether this is such a link to a service called `shop` or `shop-…`, which nobody meant as a setting.
fn is_service_link(name: &str, value: &str) -> bool {
    let single = !name.contains("__");
    let endings = [
        "_SERVICE_HOST",
        "_SERVICE_PORT",
        "_TCP_PROTO",
        "_TCP_PORT",
        "_TCP_ADDR",
        "_UDP_PROTO",
        "_UDP_PORT",
        "_UDP_ADDR",
    ];
    single && (is_link(value) || name.contains("_SERVICE_PORT_") || endings.iter().any(|end| name.ends_with(end)))
}
