//! New settings for a gateway that runs.

mod follow;
mod record;
mod watched;

pub use follow::follow;
pub(crate) use record::Reloads;

use std::sync::Arc;

use shop_config::{Change, Problems};

use crate::settings::{Config, Tls};
use crate::state::State;

/// Settings that hold for the life of the process: listeners, threads and what writes the log are made once.
const FIXED: [&str; 17] = [
    "host",
    "http.host",
    "http.port",
    "tls.cert_file",
    "tls.key_file",
    "tls.port",
    "tls.reload_interval",
    "listeners.",
    "workers",
    "limits.head",
    "limits.h2_streams",
    "admin.host",
    "admin.port",
    "admin.state_file",
    "log.",
    "otel.",
    "stop.",
];

/// Changes the settings of a running gateway. Clones change the same one.
#[derive(Clone)]
pub struct Handle {
    state: Arc<State>,
}

/// What came of new settings.
#[derive(Debug, Clone)]
pub struct Applied {
    /// The generation that is in force now.
    pub revision: u64,
    /// What is different from before.
    pub changed: Vec<Change>,
    /// What is different in the settings but not in force: it holds from the next start on.
    pub needs_restart: Vec<Change>,
}

impl Handle {
    pub(crate) fn new(state: Arc<State>) -> Self {
        Self { state }
    }

    /// Puts `config` into force for all that begins from now on: requests that have begun, and streams, stay with the
    /// settings they began with. What the admin API changed stays changed. Settings that are wrong change nothing.
    pub fn apply(&self, config: Config) -> Result<Applied, Problems> {
        config.valid()?;
        let mut pending = self.state.begin_change();
        let running: &Config = &pending.desired.settings;
        let different = shop_config::diff(running, &config);
        let is_news = !different.is_empty();
        let needs_restart = different.into_iter().filter(is_fixed).collect();
        // The same once more would be kept beside what the generation in force was made of.
        if is_news {
            let config = keep_fixed(running, config);
            pending.desired.take(config);
        }
        let validated = pending.validate().map_err(|found| {
            let mut problems = Problems::default();
            for problem in &found {
                let message = format!("{}; changes made through the admin API are on top", problem.message);
                problems.add(&problem.key, message);
            }
            problems
        })?;
        let changed = validated.changed.clone();
        Ok(Applied { revision: validated.commit().revision, changed, needs_restart })
    }
}

fn is_fixed(change: &Change) -> bool {
    FIXED.iter().any(|fixed| is_of(fixed, change))
}

/// Whether `fixed`, as it is in the list, has to do with `change`.
fn is_of(fixed: &str, change: &Change) -> bool {
    if fixed.ends_with('.') { change.key.starts_with(fixed) } else { change.key == fixed }
}

/// `next` with what cannot change as it is in `running`.
fn keep_fixed(running: &Config, mut next: Config) -> Config {
    next.host = running.host;
    next.http.host = running.http.host;
    next.http.port = running.http.port;
    next.tls = Tls { redirect: next.tls.redirect, public_port: next.tls.public_port, ..running.tls.clone() };
    next.listeners.clone_from(&running.listeners);
    next.workers = running.workers;
    next.limits.head = running.limits.head;
    next.limits.h2_streams = running.limits.h2_streams;
    next.admin.host = running.admin.host;
    next.admin.port = running.admin.port;
    next.admin.state_file.clone_from(&running.admin.state_file);
    next.log = running.log.clone();
    next.otel = running.otel.clone();
    next.stop = running.stop.clone();
    next
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    /// The settings with another value at every key that is fixed.
    fn other() -> Config {
        let mut config = serde_json::to_value(Config::default()).expect("serialises");
        for (key, value) in [
            ("/host", json!("127.0.0.9")),
            ("/http/host", json!("127.0.0.9")),
            ("/http/port", json!(1)),
            ("/tls/cert_file", json!("/c")),
            ("/tls/key_file", json!("/k")),
            ("/tls/port", json!(1)),
            ("/tls/reload_interval", json!("9s")),
            ("/listeners", json!({ "edge": { "address": "127.0.0.1:1" } })),
            ("/workers", json!(9)),
            ("/limits/head", json!(2048)),
            ("/limits/h2_streams", json!(9)),
            ("/admin/host", json!("127.0.0.9")),
            ("/admin/port", json!(1)),
            ("/admin/state_file", json!("x.json")),
            ("/log/level", json!("debug")),
            ("/otel/endpoint", json!("http://collector:4317")),
            ("/stop/grace", json!("9s")),
        ] {
            *config.pointer_mut(key).unwrap_or(&mut Value::Null) = value;
        }
        serde_json::from_value(config).expect("settings")
    }

    #[test]
    fn what_is_called_fixed_is_kept_and_nothing_else() {
        let running = Config::default();
        let mut next = other();
        next.limits.uri = 99;
        let changes = shop_config::diff(&running, &next);
        for fixed in FIXED {
            assert!(changes.iter().any(|change| is_of(fixed, change)), "{fixed}");
        }
        let kept = shop_config::diff(&running, &keep_fixed(&running, next));
        assert_eq!(kept.iter().map(|change| change.key.as_str()).collect::<Vec<_>>(), ["limits.uri"]);
    }

    #[test]
    fn the_chart_and_the_module_start_anew_for_what_is_fixed_and_nothing_else() {
        let chart = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../k8s/obs-tools-usage/templates/_pod.tpl"));
        let (_, list) = chart.split_once("{{- define \"shop.gateway.fixed\" -}}").expect("the chart's list");
        let chart: Vec<_> = list.lines().nth(1).expect("its line").split(' ').collect();

        let module = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../nixos-modules/unit.nix"));
        let (_, list) = module.split_once("untilRestarted = [").expect("the module's list");
        let (list, _) = list.split_once("];").expect("its end");
        let module: Vec<_> = list.split('"').skip(1).step_by(2).collect();

        let mut fixed = FIXED;
        fixed.sort_unstable();
        assert_eq!(chart, fixed, "k8s/obs-tools-usage/templates/_pod.tpl");
        assert_eq!(module, fixed, "nixos-modules/unit.nix");
    }
}
