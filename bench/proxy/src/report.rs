//! The tables: medians, and how far the rounds were apart.

use std::time::Duration;

use crate::attacked::{self, Attacked, Round};
use crate::contestant::Contestant;
use crate::load::Load;
use crate::scenario::Scenario;
use crate::slow::{self, Slow};

/// What one round says about one contestant.
pub(crate) struct Figures {
    /// CPU microseconds of the proxy per request.
    cpu: Option<f64>,
    rate: f64,
    p50: f64,
    p99: f64,
    /// Share of requests that went over a connection already open.
    reused: f64,
}

impl Figures {
    pub(crate) fn new(load: &Load, spent: Option<Duration>, opened: u64) -> Self {
        let requests = load.requests() as f64;
        Self {
            cpu: spent.map(|spent| spent.as_secs_f64() * 1e6 / requests),
            rate: load.rate(),
            p50: load.quantile(0.5),
            p99: load.quantile(0.99),
            reused: 1.0 - opened as f64 / requests,
        }
    }
}

/// The middle one, the least and the greatest.
fn spread(values: impl Iterator<Item = f64>) -> (f64, f64, f64) {
    let mut values: Vec<_> = values.collect();
    values.sort_unstable_by(f64::total_cmp);
    let at = |index: usize| values.get(index).copied().unwrap_or_default();
    (at(values.len() / 2), at(0), at(values.len().saturating_sub(1)))
}

/// A scenario's table.
#[expect(clippy::print_stdout, reason = "the table is the program's output")]
pub(crate) fn loads(scenario: &Scenario, contestants: &[Contestant], figures: &[Vec<Figures>]) {
    println!("\n{}\n", scenario.title);
    println!("| proxy | CPU µs a request | least to most | per s | p50 µs | p99 µs | reused |");
    println!("|---|--:|---|--:|--:|--:|--:|");
    for (contestant, rounds) in contestants.iter().zip(figures).filter(|(_, rounds)| !rounds.is_empty()) {
        let middle = |value: fn(&Figures) -> f64| spread(rounds.iter().map(value)).0;
        let (cpu, least, most) = spread(rounds.iter().filter_map(|round| round.cpu));
        let (cpu, range) = match contestant.process {
            Some(_) => (format!("{cpu:.1}"), format!("{least:.1} to {most:.1}")),
            None => (String::new(), String::new()),
        };
        println!(
            "| {} | {cpu} | {range} | {:.0} | {:.0} | {:.0} | {:.2} % |",
            contestant.name,
            middle(|round| round.rate),
            middle(|round| round.p50),
            middle(|round| round.p99),
            middle(|round| round.reused) * 100.0,
        );
    }
}

/// The table of latencies at half load; each round has the proxy's and the upstream's own at the same rate.
#[expect(clippy::print_stdout, reason = "the table is the program's output")]
pub(crate) fn half_load(contestants: &[Contestant], figures: &[Vec<(Load, Load)>]) {
    println!("\nHalf of each proxy's own rate\n");
    println!("| proxy | per s | p50 µs | p99 µs | p50 alone | p99 alone | p99 added | least to most |");
    println!("|---|--:|--:|--:|--:|--:|--:|---|");
    for (contestant, rounds) in contestants.iter().zip(figures).filter(|(_, rounds)| !rounds.is_empty()) {
        let middle = |value: &dyn Fn(&(Load, Load)) -> f64| spread(rounds.iter().map(value)).0;
        let (added, least, most) =
            spread(rounds.iter().map(|(proxy, alone)| proxy.quantile(0.99) - alone.quantile(0.99)));
        println!(
            "| {} | {:.0} | {:.0} | {:.0} | {:.0} | {:.0} | {added:.0} | {least:.0} to {most:.0} |",
            contestant.name,
            middle(&|(proxy, _)| proxy.rate()),
            middle(&|(proxy, _)| proxy.quantile(0.5)),
            middle(&|(proxy, _)| proxy.quantile(0.99)),
            middle(&|(_, alone)| alone.quantile(0.5)),
            middle(&|(_, alone)| alone.quantile(0.99)),
        );
    }
    println!();
}

/// A line about memory with many connections.
#[expect(clippy::print_stdout, reason = "the table is the program's output")]
pub(crate) fn memory(name: &str, (share, resident): (f64, f64)) {
    println!("- {name}: {share:.1} MiB (PSS), {resident:.1} MiB (RSS) at 1000 connections");
}

/// What slow clients cost a good one, and in memory.
#[expect(clippy::print_stdout, reason = "the table is the program's output")]
pub(crate) fn slow(found: &Slow) {
    println!(
        "\n{} clients that send a byte a second, beside one that makes {} requests a second\n",
        slow::CLIENTS,
        slow::RATE
    );
    println!("| slow clients | p50 µs | p99 µs | memory MiB (PSS) |");
    println!("|---|--:|--:|--:|");
    for (when, load, memory) in [
        ("none", &found.before, found.memory.0),
        ("all", &found.amid, found.memory.1),
        ("none any more", &found.after, found.memory.2),
    ] {
        println!("| {when} | {:.0} | {:.0} | {memory:.1} |", load.quantile(0.5), load.quantile(0.99));
    }
    let times = found.amid.quantile(0.99) / found.before.quantile(0.99);
    let each = (found.memory.1 - found.memory.0) * 1024.0 / slow::CLIENTS as f64;
    println!(
        "\np99 is {times:.2} times the quiet one (goal: under 2); {each:.1} KiB a slow client; {} were cut and came back\n",
        found.cut
    );
}

/// What hostile clients cost a good one; of each column the middle round.
#[expect(clippy::print_stdout, reason = "the table is the program's output")]
pub(crate) fn attacked(found: &[Attacked]) {
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    println!(
        "\n{} hostile clients, beside one that makes {} requests a second; load average {}\n",
        attacked::ATTACKERS,
        attacked::RATE,
        load.split(' ').take(3).collect::<Vec<_>>().join(", ")
    );
    println!("| attack | p99 µs before | amid | after | times | under 2 | memory MiB | counted as |");
    println!("|---|--:|--:|--:|--:|---|--:|---|");
    for Attacked { name, rounds, seen } in found {
        let middle = |value: &dyn Fn(&Round) -> f64| spread(rounds.iter().map(value)).0;
        let p99 = [
            middle(&|round| round.before.quantile(0.99)),
            middle(&|round| round.amid.quantile(0.99)),
            middle(&|round| round.after.quantile(0.99)),
        ];
        let times = middle(&|round| round.amid.quantile(0.99) / round.before.quantile(0.99));
        println!(
            "| {name} | {:.0} | {:.0} | {:.0} | {times:.2} | {} | {:.1} | {} |",
            p99[0],
            p99[1],
            p99[2],
            if times < 2.0 { "yes" } else { "**no**" },
            middle(&|round| round.memory),
            seen.map(|name| format!("`{name}`")).unwrap_or_default(),
        );
    }
    println!();
}
