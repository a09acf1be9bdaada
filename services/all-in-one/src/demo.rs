//! Where `shop demo` takes place: a suite of its own, in a folder of its own, or somebody's gateway.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context as _;
use shop::{Addresses, Between, Config, Service, Suite};
use shop_config::{Sources, Warnings, load};
use shop_demo::{Consumer, Flags, Play, Screen, Stage, Switches, Tokens};
use shop_events::Bus;
use shop_runtime::Shutdown;

/// What the demo's suite has instead of the defaults, below everything that files, variables and flags say: one client makes
/// all calls, so it may make many; and nobody waits half a minute to see a breaker open, or close again. 4 s are twice what the
/// provider's slow charge takes.
const DEFAULTS: &str = r#"
[gateway.rate_limit]
requests = 10000000
burst = 100000

[gateway.upstream]
first_byte_timeout = "4s"

[gateway.circuit_breaker]
interval = "10s"
timeout = "5s"
"#;

/// Plays until time is up, a signal comes or somebody presses `q`.
pub(crate) async fn run(flags: Flags, config: Config, sources: Sources) -> anyhow::Result<()> {
    match flags.url() {
        Some(url) => {
            let shutdown = Shutdown::on_signals(config.stop.grace.get());
            shop_demo::visit(&flags, url, token(&config), &config.identity, shutdown).await
        }
        None => Box::pin(stage(&flags, sources)).await,
    }
}

/// The demo's switches between the parts of its suite.
struct Sabotage(Arc<Switches>);

impl Between for Sabotage {
    fn bus(&self, service: Service, bus: Arc<dyn Bus>) -> Arc<dyn Bus> {
        match service {
            Service::Basket => self.0.bus(Consumer::Basket, bus),
            Service::Product => self.0.bus(Consumer::Product, bus),
            Service::Notification => self.0.bus(Consumer::Notification, bus),
            Service::Payment | Service::Gateway => bus,
        }
    }

    fn product(&self, at: SocketAddr) -> io::Result<SocketAddr> {
        self.0.product(at)
    }
}

/// Starts a suite and plays against it.
async fn stage(flags: &Flags, sources: Sources) -> anyhow::Result<()> {
    let (config, sources, warnings) = settings(sources)?;
    fs::create_dir_all(&config.data).with_context(|| format!("cannot make the folder {}", config.data.display()))?;
    let log = config.data.join("shop.log");
    // From here on standard output is the log, as telemetry knows it; the screen has what it was.
    let screen = Screen::take(flags, Some(&log))?;
    let telemetry = shop_telemetry::init("shop", &config.log, &config.otel)?;
    warnings.log();
    let shutdown = Shutdown::on_signals(config.stop.grace.get());
    let switches = Switches::new(flags);
    let sabotage = Sabotage(switches.clone());
    let built = Box::pin(Suite::build_with(config.clone(), &sabotage));
    let Some(suite) = shutdown.soft.run_until_cancelled(built).await.transpose()? else { return Ok(()) };
    // The suite goes on after the first signal, until the play has come to its end.
    let behind = Shutdown { soft: shutdown.hard.child_token(), hard: shutdown.hard.clone() };
    let follow = suite.follow(config.clone(), sources, shutdown.clone())?;
    let play = Play::new(flags, stage_of(&suite.addresses(), &config, log)?, switches, screen, shutdown.clone());

    let serving = async {
        let ended = suite.run(behind.clone()).await;
        // Without a shop there is nothing to play.
        shutdown.soft.cancel();
        ended
    };
    let playing = async {
        let ended = play.run().await;
        behind.soft.cancel();
        ended
    };
    let (served, played) = tokio::select! {
        ended = async { tokio::join!(serving, playing) } => ended,
        never = follow => match never {},
    };
    telemetry.shutdown().await;
    served.and(played)
}

/// The settings of the demo's suite and where they come from. Its folder stays: it has the log.
fn settings(mut sources: Sources) -> anyhow::Result<(Config, Sources, Warnings)> {
    let folder = tempfile::Builder::new().prefix("shop-demo-").tempdir().context("cannot make a temporary folder")?;
    let folder = folder.keep();
    // JSON's texts are TOML's too.
    let data = serde_json::to_string(&folder.join("data"))?;
    let defaults = folder.join("demo.toml");
    fs::write(&defaults, format!("data = {data}\n{DEFAULTS}"))
        .with_context(|| format!("cannot write {}", defaults.display()))?;
    sources.files.insert(0, defaults);
    let loaded = load::<Config>(&sources);
    let loaded = loaded.map_err(|problems| anyhow::anyhow!("the settings cannot be used: {problems}"))?;
    let config = loaded.settings;
    let whole = Service::ALL.iter().filter(|service| **service != Service::Notification);
    anyhow::ensure!(
        whole.into_iter().all(|service| config.runs(*service)),
        "the demo needs product, basket, payment and gateway in this process: leave `services` as it is, or use --url"
    );
    Ok((config, sources, loaded.warnings))
}

fn stage_of(at: &Addresses, config: &Config, log: PathBuf) -> anyhow::Result<Stage> {
    let url = |at: SocketAddr| match at.ip() {
        ip if ip.is_unspecified() || ip.is_loopback() => format!("http://localhost:{}", at.port()),
        _ => format!("http://{at}"),
    };
    let gateway = url(at.gateway.context("the suite has no gateway")?);
    let operators = url(at.gateway_admin.context("the suite has no gateway")?);
    let (payment, notification) = (at.payment.map(url), at.notification.map(url));
    let sources = shop_demo::Sources { gateway, operators, token: token(config), payment, notification };
    Ok(Stage { sources, log: Some(log), tokens: Tokens::of(&config.identity_here()?)? })
}

fn token(config: &Config) -> Option<String> {
    Some(config.gateway.admin.token.expose()).filter(|token| !token.is_empty()).map(str::to_owned)
}
