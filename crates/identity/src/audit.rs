//! Who did it: a line for each change of money, stock, price, endpoint or setting.

use crate::Caller;

/// What is written when nobody waited for the end: the change may have been made, or may be made yet.
const UNSEEN: &str = "unseen";

/// A change under way. Its line is written, under the target `audit`, when this is dropped: also when the caller goes away
/// or the handler does not return, for what it began may go on. No tokens, no bodies.
#[derive(Debug)]
pub struct Audit {
    caller: Caller,
    operation: String,
    object: String,
    outcome: Option<String>,
    request_id: String,
}

impl Audit {
    /// Of a change by `caller`: the name of the operation, what it is done to, and for which request.
    pub fn begin(caller: Caller, operation: String, object: String, request_id: &str) -> Self {
        Self { caller, operation, object, outcome: None, request_id: request_id.to_owned() }
    }

    /// What became of it: the status or the code, and what was made, if something was.
    pub fn end(mut self, outcome: &str, made: Option<&str>) {
        self.outcome = Some(outcome.to_owned());
        if let Some(made) = made {
            made.clone_into(&mut self.object);
        }
    }
}

impl Drop for Audit {
    fn drop(&mut self) {
        let Self { caller, operation, object, outcome, request_id } = self;
        let outcome = outcome.as_deref().unwrap_or(UNSEEN);
        let principal = caller.name();
        let issuer = caller.principal().map_or("", |principal| &*principal.issuer);
        tracing::info!(
            target: "audit",
            principal,
            issuer,
            operation,
            object,
            outcome,
            request_id,
            "{principal} {operation} {object}: {outcome}",
        );
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Log(Arc<Mutex<Vec<u8>>>);

    impl Write for Log {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().expect("no panic").write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_change_leaves_one_line_whether_or_not_anybody_waits_for_its_end() {
        let log = Log::default();
        let writer = log.clone();
        let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish();
        let begin = || Audit::begin(Caller::anybody(), "POST /payments".to_owned(), "/payments".to_owned(), "r-1");
        tracing::subscriber::with_default(subscriber, || {
            begin().end("201", Some("/payments/7"));
            drop(begin());
        });
        let text = String::from_utf8(log.0.lock().expect("no panic").clone()).expect("text");
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines.len(), 2, "{text}");
        assert!(lines[0].contains("audit: anybody POST /payments /payments/7: 201"), "{text}");
        assert!(lines[1].contains("audit: anybody POST /payments /payments: unseen"), "{text}");
    }
}
