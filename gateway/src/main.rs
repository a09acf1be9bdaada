//! The gateway as a process of its own.

use std::process::ExitCode;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use shop_config::{Begun, Sources, Start, Warnings};
use shop_gateway::{Config, Gateway};
use shop_identity::Command;
use shop_runtime::Shutdown;
use shop_telemetry::Metrics;

// The system's allocator: mimalloc 3 costs 7 % more CPU a request here and 26 MiB more at a thousand connections.

fn main() -> ExitCode {
    match shop_config::start::<Config, Command>(env!("CARGO_PKG_VERSION")) {
        Start::Run(Begun { settings, command: Some(command), .. }) => {
            shop_runtime::block_on(async move { command.run(&settings.identity) })
        }
        Start::Run(Begun { settings, sources, warnings, .. }) => {
            shop_runtime::block_on(run(settings, sources, warnings))
        }
        Start::Exit(code) => code,
    }
}

/// As many open files as the system allows: two per connection that is proxied, and the default of many systems, 1024,
/// is kept for programs that cannot cope with more.
fn open_files() {
    let limit = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }) {
        tracing::warn!(%error, "the limit of open files stays at {:?}", limit.current);
    }
}

async fn run(config: Config, sources: Sources, warnings: Warnings) -> anyhow::Result<()> {
    let telemetry = shop_telemetry::init("gateway", &config.log, &config.otel)?;
    warnings.log();
    open_files();
    let shutdown = Shutdown::on_signals(config.stop.grace.get());
    let built = shutdown.soft.run_until_cancelled(Gateway::build(config, Metrics::new("gateway"), &shutdown)).await;
    let Some(gateway) = built.transpose()? else { return Ok(()) };
    let follow = shop_gateway::follow(gateway.handle(), sources, |config| (config, Vec::new()), shutdown.clone())?;
    tracing::info!("serving HTTP and gRPC on {}", gateway.http_addr());
    if let Some(addr) = gateway.https_addr() {
        tracing::info!("serving both over TLS on {addr}");
    }
    for (name, addr) in gateway.listener_addrs() {
        tracing::info!("serving listener {name} on {addr}");
    }
    tracing::info!("serving operators on {}", gateway.admin_addr());
    shop_runtime::notify_ready();
    let ended = tokio::select! {
        ended = gateway.run(shutdown) => ended,
        never = follow => match never {},
    };
    telemetry.shutdown().await;
    ended
}
