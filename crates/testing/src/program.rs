//! Programs that tests run: each ends with the test that started it, however that ends.
//!
//! A program is the first of a process group of its own, and the group ends with its [`Child`]. A test that is killed drops
//! nothing; what it leaves the [watch](crate::watch) ends.

#![expect(clippy::disallowed_types, reason = "here it is started, as the first of a group that is watched")]

use std::{
    ffi::OsStr,
    io::{Seek as _, Write as _},
    os::unix::process::CommandExt as _,
    process::{self, ChildStdout, Command, ExitStatus, Output, Stdio},
};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};

use crate::watch::{self, Watched};

/// How to run a program. It reads nothing, and writes where the test does, unless told otherwise.
#[derive(Debug)]
pub struct Program(Command);

impl Program {
    /// The program of this name on `PATH`, or at this path.
    #[must_use]
    pub fn new(program: impl AsRef<OsStr>) -> Self {
        let mut command = Command::new(program);
        command.process_group(0).stdin(Stdio::null());
        Self(command)
    }

    /// Adds an argument.
    #[must_use]
    pub fn arg(mut self, argument: impl AsRef<OsStr>) -> Self {
        self.0.arg(argument);
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn args(mut self, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Self {
        self.0.args(arguments);
        self
    }

    /// Sets a variable; the last value wins.
    #[must_use]
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.0.env(name, value);
        self
    }

    /// Takes the variables of the test away, all but `PATH`.
    #[must_use]
    pub fn env_clear(mut self) -> Self {
        self.0.env_clear().envs(crate::variable("PATH").map(|path| ("PATH", path)));
        self
    }

    /// What it reads.
    #[must_use]
    pub fn input(mut self, text: &str) -> Self {
        let mut file = tempfile::tempfile().expect("makes a file");
        file.write_all(text.as_bytes()).and_then(|()| file.rewind()).expect("writes its file");
        self.0.stdin(file);
        self
    }

    /// Where its output goes.
    #[must_use]
    pub fn stdout(mut self, to: impl Into<Stdio>) -> Self {
        self.0.stdout(to);
        self
    }

    /// Where its complaints go.
    #[must_use]
    pub fn stderr(mut self, to: impl Into<Stdio>) -> Self {
        self.0.stderr(to);
        self
    }

    /// Starts it.
    ///
    /// # Panics
    ///
    /// When it cannot be started, as the other ways to run it do.
    #[must_use]
    pub fn spawn(mut self) -> Child {
        watch::start();
        let child = self.0.spawn();
        let child = child.unwrap_or_else(|error| panic!("cannot start {}: {error}", self.0.get_program().display()));
        let group = Group::of(child.id());
        Child { child, group: Some(group) }
    }

    /// Runs it to its end, and keeps what it writes. A future that is dropped ends it.
    pub async fn output(mut self) -> Output {
        watch::start();
        self.0.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut command = tokio::process::Command::from(self.0);
        let child = command.kill_on_drop(true).spawn();
        let program = command.as_std().get_program().display();
        let child = child.unwrap_or_else(|error| panic!("cannot start {program}: {error}"));
        let _group = Group::of(child.id().expect("nobody waited for it"));
        child.wait_with_output().await.expect("is our child")
    }

    /// [`output`](Self::output) where the thread may wait.
    #[must_use]
    pub fn run(self) -> Output {
        let Child { child, group } = &mut self.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        let output = read_to_end(child);
        drop(group.take());
        output
    }
}

fn read_to_end(child: &mut process::Child) -> Output {
    use std::io::Read as _;
    let mut complaints = child.stderr.take().expect("is piped");
    let other = std::thread::spawn(move || {
        let mut bytes = Vec::new();
        complaints.read_to_end(&mut bytes).map(|_| bytes)
    });
    let mut stdout = Vec::new();
    child.stdout.take().expect("is piped").read_to_end(&mut stdout).expect("reads its output");
    let stderr = other.join().expect("no panic").expect("reads its complaints");
    Output { status: child.wait().expect("is our child"), stdout, stderr }
}

/// A program that was started. It is killed with this value, and so is all it started in its group.
#[derive(Debug)]
pub struct Child {
    child: process::Child,
    /// Until its first process was waited for: then its number may be somebody else's.
    group: Option<Group>,
}

impl Child {
    /// Its process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// What it writes, once, when that is [piped](Stdio::piped).
    pub fn take_stdout(&mut self) -> Option<ChildStdout> {
        self.child.stdout.take()
    }

    /// How it ended, when it has.
    pub fn exited(&mut self) -> Option<ExitStatus> {
        let status = self.child.try_wait().expect("is our child");
        if status.is_some() {
            self.group = None;
        }
        status
    }

    /// Waits until it ends by itself.
    pub fn wait(&mut self) -> ExitStatus {
        let status = self.child.wait().expect("is our child");
        self.group = None;
        status
    }

