//! Standard output for log lines: many lines with one write, since a system call a line is dear on a busy request path.
//!
//! Each thread puts its lines together in a buffer of its own, which one thread takes away by swapping it for an empty one, and
//! writes. Nobody else waits for whoever reads, or for each other: while the reader stalls, a thread's lines are kept up to
//! [`MOST`], then lost, counted, and told of when reading goes on. A line waits [`PAUSE`] at most for others, a warning or an
//! error not at all; the end of the process waits [`LAST`] for what is left. Lines of a thread stay in order; of two threads
//! that log in the same pause, the lines of one come first.

use std::cell::RefCell;
use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex, MutexGuard};
use prometheus::IntCounter;
use tracing::Level;

use crate::format::Sink;

/// How long a line may wait for others.
const PAUSE: Duration = Duration::from_millis(10);
/// So many bytes of a thread wait for a reader that stalls: some thousand lines, which covers a pause of its own.
const MOST: usize = 512 * 1024;
/// And so many more of warnings and errors, which tell why.
const RESERVE: usize = MOST / 4;
/// How long the end of the process waits for the reader: one that reads at all takes what waits in less.
const LAST: Duration = Duration::from_secs(1);

/// Lines that were lost; of the process, as standard output is.
pub(crate) static LOST: LazyLock<IntCounter> = LazyLock::new(|| {
    IntCounter::new("log_lines_lost_total", "Log lines lost because whoever reads standard output stalled.")
        .expect("the name is well formed")
});

thread_local! {
    /// This thread's buffer, and whose it is: a test may have several outputs.
    static OWN: RefCell<Option<(Output, Arc<Buffer>)>> = const { RefCell::new(None) };
}

/// Standard output, or what a test takes for it. Clones share it.
#[derive(Clone)]
pub(crate) struct Output(Arc<Inner>);

/// One thread's lines that wait.
type Buffer = Mutex<Lines>;

#[derive(Default)]
struct Lines {
    text: String,
    /// Lines that were lost and not told of yet.
    lost: u64,
}

#[derive(Default)]
struct Inner {
    waiting: Mutex<Waiting>,
    /// Whoever writes knows that there is something. Set by the first line after it began to take lines away.
    is_awake: AtomicBool,
    /// The process ends: whoever logs waits for its own line.
    is_ending: AtomicBool,
    /// There is something to write: the first line after a silence, or one that must not wait.
    begun: Condvar,
    /// All there was is written.
    written: Condvar,
}

#[derive(Default)]
struct Waiting {
    /// Of all threads. Locked after this, never before.
    buffers: Vec<Arc<Buffer>>,
    /// Among the lines is one that waits for no others.
    is_urgent: bool,
    /// Lines were taken out and are not written yet.
    is_writing: bool,
    /// The process ends: until then its last lines are waited for.
    ends: Option<Instant>,
}

impl Output {
    /// Standard output, with a thread that writes what waits.
    pub(crate) fn stdout() -> io::Result<Self> {
        Self::start(io::stdout())
    }

    fn start(writer: impl Write + Send + 'static) -> io::Result<Self> {
        let output = Self(Arc::default());
        let inner = Arc::clone(&output.0);
        std::thread::Builder::new().name("log".to_owned()).spawn(move || inner.write(writer))?;
        Ok(output)
    }

    /// Waits until what there is has been written, [`LAST`] at most; until then whoever logs waits for its own line, too.
    pub(crate) fn close(&self) {
        let mut waiting = self.0.waiting.lock();
        waiting.ends = Some(Instant::now() + LAST);
        self.0.is_ending.store(true, SeqCst);
        self.0.begun.notify_one();
        self.0.wait(waiting);
    }

