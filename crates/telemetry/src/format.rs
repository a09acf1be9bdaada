//! One event, one line: JSON for machines, text for people.
//!
//! Written by hand rather than with the `fmt` layer: request and trace id come from the task's context, fields stay flat,
//! and no span has to exist for either.

use std::cell::Cell;
use std::fmt::{self, Write as _};
use std::time::Duration;

use time::OffsetDateTime;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

use crate::context;
use crate::escape::{Plain, Plainly, Quoting, quoted};

/// How long something took, as access lines say it: milliseconds, to the microsecond.
#[inline]
pub fn millis(took: Duration) -> f64 {
    f64::from(u32::try_from(took.as_micros()).unwrap_or(u32::MAX)) / 1000.0
}

/// How a line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Style {
    Json,
    Text { colour: bool },
}

/// Where lines go.
pub(crate) trait Sink: 'static {
    /// Takes a line, with its end; `level` says how urgent it is.
    fn take(&self, line: &str, level: Level);
}

/// Writes a line per event.
pub(crate) struct Lines<S> {
    pub(crate) service: &'static str,
    pub(crate) style: Style,
    pub(crate) sink: S,
}

/// What a line is put together in.
#[derive(Default)]
struct Buffers {
    line: String,
    message: String,
    target: String,
    fields: String,
}

thread_local! {
    /// Taken while a line is written; a value that logs while it is printed finds an empty one.
    static BUFFERS: Cell<Buffers> = const {
        Cell::new(Buffers { line: String::new(), message: String::new(), target: String::new(), fields: String::new() })
    };
    /// The second that was last written, as Unix time and as text.
    static SECOND: Cell<(i64, [u8; 19])> = const { Cell::new((i64::MIN, [0; 19])) };
}

impl<S, K> Layer<S> for Lines<K>
where
    S: Subscriber,
    K: Sink,
{
    fn on_event(&self, event: &Event<'_>, _context: Context<'_, S>) {
        let mut buffers = BUFFERS.take();
        for text in [&mut buffers.line, &mut buffers.message, &mut buffers.target, &mut buffers.fields] {
            text.clear();
        }
        let mut line = std::mem::take(&mut buffers.line);
        let mut parts = Parts { style: self.style, given: Given::default(), buffers };
        event.record(&mut parts);
        // Writing to a String cannot fail.
        let _ = match self.style {
            Style::Json => self.json(&mut line, event, &parts),
            Style::Text { colour } => text(&mut line, event, &parts, colour),
        };
        line.push('\n');
        self.sink.take(&line, *event.metadata().level());
        BUFFERS.set(Buffers { line, ..parts.buffers });
    }
}

impl<K> Lines<K> {
    fn json(&self, line: &mut String, event: &Event<'_>, parts: &Parts) -> fmt::Result {
        let metadata = event.metadata();
        line.push_str("{\"timestamp\":\"");
        timestamp(line);
        line.push_str("\",\"level\":\"");
        line.push_str(metadata.level().as_str());
        line.push_str("\",\"target\":");
        quoted(line, parts.target(event))?;
        line.push_str(",\"message\":");
        quoted(line, &parts.buffers.message)?;
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
                line.push_str(",\"trace_id\":\"");
                line.push_str(context.trace.text().trace_id());
                line.push('"');
            }
            Ok(())
        })
        .unwrap_or(Ok(()))?;
        line.push_str(&parts.buffers.fields);
        line.push('}');
        Ok(())
    }
}

