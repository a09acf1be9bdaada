//! The process-wide subscriber: log lines to standard output, spans to a collector when there is one.

use std::io::IsTerminal as _;

use anyhow::Context as _;
use shop_config::{Log, LogFormat, Otel};
use tracing::level_filters::LevelFilter;
use tracing::{Metadata, Subscriber};
use tracing_subscriber::filter::{EnvFilter, FilterFn};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::export::{self, Export};
use crate::format::{Lines, Style};
use crate::line;
use crate::writer::Output;

/// Libraries that say at `info` what we say ourselves (where we listen, how we stop) or what concerns nobody (that a table a
/// migration wants is there already).
const HUSHED: [&str; 2] = ["salvo_core=warn", "sqlx::postgres::notice=warn"];

/// Keeps telemetry going; flushes what is left when dropped.
#[must_use = "spans are lost when the guard is dropped early"]
pub struct Guard {
    export: Option<Export>,
    /// Dropped after the export has ended, which may have something to say.
    _lines: Option<Closing>,
}

/// Writes the lines that wait, at the end.
struct Closing(Output);

impl Drop for Closing {
    fn drop(&mut self) {
        self.0.close();
    }
}

impl Guard {
    /// Flushes what is left without blocking the runtime. Waits no longer than the exporter's time-out.
    pub async fn shutdown(mut self) {
        if let Some(export) = self.export.take() {
            // An error means the runtime is going down: what is left is lost then.
            let _ = tokio::task::spawn_blocking(|| export.finish()).await;
        }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if let Some(export) = self.export.take() {
            export.finish();
        }
    }
}

/// Starts log lines and, when an endpoint is set, trace export; call it inside the runtime.
/// A second call leaves the first subscriber in place, which is what tests need.
pub fn init(service: &'static str, log: &Log, otel: &Otel) -> anyhow::Result<Guard> {
    let output = Output::stdout().context("cannot start the thread that writes log lines")?;
    let style = style(log.format);
    let lines = Lines { service, style, sink: output.clone() };
    if filtered(&log.level)?.with(lines).try_init().is_ok() && style == Style::Json {
        line::begin(service, output.clone());
    }
    let endpoint = otel.endpoint.as_deref().map(str::trim).filter(|endpoint| !endpoint.is_empty());
    let export = endpoint.map(|endpoint| export::start(service, endpoint, otel)).transpose()?.flatten();
    Ok(Guard { export, _lines: Some(Closing(output)) })
}

/// A subscriber of events down to `level`, before anybody writes them.
///
/// Filters of the whole subscriber rather than of the one layer: a layer's own filter remembers on the thread that it refused
/// something somebody only asked about, and would then drop the next line there.
pub(crate) fn filtered(level: &str) -> anyhow::Result<impl Subscriber + for<'a> LookupSpan<'a> + Send + Sync> {
    Ok(tracing_subscriber::registry().with(filter(level)?).with(only(is_event)))
}

/// What is logged. A directive of `level` for the same target replaces one of ours.
fn filter(level: &str) -> anyhow::Result<EnvFilter> {
    let directives: Vec<_> = HUSHED.into_iter().chain(level.split(',').map(str::trim)).collect();
    EnvFilter::builder().parse(directives.join(",")).with_context(|| format!("log.level {level:?}"))
}

fn style(format: LogFormat) -> Style {
    let terminal = std::io::stdout().is_terminal();
    match format {
        LogFormat::Text => Style::Text { colour: terminal },
        LogFormat::Auto if terminal => Style::Text { colour: true },
        LogFormat::Json | LogFormat::Auto => Style::Json,
    }
}

/// A filter that also tells the most detailed level it lets through, without which disabled events cost a look-up.
fn only(wanted: fn(&Metadata<'_>) -> bool) -> FilterFn<fn(&Metadata<'_>) -> bool> {
    FilterFn::new(wanted).with_max_level_hint(LevelFilter::TRACE)
}

fn is_event(metadata: &Metadata<'_>) -> bool {
    metadata.is_event()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chatty_libraries_are_hushed_unless_somebody_asks_for_them() {
        let hushed = filter("info").expect("valid").to_string();
        assert!(HUSHED.iter().all(|directive| hushed.contains(directive)), "{hushed}");
        let asked = filter("info, salvo_core=debug").expect("spaces are fine").to_string();
        assert!(asked.contains("salvo_core=debug") && !asked.contains("salvo_core=warn"), "{asked}");
        assert!(filter("loud=very").is_err());
    }
}