    /// Has a line written by `write`, which logs nothing itself, behind those of this thread.
    pub(crate) fn line(&self, level: Level, write: impl FnOnce(&mut String)) {
        let is_urgent = level <= Level::WARN;
        let room = if is_urgent { MOST + RESERVE } else { MOST };
        let kept = OWN.try_with(|own| {
            let mut own = own.borrow_mut();
            let known = own.as_ref().filter(|(output, _)| Arc::ptr_eq(&output.0, &self.0));
            if known.is_none() {
                *own = Some((self.clone(), self.0.buffer()));
            }
            own.as_ref().is_none_or(|(_, buffer)| keep(buffer, room, write))
        });
        // A thread that ends has nowhere to put its lines any more.
        if !kept.unwrap_or(false) {
            LOST.inc();
            return;
        }
        self.0.tell(is_urgent);
    }
}

/// Keeps a line if there is `room`.
fn keep(buffer: &Buffer, room: usize, write: impl FnOnce(&mut String)) -> bool {
    let mut lines = buffer.lock();
    let has_room = lines.text.len() < room;
    if has_room {
        write(&mut lines.text);
    } else {
        lines.lost += 1;
    }
    has_room
}

impl Sink for Output {
    fn take(&self, line: &str, level: Level) {
        self.line(level, |lines| lines.push_str(line));
    }
}

impl Inner {
    /// A buffer more.
    fn buffer(&self) -> Arc<Buffer> {
        let buffer = Arc::<Buffer>::default();
        self.waiting.lock().buffers.push(Arc::clone(&buffer));
        buffer
    }

    /// There is a line.
    fn tell(&self, is_urgent: bool) {
        // Nearly always it is known, and nothing that other threads look at is changed.
        let is_known = self.is_awake.load(SeqCst) || self.is_awake.swap(true, SeqCst);
        if !is_known || is_urgent {
            let mut waiting = self.waiting.lock();
            waiting.is_urgent |= is_urgent;
            self.begun.notify_one();
        }
        if self.is_ending.load(SeqCst) {
            self.wait(self.waiting.lock());
        }
    }

    /// Writes what waits, again and again.
    fn write(&self, mut writer: impl Write) {
        let (mut buffers, mut text) = (Vec::new(), String::new());
        loop {
            let mut lost = 0;
            self.collect(&mut buffers);
            for buffer in &buffers {
                {
                    let mut lines = buffer.lock();
                    std::mem::swap(&mut lines.text, &mut text);
                    lost += std::mem::take(&mut lines.lost);
                }
                // With nobody reading there is nothing left to do.
                let _ = writer.write_all(text.as_bytes()).and_then(|()| writer.flush());
                text.clear();
            }
            if lost > 0 {
                // It comes behind the lines that were kept.
                tracing::warn!(
                    lines.lost = lost,
                    "{lost} log lines were lost: nobody read standard output for a while, or too slowly"
                );
            }
        }
    }

    /// Waits until there is something to write and others had time to join it; `buffers` are those of all threads then.
    fn collect(&self, buffers: &mut Vec<Arc<Buffer>>) {
        buffers.clear();
        let mut waiting = self.waiting.lock();
        waiting.is_writing = false;
        // Of threads that have ended, when all they said is written.
        waiting.buffers.retain(|buffer| Arc::strong_count(buffer) > 1 || !buffer.lock().text.is_empty());
        self.written.notify_all();
        while !self.is_awake.load(SeqCst) {
            self.begun.wait(&mut waiting);
        }
        let due = Instant::now() + PAUSE;
        while !waiting.is_urgent && waiting.ends.is_none() {
            if self.begun.wait_until(&mut waiting, due).timed_out() {
                break;
            }
        }
        waiting.is_urgent = false;
        waiting.is_writing = true;
        // Before lines are taken: of one that comes later somebody has to tell.
        self.is_awake.store(false, SeqCst);
        buffers.extend(waiting.buffers.iter().cloned());
    }