fn text(line: &mut String, event: &Event<'_>, parts: &Parts, colour: bool) -> fmt::Result {
    let metadata = event.metadata();
    timestamp(line);
    let (on, off) = if colour { (tint(*metadata.level()), "\x1b[0m") } else { ("", "") };
    write!(line, " {on}{:>5}{off} ", metadata.level())?;
    write!(line, "{}: {}", parts.target(event), Plain(&parts.buffers.message))?;
    line.push_str(&parts.buffers.fields);
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

/// RFC 3339 in UTC with milliseconds, such as `2026-01-02T03:04:05.678Z`. Many lines share a second, so it is kept.
#[expect(clippy::disallowed_methods, reason = "a log tells the real time, also in tests that set another")]
pub(crate) fn timestamp(line: &mut String) {
    let now = OffsetDateTime::now_utc();
    let (kept, mut text) = SECOND.get();
    if kept != now.unix_timestamp() {
        text = second(now);
        SECOND.set((now.unix_timestamp(), text));
    }
    line.push_str(std::str::from_utf8(&text).unwrap_or_default());
    let milli = now.millisecond();
    let digit = |value: u16| char::from(b'0' + u8::try_from(value % 10).unwrap_or_default());
    line.extend(['.', digit(milli / 100), digit(milli / 10), digit(milli), 'Z']);
}

fn second(now: OffsetDateTime) -> [u8; 19] {
    let (year, month, day) = now.to_calendar_date();
    let (hour, minute, second) = now.to_hms();
    let month = u8::from(month);
    let text = format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}");
    // Nineteen bytes until the year 10000.
    text.as_bytes().try_into().unwrap_or([b'9'; 19])
}

/// Which of our own keys the event brings itself; its word then counts.
#[derive(Default)]
struct Given {
    service: bool,
    request_id: bool,
    trace_id: bool,
}

/// An event taken apart. `fields` of the buffers holds everything but the message, ready to be appended.
struct Parts {
    style: Style,
    given: Given,
    buffers: Buffers,
}

impl Parts {
    /// Where the event comes from; events of the `log` crate say it in a field.
    fn target<'a>(&'a self, event: &Event<'a>) -> &'a str {
        if self.buffers.target.is_empty() { event.metadata().target() } else { &self.buffers.target }
    }

    /// Writes the key and says where the value goes.
    fn key(&mut self, name: &str) -> &mut String {
        match name {
            "service" => self.given.service = true,
            "request_id" => self.given.request_id = true,
            "trace_id" => self.given.trace_id = true,
            _ => {}
        }
        let fields = &mut self.buffers.fields;
        match self.style {
            Style::Json => {
                // A field may not take the place of what every line has.
                let taken = matches!(name, "timestamp" | "level" | "target");
                fields.push_str(if taken { ",\"field." } else { ",\"" });
                // Writing to a String cannot fail.
                let _ = Quoting(fields).write_str(name);
                fields.push_str("\":");
            }
            Style::Text { .. } => {
                fields.push(' ');
                fields.push_str(name);
                fields.push('=');
            }
        }
        fields
    }

    fn bare(&mut self, field: &Field, value: &str) {
        self.key(field.name()).push_str(value);
    }

    /// A value that is text, or anything printed as such.
    fn printed(&mut self, field: &Field, value: fmt::Arguments<'_>) {
        // Writing to a String cannot fail.
        let _ = match field.name() {
            "message" => self.buffers.message.write_fmt(value),
            // What the bridge from the `log` crate adds.
            "log.target" => self.buffers.target.write_fmt(value),
            name if name.starts_with("log.") => Ok(()),
            name => match self.style {
                Style::Json => {
                    let out = self.key(name);
                    out.push('"');
                    let written = Quoting(out).write_fmt(value);
                    out.push('"');
                    written
                }
                Style::Text { .. } => Plainly(self.key(name)).write_fmt(value),
            },
        };
    }
}

/// Writes a finite number with the fewest digits that say it. Most are measured to a thousandth and need no search for
/// those.
pub(crate) fn number(out: &mut String, value: f64) {
    let thousandths = (value * 1000.0).round();
    let whole = value.is_sign_positive() && thousandths < 1e9 && (thousandths / 1000.0).to_bits() == value.to_bits();
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "from 0 to 10^9, and without a fraction"
    )]
    let thousandths = if whole { thousandths as u32 } else { u32::MAX };
    if thousandths == u32::MAX {
        // Writing to a String cannot fail.
        let _ = write!(out, "{value}");
        return;
    }
    out.push_str(itoa::Buffer::new().format(thousandths / 1000));
    let mut rest = thousandths % 1000;
    let mut place = 100;
    if rest > 0 {
        out.push('.');
    }
    while rest > 0 {
        out.push(char::from(b'0' + u8::try_from(rest / place).unwrap_or_default()));
        rest %= place;
        place /= 10;
    }
}

