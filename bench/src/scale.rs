//! Where purchases begin to wait: a simulation of the queues in front of processes, each with so many cores, by what a purchase
//! was measured to cost each of them. Nothing is started.
//!
//! An open or closed network of first-come-first-served stations with exponential times of service (Jackson, "Jobshop-like
//! queueing systems", 1963). It is played rather than worked out, since events leave work behind that nobody waits for, and
//! since the tail of a sum of waits is asked for.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::iter;

use anyhow::{Context as _, ensure};
use fastrand::Rng;

use crate::report;

/// What is played.
#[derive(clap::Args)]
pub(crate) struct Plan {
    /// Purchases a second, in turn.
    #[arg(long, value_delimiter = ',', default_value = "100,1000,10000")]
    rates: Vec<f64>,
    /// How busy the busiest core may be, in percent, when cores are counted.
    #[arg(long, default_value_t = 60.0)]
    busy: f64,
    /// Purchases in each run; a fifth more go before them.
    #[arg(long, default_value_t = 50_000)]
    purchases: usize,
    /// Where chance begins.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// What works for a purchase, by its place in [`NAMES`].
#[derive(Clone, Copy, PartialEq, Eq)]
enum At {
    Gateway,
    Product,
    Basket,
    Payment,
    Notification,
    Postgres,
    MariaDb,
    Redis,
    Kafka,
}

const NAMES: [&str; 9] =
    ["gateway", "product", "basket", "payment", "notification", "PostgreSQL", "MariaDB", "Redis", "Kafka"];

/// Milliseconds of a core that a purchase costs each, as `bench/run purchases` measured them (bench/README.md, "What a
/// purchase costs", whole).
const WHOLE: [f64; 9] = [0.5, 2.1, 1.3, 2.1, 0.6, 3.5, 2.7, 0.3, 3.0];
/// Bare, likewise.
const BARE: [f64; 9] = [0.0, 1.1, 0.7, 1.2, 0.0, 1.6, 1.6, 0.2, 1.1];

/// Who is visited while the buyer waits: look at a product, put it into the basket, open a payment, pay.
const WAITED_FOR: [At; 22] = {
    use At::{Basket, Gateway, MariaDb, Payment, Postgres, Product, Redis};
    [
        Gateway, Product, Postgres, // look
        Gateway, Basket, Product, Redis, // add
        Gateway, Payment, MariaDb, Basket, Redis, Product, Postgres, MariaDb, // open
        Gateway, Payment, MariaDb, Payment, MariaDb, Payment, MariaDb, // pay
    ]
};
/// Who is visited after that, for the events: each of these begins when the buyer is done.
const AFTERWARDS: [&[At]; 3] = [
    &[At::Kafka, At::Product, At::Postgres],
    &[At::Kafka, At::Basket, At::Redis],
    &[At::Kafka, At::Notification, At::Postgres],
];

/// Nanoseconds.
type Time = u64;

/// Plays everything, and prints tables.
pub(crate) fn scale(plan: &Plan) -> anyhow::Result<()> {
    ensure!(plan.busy > 0.0 && plan.busy < 100.0, "--busy must be between 0 and 100");
    ensure!(plan.rates.iter().all(|rate| *rate > 0.0), "--rates must be more than 0");
    report::note("One machine with two cores for all, closed: what was measured, and what is played.");
    report::columns(&["shape, buyers", "measured a second", "played a second", "p50 ms", "p99 ms"]);
    for (name, costs, buyers, measured) in [
        ("whole, 12", WHOLE, 12, "113"),
        ("bare, 32", BARE, 32, "247"),
        ("whole, 1", WHOLE, 1, ""),
        ("whole, 4", WHOLE, 4, ""),
    ] {
        let run = Run::of(&costs, &Cores::Shared(2), plan).play(Load::Buyers(buyers))?;
        report::cells(&[name.to_owned(), measured.to_owned(), format!("{:.0}", run.rate), run.p50(), run.p99()]);
    }
    report::note(&format!("Cores of their own, none busier than {} %.", plan.busy));
    let names = NAMES.iter().copied();
    report::columns(&iter::once("a second").chain(names).chain(["p50 ms", "p99 ms"]).collect::<Vec<_>>());
    for rate in &plan.rates {
        let cores = needed(*rate, plan.busy);
        let run = Run::of(&WHOLE, &Cores::Own(cores), plan).play(Load::ASecond(*rate))?;
        let counts = cores.iter().map(usize::to_string);
        report::cells(&iter::once(rate.to_string()).chain(counts).chain([run.p50(), run.p99()]).collect::<Vec<_>>());
    }
    let Some(rate) = plan.rates.get(plan.rates.len() / 2) else { return Ok(()) };
    let cores = needed(*rate, plan.busy);
    let (most, narrowest) = capacity(&cores);
    report::note(&format!(
        "The knee with the cores for {rate} a second: at most {most:.0} a second, then {narrowest} is always busy."
    ));
    report::columns(&["share of that", "a second", "p50 ms", "p99 ms"]);
    for percent in [50.0, 60.0, 70.0, 80.0, 90.0, 95.0, 98.0] {
        let rate = most * percent / 100.0;
        let run = Run::of(&WHOLE, &Cores::Own(cores), plan).play(Load::ASecond(rate))?;
        report::cells(&[format!("{percent} %"), format!("{rate:.0}"), run.p50(), run.p99()]);
    }
    Ok(())
}

/// The cores with which none is busier than `busy` percent at `rate` purchases a second.
fn needed(rate: f64, busy: f64) -> [usize; 9] {
    WHOLE.map(|cost| (rate * cost / 1e3 / (busy / 100.0)).ceil().max(1.0) as usize)
}

/// The most purchases a second, and who allows no more.
fn capacity(cores: &[usize; 9]) -> (f64, &'static str) {
    let most =
        NAMES.iter().zip(cores.iter().zip(WHOLE)).map(|(name, (cores, cost))| (*cores as f64 * 1e3 / cost, *name));
    most.min_by(|a, b| a.0.total_cmp(&b.0)).unwrap_or_default()
}

/// Who has which cores.
enum Cores {
    /// All the same few.
    Shared(usize),
    /// Each some of its own.
    Own([usize; 9]),
}

/// Where purchases come from.
#[derive(Clone, Copy)]
enum Load {
    /// So many buyers, each of whom begins again when done.
    Buyers(usize),
    /// So many purchases a second, whatever becomes of them (Poisson).
    ASecond(f64),
}

/// A core, or several, and who waits for one.
struct Station {
    free: usize,
    waiting: VecDeque<Job>,
}

/// Somebody on the way through stations.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Job {
    began: Time,
    /// [`WAITED_FOR`], or one of [`AFTERWARDS`] from 1 on.
    way: usize,
    /// Stations behind it.
    passed: usize,
}

