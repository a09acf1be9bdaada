//! `shop`: everything in one process, on embedded stores unless told otherwise.

mod demo;
mod reconcile;

use std::fmt::Write as _;
use std::io::Write as _;
use std::process::ExitCode;

use shop::{Addresses, BusKind, Config, Suite};
use shop_config::{Begun, Sources, Start, Warnings};
use shop_demo::Flags;
use shop_events::LetterFiles;
use shop_identity::{IdentitySettings, Mode, TokenFlags};
use shop_letters::DeadLetters;
use shop_payment::ReconcileFlags;
use shop_runtime::Shutdown;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// What `shop` does instead of serving.
#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Plays shoppers against a suite of its own that can be broken in several ways, and shows what becomes of it
    Demo(Flags),

    Reconcile(ReconcileFlags),

    /// Prints a token for somebody, signed with the suite's own key; made in the data folder if there is none
    Token(TokenFlags),

    /// Shows the events that could not take effect, and tries them again
    #[command(subcommand)]
    DeadLetters(DeadLetters),
}

fn main() -> ExitCode {
    match shop_config::start::<Config, Command>(env!("CARGO_PKG_VERSION")) {
        Start::Run(Begun { settings, sources, warnings, command: None }) => {
            shop_runtime::block_on(serve(settings, sources, warnings))
        }
        Start::Run(Begun { settings, sources, command: Some(Command::Demo(flags)), .. }) => {
            shop_runtime::block_on(demo::run(flags, settings, sources))
        }
        Start::Run(Begun { settings, command: Some(Command::Reconcile(flags)), .. }) => {
            shop_runtime::answer(async move { Box::pin(reconcile::run(settings, &flags)).await })
        }
        Start::Run(Begun { settings, command: Some(Command::Token(flags)), .. }) => {
            shop_runtime::block_on(async move { flags.print(&settings.identity_here()?) })
        }
        Start::Run(Begun { settings, command: Some(Command::DeadLetters(command)), .. }) => {
            shop_runtime::block_on(dead_letters(command, settings))
        }
        Start::Exit(code) => code,
    }
}

/// Those of every consumer, wherever the bus of these settings has them.
async fn dead_letters(command: DeadLetters, config: Config) -> anyhow::Result<()> {
    match config.bus {
        BusKind::Memory => command.run(&LetterFiles::new(config.dead_letters())).await,
        BusKind::Kafka => command.run_on_kafka(&config.kafka, &shop::groups()).await,
    }
}

async fn serve(config: Config, sources: Sources, warnings: Warnings) -> anyhow::Result<()> {
    let telemetry = shop_telemetry::init("shop", &config.log, &config.otel)?;
    warnings.log();
    let shutdown = Shutdown::on_signals(config.stop.grace.get());
    // A signal ends the wait for a store that is not there, too.
    let built = shutdown.soft.run_until_cancelled(Box::pin(Suite::build(config.clone()))).await;
    let Some(suite) = built.transpose()? else { return Ok(()) };
    let (identity, schemes) = (config.identity_here()?, config.schemes());
    let follow = suite.follow(config, sources, shutdown.clone())?;
    welcome(&suite.addresses(), schemes, &identity);
    shop_runtime::notify_ready();
    let ended = tokio::select! {
        ended = suite.run(shutdown) => ended,
        never = follow => match never {},
    };
    telemetry.shutdown().await;
    ended
}

/// Tells a person at a terminal where everything is and what to try. One who cannot be told is no reason not to serve.
fn welcome(at: &Addresses, schemes: [&str; 4], identity: &IdentitySettings) {
    let mut stdout = std::io::stdout();
    if let Err(error) = stdout.write_all(table(at, schemes, identity).as_bytes()).and_then(|()| stdout.flush()) {
        tracing::warn!(%error, "the table of addresses cannot be shown");
    }
}

fn table(at: &Addresses, [product, basket, payment, notification]: [&str; 4], identity: &IdentitySettings) -> String {
    let rows = [
        ("gateway", "http", at.gateway, at.gateway),
        ("operators", "http", at.gateway_admin, None),
        ("product", product, at.product, at.product_grpc),
        ("- probes", "http", at.product_operations, None),
        ("basket", basket, at.basket, at.basket_grpc),
        ("- probes", "http", at.basket_operations, None),
        ("payment", payment, at.payment, at.payment_grpc),
        ("- probes", "http", at.payment_operations, None),
        ("notification", notification, at.notification, at.notification_grpc),
        ("- probes", "http", at.notification_operations, None),
    ];
    let mut out = format!("\n  {:<14}{:<30}gRPC\n", "", "HTTP");
    for (name, scheme, http, grpc) in rows {
        if let Some(http) = http {
            let grpc = grpc.map_or_else(|| "-".to_owned(), |grpc| format!("localhost:{}", grpc.port()));
            // Writing to a String cannot fail.
            let _ = writeln!(out, "  {name:<14}{:<30}{grpc}", format!("{scheme}://localhost:{}", http.port()));
        }
    }
    if let Some(gateway) = at.gateway {
        let at = format!("http://localhost:{}", gateway.port());
        let api = format!("{at}/api");
        // Where the gateway hands none out, people know where theirs come from.
        let (first, header) = match identity {
            IdentitySettings { mode: Mode::Off, .. } => (String::new(), ""),
            IdentitySettings { development: true, .. } => {
                (format!("TOKEN=$(curl -s '{at}/dev/token?user=ada')\n  "), "-H \"Authorization: Bearer $TOKEN\" ")
            }
            _ => ("TOKEN=…\n  ".to_owned(), "-H \"Authorization: Bearer $TOKEN\" "),
        };
        let _ = write!(
            out,
            "\n  Read and try the API: {at}/docs\n\n  Or:\n  {first}curl '{api}/products?limit=3'\n  \
             curl {api}/baskets/ada/items {header}--json '{{\"product_id\": 1, \"quantity\": 2}}'\n  \
             curl {api}/payments {header}--json '{{\"user_id\": \"ada\", \"method\": \"credit_card\"}}'\n\n"
        );
    }
    out
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, SocketAddr};

    use super::*;

    #[test]
    fn whatever_listens_is_in_the_table() {
        let at = |port| Some(SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
        let all = Addresses {
            gateway: at(101),
            gateway_admin: at(110),
            product: at(102),
            product_grpc: at(103),
            basket: at(104),
            basket_grpc: at(105),
            payment: at(106),
            payment_grpc: at(107),
            notification: at(108),
            notification_grpc: at(109),
            product_operations: at(111),
            basket_operations: at(112),
            payment_operations: at(113),
            notification_operations: at(114),
        };
        let table = table(&all, ["http", "https", "http", "http"], &IdentitySettings::off());
        assert!(table.contains("https://localhost:104 "), "{table}");
        for port in 101..=114 {
            assert!(table.contains(&format!("localhost:{port}")), "{port}: {table}");
        }
    }
}
