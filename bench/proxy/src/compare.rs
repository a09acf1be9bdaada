//! The order of measurement: every scenario in several rounds, in each of which the contestants take turns.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::Compare;
use crate::attacked;
use crate::contestant::{self, Contestant};
use crate::gate::Plan;
use crate::load::{Clients, Load};
use crate::process::Process;
use crate::report::{self, Figures};
use crate::scenario::{self, Scenario, Wire};
use crate::{slow, tls, tokens, upstream};

/// Client connections when memory is read.
const MANY: usize = 1000;

/// Measures and prints.
pub(crate) async fn run(what: &Compare) -> anyhow::Result<()> {
    let (_upstream, port) = upstream::start(&what.places.dir).await?;
    let token = tokens::make(&what.places.dir)?;
    tls::make(&what.places.dir)?;
    let mut contestants = contestant::start(what, port).await?;
    contestants.push(Contestant::none(port));
    let wanted = |name: &str| what.only.is_empty() || what.only.iter().any(|wanted| wanted == name);
    let all = scenario::ALL.into_iter().chain([scenario::with_token(&token)]);
    for scenario in &all.filter(|scenario| wanted(scenario.name)).collect::<Vec<_>>() {
        let figures = measure(what, scenario, &contestants, port).await?;
        report::loads(scenario, &contestants, &figures);
    }
    if wanted("half") {
        let figures = half_load(what, &contestants).await?;
        report::half_load(&contestants, &figures);
    }
    if wanted("memory") {
        for contestant in &contestants {
            let Some(process) = &contestant.process else { continue };
            report::memory(contestant.name, memory(what, contestant, process).await?);
        }
    }
    // Only ours: the others' configurations are not made for so many connections.
    if wanted("slow")
        && let Some(gateway) = contestants.iter().find(|contestant| contestant.name == "gateway")
        && let Some(process) = &gateway.process
    {
        report::slow(&slow::measure(gateway, process, &what.places.dir).await?);
    }
    // Not unless asked for: it takes half an hour.
    if what.only.iter().any(|wanted| wanted == "attacks")
        && let Some(gateway) = contestants.iter().find(|contestant| contestant.name == "gateway")
        && let Some(process) = &gateway.process
    {
        report::attacked(&attacked::measure(gateway, process, what.rounds, &what.attacks, &what.places.dir).await?);
    }
    Ok(())
}

/// Figures of each contestant by round.
async fn measure(
    what: &Compare,
    scenario: &Scenario,
    contestants: &[Contestant],
    upstream: u16,
) -> anyhow::Result<Vec<Vec<Figures>>> {
    let requests = (what.requests as f64 * scenario.share) as usize;
    let mut figures: Vec<Vec<Figures>> = contestants.iter().map(|_| Vec::new()).collect();
    for round in 0..what.rounds {
        for turn in 0..contestants.len() {
            // Nobody is always the first after somebody else.
            let index = (turn + round) % contestants.len();
            let contestant = &contestants[index];
            if !contestant.speaks(scenario.wire) {
                continue;
            }
            let figure = turn_of(what, contestant, scenario, requests, upstream).await;
            figures[index].push(figure.with_context(|| format!("{}, {}", contestant.name, scenario.name))?);
        }
    }
    Ok(figures)
}

/// One contestant's turn.
async fn turn_of(
    what: &Compare,
    contestant: &Contestant,
    scenario: &Scenario,
    requests: usize,
    upstream: u16,
) -> anyhow::Result<Figures> {
    let mut clients = Clients::open(scenario, contestant.port(scenario.wire), &what.places.dir).await?;
    // Opens the proxy's own connections too, some of which may have been closed since its last turn.
    let warm = Plan { requests: (requests / 10).max(scenario.connections * scenario.streams), rate: None };
    clients.run(warm).await?;
    let before = counts(upstream).await?;
    let cpu = contestant.process.as_ref().map(Process::cpu);
    let load = clients.run(Plan { requests, rate: None }).await?;
    let spent = cpu.zip(contestant.process.as_ref()).map(|(before, process)| process.cpu().saturating_sub(before));
    let after = counts(upstream).await?;
    ensure!(after.1 - before.1 == requests as u64, "the upstream saw {} requests", after.1 - before.1);
    // One of the connections since then is the one that asked.
    Ok(Figures::new(&load, spent, after.0 - before.0 - 1))
}

/// Latency at half of the rate that each contestant can do, beside the upstream alone at the same rate.
async fn half_load(what: &Compare, contestants: &[Contestant]) -> anyhow::Result<Vec<Vec<(Load, Load)>>> {
    let scenario = &scenario::ALL[0];
    let mut figures: Vec<Vec<_>> = contestants.iter().map(|_| Vec::new()).collect();
    let dir = &what.places.dir;
    let (none, proxies) = contestants.split_last().context("nobody to measure")?;
    for round in 0..what.rounds {
        for turn in 0..proxies.len() {
            let index = (turn + round) % proxies.len();
            let mut clients = Clients::open(scenario, proxies[index].port(Wire::Http1), dir).await?;
            let full = clients.run(Plan { requests: what.requests / 2, rate: None }).await?;
            let half = Plan { requests: what.requests / 2, rate: Some(full.rate() / 2.0) };
            let through = clients.run(half).await?;
            let alone = Clients::open(scenario, none.port(Wire::Http1), dir).await?.run(half).await?;
            figures[index].push((through, alone));
        }
    }
    Ok(figures)
}

/// Memory with many client connections open, all of which have been used.
async fn memory(what: &Compare, contestant: &Contestant, process: &Process) -> anyhow::Result<(f64, f64)> {
    let scenario = Scenario { connections: MANY, ..scenario::ALL[0] };
    let mut clients = Clients::open(&scenario, contestant.port(Wire::Http1), &what.places.dir).await?;
    clients.run(Plan { requests: 20 * MANY, rate: None }).await?;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let memory = process.memory();
    drop(clients);
    Ok(memory)
}

/// Connections and requests that the upstream has seen.
async fn counts(upstream: u16) -> anyhow::Result<(u64, u64)> {
    let mut stream = TcpStream::connect(("127.0.0.1", upstream)).await?;
    stream.write_all(b"GET /counts HTTP/1.1\r\nhost: upstream\r\nconnection: close\r\n\r\n").await?;
    let mut text = String::new();
    stream.read_to_string(&mut text).await?;
    let line = text.lines().last().unwrap_or_default();
    let (connections, requests) = line.split_once(' ').context("the upstream gives no counts")?;
    Ok((connections.parse()?, requests.parse()?))
}
