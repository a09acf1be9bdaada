//! A binary of the workspace as a process of its own, to be killed and started again.

use std::{
    collections::BTreeSet,
    ffi::OsStr,
    fs::{self, File},
    net::{Ipv4Addr, TcpListener},
    os::unix::fs::PermissionsExt as _,
    path::PathBuf,
    process::ExitStatus,
    sync::{
        LazyLock,
        atomic::{AtomicU16, Ordering},
    },
    time::Duration,
};

use tempfile::NamedTempFile;

use crate::{
    Api, Place, Program, eventually,
    leaks::{leaks, secrets},
    program::Child,
};

/// How to start a process, and the process while it runs. It is killed with this value; when the test fails, its output is
/// shown, and when it does not, that has none of the secrets the process was given, and nothing else that no log may have.
#[derive(Debug)]
pub struct Process {
    program: PathBuf,
    arguments: Vec<String>,
    variables: Vec<(String, String)>,
    /// A signal that does nothing to it.
    ignored: Option<&'static str>,
    /// What starts it where it is to run, and its address there.
    place: Option<([String; 2], Ipv4Addr)>,
    /// What was secret at any of its starts.
    secrets: BTreeSet<String>,
    output: NamedTempFile,
    child: Option<Child>,
}

impl Process {
    /// The workspace's binary `name`, not started yet. Its environment is empty but for `PATH`.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self {
            program: Self::program(name),
            arguments: Vec::new(),
            variables: Vec::new(),
            ignored: None,
            place: None,
            secrets: BTreeSet::new(),
            output: NamedTempFile::new().expect("makes a file"),
            child: None,
        }
    }

    /// Where the workspace's binary `name` is.
    ///
    /// # Panics
    ///
    /// When it is not built.
    #[must_use]
    pub fn program(name: &str) -> PathBuf {
        let program = folder().join(name);
        assert!(program.exists(), "{} is not built: run `cargo build --workspace` first", program.display());
        program
    }

    /// Adds an argument.
    #[must_use]
    pub fn arg(mut self, argument: impl Into<String>) -> Self {
        self.arguments.push(argument.into());
        self
    }

    /// Sets a variable; the last value wins.
    #[must_use]
    pub fn env(mut self, name: &str, value: impl Into<String>) -> Self {
        self.set(name, value);
        self
    }

    /// Makes it ignore a signal, such as `XFSZ`, by which the system ends a process whose file grows over its limit.
    #[must_use]
    pub fn ignoring(mut self, signal: &'static str) -> Self {
        self.ignored = Some(signal);
        self
    }

    /// Makes it run in a place of a network; where it listens is for its variables to say.
    #[must_use]
    pub fn within(mut self, place: &Place) -> Self {
        self.place = Some((place.runner(), place.address()));
        self
    }

    /// Sets a variable for the next start.
    pub fn set(&mut self, name: &str, value: impl Into<String>) {
        self.unset(name);
        self.variables.push((name.to_owned(), value.into()));
    }

    /// Takes a variable away for the next start.
    pub fn unset(&mut self, name: &str) {
        self.variables.retain(|(known, _)| known != name);
    }

    /// Names something else that it must not log.
    pub fn keep_secret(&mut self, secret: impl Into<String>) {
        self.secrets.insert(secret.into());
    }

    /// The same program with the same variables and other arguments, to be run beside it.
    #[must_use]
    pub fn beside(&self, arguments: &[&str]) -> Program {
        let program = self.placed(&self.program).args(arguments).env_clear();
        self.variables.iter().fold(program, |program, (name, value)| program.env(name, value))
    }

    /// A program that runs where it does.
    fn placed(&self, program: impl AsRef<OsStr>) -> Program {
        match &self.place {
            None => Program::new(program),
            Some(([runner, namespace], _)) => Program::new(runner).arg(namespace).arg(program),
        }
    }

    /// Starts it, without waiting for anything.
    pub fn spawn(&mut self) {
        assert!(self.child.is_none(), "{} runs already", self.program.display());
        self.secrets.extend(secrets(&self.variables));
        let log = File::options().append(true).open(self.output.path()).expect("opens its log");
        let program = match self.ignored {
            None => self.placed(&self.program),
            // What is ignored stays so in the program that takes the shell's place.
            Some(signal) => {
                self.placed("sh").args(["-c", &format!("trap '' {signal}; exec \"$0\" \"$@\"")]).arg(&self.program)
            }
        };
        let program =
            program.args(&self.arguments).env_clear().stdout(log.try_clone().expect("shares its log")).stderr(log);
        let program = self.variables.iter().fold(program, |program, (name, value)| program.env(name, value));
        self.child = Some(program.spawn());
    }

    /// Starts it and waits until `/health/ready` of its HTTP port answers 200.
    pub async fn start(&mut self, http_port: u16) {
        self.spawn();
        let address = self.place.as_ref().map_or(Ipv4Addr::LOCALHOST, |(_, address)| *address);
        let api = Api::new(format_args!("{address}:{http_port}"));
        eventually!(within Duration::from_mins(1), {
            let gone = self.exited();
            assert!(gone.is_none(), "{} ended while starting: {gone:?}\n{}", self.program.display(), self.output());
            let request = api.request(reqwest::Method::GET, "/health/ready").timeout(Duration::from_secs(2));
            api.try_send(request).await.is_ok_and(|reply| reply.status == 200)
        });
    }

    /// How it ended, when it has.
    pub fn exited(&mut self) -> Option<ExitStatus> {
        self.child.as_mut()?.exited()
    }

    /// Waits until it ends by itself.
    pub async fn wait(&mut self) -> ExitStatus {
        let status = eventually!(within Duration::from_mins(1), self.exited());
        self.child = None;
        status
    }

    /// Kills it, as a power cut would.
    pub fn kill(&mut self) {
        self.child = None;
    }

    /// Asks it to end (SIGTERM) and waits until it has.
    pub async fn stop(&mut self) -> ExitStatus {
        self.signal("TERM");
        self.wait().await
    }

    /// Its process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.as_ref().expect("it runs").id()
    }

    /// Sends it a signal, such as `HUP`.
    pub fn signal(&self, name: &str) {
        self.child.as_ref().expect("it runs").signal(name);
    }

    /// What it wrote so far, over all of its starts.
    #[must_use]
    pub fn output(&self) -> String {
        fs::read(self.output.path()).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
        let output = self.output();
        if std::thread::panicking() {
            let tail: Vec<_> = output.lines().rev().take(60).collect();
            let tail: Vec<_> = tail.into_iter().rev().collect();
            #[expect(clippy::print_stderr, reason = "part of the failed test's report")]
            {
                eprintln!("--- {} wrote (last lines):\n{}", self.program.display(), tail.join("\n"));
            }
        } else {
            let leaks = leaks(&output, &self.secrets);
            assert!(leaks.is_empty(), "{} logs what it must not:\n{}", self.program.display(), leaks.join("\n"));
        }
    }
}

