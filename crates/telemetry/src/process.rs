//! What the process uses, under the names every Prometheus client has for it, and the log lines it lost.
//!
//! The prometheus crate's own collector counts CPU in whole seconds, too coarse to divide by requests.

use std::fs;

use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{Counter, IntGauge};
use rustix::param::{clock_ticks_per_second, page_size};
use rustix::process::{Resource, getrlimit};
use rustix::time::{ClockId, clock_gettime};

use crate::writer::LOST;

/// Reads the process's use of resources whenever metrics are asked for.
pub(crate) struct Process {
    cpu: Counter,
    resident: IntGauge,
    virtual_memory: IntGauge,
    open_files: IntGauge,
    max_files: IntGauge,
    threads: IntGauge,
    start: IntGauge,
}

impl Process {
    pub(crate) fn new() -> Self {
        let gauge = |name: &str, help: &str| IntGauge::new(name, help).expect("the name is well formed");
        let process = Self {
            cpu: Counter::new("process_cpu_seconds_total", "User and system CPU time spent in seconds.")
                .expect("the name is well formed"),
            resident: gauge("process_resident_memory_bytes", "Resident memory in bytes."),
            virtual_memory: gauge("process_virtual_memory_bytes", "Virtual memory in bytes."),
            open_files: gauge("process_open_fds", "Open file descriptors."),
            max_files: gauge("process_max_fds", "Most file descriptors allowed."),
            threads: gauge("process_threads", "Threads."),
            start: gauge("process_start_time_seconds", "Start of the process since the Unix epoch in seconds."),
        };
        process.start.set(start_time().unwrap_or_default());
        process
    }

    fn parts(&self) -> [&dyn Collector; 8] {
        [
            &self.cpu,
            &self.resident,
            &self.virtual_memory,
            &self.open_files,
            &self.max_files,
            &self.threads,
            &self.start,
            &*LOST,
        ]
    }

    /// Takes the numbers anew. What the system does not tell (no `/proc`) keeps its last value.
    fn read(&self) {
        let spent = cpu_seconds() - self.cpu.get();
        // Two collections at once may come in either order; a counter never goes back.
        if spent > 0.0 {
            self.cpu.inc_by(spent);
        }
        if let Some((total, resident)) = memory() {
            self.virtual_memory.set(total);
            self.resident.set(resident);
        }
        if let Ok(entries) = fs::read_dir("/proc/self/fd") {
            self.open_files.set(number(entries.count()));
        }
        if let Some(limit) = getrlimit(Resource::Nofile).current {
            self.max_files.set(i64::try_from(limit).unwrap_or(i64::MAX));
        }
        if let Some(threads) = stat_field(20) {
            self.threads.set(threads);
        }
    }
}

impl Collector for Process {
    fn desc(&self) -> Vec<&Desc> {
        self.parts().into_iter().flat_map(Collector::desc).collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        self.read();
        self.parts().into_iter().flat_map(Collector::collect).collect()
    }
}

#[expect(clippy::cast_precision_loss, reason = "nanoseconds need 30 bits; seconds stay exact for 285 million years")]
fn cpu_seconds() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

/// Virtual and resident bytes, `proc_pid_statm(5)`.
fn memory() -> Option<(i64, i64)> {
    let text = fs::read_to_string("/proc/self/statm").ok()?;
    let mut pages = text.split_whitespace().map(str::parse::<i64>);
    let (total, resident) = (pages.next()?.ok()?, pages.next()?.ok()?);
    let page = number(page_size());
    Some((total.saturating_mul(page), resident.saturating_mul(page)))
}

/// Field `n` of `proc_pid_stat(5)`, counted from 1 as the manual does.
fn stat_field(n: usize) -> Option<i64> {
    let text = fs::read_to_string("/proc/self/stat").ok()?;
    // The second field, the command in parentheses, may hold spaces and parentheses; the third follows the last one.
    let (_, rest) = text.rsplit_once(')')?;
    rest.split_whitespace().nth(n.checked_sub(3)?)?.parse().ok()
}

fn start_time() -> Option<i64> {
    let text = fs::read_to_string("/proc/stat").ok()?;
    let boot: i64 = text.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()?;
    let ticks = i64::try_from(clock_ticks_per_second()).ok()?;
    stat_field(22)?.checked_div(ticks)?.checked_add(boot)
}

fn number(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_system_tells_what_the_process_uses() {
        let process = Process::new();
        process.read();
        assert!(process.cpu.get() > 0.0);
        assert!(process.resident.get() > 100_000);
        assert!(process.virtual_memory.get() >= process.resident.get());
        assert!(process.open_files.get() >= 3);
        assert!(process.threads.get() >= 1);
        assert!(process.start.get() > 1_500_000_000);
    }

    #[test]
    fn cpu_time_is_told_in_fractions_of_a_second() {
        let process = Process::new();
        process.read();
        let before = process.cpu.get();
        let sum: u64 = std::hint::black_box((0..2_000_000_u64).map(|n| n ^ (n << 3)).fold(0, u64::wrapping_add));
        process.read();
        assert!(process.cpu.get() > before, "{sum}");
    }
}