/// What happens next.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Arrival,
    Served(Job),
}

/// One run.
struct Run {
    stations: Vec<Station>,
    is_shared: bool,
    /// Mean time of one visit, by [`At`].
    visit: [f64; 9],
    purchases: usize,
    rng: Rng,
    now: Time,
    events: BinaryHeap<Reverse<(Time, Event)>>,
}

/// What a run came to.
struct Outcome {
    rate: f64,
    /// Milliseconds, in order.
    times: Vec<f64>,
}

impl Outcome {
    fn quantile(&self, share: f64) -> String {
        let at = (self.times.len() as f64 * share) as usize;
        self.times.get(at).map(|time| format!("{time:.1}")).unwrap_or_default()
    }

    fn p50(&self) -> String {
        self.quantile(0.5)
    }

    fn p99(&self) -> String {
        self.quantile(0.99)
    }
}

/// The stations of a way.
fn stations_of(way: usize) -> &'static [At] {
    way.checked_sub(1).map_or(&WAITED_FOR, |index| AFTERWARDS[index])
}

impl Run {
    fn of(costs: &[f64; 9], cores: &Cores, plan: &Plan) -> Self {
        let mut visits = [0.0_f64; 9];
        for way in 0..=AFTERWARDS.len() {
            for at in stations_of(way) {
                visits[*at as usize] += 1.0;
            }
        }
        let mut visit = *costs;
        // What a purchase costs somebody is divided evenly among the visits: how it is really divided was not measured.
        visit.iter_mut().zip(visits).for_each(|(cost, visits)| *cost *= 1e6 / visits);
        let station = |free: &usize| Station { free: *free, waiting: VecDeque::new() };
        let (stations, is_shared) = match cores {
            Cores::Shared(cores) => (vec![station(cores)], true),
            Cores::Own(cores) => (cores.iter().map(station).collect(), false),
        };
        let rng = Rng::with_seed(plan.seed);
        Self { stations, is_shared, visit, purchases: plan.purchases, rng, now: 0, events: BinaryHeap::new() }
    }

