//! What a good client notices of hostile ones: it goes on at its rate while they do one thing after the other.

use std::net::SocketAddr;
use std::path::Path;
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use futures_util::future::join_all;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::oneshot;

use crate::attacks::{ATTACKS, Attack, Attacker};
use crate::contestant::Contestant;
use crate::gate::Plan;
use crate::load::{Clients, Load};
use crate::process::Process;
use crate::scenario::{self, Scenario};

/// So many do the same at once, from an address each.
pub(crate) const ATTACKERS: u8 = 6;
/// Requests a second of the good client.
pub(crate) const RATE: f64 = 200.0;
/// Each of the three loads takes three seconds.
const REQUESTS: usize = 600;
/// In which an attack gets going, and is over.
const SETTLE: Duration = Duration::from_millis(500);

/// What the good client saw of one attack.
pub(crate) struct Attacked {
    pub(crate) name: &'static str,
    pub(crate) rounds: Vec<Round>,
    /// The metric that it is counted in.
    pub(crate) seen: Option<&'static str>,
}

/// Before, amid and after it, and how much more memory (PSS, MiB) there was amid it.
pub(crate) struct Round {
    pub(crate) before: Load,
    pub(crate) amid: Load,
    pub(crate) after: Load,
    pub(crate) memory: f64,
}

/// Takes eleven seconds for each attack and round; all rounds of an attack are one after the other.
pub(crate) async fn measure(
    contestant: &Contestant,
    process: &Process,
    rounds: usize,
    wanted: &[String],
    dir: &Path,
) -> anyhow::Result<Vec<Attacked>> {
    let mut found = Vec::new();
    let is_wanted = |attack: &Attack| wanted.is_empty() || wanted.iter().any(|name| name == attack.name);
    for attack in ATTACKS.into_iter().filter(is_wanted) {
        let mut attacked = Attacked { name: attack.name, rounds: Vec::new(), seen: None };
        for _ in 0..rounds {
            attacked.rounds.push(round(attack, contestant, process, dir).await.context(attack.name)?);
        }
        let numbers = metrics(contestant.port(scenario::ALL[0].wire)).await?;
        let is_counted = |name: &&str| numbers.lines().any(|line| line.starts_with(name) && !line.ends_with(" 0"));
        attacked.seen = attack.seen.iter().find(|name| is_counted(name)).copied();
        found.push(attacked);
    }
    Ok(found)
}

async fn round(attack: Attack, contestant: &Contestant, process: &Process, dir: &Path) -> anyhow::Result<Round> {
    // Who speaks as they do shares most with them.
    let like = match attack.name.split_once(": ") {
        Some(("grpc", _)) => "grpc",
        Some(("http2", _)) => "h2c",
        _ => "get",
    };
    let scenario = scenario::ALL.into_iter().find(|scenario| scenario.name == like).context("a scenario")?;
    let port = contestant.port(scenario.wire);
    let mut good = Clients::open(&Scenario { connections: 4, streams: 1, ..scenario }, port, dir).await?;
    good.run(Plan { requests: REQUESTS, rate: None }).await?;
    let plan = Plan { requests: REQUESTS, rate: Some(RATE) };
    let before = good.run(plan).await?;
    let quiet = process.memory().0;

    let attackers = Attackers::start(attack, port);
    tokio::time::sleep(SETTLE).await;
    let amid = good.run(plan).await?;
    let memory = process.memory().0 - quiet;
    attackers.stop()?;

    tokio::time::sleep(SETTLE).await;
    let after = good.run(plan).await?;
    Ok(Round { before, amid, after, memory })
}

/// They have a thread of their own: the good client does not wait for them here either.
struct Attackers {
    stop: oneshot::Sender<()>,
    thread: JoinHandle<anyhow::Result<()>>,
}

impl Attackers {
    fn start(attack: Attack, port: u16) -> Self {
        let (stop, stopped) = oneshot::channel();
        let to = SocketAddr::from(([127, 0, 0, 1], port));
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            let all = (1..=ATTACKERS).map(|number| attack.run(Attacker { from: [127, 0, 2, number].into(), to }));
            runtime.block_on(async {
                tokio::select! {
                    _ = stopped => {}
                    _ = join_all(all) => {}
                }
            });
            Ok(())
        });
        Self { stop, thread }
    }

    fn stop(self) -> anyhow::Result<()> {
        // They may have ended by themselves.
        let _ = self.stop.send(());
        self.thread.join().map_err(|_| anyhow!("an attacker panicked"))?
    }
}

/// What the gateway counts.
async fn metrics(port: u16) -> anyhow::Result<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
    stream.write_all(b"GET /metrics HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").await?;
    let mut text = String::new();
    stream.read_to_string(&mut text).await?;
    Ok(text)
}