/// Where cargo puts binaries of the profile that the test was built with.
fn folder() -> PathBuf {
    let test = std::env::current_exe().expect("knows its own path");
    let folder = test.ancestors().nth(2).expect("is in <build>/<profile>/deps");
    match crate::variable("CARGO_TARGET_DIR") {
        // Intermediate files, this test among them, may be elsewhere (`build.build-dir`).
        Some(target) => PathBuf::from(target).join(folder.file_name().expect("a profile has a name")),
        None => folder.to_owned(),
    }
}

/// Ports of this test process alone, as long as it runs.
struct Ports {
    first: u16,
    next: AtomicU16,
    /// Locked, so that no other test process takes them. The system lets go of it however the process ends.
    _mark: File,
}

impl Ports {
    /// Below where Linux takes ports for whoever asks for any, or connects (`ip_local_port_range`).
    const FIRST: u16 = 10_000;
    const BLOCKS: u16 = 20;
    /// More than the tests of one process ask for.
    const EACH: u16 = 500;

    fn reserve() -> Self {
        let folder = std::env::temp_dir().join("shop-test-ports");
        fs::create_dir_all(&folder).expect("makes a folder");
        // For other users' tests as well; only its owner can say so.
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o777)).ok();
        for block in 0..Self::BLOCKS {
            let path = folder.join(block.to_string());
            // To lock a file it is enough to read it, and it may be somebody else's.
            let mark = File::open(&path).or_else(|_| File::create(&path)).expect("opens its mark");
            if mark.try_lock().is_ok() {
                return Self { first: Self::FIRST + block * Self::EACH, next: AtomicU16::new(0), _mark: mark };
            }
        }
        panic!("{} test processes run already: no ports are left (see {})", Self::BLOCKS, folder.display());
    }
}

/// A port for a process that must be found again after a restart: nobody listens there, and nobody else is given it as
/// long as this test process runs, neither by this function nor by the system.
///
/// # Panics
///
/// When so many test processes run that none is left.
#[must_use]
pub fn free_port() -> u16 {
    static PORTS: LazyLock<Ports> = LazyLock::new(Ports::reserve);
    let mut candidates = std::iter::repeat_with(|| PORTS.next.fetch_add(1, Ordering::Relaxed)).take(Ports::EACH.into());
    let free = candidates.find_map(|number| {
        let port = PORTS.first + number % Ports::EACH;
        TcpListener::bind(("127.0.0.1", port)).is_ok().then_some(port)
    });
    free.expect("one of the ports of this process is free")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_get_the_same_port() {
        let ports: BTreeSet<u16> = (0..100).map(|_| free_port()).collect();
        assert_eq!(ports.len(), 100);
        // As another test process would.
        let theirs = Ports::reserve();
        assert!(ports.iter().all(|port| !(theirs.first..theirs.first + Ports::EACH).contains(port)), "{ports:?}");
    }
}
