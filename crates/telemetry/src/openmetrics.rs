//! Metrics as `OpenMetrics` 1.0 text, with examples; the plain text format has no room for them.

use std::fmt::{self, Write as _};

use prometheus::proto::{LabelPair, Metric, MetricFamily, MetricType};

use crate::histogram::Exemplars;

/// What the text is called.
pub(crate) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Units that a name may end in.
const UNITS: [&str; 2] = ["seconds", "bytes"];

/// Whether who sends this `Accept` would rather have `OpenMetrics` than plain text.
pub(crate) fn is_preferred(accept: &str) -> bool {
    let (mut open, mut plain) = (0.0, 0.0);
    for range in accept.split(',') {
        let mut parts = range.split(';').map(str::trim);
        let kind = parts.next().unwrap_or_default();
        let weight = parts.filter_map(|part| part.strip_prefix("q=")).next_back();
        let weight: f64 = weight.map_or(1.0, |weight| weight.parse().unwrap_or(0.0));
        if kind.eq_ignore_ascii_case("application/openmetrics-text") {
            open = f64::max(open, weight);
        } else if ["text/plain", "text/*", "*/*"].iter().any(|known| known.eq_ignore_ascii_case(kind)) {
            plain = f64::max(plain, weight);
        }
    }
    open > 0.0 && open >= plain
}

/// Writes `families`; `exemplars` finds the examples of a histogram by its name and labels.
pub(crate) fn write(
    out: &mut String,
    families: &[MetricFamily],
    exemplars: impl Fn(&str, &[LabelPair]) -> Option<std::sync::Arc<Exemplars>>,
) -> fmt::Result {
    for family in families {
        let kind = family.get_field_type();
        // A counter's family is named without what its samples end in.
        let name = match kind {
            MetricType::COUNTER => family.name().strip_suffix("_total").unwrap_or(family.name()),
            _ => family.name(),
        };
        let word = match kind {
            MetricType::COUNTER => "counter",
            MetricType::GAUGE => "gauge",
            MetricType::HISTOGRAM => "histogram",
            MetricType::SUMMARY => "summary",
            MetricType::UNTYPED => "unknown",
        };
        writeln!(out, "# TYPE {name} {word}")?;
        if let Some(unit) = UNITS.iter().find(|unit| name.strip_suffix(**unit).is_some_and(|rest| rest.ends_with('_')))
        {
            writeln!(out, "# UNIT {name} {unit}")?;
        }
        write!(out, "# HELP {name} ")?;
        escaped(out, family.help())?;
        out.push('\n');
        for metric in family.get_metric() {
            match kind {
                MetricType::COUNTER => sample(out, name, "_total", metric, metric.get_counter().get_value())?,
                MetricType::GAUGE => sample(out, name, "", metric, metric.get_gauge().get_value())?,
                MetricType::HISTOGRAM => {
                    histogram(out, name, metric, exemplars(family.name(), metric.get_label()).as_deref())?;
                }
                // None of ours.
                MetricType::SUMMARY | MetricType::UNTYPED => {}
            }
        }
    }
    out.push_str("# EOF\n");
    Ok(())
}

fn sample(out: &mut String, name: &str, suffix: &str, metric: &Metric, value: f64) -> fmt::Result {
    write!(out, "{name}{suffix}")?;
    labels(out, metric.get_label(), None)?;
    out.push(' ');
    number(out, value)?;
    out.push('\n');
    Ok(())
}

fn histogram(out: &mut String, name: &str, metric: &Metric, exemplars: Option<&Exemplars>) -> fmt::Result {
    let seen = metric.get_histogram();
    let finite = seen.get_bucket().iter().map(|bucket| (bucket.upper_bound(), bucket.cumulative_count()));
    let finite = finite.filter(|(bound, _)| bound.is_finite());
    let all = finite.chain([(f64::INFINITY, seen.get_sample_count())]);
    for (place, (bound, count)) in all.enumerate() {
        write!(out, "{name}_bucket")?;
        labels(out, metric.get_label(), Some(bound))?;
        write!(out, " {count}")?;
        if let Some(exemplar) = exemplars.and_then(|exemplars| exemplars.of(place)) {
            let (seconds, millis) = (exemplar.at / 1000, exemplar.at % 1000);
            write!(out, " # {{trace_id=\"{:032x}\"}} ", exemplar.trace)?;
            number(out, exemplar.seconds)?;
            write!(out, " {seconds}.{millis:03}")?;
        }
        out.push('\n');
    }
    sample(out, name, "_sum", metric, seen.get_sample_sum())?;
    write!(out, "{name}_count")?;
    labels(out, metric.get_label(), None)?;
    writeln!(out, " {}", seen.get_sample_count())
}

