//! Lines of one shape for every request, past the machinery of `tracing`: one list of fields, written as JSON where it is
//! going to stay. Where lines look otherwise, or somebody else listens, the same list becomes an event of `tracing`.

use std::fmt::Write as _;
use std::net::IpAddr;
use std::sync::OnceLock;

use tracing::Level;
use tracing::field::DisplayValue;

use crate::escape::{Quoting, quoted};
use crate::format::{number, timestamp};
use crate::writer::Output;

/// Set once, when this process writes JSON to standard output.
static JSON: OnceLock<Json> = OnceLock::new();

/// Where lines go, and what stands in each of them.
#[derive(Clone)]
pub struct Json {
    service: &'static str,
    output: Output,
}

/// From now on lines go to `output` as JSON.
pub(crate) fn begin(service: &'static str, output: Output) {
    // A second subscriber is not used either.
    let _ = JSON.set(Json { service, output });
}

/// Where to write a line, if there is a shorter way than an event.
#[must_use]
pub fn json() -> Option<&'static Json> {
    JSON.get()
}

/// Logs a line with ids of its own: `line!(target: "http.access", Level::INFO, [method, " ", route], { method, status = 200 })`.
///
/// The message is the parts in brackets together. Fields are [`Field`]s; one that is `None` is left out.
#[macro_export]
macro_rules! line {
    (target: $target:literal, $level:expr, [$($part:expr),+ $(,)?], { $($name:ident = $value:expr),+ $(,)? }) => {
        if let Some(json) = $crate::line::json() {
            if tracing::event_enabled!(target: $target, $level) {
                json.write($level, $target, &[$($part),+], |line| {
                    $($crate::line::Field::write($value, line, concat!(",\"", stringify!($name), "\":"));)+
                });
            }
        } else {
            tracing::event!(
                target: $target,
                $level,
                $($name = $crate::line::Field::traced($value),)+
                "{}",
                [$($part),+].concat(),
            );
        }
    };
}

impl Json {
    /// Writes a line; `fields` writes what follows the message and the service.
    pub fn write(&self, level: Level, target: &str, message: &[&str], fields: impl FnOnce(&mut String)) {
        self.output.line(level, |line| {
            line.push_str("{\"timestamp\":\"");
            timestamp(line);
            line.push_str("\",\"level\":\"");
            line.push_str(level.as_str());
            line.push_str("\",\"target\":\"");
            line.push_str(target);
            line.push_str("\",\"message\":\"");
            for part in message {
                // Writing to a String cannot fail.
                let _ = Quoting(line).write_str(part);
            }
            line.push_str("\",\"service\":\"");
            line.push_str(self.service);
            line.push('"');
            fields(line);
            line.push_str("}\n");
        });
    }
}

/// What a field of a line may be.
pub trait Field {
    /// As `tracing` takes it.
    type Traced: tracing::Value;

    /// Writes it as JSON behind `key`, which has its comma, quotes and colon; nothing when there is none.
    fn write(self, line: &mut String, key: &str);

    /// The same for `tracing`.
    fn traced(self) -> Self::Traced;
}

impl<'t> Field for &'t str {
    type Traced = &'t str;

    fn write(self, line: &mut String, key: &str) {
        line.push_str(key);
        // Writing to a String cannot fail.
        let _ = quoted(line, self);
    }

    fn traced(self) -> Self {
        self
    }
}

impl Field for f64 {
    type Traced = Self;

    /// It has to be finite: JSON has no word for what is not.
    fn write(self, line: &mut String, key: &str) {
        line.push_str(key);
        number(line, self);
    }

    fn traced(self) -> Self {
        self
    }
}

impl Field for IpAddr {
    type Traced = DisplayValue<Self>;

    fn write(self, line: &mut String, key: &str) {
        line.push_str(key);
        line.push('"');
        if let Self::V4(address) = self {
            for (place, part) in address.octets().into_iter().enumerate() {
                line.push_str(if place > 0 { "." } else { "" });
                line.push_str(itoa::Buffer::new().format(part));
            }
        } else {
            // Writing to a String cannot fail.
            let _ = write!(line, "{self}");
        }
        line.push('"');
    }

