//! The proxies: each with a configuration of its own from a template, on free ports, in front of the same upstream.

use std::net::TcpListener;
use std::path::Path;
use std::process::Command;

use anyhow::Context as _;

use crate::Compare;
use crate::process::Process;
use crate::scenario::Wire;
use crate::tokens;

/// A proxy, or nobody: then the load goes to the upstream itself.
pub(crate) struct Contestant {
    pub(crate) name: &'static str,
    pub(crate) process: Option<Process>,
    http1: u16,
    http2: u16,
}

impl Contestant {
    /// Where to speak `wire`; nginx 1.22 wants a port for each.
    pub(crate) fn port(&self, wire: Wire) -> u16 {
        match wire {
            Wire::Http1 => self.http1,
            Wire::Http2 | Wire::Grpc => self.http2,
        }
    }

    /// Nobody.
    pub(crate) fn none(upstream: u16) -> Self {
        Self { name: "none", process: None, http1: upstream, http2: upstream }
    }
}

/// The name and the template of each proxy, ours first.
const PROXIES: [(&str, &str); 6] = [
    ("gateway", "gateway.toml"),
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
    let (http1, mut http2) = (free_port()?, free_port()?);
    let text =
        std::fs::read_to_string(what.configs.join(template)).with_context(|| format!("cannot read {template}"))?;
    let dir = what.dir.join(name);
    std::fs::create_dir_all(&dir)?;
    let workers = std::thread::available_parallelism()?;
    let text = text
        .replace("@HTTP1@", &http1.to_string())
        .replace("@HTTP2@", &http2.to_string())
        .replace("@UPSTREAM@", &upstream.to_string())
        .replace("@WORKERS@", &workers.to_string())
        .replace("@KEY@", &tokens::key_file(&what.dir).to_string_lossy())
        .replace("@DIR@", &dir.to_string_lossy());
    let config = dir.join(template);
    std::fs::write(&config, text)?;
    let mut command = match name {
        "nginx" => nginx(&config, &dir),
        "haproxy" => with(Command::new("haproxy"), &["-db", "-f"], &config),
        "envoy" => {
            let workers = workers.to_string();
            with(Command::new(&what.envoy), &["--disable-hot-restart", "--concurrency", &workers, "-c"], &config)
        }
        _ => with(Command::new(&what.gateway), &["--config"], &config),
    };
    if name != "nginx" {
        http2 = http1;
    }
    // Its output is the gateway's access log: a file, as in production.
    let mut process = Process::start(name, &mut command, &dir.join("output.log"))?;
    process.listens(http1).await?;
    process.listens(http2).await?;
    Ok(Contestant { name, process: Some(process), http1, http2 })
}

fn with(mut command: Command, arguments: &[&str], config: &Path) -> Command {
    command.args(arguments).arg(config);
    command
}

/// As root nginx would change to a user of its own, who may not reach our folder.
fn nginx(config: &Path, dir: &Path) -> Command {
    let mut command = Command::new("nginx");
    command.arg("-p").arg(dir).arg("-c").arg(config).arg("-e").arg(dir.join("error.log"));
    command.args(["-g", "daemon off;"]);
    command
}

/// A port nobody listens on at the moment.
pub(crate) fn free_port() -> anyhow::Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}
