//! Running a process from `main`.

use std::fmt::Write as _;
use std::future::Future;
use std::io::Write as _;
use std::process::ExitCode;
use std::time::Duration;

/// How long blocking calls still under way may hold up the end of the process.
const LEAVE: Duration = Duration::from_secs(1);

/// Exit code of a question that could not be answered.
const UNANSWERED: u8 = 3;

/// Runs a question to be answered with yes or no as [`block_on`] does: 0 is yes and 1 is no, an error is 3.
pub fn answer<F: Future<Output = anyhow::Result<bool>>>(question: F) -> ExitCode {
    let mut yes = true;
    let answered = block_on(async {
        yes = question.await?;
        Ok(())
    });
    match (answered == ExitCode::SUCCESS, yes) {
        (false, _) => ExitCode::from(UNANSWERED),
        (true, yes) => ExitCode::from(u8::from(!yes)),
    }
}

/// Runs `work` on a multi-threaded runtime; an error is printed with all its causes and becomes exit code 1.
pub fn block_on<F: Future<Output = anyhow::Result<()>>>(work: F) -> ExitCode {
    // Err means that one is installed already, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    match run(work) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // With standard error closed there is nobody to tell.
            let _ = std::io::stderr().write_all(report(&error).as_bytes());
            ExitCode::FAILURE
        }
    }
}

fn run<F: Future<Output = anyhow::Result<()>>>(work: F) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let result = runtime.block_on(work);
    runtime.shutdown_timeout(LEAVE);
    result
}

/// The error and its causes, one per line. A cause that the line above already ends with is not repeated.
fn report(error: &anyhow::Error) -> String {
    let mut out = format!("error: {error}\n");
    let mut above = error.to_string();
    for cause in error.chain().skip(1) {
        let text = cause.to_string();
        if !above.ends_with(&text) {
            // Writing to a String cannot fail.
            let _ = writeln!(out, "  because: {text}");
        }
        above = text;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_reported_with_all_its_causes() {
        let error = anyhow::anyhow!("connection refused").context("store unreachable").context("product cannot start");
        assert_eq!(
            report(&error),
            "error: product cannot start\n  because: store unreachable\n  because: connection refused\n"
        );
    }

    #[test]
    fn a_cause_that_was_just_said_is_not_repeated() {
        let error = anyhow::anyhow!("refused").context("store unreachable: refused");
        assert_eq!(report(&error), "error: store unreachable: refused\n");
    }

    #[test]
    fn the_work_decides_the_exit_code() {
        assert_eq!(block_on(async { Ok(()) }), ExitCode::SUCCESS);
        assert_eq!(block_on(async { Err(anyhow::anyhow!("no")) }), ExitCode::FAILURE);
    }
}
