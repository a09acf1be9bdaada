//! The play: shoppers, somebody who watches, somebody at the switches; then everything is mended and settles.

use std::io::ErrorKind;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use futures_util::future::join_all;
use parking_lot::Mutex;
use shop_runtime::{CancellationToken, Shutdown};
use tokio::time::Instant;

use super::Flags;
use super::bank::Bank;
use super::breaks::Switches;
use super::client::Client;
use super::figures::{self, Watch};
use super::keys::Keys;
use super::screen::{Screen, View};
use super::shopper::Shopper;
use super::summary::Summary;
use super::tally::Tally;
use super::tokens::Tokens;

/// How long what waits in the outbox may take at the end: the longest pause of a consumer is 5 s. Short of `stop.grace`.
const SETTLE: Duration = Duration::from_secs(15);
/// The payment service looks at its outbox once a second; what it says sooner may be old.
const FRESH: Duration = Duration::from_millis(1200);

/// Where it takes place.
pub struct Stage {
    /// Who says what goes on.
    pub sources: figures::Sources,
    /// The log of the services, when they are the demo's own.
    pub log: Option<PathBuf>,
    /// Who shoppers and staff are there.
    pub tokens: Tokens,
}

/// Everything a play needs.
pub struct Play {
    users: u16,
    duration: Option<Duration>,
    json: bool,
    client: Client,
    tally: Arc<Tally>,
    watch: Watch,
    switches: Arc<Switches>,
    screen: Mutex<Screen>,
    sources: figures::Sources,
    log: Option<PathBuf>,
    /// Ends the shopping.
    stop: CancellationToken,
    shutdown: Shutdown,
}

impl Play {
    /// Ready to begin.
    pub fn new(flags: &Flags, stage: Stage, switches: Arc<Switches>, screen: Screen, shutdown: Shutdown) -> Self {
        let tally = Arc::new(Tally::new());
        let stop = shutdown.soft.child_token();
        let Stage { sources, log, tokens } = stage;
        Self {
            users: flags.users,
            duration: flags.duration.map(shop_config::Duration::get),
            json: flags.json,
            client: Client::new(&sources.gateway, tokens, flags.rate, tally.clone(), stop.clone()),
            tally,
            watch: Watch::new(sources.clone()),
            switches,
            screen: Mutex::new(screen),
            sources,
            log,
            stop,
            shutdown,
        }
    }

    /// Plays to the end and shows the summary.
    pub async fn run(self) -> anyhow::Result<()> {
        let over = self.shutdown.hard.child_token();
        let acts = async {
            let bank = Bank::new(self.sources.payment.as_deref(), self.switches.clone(), self.tally.clone());
            let shopper = || Shopper::new(self.client.clone(), bank.clone(), self.switches.clone());
            let shoppers = (0..self.users).map(|_| shopper().shop());
            tokio::join!(join_all(shoppers), self.direct());
            self.settle().await;
            over.cancel();
        };
        tokio::select! {
            _ = async { tokio::join!(acts, self.watch.run(&over), self.show(&over)) } => {}
            () = self.shutdown.hard.cancelled() => {}
        }
        let summary = Summary::new(self.tally.count(), self.watch.latest(), self.log.clone());
        match self.screen.lock().conclude(&summary, self.json) {
            // Somebody who no longer reads has seen enough: no error.
            Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(error).context("the summary cannot be written"),
            _ => Ok(()),
        }
    }

    /// Works the switches until the end has come, then mends everything, so that nobody waits in vain.
    async fn direct(&self) {
        let time_is_up = async {
            match self.duration {
                Some(duration) => tokio::time::sleep(duration).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = self.stop.cancelled() => {}
            () = time_is_up => {}
            () = self.listen() => {}
        }
        self.stop.cancel();
        self.switches.mend();
    }

    /// Follows the keys until `q`.
    async fn listen(&self) {
        let keys = self.screen.lock().is_live().then(Keys::listen).flatten();
        let Some(mut keys) = keys else { return std::future::pending().await };
        self.screen.lock().offer_keys();
        loop {
            match keys.next().await {
                b's' if self.log.is_some() => self.switches.turn_product(),
                b'p' => self.switches.turn_provider(),
                b'w' if self.log.is_some() => self.switches.turn_webhooks(),
                b'c' if self.log.is_some() => self.switches.turn_consumer(),
                b'q' => return,
                _ => continue,
            }
            // At once: whoever presses a key wants to see that it was heard.
            self.draw();
        }
    }

    /// Waits until nothing waits in the outbox any more.
    async fn settle(&self) {
        let begun = Instant::now();
        let is_settled = || {
            let latest = self.watch.latest();
            latest.outbox == Some(0) && latest.at.is_some_and(|at| at >= begun + FRESH)
        };
        while self.sources.payment.is_some() && !is_settled() && begun.elapsed() < SETTLE {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    async fn show(&self, over: &CancellationToken) {
        while !over.is_cancelled() {
            let every = self.screen.lock().every();
            if over.run_until_cancelled(tokio::time::sleep(every)).await.is_some() {
                self.draw();
            }
        }
    }

    fn draw(&self) {
        let view = View {
            count: self.tally.count(),
            figures: self.watch.latest(),
            broken: self.switches.now(),
            gateway: &self.sources.gateway,
            operators: &self.sources.operators,
            log: self.log.as_deref(),
            settling: self.stop.is_cancelled(),
        };
        if self.screen.lock().draw(&view).is_err() {
            // Nobody reads any more (`shop demo | head`): nobody is played for.
            self.stop.cancel();
        }
    }
}
