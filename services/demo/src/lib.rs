//! `shop demo`: shoppers who browse and buy for as long as one likes, and switches that break things under them.
//!
//! All of it from outside: the shop is a gateway's address to them, and what can be broken stands between the parts of
//! a suite that knows nothing of it.

mod bank;
mod breaks;
mod broken;
mod calls;
mod client;
mod figures;
mod keys;
mod play;
mod relay;
mod screen;
mod shopper;
mod summary;
mod tally;
mod tokens;

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::str::FromStr;

use shop_config::Duration;
use shop_identity::IdentitySettings;
use shop_runtime::Shutdown;

use broken::{Percent, Webhooks};

pub use breaks::Switches;
pub use broken::Consumer;
pub use figures::Sources;
pub use play::{Play, Stage};
pub use screen::Screen;
pub use tokens::Tokens;

/// What `shop demo` can be told.
#[derive(Debug, clap::Args)]
pub struct Flags {
    /// Plays against this gateway instead of a suite of its own. Products that run out there are restocked, where staff's tokens are to be had
    #[arg(
        long,
        value_name = "http://HOST:PORT",
        value_parser = address,
        conflicts_with_all = ["slow_product", "dead_consumer", "webhooks"]
    )]
    url: Option<String>,

    /// Where that gateway tells operators how it is, for the figures of the inside
    #[arg(long, value_name = "http://HOST:PORT", value_parser = address, requires = "url")]
    operators: Option<String>,

    /// How many shop at once, 1 to 1000
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = users)]
    users: u16,

    /// Calls a second, of all shoppers together, 1 to 100000
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = rate)]
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

    /// Banks ask half of the buyers, half of those close the tab, and the webhooks that tell the shop of them come so
    #[arg(long, value_name = "HOW")]
    webhooks: Option<Webhooks>,

    /// The service that takes no events: they wait in the outbox of the payment service
    #[arg(long, value_name = "SERVICE")]
    dead_consumer: Option<Consumer>,

    /// Shows no progress, and at the end the summary as one JSON object
    #[arg(long)]
    json: bool,
}

impl Flags {
    /// The gateway to play against instead of a suite of the demo's own.
    pub fn url(&self) -> Option<&str> {
        self.url.as_deref()
    }
}

/// Plays against the gateway at `url`, whose admin API asks for `token`, until time is up, a signal comes or somebody
/// presses `q`. Shoppers are guests, unless `identity` has the key of the suite there.
pub async fn visit(
    flags: &Flags,
    url: &str,
    token: Option<String>,
    identity: &IdentitySettings,
    shutdown: Shutdown,
) -> anyhow::Result<()> {
    match shutdown.soft.run_until_cancelled(figures::reach(url)).await {
        Some(reached) => reached?,
        None => return Ok(()),
    }
    let tokens = if identity.internal.key_file.is_some() { Tokens::of(identity)? } else { Tokens::at(url).await };
    let screen = Screen::take(flags, None)?;
    let operators = flags.operators.as_deref().unwrap_or(url).to_owned();
    let sources = Sources { gateway: url.to_owned(), operators, token, payment: None, notification: None };
    Play::new(flags, Stage { sources, log: None, tokens }, Switches::new(flags), screen, shutdown).run().await
}

fn address(text: &str) -> Result<String, String> {
    let is_plain = |url: &url::Url| url.scheme() == "http" && url.host_str().is_some() && url.path() == "/";
    match url::Url::parse(text) {
        Ok(url) if is_plain(&url) => Ok(text.trim_end_matches('/').to_owned()),
        _ => Err("use http://HOST:PORT, where a gateway takes calls in cleartext".to_owned()),
    }
}

fn users(text: &str) -> Result<u16, String> {
    number(text, 1..=1000)
}

fn rate(text: &str) -> Result<u32, String> {
    number(text, 1..=100_000)
}

fn number<N: FromStr + PartialOrd + Display>(text: &str, range: RangeInclusive<N>) -> Result<N, String> {
    let number = text.parse().ok().filter(|number| range.contains(number));
    number.ok_or_else(|| format!("use a whole number from {} to {}", range.start(), range.end()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_asked_for_in_words() {
        assert_eq!((users("1"), users("1000"), rate("100000")), (Ok(1), Ok(1000), Ok(100_000)));
        for wrong in ["0", "1001", "-1", "x", "", "1.5", "99999999999999999999"] {
            assert_eq!(users(wrong).expect_err(wrong), "use a whole number from 1 to 1000");
        }
    }

    #[test]
    fn a_gateway_is_named_by_host_and_port() {
        assert_eq!(address("http://localhost:8083/").as_deref(), Ok("http://localhost:8083"));
        for wrong in ["localhost:8083", "https://shop.example", "http://localhost:8083/api", ""] {
            assert!(address(wrong).is_err(), "{wrong}");
        }
    }
}
