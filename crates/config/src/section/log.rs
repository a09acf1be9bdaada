//! What a process tells about itself while it runs.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::{Duration, Problems, Var};

/// Log lines.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Log {
    /// `error`, `warn`, `info`, `debug`, `trace`, `off`, or a comma list with targets: `info,sqlx=debug`.
    pub level: String,
    /// How a line looks.
    pub format: LogFormat,
}

impl Default for Log {
    fn default() -> Self {
        Self { level: "info".to_owned(), format: LogFormat::Auto }
    }
}

/// How a log line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// One JSON object per line, for machines.
    Json,
    /// For people.
    Text,
    /// Text on a terminal, JSON elsewhere.
    #[default]
    Auto,
}

const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

impl Log {
    /// The variables of this section, when it is at the top level.
    pub fn vars() -> [Var; 2] {
        [
            Var::new("LOG_LEVEL", "log.level", "error, warn, info, debug or trace, also per target"),
            Var::new("LOG_FORMAT", "log.format", "json, text, or auto: text on a terminal"),
        ]
    }

    /// Refuses a level nobody understands. `section` is the dotted key of this section.
    pub fn check(&self, section: &'static str, problems: &mut Problems) {
        let known = |level: &str| LEVELS.contains(&level.to_ascii_lowercase().as_str());
        let fine = self.level.split(',').all(|directive| {
            let directive = directive.trim();
            match directive.rsplit_once('=') {
                Some((target, level)) => !target.trim().is_empty() && known(level.trim()),
                None => known(directive),
            }
        });
        problems.within(section, |p| {
            p.ensure(fine, "level", format!("use one of {}, or a list such as info,sqlx=debug", LEVELS.join(", ")));
        });
    }
}

/// Traces for an OpenTelemetry collector.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Otel {
    /// Where to send traces over gRPC, such as `http://localhost:4317`, or `https://` for TLS; nothing is sent when unset.
    pub endpoint: Option<String>,
    /// PEM file with the authorities whose certificates the collector may show. Without it those are that the system trusts,
    /// and the public ones.
    pub ca_file: Option<PathBuf>,
    /// PEM file with the certificate that the collector is shown if it asks for one, and those that lead to its authority.
    pub cert_file: Option<PathBuf>,
    /// PEM file with the key of that certificate.
    pub key_file: Option<PathBuf>,
    /// Which traces are recorded, in the words of OpenTelemetry.
    pub sampler: Sampler,
    /// Share of new traces that the two samplers by ratio record, 0 to 1.
    pub sample_ratio: f64,
    /// Longest wait for the collector, when sending and when the process ends.
    pub timeout: Duration,
}

impl Default for Otel {
    fn default() -> Self {
        // All, as OpenTelemetry has it: whoever names a collector wants to see something. 3 s: a collector is nearby.
        Self {
            endpoint: None,
            ca_file: None,
            cert_file: None,
            key_file: None,
            sampler: Sampler::default(),
            sample_ratio: 1.0,
            timeout: Duration::secs(3),
        }
    }
}

/// Who decides whether a trace is recorded; named as `OTEL_TRACES_SAMPLER` names them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sampler {
    /// All are, whatever the caller says.
    AlwaysOn,
    /// None is.
    AlwaysOff,
    /// By the trace's id, whatever the caller says.
    Traceidratio,
    /// The caller's choice is kept, new ones are.
    ParentbasedAlwaysOn,
    /// The caller's choice is kept, new ones are not.
    ParentbasedAlwaysOff,
    /// The caller's choice is kept, so that a trace is whole or not at all; new ones by their id.
    #[default]
    ParentbasedTraceidratio,
}

impl Otel {
    /// The variables that OpenTelemetry has for this section, when it is at the top level.
    pub fn vars() -> [Var; 6] {
        [
            Var::new(
                "OTEL_EXPORTER_OTLP_ENDPOINT",
                "otel.endpoint",
                "where traces go (OTLP over gRPC); off when unset",
            ),
            Var::new(
                "OTEL_EXPORTER_OTLP_CERTIFICATE",
                "otel.ca_file",
                "PEM file with the authorities of the collector's certificate",
            ),
            Var::new(
                "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE",
                "otel.cert_file",
                "PEM file with the certificate that the collector is shown",
            ),
            Var::new("OTEL_EXPORTER_OTLP_CLIENT_KEY", "otel.key_file", "PEM file with its key"),
            Var::new(
                "OTEL_TRACES_SAMPLER",
                "otel.sampler",
                "which are recorded: parentbased_traceidratio, always_on, …",
            ),
            Var::new("OTEL_TRACES_SAMPLER_ARG", "otel.sample_ratio", "share of new traces that is recorded, 0 to 1"),
        ]
    }

    /// Refuses what the exporter would refuse later. `section` is the dotted key of this section.
    pub fn check(&self, section: &'static str, problems: &mut Problems) {
        problems.within(section, |p| {
            let is = |scheme: &str| self.endpoint.as_deref().is_some_and(|url| url.starts_with(scheme));
            let help =
                "use a URL such as http://localhost:4317, or https://… for TLS, or leave it out to send no traces";
            p.ensure(self.endpoint.is_none() || is("http://") || is("https://"), "endpoint", help);
            // Their variables may be there for other programs.
            for key in ["ca_file", "cert_file", "key_file"].into_iter().filter(|_| !is("https://")) {
                p.useless(key, "has no effect without TLS: begin the endpoint of that section with https://");
            }
            p.ensure(self.cert_file.is_some() || self.key_file.is_none(), "key_file", "name its cert_file too");
            p.ensure(self.key_file.is_some() || self.cert_file.is_none(), "cert_file", "name its key_file too");
            p.ensure((0.0..=1.0).contains(&self.sample_ratio), "sample_ratio", "use a number from 0 (none) to 1 (all)");
        });
    }
}
