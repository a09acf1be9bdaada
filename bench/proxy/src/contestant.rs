//! The proxies: each with a configuration of its own from a template, on free ports, in front of the same upstream.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context as _;

use crate::process::Process;
use crate::scenario::Wire;
use crate::{Compare, Places, tls, tokens};

/// A proxy, or nobody: then the load goes to the upstream itself.
pub(crate) struct Contestant {
    pub(crate) name: &'static str,
    pub(crate) process: Option<Process>,
    http1: u16,
    http2: u16,
    https: u16,
}

impl Contestant {
    /// Where to speak `wire`; nginx 1.22 wants a port for each.
    pub(crate) fn port(&self, wire: Wire) -> u16 {
        match wire {
            Wire::Http1 => self.http1,
            Wire::Https => self.https,
            Wire::Http2 | Wire::Grpc => self.http2,
        }
    }

    /// Whether it speaks `wire`: the upstream itself knows no TLS.
    pub(crate) fn speaks(&self, wire: Wire) -> bool {
        wire != Wire::Https || self.process.is_some()
    }

    /// Nobody.
    pub(crate) fn none(upstream: u16) -> Self {
        Self { name: "none", process: None, http1: upstream, http2: upstream, https: upstream }
    }
}

/// The gateway with its access log in a pipe.
const PIPE: &str = "pipe";

/// The name and the template of each proxy, ours first.
const PROXIES: [(&str, &str); 7] = [
    ("gateway", "gateway.toml"),
    (PIPE, "gateway.toml"),
    ("identity", "identity.toml"),
    ("pass-through", "pass-through.toml"),
    ("nginx", "nginx.conf"),
    ("haproxy", "haproxy.cfg"),
    ("envoy", "envoy.yaml"),
];

/// Starts the proxies `what` asks for, in front of `upstream`.
pub(crate) async fn start(what: &Compare, upstream: u16) -> anyhow::Result<Vec<Contestant>> {
    let mut started = vec![];
    for (name, template) in PROXIES {
        if what.against.is_empty() || what.against.iter().any(|wanted| wanted == name) {
            started.push(one(what, name, template, upstream).await?);
        }
    }
    Ok(started)
}

async fn one(what: &Compare, name: &'static str, template: &str, upstream: u16) -> anyhow::Result<Contestant> {
    let workers = std::thread::available_parallelism()?.get();
    let ports = Ports::free(name, upstream)?;
    let Files { dir, config } = files(&what.places, name, template, ports, workers)?;
    let mut command = match name {
        "nginx" => nginx(&config, &dir, "daemon off;"),
        "haproxy" => with(Command::new("haproxy"), &["-db", "-f"], &config),
        "envoy" => {
            let workers = workers.to_string();
            with(Command::new(&what.envoy), &["--disable-hot-restart", "--concurrency", &workers, "-c"], &config)
        }
        _ => with(Command::new(&what.places.gateway), &["--config"], &config),
    };
    listening(name, &mut command, &dir, ports).await
}

/// Starts `command`, and waits until it listens.
async fn listening(name: &'static str, command: &mut Command, dir: &Path, ports: Ports) -> anyhow::Result<Contestant> {
    let Ports { http1, http2, https, .. } = ports;
    // Its output is the gateway's access log: a file, or somebody who reads it.
    let mut process = match name {
        PIPE => Process::start_piped(name, command)?,
        _ => Process::start(name, command, &dir.join("output.log"))?,
    };
    for port in [http1, http2, https] {
        process.listens(port).await?;
    }
    Ok(Contestant { name, process: Some(process), http1, http2, https })
}

/// Starts the proxy `name` with one worker in valgrind, whose counts go to the file that is returned, and `.1`, `.2` …
pub(crate) async fn counted(places: &Places, name: &str, upstream: u16) -> anyhow::Result<(Contestant, PathBuf)> {
    let found = PROXIES.into_iter().find(|(known, _)| *known == name && name != "envoy");
    let (name, template) = found.with_context(|| format!("{name} cannot be run in valgrind"))?;
    let ports = Ports::free(name, upstream)?;
    let Files { dir, config } = files(places, name, template, ports, 1)?;
    let counts = dir.join("callgrind.out");
    let mut command = Command::new("valgrind");
    command.args(["--tool=callgrind", "--fair-sched=yes"]);
    command.arg(format!("--callgrind-out-file={}", counts.display()));
    match name {
        "nginx" => command.arg("nginx").args(nginx(&config, &dir, "daemon off; master_process off;").get_args()),
        "haproxy" => command.args(["haproxy", "-db", "-f"]).arg(&config),
        _ => command.arg(&places.gateway).arg("--config").arg(&config),
    };
    Ok((listening(name, &mut command, &dir, ports).await?, counts))
}

/// Where a proxy listens, and where it sends.
#[derive(Clone, Copy)]
struct Ports {
    http1: u16,
    /// The same, but for nginx.
    http2: u16,
    https: u16,
    upstream: u16,
}

impl Ports {
    fn free(name: &str, upstream: u16) -> anyhow::Result<Self> {
        let (http1, other) = (free_port()?, free_port()?);
        let http2 = if name == "nginx" { other } else { http1 };
        Ok(Self { http1, http2, https: free_port()?, upstream })
    }
}

/// A proxy's own folder, and its configuration in it.
struct Files {
    dir: PathBuf,
    config: PathBuf,
}

/// Writes the configuration of `name` for `workers` threads or processes.
fn files(places: &Places, name: &str, template: &str, ports: Ports, workers: usize) -> anyhow::Result<Files> {
    let text =
        std::fs::read_to_string(places.configs.join(template)).with_context(|| format!("cannot read {template}"))?;
    let dir = places.dir.join(name);
    std::fs::create_dir_all(&dir)?;
    let text = text
        .replace("@HTTP1@", &ports.http1.to_string())
        .replace("@HTTP2@", &ports.http2.to_string())
        .replace("@HTTPS@", &ports.https.to_string())
        .replace("@UPSTREAM@", &ports.upstream.to_string())
        .replace("@WORKERS@", &workers.to_string())
        .replace("@KEY@", &tokens::key_file(&places.dir).to_string_lossy())
        .replace("@CERT@", &tls::cert_file(&places.dir).to_string_lossy())
        .replace("@CERT_KEY@", &tls::key_file(&places.dir).to_string_lossy())
        .replace("@DIR@", &dir.to_string_lossy());
    let config = dir.join(template);
    std::fs::write(&config, text)?;
    Ok(Files { dir, config })
}

fn with(mut command: Command, arguments: &[&str], config: &Path) -> Command {
    command.args(arguments).arg(config);
    command
}

/// As root nginx would change to a user of its own, who may not reach our folder.
/// Of several `-g` the last one holds.
fn nginx(config: &Path, dir: &Path, directives: &str) -> Command {
    let mut command = Command::new("nginx");
    command.arg("-p").arg(dir).arg("-c").arg(config).arg("-e").arg(dir.join("error.log"));
    command.args(["-g", directives]);
    command
}

/// A port nobody listens on at the moment.
pub(crate) fn free_port() -> anyhow::Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}