    fn play(mut self, load: Load) -> anyhow::Result<Outcome> {
        match load {
            Load::Buyers(count) => (0..count).for_each(|_| self.arrive(Job { began: 0, way: 0, passed: 0 })),
            Load::ASecond(_) => self.events.push(Reverse((0, Event::Arrival))),
        }
        let warm_up = self.purchases / 5;
        let (mut times, mut done, mut began) = (Vec::with_capacity(self.purchases), 0, 0);
        while times.len() < self.purchases {
            let Reverse((now, event)) = self.events.pop().context("nothing happens any more")?;
            self.now = now;
            match event {
                Event::Arrival => {
                    if let Load::ASecond(rate) = load {
                        let pause = self.after(1e9 / rate);
                        self.events.push(Reverse((pause, Event::Arrival)));
                    }
                    self.arrive(Job { began: now, way: 0, passed: 0 });
                }
                Event::Served(job) => {
                    self.leave(job);
                    let next = Job { passed: job.passed + 1, ..job };
                    if next.passed < stations_of(job.way).len() {
                        self.arrive(next);
                    } else if job.way == 0 {
                        done += 1;
                        if done == warm_up {
                            began = now;
                        } else if done > warm_up {
                            times.push((now - job.began) as f64 / 1e6);
                        }
                        (1..=AFTERWARDS.len()).for_each(|way| self.arrive(Job { began: now, way, passed: 0 }));
                        if matches!(load, Load::Buyers(_)) {
                            self.arrive(Job { began: now, way: 0, passed: 0 });
                        }
                    }
                }
            }
        }
        let rate = times.len() as f64 * 1e9 / (self.now - began).max(1) as f64;
        times.sort_unstable_by(f64::total_cmp);
        Ok(Outcome { rate, times })
    }

    /// When something is over that begins now and takes `mean` nanoseconds on average.
    fn after(&mut self, mean: f64) -> Time {
        self.now + (-(1.0 - self.rng.f64()).ln() * mean) as Time
    }

    fn index(&self, job: Job) -> usize {
        if self.is_shared { 0 } else { stations_of(job.way)[job.passed] as usize }
    }

    fn arrive(&mut self, job: Job) {
        let index = self.index(job);
        let station = &mut self.stations[index];
        if station.free > 0 {
            station.free -= 1;
            self.serve(job);
        } else {
            station.waiting.push_back(job);
        }
    }

    fn serve(&mut self, job: Job) {
        let over = self.after(self.visit[stations_of(job.way)[job.passed] as usize]);
        self.events.push(Reverse((over, Event::Served(job))));
    }

    /// A core has no more to do for `job`.
    fn leave(&mut self, job: Job) {
        let index = self.index(job);
        match self.stations[index].waiting.pop_front() {
            Some(next) => self.serve(next),
            None => self.stations[index].free += 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan() -> Plan {
        Plan { rates: vec![], busy: 60.0, purchases: 40_000, seed: 7 }
    }

    /// Mean time of a network of queues with one core each is the sum of cost / (1 - use) (Jackson).
    #[test]
    fn times_are_those_of_the_formula() {
        let rate = 200.0;
        let run = Run::of(&WHOLE, &Cores::Own([1; 9]), &plan()).play(Load::ASecond(rate)).expect("plays");
        let mean = run.times.iter().sum::<f64>() / run.times.len() as f64;
        let waited = |at: usize| WAITED_FOR.iter().filter(|one| **one as usize == at).count() as f64;
        let all = |at: usize| {
            waited(at) + AFTERWARDS.iter().flat_map(|way| way.iter()).filter(|one| **one as usize == at).count() as f64
        };
        let formula: f64 = (0..9).map(|at| waited(at) * WHOLE[at] / all(at) / (1.0 - rate * WHOLE[at] / 1e3)).sum();
        assert!((mean / formula - 1.0).abs() < 0.05, "{mean} ms, by the formula {formula}");
        assert!((run.rate / rate - 1.0).abs() < 0.03, "{}", run.rate);
    }

    #[test]
    fn who_buys_without_a_pause_gets_what_two_cores_can_do() {
        let run = Run::of(&WHOLE, &Cores::Shared(2), &plan()).play(Load::Buyers(12)).expect("plays");
        let most = 2e3 / WHOLE.iter().sum::<f64>();
        assert!(run.rate <= most * 1.02 && run.rate > most * 0.9, "{} of {most}", run.rate);
    }

    #[test]
    fn cores_are_as_many_as_are_needed() {
        assert_eq!(needed(1.0, 60.0), [1; 9]);
        assert_eq!(needed(1000.0, 50.0), [1, 5, 3, 5, 2, 7, 6, 1, 6]);
        assert_eq!(capacity(&[1; 9]), (1e3 / 3.5, "PostgreSQL"));
    }
}
