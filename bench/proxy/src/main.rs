//! The gateway side by side with other proxies in front of the same upstream: CPU per request, rate, latency, memory and
//! reuse of upstream connections, with every answer verified.
//!
//! `bench/proxy/run` installs and builds what is compared and calls this.

#![expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "rates and quantiles of counts far below 2^52"
)]
#![expect(clippy::disallowed_methods, reason = "a program of its own, with none of the suite's settings or tasks")]
#![expect(clippy::disallowed_types, reason = "no test; the others are of its terminal's group, and end with Ctrl-C")]

mod attacked;
#[path = "../../../gateway/tests/gateway/attacks.rs"]
mod attacks;
mod compare;
mod contestant;
mod gate;
mod http1;
mod http2;
mod instructions;
mod load;
#[path = "../../../gateway/tests/gateway/peer.rs"]
mod peer;
mod process;
mod report;
mod routes;
mod scenario;
mod slow;
mod tls;
mod tokens;
mod upstream;

use std::path::PathBuf;

use clap::{Parser, Subcommand};

/// The gateway side by side with other proxies.
#[derive(Parser)]
#[command(version)]
struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Measures everything and prints the tables.
    Compare(Compare),
    /// Counts the instructions that a request costs a proxy, in valgrind.
    Instructions(Instructions),
    /// What many routes cost: to start with, to read again, to keep, and with each request.
    Routes(Routes),
    /// What it takes to check a token, without a gateway around it.
    Tokens {
        /// How many are made.
        #[arg(long, default_value_t = 20_000)]
        count: usize,
    },
    /// The backend behind the proxies.
    Upstream {
        /// Port to listen on.
        port: u16,
    },
}

/// Where things are.
#[derive(clap::Args)]
struct Places {
    /// The gateway's binary.
    #[arg(long)]
    gateway: PathBuf,
    /// The folder with the configurations of all proxies.
    #[arg(long)]
    configs: PathBuf,
    /// An existing folder for logs and what else the proxies write.
    #[arg(long)]
    dir: PathBuf,
}

/// What is compared, and how long.
#[derive(clap::Args)]
struct Compare {
    #[command(flatten)]
    places: Places,
    /// Envoy's binary.
    #[arg(long)]
    envoy: PathBuf,
    /// Requests of the main scenario in each round; the others make a fixed share of them.
    #[arg(long, default_value_t = 100_000)]
    requests: usize,
    /// Rounds; the contestants take turns in each.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Only these scenarios.
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Of the attacks only these, as `gateway/tests/gateway/attacks.rs` names them.
    #[arg(long, value_delimiter = ',')]
    attacks: Vec<String>,
    /// Only these contestants.
    #[arg(long, value_delimiter = ',')]
    against: Vec<String>,
}

/// What is counted.
#[derive(clap::Args)]
struct Instructions {
    #[command(flatten)]
    places: Places,
    /// Requests that are counted in each scenario.
    #[arg(long, default_value_t = 4000)]
    requests: usize,
    /// Only these scenarios.
    #[arg(long, value_delimiter = ',', default_value = "get,post,h2c,grpc")]
    only: Vec<String>,
    /// Only these proxies; nginx and haproxy are known, too.
    #[arg(long, value_delimiter = ',', default_value = "gateway,pass-through")]
    against: Vec<String>,
}

/// How many routes, and where things are.
#[derive(clap::Args)]
struct Routes {
    /// The gateway's binary.
    #[arg(long)]
    gateway: PathBuf,
    /// An existing folder for the settings and logs.
    #[arg(long)]
    dir: PathBuf,
    /// How many routes, in turn.
    #[arg(long, value_delimiter = ',', default_value = "5,1000,10000")]
    counts: Vec<usize>,
    /// Requests whose cost is measured.
    #[arg(long, default_value_t = 50_000)]
    requests: usize,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    match Args::parse().what {
        What::Compare(what) => compare::run(&what).await,
        What::Instructions(what) => instructions::run(&what).await,
        What::Routes(what) => routes::run(&what).await,
        What::Tokens { count } => tokens::measure(count).await,
        What::Upstream { port } => upstream::run(port).await,
    }
}
