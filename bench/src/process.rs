//! The processes under load: started on free ports, watched through /proc, ended with the benchmark.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};

use shop_testing::Program;
use shop_testing::program::Child;

use crate::client::Connection;

/// A process of ours; killed with this value.
pub(crate) struct Process {
    pub(crate) name: &'static str,
    pub(crate) host: String,
    child: Child,
}

impl Process {
    /// Starts `binary` (beside this program) with `variables` and waits until `host` answers `ready` with 200.
    /// Answers the process and how long that took.
    pub(crate) async fn start(
        binary: &'static str,
        arguments: &[&str],
        variables: &[(&str, String)],
        host: String,
        ready: &str,
    ) -> anyhow::Result<(Self, Duration)> {
        Self::start_from(&beside()?, binary, arguments, variables, host, ready).await
    }

    /// The same for a binary in `folder`.
    pub(crate) async fn start_from(
        folder: &Path,
        binary: &'static str,
        arguments: &[&str],
        variables: &[(&str, String)],
        host: String,
        ready: &str,
    ) -> anyhow::Result<(Self, Duration)> {
        let path = folder.join(binary);
        if !path.exists() {
            bail!("{} is missing: run bench/run, which builds it", path.display());
        }
        let port = host.rsplit(':').next().unwrap_or_default();
        let log = std::fs::File::create(std::env::temp_dir().join(format!("shop-bench-{binary}-{port}.log")))?;
        let began = Instant::now();
        let program = Program::new(&path).args(arguments).stdout(log.try_clone()?).stderr(log);
        let program = variables.iter().fold(program, |program, (name, value)| program.env(name, value));
        let mut process = Self { name: binary, host, child: program.spawn() };
        let mut poll = tokio::time::interval(Duration::from_millis(2));
        while began.elapsed() < Duration::from_secs(90) {
            poll.tick().await;
            if let Some(status) = process.child.exited() {
                bail!("{binary} ended with {status}; see its log in the temporary folder");
            }
            let Ok(mut connection) = Connection::open(&process.host).await else { continue };
            if matches!(connection.call("GET", ready, "").await, Ok((200, _))) {
                let took = began.elapsed();
                return Ok((process, took));
            }
        }
        bail!("{binary} is not ready after 90 s")
    }

    /// CPU time so far: user and system, of all its threads.
    pub(crate) fn cpu(&self) -> Duration {
        cpu(self.child.id())
    }

    /// The same with what it started.
    pub(crate) fn tree_cpu(&self) -> Duration {
        tree_cpu(self.child.id())
    }

    /// A line of /proc/PID/status in KiB, such as `VmRSS` or `VmHWM`.
    pub(crate) fn memory_kib(&self, field: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap_or_default();
        let line = status.lines().find(|line| line.starts_with(field)).unwrap_or_default();
        line.split_whitespace().nth(1).and_then(|kib| kib.parse().ok()).unwrap_or_default()
    }
}

/// CPU time of a process by its id.
pub(crate) fn cpu(id: u32) -> Duration {
    ticks(id, 2)
}

/// CPU time of a process, of all it started, and of those among them that have ended.
pub(crate) fn tree_cpu(id: u32) -> Duration {
    let tasks = std::fs::read_dir(format!("/proc/{id}/task")).into_iter().flatten().flatten();
    let children = tasks.filter_map(|task| std::fs::read_to_string(task.path().join("children")).ok());
    let children: Vec<u32> =
        children.flat_map(|ids| ids.split_whitespace().map(str::parse).collect::<Vec<_>>()).flatten().collect();
    ticks(id, 4) + children.into_iter().map(tree_cpu).sum::<Duration>()
}

/// The first `fields` of user and system time, and those of ended children (100 clock ticks a second on Linux).
fn ticks(id: u32, fields: usize) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
    // The second field may hold spaces: count from its closing bracket.
    let rest = stat.rsplit_once(')').map(|(_, rest)| rest).unwrap_or_default();
    let ticks: u64 = rest.split_whitespace().skip(11).take(fields).filter_map(|field| field.parse::<u64>().ok()).sum();
    Duration::from_millis(ticks * 10)
}

/// A port nobody listens on at the moment.
pub(crate) fn free_port() -> anyhow::Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

/// The folder of this program, where the binaries of the same build are.
pub(crate) fn beside() -> anyhow::Result<PathBuf> {
    let program = std::env::current_exe()?;
    Ok(program.parent().context("this program has no folder")?.to_owned())
}