fn labels(out: &mut String, labels: &[LabelPair], bound: Option<f64>) -> fmt::Result {
    if labels.is_empty() && bound.is_none() {
        return Ok(());
    }
    out.push('{');
    for label in labels {
        write!(out, "{}=\"", label.name())?;
        escaped(out, label.value())?;
        out.push_str("\",");
    }
    match bound {
        Some(bound) => {
            out.push_str("le=\"");
            number(out, bound)?;
            out.push('"');
        }
        None => drop(out.pop()),
    }
    out.push('}');
    Ok(())
}

/// A number with a fraction, as the format wants bounds; infinity in its words.
fn number(out: &mut String, value: f64) -> fmt::Result {
    match value {
        value if value == f64::INFINITY => out.push_str("+Inf"),
        value if value == f64::NEG_INFINITY => out.push_str("-Inf"),
        value => write!(out, "{value:?}")?,
    }
    Ok(())
}

fn escaped(out: &mut String, text: &str) -> fmt::Result {
    text.chars().try_for_each(|c| match c {
        '\\' => out.write_str("\\\\"),
        '"' => out.write_str("\\\""),
        '\n' => out.write_str("\\n"),
        c => out.write_char(c),
    })
}

#[cfg(test)]
mod tests {
    use crate::metrics::Metrics;

    use super::*;

    #[test]
    fn who_asks_for_it_gets_it() {
        for (accept, expected) in [
            ("", false),
            ("*/*", false),
            ("text/plain", false),
            ("application/openmetrics-text", true),
            (
                "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
                true,
            ),
            ("text/plain;version=0.0.4, application/openmetrics-text;q=0.5", false),
            ("application/openmetrics-text;q=0", false),
            ("application/openmetrics-text;q=nonsense", false),
        ] {
            assert_eq!(is_preferred(accept), expected, "{accept}");
        }
    }

    #[test]
    fn numbers_units_and_examples_are_written_as_the_format_wants() {
        let metrics = Metrics::new("basket");
        metrics.counters("orders_total", "Say \"orders\".\n", &["kind"]).with_label_values(&["a\"b\\c"]).inc();
        metrics.counter("wasted_seconds_total", "Wasted.").inc();
        metrics.gauge("depth", "Depth.").set(-3);
        let waits = metrics.histograms("wait_seconds", "Wait.", &["route"]).with_label_values(&["/x"]);
        let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".parse().expect("well formed");
        waits.observe_in(0.003, trace);
        waits.observe_in(60.0, crate::TraceParent::random());
        let (kind, text) = metrics.render_for("application/openmetrics-text");
        assert_eq!(kind, CONTENT_TYPE);
        for line in [
            "# TYPE orders counter",
            "# HELP orders Say \\\"orders\\\".\\n",
            "orders_total{kind=\"a\\\"b\\\\c\"} 1.0",
            "# UNIT wasted_seconds seconds",
            "wasted_seconds_total 1.0",
            "depth -3.0",
            "# UNIT wait_seconds seconds",
            "wait_seconds_bucket{route=\"/x\",le=\"0.0025\"} 0",
            "wait_seconds_bucket{route=\"/x\",le=\"10.0\"} 1",
            "wait_seconds_bucket{route=\"/x\",le=\"+Inf\"} 2",
            "wait_seconds_count{route=\"/x\"} 2",
        ] {
            assert!(text.lines().any(|shown| shown == line), "{line}\n{text}");
        }
        let example =
            "wait_seconds_bucket{route=\"/x\",le=\"0.005\"} 1 # {trace_id=\"0af7651916cd43dd8448eb211c80319c\"} 0.003 ";
        assert!(text.lines().any(|line| line.starts_with(example)), "{text}");
        assert_eq!(text.matches("trace_id").count(), 1, "{text}");
        assert!(text.ends_with("\n# EOF\n"), "{text}");
        assert!(!metrics.render_for("*/*").1.contains("trace_id"));
    }
}
