//! `payment-service`: settings, telemetry, bus, service.

use std::process::ExitCode;

use shop_config::{Begun, Settings, Start, Warnings};
use shop_identity::TokenFlags;
use shop_kafka::KafkaBus;
use shop_payment::{Config, Payment, ReconcileFlags};
use shop_runtime::Shutdown;
use shop_telemetry::Metrics;
use shop_web::Doors;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// What `payment-service` does instead of serving.
#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Prints a token for somebody, signed with the suite's own key
    Token(TokenFlags),

    Reconcile(ReconcileFlags),
}

fn main() -> ExitCode {
    match shop_config::start::<Config, Command>(env!("CARGO_PKG_VERSION")) {
        Start::Run(Begun { settings, command: Some(Command::Token(flags)), .. }) => {
            shop_runtime::block_on(async move { flags.print(&settings.identity) })
        }
        Start::Run(Begun { settings, command: Some(Command::Reconcile(flags)), .. }) => {
            shop_runtime::answer(async move { shop_payment::reconcile(settings, &flags).await })
        }
        Start::Run(Begun { settings, warnings, .. }) => shop_runtime::block_on(run(settings, warnings)),
        Start::Exit(code) => code,
    }
}

async fn run(config: Config, warnings: Warnings) -> anyhow::Result<()> {
    let telemetry = shop_telemetry::init(Config::NAME, &config.log, &config.otel)?;
    warnings.log();
    let shutdown = Shutdown::on_signals(config.stop.grace.get());
    // A signal ends the wait for a port or a store that is not there, too.
    let built = shutdown.soft.run_until_cancelled(Box::pin(build(config, &shutdown))).await;
    let Some(payment) = built.transpose()? else { return Ok(()) };
    tracing::info!("serving HTTP on {} and gRPC on {}", payment.http_addr(), payment.grpc_addr());
    shop_runtime::notify_ready();
    let ended = payment.run(shutdown).await;
    telemetry.shutdown().await;
    ended
}

/// Ports first: no connection of this process can get them then.
async fn build(config: Config, shutdown: &Shutdown) -> anyhow::Result<Payment> {
    let doors = Doors::of_process(&config.http, &config.grpc, &config.operations).await?;
    let metrics = Metrics::new(Config::NAME);
    let bus = KafkaBus::open(&config.kafka, Config::NAME, &metrics)?;
    Payment::build(doors, config, bus, metrics, shutdown).await
}
