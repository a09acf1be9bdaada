//! Somebody who only asks whether a level is enabled, as sqlx does for each statement, must not cost anyone a line.

use shop_config::{Log, LogFormat, Otel};
use shop_testing::Program;

/// The child: what it logs is read by the test below.
#[test]
#[ignore = "run by the other test, in a process of its own"]
fn ask_then_log() {
    let log = Log { format: LogFormat::Json, ..Log::default() };
    let _guard = shop_telemetry::init("basket", &log, &Otel::default()).expect("telemetry starts");
    for number in 0..3 {
        let asked = tracing::enabled!(tracing::Level::DEBUG);
        tracing::info!(number, asked, "kept");
    }
}

#[test]
fn a_line_after_a_question_is_not_lost() {
    let output = Program::new(std::env::current_exe().expect("knows its own path"))
        .args(["--exact", "ask_then_log", "--ignored", "--nocapture"])
        .run();
    let lines = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(lines.matches(r#""message":"kept""#).count(), 3, "{lines}");
}
