//! One event, one line: JSON for machines, text for people.
//!
//! Written by hand rather than with the `fmt` layer: request and trace id come from the task's context, fields stay flat,
//! and no span has to exist for either.

use std::cell::Cell;
use std::fmt::{self, Write as _};
use std::io::Write as _;

use time::OffsetDateTime;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::Context;

use crate::context;

/// How a line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Style {
    Json,
    Text { colour: bool },
}

/// Writes a line per event.
pub(crate) struct Lines<W> {
    pub(crate) service: &'static str,
    pub(crate) style: Style,
    pub(crate) writer: W,
}

thread_local! {
    /// Taken while a line is written; a value that logs while it is printed finds an empty one.
    static BUFFERS: Cell<(String, String)> = const { Cell::new((String::new(), String::new())) };
}

impl<S, W> Layer<S> for Lines<W>
where
    S: Subscriber,
    W: for<'w> MakeWriter<'w> + 'static,
{
    fn on_event(&self, event: &Event<'_>, _context: Context<'_, S>) {
        let (mut line, mut fields) = BUFFERS.take();
        line.clear();
        fields.clear();
        let mut parts = Parts { style: self.style, message: None, target: None, given: Given::default(), fields };
        event.record(&mut parts);
        // Writing to a String cannot fail.
        let _ = match self.style {
            Style::Json => self.json(&mut line, event, &parts),
            Style::Text { colour } => text(&mut line, event, &parts, colour),
        };
        line.push('\n');
        // With nobody reading there is nothing left to do.
        let _ = self.writer.make_writer().write_all(line.as_bytes());
        BUFFERS.set((line, parts.fields));
    }
}

impl<W> Lines<W> {
    fn json(&self, line: &mut String, event: &Event<'_>, parts: &Parts) -> fmt::Result {
        let metadata = event.metadata();
        line.push_str("{\"timestamp\":\"");
        timestamp(line)?;
        write!(line, "\",\"level\":\"{}\",\"target\":", metadata.level())?;
        quoted(line, parts.target.as_deref().unwrap_or(metadata.target()))?;
        line.push_str(",\"message\":");
        quoted(line, parts.message.as_deref().unwrap_or_default())?;
        if !parts.given.service {
            line.push_str(",\"service\":");
            quoted(line, self.service)?;
        }
        context::with(|context| {
            if !parts.given.request_id {
                line.push_str(",\"request_id\":");
                quoted(line, &context.request_id)?;
            }
            if !parts.given.trace_id {
                write!(line, ",\"trace_id\":\"{}\"", context.trace.trace())?;
            }
            Ok(())
        })
        .unwrap_or(Ok(()))?;
        line.push_str(&parts.fields);
        line.push('}');
        Ok(())
    }
}

fn text(line: &mut String, event: &Event<'_>, parts: &Parts, colour: bool) -> fmt::Result {
    let metadata = event.metadata();
    timestamp(line)?;
    let (on, off) = if colour { (tint(*metadata.level()), "\x1b[0m") } else { ("", "") };
    write!(line, " {on}{:>5}{off} ", metadata.level())?;
    let target = parts.target.as_deref().unwrap_or(metadata.target());
    write!(line, "{target}: {}", Plain(parts.message.as_deref().unwrap_or_default()))?;
    line.push_str(&parts.fields);
    context::with(|context| {
        if parts.given.request_id { Ok(()) } else { write!(line, " request_id={}", Plain(&context.request_id)) }
    })
    .unwrap_or(Ok(()))
}

fn tint(level: Level) -> &'static str {
    match level {
        Level::ERROR => "\x1b[31m",
        Level::WARN => "\x1b[33m",
        Level::INFO => "\x1b[32m",
        Level::DEBUG => "\x1b[34m",
        Level::TRACE => "\x1b[35m",
    }
}

