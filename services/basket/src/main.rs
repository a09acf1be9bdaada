//! The basket service as a process of its own.

use std::process::ExitCode;

use shop_basket::{Basket, Config};
use shop_config::{Begun, Start, Warnings};
use shop_kafka::KafkaBus;
use shop_letters::Command;
use shop_runtime::Shutdown;
use shop_telemetry::Metrics;
use shop_web::Doors;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    match shop_config::start::<Config, Command>(env!("CARGO_PKG_VERSION")) {
        Start::Run(Begun { settings, command: Some(command), .. }) => {
            let Config { identity, kafka, .. } = settings;
            shop_runtime::block_on(async move { command.run(&identity, &kafka, &Basket::GROUPS).await })
        }
        Start::Run(Begun { settings, warnings, .. }) => shop_runtime::block_on(run(settings, warnings)),
        Start::Exit(code) => code,
    }
}

async fn run(config: Config, warnings: Warnings) -> anyhow::Result<()> {
    let telemetry = shop_telemetry::init("basket-service", &config.log, &config.otel)?;
    warnings.log();
    let shutdown = Shutdown::on_signals(config.stop.grace.get());
    // A signal ends the wait for a port or a store that is not there, too.
    let built = shutdown.soft.run_until_cancelled(Box::pin(build(config, &shutdown))).await;
    let Some(basket) = built.transpose()? else { return Ok(()) };
    tracing::info!("serving HTTP on {} and gRPC on {}", basket.http_addr(), basket.grpc_addr());
    shop_runtime::notify_ready();
    let ended = basket.run(shutdown).await;
    telemetry.shutdown().await;
    ended
}

/// Ports first: no connection of this process can get them then.
async fn build(config: Config, shutdown: &Shutdown) -> anyhow::Result<Basket> {
    let doors = Doors::of_process(&config.http, &config.grpc, &config.operations).await?;
    let metrics = Metrics::new("basket-service");
    let bus = KafkaBus::open(&config.kafka, "basket-service", &metrics)?;
    Basket::build(doors, config, bus, metrics, shutdown).await
}