    /// Waits until everything is written, or the process must end.
    fn wait(&self, mut waiting: MutexGuard<'_, Waiting>) {
        let Some(ends) = waiting.ends else { return };
        while waiting.is_writing || waiting.buffers.iter().any(|buffer| !buffer.lock().text.is_empty()) {
            if self.written.wait_until(&mut waiting, ends).timed_out() {
                return;
            }
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::sync::mpsc::{Receiver, Sender, channel};

    use super::*;

    /// What was written, by write.
    #[derive(Clone, Default)]
    pub(crate) struct Memory(Arc<Mutex<Vec<String>>>);

    impl Memory {
        pub(crate) fn text(&self) -> String {
            self.0.lock().concat()
        }

        /// Waits until `text` is all that was written.
        fn becomes(&self, text: &str) {
            let begun = Instant::now();
            while self.text() != text {
                assert!(begun.elapsed() < Duration::from_secs(15), "{:?}", self.text());
                std::thread::yield_now();
            }
        }
    }

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

    pub(crate) fn output() -> (Output, Memory) {
        let memory = Memory::default();
        (Output::start(memory.clone()).expect("a thread"), memory)
    }

    /// A reader that takes nothing until it is told to, and says when a write waits for it.
    struct Stalled {
        memory: Memory,
        begun: Sender<()>,
        go: Receiver<()>,
    }

    impl Write for Stalled {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            // Fails when the test is over.
            let _ = self.begun.send(());
            let _ = self.go.recv();
            self.memory.write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// An output whose thread is in the midst of writing `first`; the reader goes on when the sender is dropped.
    fn stalled() -> (Output, Memory, Sender<()>) {
        let (memory, (begun, begins), (go, goes)) = (Memory::default(), channel(), channel());
        let output = Output::start(Stalled { memory: memory.clone(), begun, go: goes }).expect("a thread");
        output.take("first\n", Level::WARN);
        begins.recv().expect("it writes");
        (output, memory, go)
    }

    /// Lines that were lost and not told of.
    fn untold(output: &Output) -> u64 {
        output.0.waiting.lock().buffers.iter().map(|buffer| buffer.lock().lost).sum()
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
        memory.becomes("hello\n");
    }

    #[test]
    fn a_warning_goes_out_after_what_waits() {
        let (output, memory) = output();
        output.take("first\n", Level::INFO);
        output.take("careful\n", Level::WARN);
        memory.becomes("first\ncareful\n");
    }

    #[test]
    fn after_the_end_lines_go_out_at_once() {
        let (output, memory) = output();
        output.close();
        output.take("late\n", Level::INFO);
        assert_eq!(memory.text(), "late\n");
    }

    #[test]
    fn a_reader_that_stalls_loses_lines_and_holds_up_nobody() {
        let (output, memory, go) = stalled();
        let before = LOST.get();
        let (done, ended) = channel();
        let busy = output.clone();
        std::thread::spawn(move || {
            let line = format!("{}\n", "x".repeat(1023));
            (0..2000).for_each(|_| busy.take(&line, Level::INFO));
            busy.take("careful\n", Level::WARN);
            (0..2000).for_each(|_| busy.take(&line, Level::ERROR));
            done.send(())
        });
        ended.recv_timeout(Duration::from_secs(15)).expect("whoever logs goes on");
        let kept = MOST / 1024 + 1 + RESERVE / 1024;
        let lost = 4001 - u64::try_from(kept).expect("small");
        assert_eq!(untold(&output), lost);
        assert!(LOST.get() - before >= lost, "tests beside this one may lose some, too");
        drop(go);
        output.close();
        let text = memory.text();
        assert_eq!(text.lines().count(), 1 + kept);
        assert!(text.contains("\ncareful\n"), "warnings have a reserve");
        assert_eq!(untold(&output), 0, "it was told");
    }

    #[test]
    fn the_end_waits_for_a_reader_that_stalls_but_not_for_ever() {
        let (output, memory, go) = stalled();
        let begun = Instant::now();
        output.close();
        output.take("late\n", Level::ERROR);
        let took = begun.elapsed();
        assert!(took >= LAST && took < Duration::from_secs(15), "{took:?}");
        drop(go);
        memory.becomes("first\nlate\n");
    }
}
