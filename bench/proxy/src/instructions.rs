//! The instructions that a request costs a proxy in user space, as valgrind counts them: the same to one in a hundred from
//! run to run, whatever else the machine does.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, ensure};

use crate::contestant::{self, Contestant};
use crate::gate::Plan;
use crate::load::Clients;
use crate::scenario::{self, Scenario};
use crate::{Instructions, tls, tokens, upstream};

/// Counts and prints.
#[expect(clippy::print_stdout, reason = "the figures are the program's output")]
pub(crate) async fn run(what: &Instructions) -> anyhow::Result<()> {
    let (_upstream, port) = upstream::start(&what.places.dir).await?;
    let token = tokens::make(&what.places.dir)?;
    tls::make(&what.places.dir)?;
    let all = scenario::ALL.into_iter().chain([scenario::with_token(&token)]);
    let all: Vec<_> = all.filter(|scenario| what.only.iter().any(|wanted| wanted == scenario.name)).collect();
    println!("| instructions a request | {} |", all.iter().map(|one| one.name).collect::<Vec<_>>().join(" | "));
    println!("|---|{}", "--:|".repeat(all.len()));
    for name in &what.against {
        let (contestant, counts) = contestant::counted(&what.places, name, port).await?;
        let mut row = vec![];
        for scenario in &all {
            let each = count(&contestant, scenario, what.requests, &counts, &what.places.dir).await;
            row.push(format!("{:.0}", each.with_context(|| format!("{name}, {}", scenario.name))?));
        }
        println!("| {name} | {} |", row.join(" | "));
    }
    Ok(())
}

/// Instructions of each of `requests`; what was counted is in `counts` with the scenario's name behind it.
async fn count(
    contestant: &Contestant,
    scenario: &Scenario,
    requests: usize,
    counts: &Path,
    dir: &Path,
) -> anyhow::Result<f64> {
    let id = contestant.process.as_ref().context("nobody to count")?.id();
    let mut clients = Clients::open(scenario, contestant.port(scenario.wire), dir).await?;
    // Each connection twice, there and behind the proxy.
    clients.run(Plan { requests: 2 * scenario.connections * scenario.streams, rate: None }).await?;
    dump(id)?;
    clients.run(Plan { requests, rate: None }).await?;
    dump(id)?;
    let written = latest(counts)?;
    let text = std::fs::read_to_string(&written)?;
    let total = text.lines().find_map(|line| line.strip_prefix("totals: ").or_else(|| line.strip_prefix("summary: ")));
    let total: f64 = total.context("no sum was written")?.trim().parse()?;
    std::fs::copy(&written, counts.with_extension(scenario.name))?;
    Ok(total / requests as f64)
}

/// Has the counts written, and begun anew.
fn dump(id: u32) -> anyhow::Result<()> {
    let said = Command::new("callgrind_control").args(["--dump", &id.to_string()]).output()?;
    ensure!(said.status.success(), "callgrind_control: {}", String::from_utf8_lossy(&said.stderr));
    Ok(())
}

/// The one written last of `counts` with `.1`, `.2` … behind it.
fn latest(counts: &Path) -> anyhow::Result<PathBuf> {
    let numbered = |number: u32| PathBuf::from(format!("{}.{number}", counts.display()));
    let known = (1..10_000).take_while(|number| numbered(*number).exists()).last();
    known.map(numbered).context("nothing was written")
}