impl Visit for Parts {
    fn record_f64(&mut self, field: &Field, value: f64) {
        if value.is_finite() {
            number(self.key(field.name()), value);
        } else {
            self.printed(field, format_args!("{value}"));
        }
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        if !field.name().starts_with("log.") {
            self.bare(field, itoa::Buffer::new().format(value));
        }
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        if !field.name().starts_with("log.") {
            self.bare(field, itoa::Buffer::new().format(value));
        }
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.bare(field, if value { "true" } else { "false" });
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        match self.style {
            // Most of most lines: worth a way past the machinery of formatting.
            Style::Json if field.name() != "message" && !field.name().starts_with("log.") => {
                // Writing to a String cannot fail.
                let _ = quoted(self.key(field.name()), value);
            }
            _ => self.printed(field, format_args!("{value}")),
        }
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        let mut text = value.to_string();
        let mut cause = value.source();
        while let Some(error) = cause {
            // Writing to a String cannot fail.
            let _ = write!(text, ": {error}");
            cause = error.source();
        }
        self.printed(field, format_args!("{text}"));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.printed(field, format_args!("{value:?}"));
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use proptest::prelude::*;
    use serde_json::{Value, json};
    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;
    use crate::RequestContext;

    #[derive(Clone, Default)]
    struct Memory(Arc<Mutex<Vec<u8>>>);

    impl Sink for Memory {
        fn take(&self, line: &str, _level: Level) {
            self.0.lock().expect("not poisoned").extend_from_slice(line.as_bytes());
        }
    }

    /// What is written while `work` runs.
    fn written(style: Style, work: impl FnOnce()) -> String {
        let memory = Memory::default();
        let lines = Lines { service: "basket", style, sink: memory.clone() };
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
                "timestamp": null, "level": "WARN", "target": "shop_telemetry::format::tests", "message": "it \\ is\nso",
                "service": "basket", "item.count": 3, "ok": true, "share": 0.5, "none": "NaN", "what": "a \"b\"",
                "error": "disk full"
            })
        );
    }

    #[test]
    fn a_line_within_a_request_names_it() {
        let context = RequestContext::new("r-1", crate::TraceParent::random());
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
        assert!(line.ends_with(" INFO shop_telemetry::format::tests: hello who=a\\nb\\u{1b}[31m\n"), "{line}");
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

    #[test]
    fn numbers_are_written_as_the_standard_library_does() {
        let written = |value: f64| {
            let mut text = String::new();
            number(&mut text, value);
            text
        };
        for value in
            [0.0, -0.0, 0.001, 0.1, 0.25, 1.0, 1.234, 12.3, 99.999, 1000.0, 999_999.999, 1e6, -1.5, 0.1 + 0.2, 1e300]
        {
            assert_eq!(written(value), value.to_string());
        }
        for micros in (0..2_000_000).step_by(7) {
            let value = f64::from(micros) / 1000.0;
            assert_eq!(written(value), value.to_string());
        }
    }

    proptest! {
        #[test]
        fn any_number_is_written_as_the_standard_library_does(value in -1e7..1e7) {
            let mut text = String::new();
            number(&mut text, value);
            prop_assert_eq!(text, value.to_string());
        }

        #[test]
        fn any_text_makes_one_line_of_json(message: String, value: String) {
            let line = json_line(|| tracing::info!(value, "{message}"));
            prop_assert_eq!(&line["message"], &json!(message));
            prop_assert_eq!(&line["value"], &json!(value));
        }
    }
}
