//! `shop demo`: shoppers who browse and buy for as long as one likes, and switches that break things under them.

mod breaks;
mod client;
mod figures;
mod keys;
mod own;
mod play;
mod relay;
mod screen;
mod shopper;
mod summary;
mod tally;

use shop::Config;
use shop_config::{Duration, Sources};

use breaks::{Consumer, Percent};

/// What `shop demo` can be told.
#[derive(Debug, clap::Args)]
pub(crate) struct Flags {
    /// Plays against this gateway instead of a suite of its own. Products that run out there are restocked
    #[arg(long, value_name = "http://HOST:PORT", value_parser = address, conflicts_with_all = ["slow_product", "dead_consumer"])]
    url: Option<String>,

    /// How many shop at once
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=1000))]
    users: u16,

    /// Calls a second, of all shoppers together
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    rate: u32,

    /// How long it goes on, such as 90s or 2m; until Ctrl-C when not given
    #[arg(long)]
    duration: Option<Duration>,

    /// The product service answers later by this much. Over 4s the gateway gives up, and breakers open
    #[arg(long, value_name = "DELAY")]
    slow_product: Option<Duration>,

    /// This share of charges is declined, slow, or loses its reply, such as 30%
    #[arg(long, value_name = "SHARE")]
    failing_provider: Option<Percent>,

    /// The service that takes no events: they wait in the outbox of the payment service
    #[arg(long, value_name = "SERVICE")]
    dead_consumer: Option<Consumer>,

    /// Shows no progress, and at the end the summary as one JSON object
    #[arg(long)]
    json: bool,
}

/// Plays until time is up, a signal comes or somebody presses `q`.
pub(crate) async fn run(flags: Flags, config: Config, sources: Sources) -> anyhow::Result<()> {
    match flags.url.clone() {
        Some(url) => own::visit(&flags, url, &config).await,
        None => Box::pin(own::stage(&flags, sources)).await,
    }
}

fn address(text: &str) -> Result<String, String> {
    let url = reqwest::Url::parse(text).map_err(|error| error.to_string())?;
    if url.scheme() != "http" || url.host_str().is_none() || url.path() != "/" {
        return Err("use http://HOST:PORT, where a gateway takes calls in cleartext".to_owned());
    }
    Ok(text.trim_end_matches('/').to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gateway_is_named_by_host_and_port() {
        assert_eq!(address("http://localhost:8083/").as_deref(), Ok("http://localhost:8083"));
        for wrong in ["localhost:8083", "https://shop.example", "http://localhost:8083/api", ""] {
            assert!(address(wrong).is_err(), "{wrong}");
        }
    }
}
