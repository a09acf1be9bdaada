//! Standard output for log lines: many lines with one write, since a system call a line is dear on a busy request path.
//!
//! A line waits [`PAUSE`] at most. Warnings and errors go out at once, after whatever waits, so that a crash does not
//! swallow what led to it; the end of the process waits for everything.

use std::io::{self, Write};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use tracing::Level;

use crate::format::Sink;

/// How long a line may wait for others.
const PAUSE: Duration = Duration::from_millis(10);
/// More than this is not kept: whoever logs then waits for the reader, as without a buffer.
const MOST: usize = 1024 * 1024;

/// Standard output, or what a test takes for it. Clones share it.
pub(crate) struct Output<W>(Arc<Inner<W>>);

impl<W> Clone for Output<W> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

struct Inner<W> {
    waiting: Mutex<Waiting>,
    /// The first line came after a silence.
    begun: Condvar,
    /// Held while lines go out, so that they do in order.
    writer: Mutex<(W, Vec<u8>)>,
}

#[derive(Default)]
struct Waiting {
    lines: Vec<u8>,
    /// Nobody collects lines any more.
    closed: bool,
}

impl Output<io::Stdout> {
    /// Standard output, with a thread that writes what waits.
    pub(crate) fn stdout() -> io::Result<Self> {
        Self::start(io::stdout())
    }
}

impl<W: Write + Send + 'static> Output<W> {
    fn start(writer: W) -> io::Result<Self> {
        let output = Self(Arc::new(Inner {
            waiting: Mutex::default(),
            begun: Condvar::new(),
            writer: Mutex::new((writer, Vec::new())),
        }));
        let inner = Arc::clone(&output.0);
        std::thread::Builder::new().name("log".to_owned()).spawn(move || inner.collect())?;
        Ok(output)
    }

    /// Writes what waits; from now on every line goes out at once.
    pub(crate) fn close(&self) {
        self.0.waiting.lock().closed = true;
        self.0.begun.notify_one();
        self.0.flush();
    }
}

impl<W: Write + Send + 'static> Sink for Output<W> {
    fn take(&self, line: &str, level: Level) {
        let mut waiting = self.0.waiting.lock();
        let first = waiting.lines.is_empty();
        waiting.lines.extend_from_slice(line.as_bytes());
        let at_once = waiting.closed || level <= Level::WARN || waiting.lines.len() > MOST;
        drop(waiting);
        if at_once {
            self.0.flush();
        } else if first {
            self.0.begun.notify_one();
        }
    }
}

impl<W: Write> Inner<W> {
    /// Writes what waits, again and again.
    fn collect(&self) {
        loop {
            let mut waiting = self.waiting.lock();
            while waiting.lines.is_empty() && !waiting.closed {
                self.begun.wait(&mut waiting);
            }
            if waiting.closed {
                return;
            }
            self.begun.wait_for(&mut waiting, PAUSE);
            drop(waiting);
            self.flush();
        }
    }

    fn flush(&self) {
        let mut writer = self.writer.lock();
        let (writer, lines) = &mut *writer;
        std::mem::swap(lines, &mut self.waiting.lock().lines);
        // With nobody reading there is nothing left to do.
        let _ = writer.write_all(lines).and_then(|()| writer.flush());
        lines.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What was written, by write.
    #[derive(Clone, Default)]
    struct Memory(Arc<Mutex<Vec<String>>>);

    impl Write for Memory {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if !bytes.is_empty() {
                self.0.lock().push(String::from_utf8_lossy(bytes).into_owned());
            }
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn output() -> (Output<Memory>, Memory) {
        let memory = Memory::default();
        (Output::start(memory.clone()).expect("a thread"), memory)
    }

    #[test]
    fn lines_of_many_threads_come_whole_in_order_and_with_few_writes() {
        let (output, memory) = output();
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let output = output.clone();
                scope.spawn(move || (0..1000).for_each(|n| output.take(&format!("{thread} {n}\n"), Level::INFO)));
            }
        });
        output.close();
        let writes = memory.0.lock().clone();
        let text = writes.concat();
        for thread in 0..4 {
            let mine = format!("{thread} ");
            let numbers: Vec<_> = text.lines().filter_map(|line| line.strip_prefix(&mine)).collect();
            assert_eq!(numbers, (0..1000).map(|n| n.to_string()).collect::<Vec<_>>());
        }
        assert!(writes.len() < 1000, "{} writes of 4000 lines", writes.len());
    }

    #[test]
    fn a_line_alone_goes_out_by_itself() {
        let (output, memory) = output();
        output.take("hello\n", Level::INFO);
        let begun = std::time::Instant::now();
        while memory.0.lock().is_empty() {
            assert!(begun.elapsed() < Duration::from_secs(15), "it never came");
            std::thread::yield_now();
        }
        assert_eq!(*memory.0.lock(), ["hello\n"]);
    }

    #[test]
    fn a_warning_goes_out_at_once_after_what_waits() {
        let (output, memory) = output();
        output.take("first\n", Level::INFO);
        output.take("careful\n", Level::WARN);
        assert_eq!(memory.0.lock().concat(), "first\ncareful\n");
    }

    #[test]
    fn after_the_end_lines_go_out_at_once() {
        let (output, memory) = output();
        output.close();
        output.take("late\n", Level::INFO);
        assert_eq!(memory.0.lock().concat(), "late\n");
    }
}
