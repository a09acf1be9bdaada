//! `shop`: everything in one process, on embedded stores unless told otherwise.

mod demo;

use std::process::ExitCode;

use shop::{Addresses, Config, Suite};
use shop_config::{Sources, Start};
use shop_runtime::Shutdown;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// What `shop` does instead of serving.
#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Plays shoppers against a suite of its own that can be broken in several ways, and shows what becomes of it
    Demo(demo::Flags),
}

fn main() -> ExitCode {
    match shop_config::start_command::<Config, Command>(env!("CARGO_PKG_VERSION")) {
        Start::Run((config, sources, None)) => shop_runtime::block_on(serve(config, sources)),
        Start::Run((config, sources, Some(Command::Demo(flags)))) => {
            shop_runtime::block_on(demo::run(flags, config, sources))
        }
        Start::Exit(code) => code,
    }
}

async fn serve(config: Config, sources: Sources) -> anyhow::Result<()> {
    let telemetry = shop_telemetry::init("shop", &config.log, &config.otel)?;
    let shutdown = Shutdown::on_signals(config.stop.grace.get());
    // A signal ends the wait for a store that is not there, too.
    let built = shutdown.soft.run_until_cancelled(Box::pin(Suite::build(config.clone()))).await;
    let Some(suite) = built.transpose()? else { return Ok(()) };
    let follow = suite.follow(config, sources, shutdown.clone())?;
    welcome(&suite.addresses());
    shop_runtime::notify_ready();
    let ended = tokio::select! {
        ended = suite.run(shutdown) => ended,
        never = follow => match never {},
    };
    telemetry.shutdown().await;
    ended
}

/// Tells a person at a terminal where everything is and what to try.
#[expect(clippy::print_stdout, reason = "the greeting is the program's output, not its log")]
fn welcome(at: &Addresses) {
    let rows = [
        ("gateway", at.gateway, at.gateway),
        ("product", at.product, at.product_grpc),
        ("basket", at.basket, at.basket_grpc),
        ("payment", at.payment, at.payment_grpc),
        ("notification", at.notification, None),
    ];
    println!("\n  {:<14}{:<30}gRPC", "", "HTTP");
    for (name, http, grpc) in rows {
        if let Some(http) = http {
            let grpc = grpc.map_or_else(|| "-".to_owned(), |grpc| format!("localhost:{}", grpc.port()));
            println!("  {name:<14}{:<30}{grpc}", format!("http://localhost:{}", http.port()));
        }
    }
    if let Some(gateway) = at.gateway {
        let api = format!("http://localhost:{}/api", gateway.port());
        println!("\n  Try:");
        println!("  curl '{api}/products?limit=3'");
        println!("  curl {api}/baskets/ada/items --json '{{\"product_id\": 1, \"quantity\": 2}}'");
        println!("  curl {api}/payments --json '{{\"user_id\": \"ada\", \"method\": \"credit_card\"}}'\n");
    }
}
