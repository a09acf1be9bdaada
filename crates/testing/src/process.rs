//! A binary of the workspace as a process of its own, to be killed and started again.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    net::TcpListener,
    path::PathBuf,
    process::{Child, Command, ExitStatus, Stdio},
    time::Duration,
};

use tempfile::NamedTempFile;

use crate::{
    Api, eventually,
    leaks::{leaks, secrets},
};

/// How to start a process, and the process while it runs. It is killed with this value; when the test fails, its output is
/// shown, and when it does not, that has none of the secrets the process was given, and nothing else that no log may have.
#[derive(Debug)]
pub struct Process {
    program: PathBuf,
    arguments: Vec<String>,
    variables: Vec<(String, String)>,
    /// What was secret at any of its starts.
    secrets: BTreeSet<String>,
    output: NamedTempFile,
    child: Option<Child>,
}

impl Process {
    /// The workspace's binary `name`, not started yet. Its environment is empty but for `PATH`.
    #[must_use]
    pub fn new(name: &str) -> Self {
        let program = folder().join(name);
        assert!(program.exists(), "{} is not built: run `cargo build --workspace` first", program.display());
        Self {
            program,
            arguments: Vec::new(),
            variables: Vec::new(),
            secrets: BTreeSet::new(),
            output: NamedTempFile::new().expect("makes a file"),
            child: None,
        }
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

    /// Starts it, without waiting for anything.
    pub fn spawn(&mut self) {
        assert!(self.child.is_none(), "{} runs already", self.program.display());
        self.secrets.extend(secrets(&self.variables));
        let log = File::options().append(true).open(self.output.path()).expect("opens its log");
        let child = Command::new(&self.program)
            .args(&self.arguments)
            .env_clear()
            .envs(crate::variable("PATH").map(|path| ("PATH".to_owned(), path)))
            .envs(self.variables.iter().cloned())
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("shares its log"))
            .stderr(log)
            .spawn();
        self.child = Some(child.unwrap_or_else(|error| panic!("cannot start {}: {error}", self.program.display())));
    }

    /// Starts it and waits until `/health/ready` of its HTTP port answers 200.
    pub async fn start(&mut self, http_port: u16) {
        self.spawn();
        let api = Api::new(format_args!("127.0.0.1:{http_port}"));
        eventually!(within Duration::from_mins(1), {
            let gone = self.exited();
            assert!(gone.is_none(), "{} ended while starting: {gone:?}\n{}", self.program.display(), self.output());
            let request = api.request(reqwest::Method::GET, "/health/ready").timeout(Duration::from_secs(2));
            api.try_send(request).await.is_ok_and(|reply| reply.status == 200)
        });
    }

    /// How it ended, when it has.
    pub fn exited(&mut self) -> Option<ExitStatus> {
        self.child.as_mut()?.try_wait().expect("is our child")
    }

    /// Waits until it ends by itself.
    pub async fn wait(&mut self) -> ExitStatus {
        let status = eventually!(within Duration::from_mins(1), self.exited());
        self.child = None;
        status
    }

    /// Kills it, as a power cut would.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().expect("is our child");
            child.wait().expect("is our child");
        }
    }

    /// Asks it to end (SIGTERM) and waits until it has.
    pub async fn stop(&mut self) -> ExitStatus {
        self.signal("TERM");
        self.wait().await
    }

    /// Sends it a signal, such as `HUP`.
    pub fn signal(&self, name: &str) {
        let id = self.child.as_ref().expect("it runs").id();
        let sent = Command::new("kill").arg(format!("-{name}")).arg(id.to_string()).status();
        assert!(sent.is_ok_and(|status| status.success()), "cannot signal process {id}");
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

/// A port nobody listens on at the moment, for a process that must be found again after a restart.
#[must_use]
pub fn free_port() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("binds a port");
    listener.local_addr().expect("is bound").port()
}