    /// Sends it alone a signal, such as `HUP`, while it runs.
    pub fn signal(&self, name: &str) {
        let signal = match name {
            "HUP" => Signal::HUP,
            "INT" => Signal::INT,
            "KILL" => Signal::KILL,
            "TERM" => Signal::TERM,
            "STOP" => Signal::STOP,
            "CONT" => Signal::CONT,
            "USR1" => Signal::USR1,
            "USR2" => Signal::USR2,
            _ => panic!("no test has sent {name} yet: add it here"),
        };
        let group = self.group.as_ref().expect("it runs");
        kill_process(group.first, signal).expect("it runs");
    }

    /// Kills it and its group, as a power cut would.
    pub fn kill(&mut self) {
        drop(self.group.take());
        self.child.wait().expect("is our child");
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The processes that a program became; killed with this value, and also when this process is.
#[derive(Debug)]
struct Group {
    first: Pid,
    _watched: Watched,
}

impl Group {
    fn of(first: u32) -> Self {
        let number = first.try_into().expect("process ids are small");
        let first = Pid::from_raw(number).expect("process ids are not zero");
        Self { first, _watched: Watched::new(&format!("kill -KILL -- -{number}")) }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // Fails when nobody of it is left.
        kill_process_group(self.first, Signal::KILL).ok();
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::eventually;

    /// A program with a child of its own, which outlives it unless somebody cares; both process ids are in the file then.
    fn family(told: &Path) -> Program {
        let script = r#"sleep 1000 & echo "$$ $!" >"$0.part" && mv "$0.part" "$0" && wait"#;
        Program::new("bash").args(["-c", script]).arg(told)
    }

    async fn ids(told: &Path) -> Vec<u32> {
        let text = eventually!(std::fs::read_to_string(told));
        text.split_whitespace().map(|id| id.parse().expect("a number")).collect()
    }

    /// Not there, or dead and not waited for.
    fn gone(id: u32) -> bool {
        let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
        stat.rsplit_once(") ").is_none_or(|(_, rest)| rest.starts_with(['Z', 'X']))
    }

    #[tokio::test]
    async fn all_that_a_program_started_ends_with_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let told = folder.path().join("ids");
        let child = family(&told).spawn();
        let ids = ids(&told).await;
        assert!(ids.len() == 2 && !ids.iter().any(|id| gone(*id)), "{ids:?}");
        drop(child);
        eventually!(ids.iter().all(|id| gone(*id)));
    }

    #[tokio::test]
    async fn what_a_program_leaves_ends_when_it_was_waited_for() {
        let folder = tempfile::tempdir().expect("a folder");
        let told = folder.path().join("ids");
        let script = r#"sleep 1000 >/dev/null 2>&1 & echo $! >"$0"; echo said; echo complained >&2; exit 3"#;
        let program = || Program::new("bash").args(["-c", script]).arg(&told);
        for waits in [true, false] {
            let output = if waits { program().run() } else { program().output().await };
            assert_eq!(output.status.code(), Some(3));
            assert_eq!((output.stdout.as_slice(), output.stderr.as_slice()), (&b"said\n"[..], &b"complained\n"[..]));
            let ids = ids(&told).await;
            eventually!(gone(ids[0]));
        }
        let mut child = program().stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        assert_eq!(child.wait().code(), Some(3));
        let ids = ids(&told).await;
        eventually!(gone(ids[0]));
    }

    /// The test that is killed: run by the one below, in a process of its own.
    #[tokio::test]
    #[ignore = "run by another test, in a process of its own"]
    async fn start_and_stay() {
        let told = crate::variable("TOLD").expect("is told where");
        let _child = family(Path::new(&told)).spawn();
        std::fs::write(format!("{told}.started"), "").expect("tells");
        std::future::pending::<()>().await;
    }

    #[tokio::test]
    async fn what_a_killed_test_started_ends() {
        let folder = tempfile::tempdir().expect("a folder");
        for signal in ["KILL", "INT", "TERM"] {
            let told = folder.path().join(signal);
            // Whoever runs the tests in the background of a script has them ignore SIGINT.
            let test = Program::new("env")
                .arg("--default-signal=INT")
                .arg(std::env::current_exe().expect("knows its own path"))
                .args(["--exact", "program::tests::start_and_stay", "--ignored"])
                .env("TOLD", &told)
                .stdout(Stdio::null());
            let mut test = test.spawn();
            let ids = ids(&told).await;
            eventually!(told.with_extension("started").exists());
            test.signal(signal);
            assert_eq!(test.wait().code(), None);
            eventually!(ids.iter().all(|id| gone(*id)));
        }
    }

    #[test]
    fn a_program_reads_what_it_is_given_and_nothing_else() {
        assert_eq!(Program::new("cat").input("a\nb").run().stdout, b"a\nb");
        assert_eq!(Program::new("cat").run().stdout, b"");
        let output = Program::new("env").env_clear().env("ONE", "1").run();
        let variables = String::from_utf8(output.stdout).expect("text");
        assert!(variables.lines().all(|line| line.starts_with("PATH=") || line == "ONE=1"), "{variables}");
    }
}