    fn traced(self) -> Self::Traced {
        tracing::field::display(self)
    }
}

impl<F: Field> Field for Option<F> {
    type Traced = Option<F::Traced>;

    fn write(self, line: &mut String, key: &str) {
        if let Some(field) = self {
            field.write(line, key);
        }
    }

    fn traced(self) -> Self::Traced {
        self.map(Field::traced)
    }
}

macro_rules! whole {
    ($($number:ty),+) => {$(
        impl Field for $number {
            type Traced = Self;

            fn write(self, line: &mut String, key: &str) {
                line.push_str(key);
                line.push_str(itoa::Buffer::new().format(self));
            }

            fn traced(self) -> Self {
                self
            }
        }
    )+};
}

whole!(u8, u16, u32, u64, usize);

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// The subscriber is the process's, as its output is.
    #[test]
    fn a_line_is_written_if_its_level_is_wanted() {
        use tracing_subscriber::layer::SubscriberExt as _;

        let (output, memory) = crate::writer::tests::output();
        begin("gateway", output.clone());
        let lines =
            crate::format::Lines { service: "gateway", style: crate::format::Style::Json, sink: output.clone() };
        tracing::subscriber::with_default(crate::subscriber::filtered("info").expect("valid").with(lines), || {
            crate::line!(target: "http.access", Level::INFO, ["GET ", "/x"], { status = 200_u16 });
            crate::line!(target: "http.access", Level::DEBUG, ["GET ", "/health"], { status = 200_u16 });
        });
        output.close();
        let text = memory.text();
        assert!(text.contains(r#""message":"GET /x","service":"gateway","status":200}"#), "{text}");
        assert_eq!(text.lines().count(), 1, "{text}");
    }

    #[test]
    fn a_line_has_what_an_event_of_the_same_fields_has() {
        use tracing_subscriber::layer::SubscriberExt as _;

        let (output, memory) = crate::writer::tests::output();
        let lines =
            crate::format::Lines { service: "gateway", style: crate::format::Style::Json, sink: output.clone() };
        let v6: IpAddr = [0x2001, 0xdb8, 0, 0, 0, 0, 0, 7].into();
        macro_rules! fields {
            ($then:ident) => {
                $then!(
                    plain = "/api/{id}",
                    special = "a\"b\\c\n\u{1}é",
                    duration_ms = 1.25,
                    long_ms = 4_294_967.295,
                    v4 = IpAddr::from([192, 0, 2, 70]),
                    v6 = v6,
                    status = 200_u16,
                    bytes = usize::MAX,
                    given = Some("x"),
                    missing = None::<&str>,
                )
            };
        }
        macro_rules! event {
            ($($name:ident = $value:expr),+ $(,)?) => {
                tracing::info!(target: "http.access", $($name = Field::traced($value),)+ "GET \"x\" 200")
            };
        }
        macro_rules! direct {
            ($($name:ident = $value:expr),+ $(,)?) => {
                Json { service: "gateway", output: output.clone() }.write(
                    Level::INFO,
                    "http.access",
                    &["GET ", "\"x\"", " 200"],
                    |line| { $(Field::write($value, line, concat!(",\"", stringify!($name), "\":"));)+ },
                )
            };
        }
        tracing::subscriber::with_default(tracing_subscriber::registry().with(lines), || fields!(event));
        fields!(direct);
        output.close();
        let text = memory.text();
        let lines: Vec<&str> = text.lines().collect();
        let [event, direct] = lines[..] else { panic!("two lines: {text}") };
        // Both begin with the time, as long in each.
        assert_eq!(event[39..], direct[39..]);
        let direct: Value = serde_json::from_str(direct).expect("JSON");
        assert_eq!((&direct["v6"], &direct["missing"]), (&json!("2001:db8::7"), &Value::Null));
    }
}