/// RFC 3339 in UTC with milliseconds, such as `2026-01-02T03:04:05.678Z`.
#[expect(clippy::disallowed_methods, reason = "a log tells the real time, also in tests that set another")]
fn timestamp(line: &mut String) -> fmt::Result {
    let now = OffsetDateTime::now_utc();
    let (year, month, day) = now.to_calendar_date();
    let (hour, minute, second, milli) = now.to_hms_milli();
    let month = u8::from(month);
    write!(line, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{milli:03}Z")
}

/// Which of our own keys the event brings itself; its word then counts.
#[derive(Default)]
struct Given {
    service: bool,
    request_id: bool,
    trace_id: bool,
}

/// An event taken apart. `fields` holds everything but the message, ready to be appended.
struct Parts {
    style: Style,
    message: Option<String>,
    target: Option<String>,
    given: Given,
    fields: String,
}

impl Parts {
    /// Writes the key and says where the value goes; `None` for what is not shown among the fields.
    fn key(&mut self, name: &str) -> &mut String {
        match name {
            "service" => self.given.service = true,
            "request_id" => self.given.request_id = true,
            "trace_id" => self.given.trace_id = true,
            _ => {}
        }
        // Writing to a String cannot fail.
        let _ = match self.style {
            Style::Json => {
                self.fields.push(',');
                // A field may not take the place of what every line has.
                let taken = matches!(name, "timestamp" | "level" | "target");
                let name = if taken { format!("field.{name}") } else { name.to_owned() };
                quoted(&mut self.fields, &name).map(|()| self.fields.push(':'))
            }
            Style::Text { .. } => write!(self.fields, " {name}="),
        };
        &mut self.fields
    }

    fn bare(&mut self, field: &Field, value: impl fmt::Display) {
        // Writing to a String cannot fail.
        let _ = write!(self.key(field.name()), "{value}");
    }

    fn string(&mut self, field: &Field, value: &str) {
        match field.name() {
            "message" => self.message = Some(value.to_owned()),
            // What the bridge from the `log` crate adds.
            "log.target" => self.target = Some(value.to_owned()),
            name if name.starts_with("log.") => {}
            name => {
                let style = self.style;
                let out = self.key(name);
                // Writing to a String cannot fail.
                let _ = match style {
                    Style::Json => quoted(out, value),
                    Style::Text { .. } => write!(out, "{}", Plain(value)),
                };
            }
        }
    }
}

impl Visit for Parts {
    fn record_f64(&mut self, field: &Field, value: f64) {
        if value.is_finite() {
            self.bare(field, value);
        } else {
            self.string(field, &value.to_string());
        }
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        if !field.name().starts_with("log.") {
            self.bare(field, value);
        }
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        if !field.name().starts_with("log.") {
            self.bare(field, value);
        }
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.bare(field, value);
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.string(field, value);
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        let mut text = value.to_string();
        let mut cause = value.source();
        while let Some(error) = cause {
            // Writing to a String cannot fail.
            let _ = write!(text, ": {error}");
            cause = error.source();
        }
        self.string(field, &text);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.string(field, &format!("{value:?}"));
    }
}

/// A JSON string.
fn quoted(out: &mut String, text: &str) -> fmt::Result {
    out.push('"');
    let mut plain = 0;
    for (index, byte) in text.bytes().enumerate() {
        let escape = match byte {
            b'"' => "\\\"",
            b'\\' => "\\\\",
            b'\n' => "\\n",
            b'\r' => "\\r",
            b'\t' => "\\t",
            0..0x20 => "",
            _ => continue,
        };
        out.push_str(&text[plain..index]);
        plain = index + 1;
        if escape.is_empty() {
            write!(out, "\\u{byte:04x}")?;
        } else {
            out.push_str(escape);
        }
    }
    out.push_str(&text[plain..]);
    out.push('"');
    Ok(())
}

/// Text for a terminal: what would start a new line or steer the terminal is spelt out.
struct Plain<'t>(&'t str);

