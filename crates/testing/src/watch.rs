//! What is still to be done when a test process is gone: `SIGKILL` and `Ctrl-C` leave it no time to do it.
//!
//! A shell beside the process is told over a pipe what that would be, and what no longer. The system closes the pipe with the
//! process, however that ends; then the shell does what is left.

#![expect(clippy::disallowed_types, reason = "nobody watches the watch; it ends by itself")]

use std::{
    io::Write as _,
    os::unix::process::CommandExt as _,
    process::{ChildStdin, Command, Stdio},
    sync::{
        LazyLock, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

/// Hears no signal: `Ctrl-C` is for the test, and means work here.
const SCRIPT: &str = r#"
trap '' HUP INT QUIT TERM
while read -r sign number command; do
  if [ "$sign" = + ]; then left[number]=$command; else unset "left[number]"; fi
done
for command in "${left[@]}"; do eval "$command"; done
"#;

static WATCH: LazyLock<Mutex<ChildStdin>> = LazyLock::new(|| {
    let shell = Command::new("bash")
        .args(["-c", SCRIPT, "shop-test-watch"])
        .process_group(0)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    Mutex::new(shell.expect("bash starts").stdin.take().expect("is piped"))
});

/// Before there is something to watch: it takes a moment.
pub(crate) fn start() {
    LazyLock::force(&WATCH);
}

fn tell(line: &str) -> std::io::Result<()> {
    WATCH.lock().unwrap_or_else(PoisonError::into_inner).write_all(line.as_bytes())
}

/// A shell command that is run when this process ends before this value does.
#[derive(Debug)]
pub(crate) struct Watched(u64);

impl Watched {
    /// The command is one line, quoted as bash has it.
    pub(crate) fn new(command: &str) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        assert!(!command.contains('\n'), "one line: {command}");
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        tell(&format!("+ {number} {command}\n")).expect("the watch listens");
        Self(number)
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        tell(&format!("- {}\n", self.0)).ok();
    }
}
