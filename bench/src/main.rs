//! Drives the suite from outside with a fixed number of requests and prints a table: throughput, latency, CPU a
//! request for each process, peak memory, beside what the stores alone do in the same run.
//!
//! `bench/run` builds what is measured, starts the servers and calls this.

#![expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "rates and quantiles of counts far below 2^52"
)]
#![expect(clippy::disallowed_methods, reason = "a program of its own, with none of the suite's settings or tasks")]

mod baseline;
mod client;
mod peers;
mod process;
mod purchases;
mod report;
mod reservations;
mod scale;
mod scenario;
mod stores;
mod suite;
mod tracing;

use clap::{Parser, Subcommand};

/// Load against the suite, beside the stores' own limits.
#[derive(Parser)]
#[command(version)]
struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// The separate services on PostgreSQL, Redis, MariaDB and Kafka (`SHOP_TEST_*` name them).
    Services(Size),
    /// What a purchase costs over everything that works for it, stores included.
    Purchases(purchases::Plan),
    /// The suite beside Vendure: the same purchases, scarce units, orders paid twice (`bench/peers/run` installs it).
    Peers(peers::Plan),
    /// Reservations of one product, which product-service makes together, beside one a transaction, on PostgreSQL.
    Reservations(reservations::Plan),
    /// Where purchases begin to wait, and how many cores so many a second want: a simulation; nothing is started.
    Scale(scale::Plan),
    /// The all-in-one process: start, memory, purchases.
    Shop(Size),
    /// What traces cost product-service and the gateway, on PostgreSQL and Kafka.
    Tracing {
        #[command(flatten)]
        size: Size,
        /// Rounds that count; one more goes before them.
        #[arg(long, default_value_t = 9)]
        rounds: usize,
    },
    /// A bare salvo handler that answers GET with the bytes of a file, for comparison.
    Bare {
        /// Port to listen on.
        port: u16,
        /// The file to answer with.
        file: std::path::PathBuf,
        /// A catalogue to read product 1 from before each answer.
        store: Option<String>,
    },
}

/// How much load.
#[derive(clap::Args, Clone, Copy)]
struct Size {
    /// Requests a scenario.
    #[arg(long, default_value_t = 20_000)]
    requests: usize,
    /// Connections at once.
    #[arg(long, default_value_t = 32)]
    connections: usize,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    match Args::parse().what {
        What::Services(size) => scenario::services(size).await,
        What::Purchases(plan) => purchases::purchases(plan).await,
        What::Peers(plan) => peers::peers(plan).await,
        What::Reservations(plan) => reservations::reservations(plan).await,
        What::Scale(plan) => scale::scale(&plan),
        What::Shop(size) => scenario::shop(size).await,
        What::Tracing { size, rounds } => tracing::tracing(size, rounds).await,
        What::Bare { port, file, store } => baseline::bare(port, std::fs::read(file)?, store.as_deref()).await,
    }
}