impl fmt::Display for Plain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0
            .chars()
            .try_for_each(|c| if c.is_control() { write!(f, "{}", c.escape_default()) } else { f.write_char(c) })
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use proptest::prelude::*;
    use serde_json::{Value, json};
    use tracing::Span;
    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;
    use crate::RequestContext;

    #[derive(Clone, Default)]
    struct Memory(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Memory {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().expect("not poisoned").extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// What is written while `work` runs.
    fn written(style: Style, work: impl FnOnce()) -> String {
        let memory = Memory::default();
        let writer = memory.clone();
        let lines = Lines { service: "basket", style, writer: move || writer.clone() };
        tracing::subscriber::with_default(tracing_subscriber::registry().with(lines), work);
        let bytes = memory.0.lock().expect("not poisoned").clone();
        String::from_utf8(bytes).expect("text")
    }

    fn json_line(work: impl FnOnce()) -> Value {
        let text = written(Style::Json, work);
        assert_eq!(text.matches('\n').count(), 1, "{text}");
        serde_json::from_str(&text).expect("JSON")
    }

    #[test]
    fn a_line_is_flat_and_typed() {
        let mut line = json_line(|| {
            let error = io::Error::other("disk full");
            tracing::warn!(
                item.count = 3,
                ok = true,
                share = 0.5,
                none = f64::NAN,
                what = %"a \"b\"",
                error = &error as &dyn std::error::Error,
                "it \\ is\nso"
            );
        });
        let timestamp = line["timestamp"].take();
        assert_eq!(timestamp.as_str().map(str::len), Some(24), "{timestamp}");
        assert_eq!(
            line,
            json!({
                "timestamp": null, "level": "WARN", "target": "shop_telemetry::line::tests", "message": "it \\ is\nso",
                "service": "basket", "item.count": 3, "ok": true, "share": 0.5, "none": "NaN", "what": "a \"b\"",
                "error": "disk full"
            })
        );
    }

    #[test]
    fn a_line_within_a_request_names_it() {
        let context = RequestContext::new("r-1", &Span::none(), None);
        let trace = context.trace.trace_id();
        let line = json_line(|| {
            let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
            runtime.block_on(crate::context::scope(context, async { tracing::info!("hello") }));
        });
        assert_eq!((&line["request_id"], &line["trace_id"]), (&json!("r-1"), &json!(trace)));
    }

    #[test]
    fn an_events_own_word_counts_but_never_appears_twice() {
        let line = written(Style::Json, || tracing::info!(service = "shop", level = "x", "hello"));
        assert_eq!(line.matches("\"service\"").count(), 1, "{line}");
        assert_eq!(line.matches("\"level\"").count(), 1, "{line}");
        assert!(line.contains("\"service\":\"shop\"") && line.contains("\"field.level\":\"x\""), "{line}");
    }

    #[test]
    fn text_cannot_forge_lines_or_steer_the_terminal() {
        let line = written(Style::Text { colour: false }, || tracing::info!(who = "a\nb\x1b[31m", "hello"));
        assert_eq!(line.matches('\n').count(), 1);
        assert!(line.ends_with(" INFO shop_telemetry::line::tests: hello who=a\\nb\\u{1b}[31m\n"), "{line}");
    }

    #[test]
    fn a_value_that_logs_while_it_is_printed_does_no_harm() {
        struct Chatty;
        impl fmt::Debug for Chatty {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                tracing::info!("inner");
                f.write_str("chatty")
            }
        }
        let lines = written(Style::Json, || tracing::info!(value = ?Chatty, "outer"));
        assert!(lines.lines().all(|line| serde_json::from_str::<Value>(line).is_ok()), "{lines}");
    }

    proptest! {
        #[test]
        fn any_text_makes_one_line_of_json(message: String, value: String) {
            let line = json_line(|| tracing::info!(value, "{message}"));
            prop_assert_eq!(&line["message"], &json!(message));
            prop_assert_eq!(&line["value"], &json!(value));
        }
    }
}
