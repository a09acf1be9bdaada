//! The table.

use std::time::Duration;

use crate::client::Load;
use crate::process::Process;

/// Prints what the columns are.
#[expect(clippy::print_stdout, reason = "the table is the program's output")]
pub(crate) fn heading(title: &str) {
    println!("\n{title}\n");
    println!("| what | per s | p50 ms | p99 ms | CPU µs a request, by process |");
    println!("|---|--:|--:|--:|---|");
}

/// Prints a measured load with the CPU each process spent on it.
#[expect(clippy::print_stdout, reason = "the table is the program's output")]
pub(crate) fn row(what: &str, load: &Load, spent: &[(&str, Duration)]) {
    let each = |cpu: &Duration| cpu.as_secs_f64() * 1e6 / load.times.len().max(1) as f64;
    let cpu: Vec<_> = spent.iter().map(|(name, cpu)| format!("{name} {:.1}", each(cpu))).collect();
    let millis = |time: Duration| time.as_secs_f64() * 1e3;
    println!(
        "| {what} | {:.0} | {:.2} | {:.2} | {} |",
        load.rate(),
        millis(load.quantile(0.5)),
        millis(load.quantile(0.99)),
        cpu.join(", ")
    );
}

/// Prints the names of other columns, the first of texts.
#[expect(clippy::print_stdout, reason = "the table is the program's output")]
pub(crate) fn columns(names: &[&str]) {
    println!("\n| {} |", names.join(" | "));
    println!("|---{}|", "|--:".repeat(names.len().saturating_sub(1)));
}

/// Prints a row of them.
#[expect(clippy::print_stdout, reason = "the table is the program's output")]
pub(crate) fn cells(texts: &[String]) {
    println!("| {} |", texts.join(" | "));
}

/// Prints a rate that another program measured.
#[expect(clippy::print_stdout, reason = "the table is the program's output")]
pub(crate) fn peer(what: &str, rate: f64) {
    println!("| {what} | {rate:.0} | | | |");
}

/// Prints a sentence below a table.
#[expect(clippy::print_stdout, reason = "the table is the program's output")]
pub(crate) fn note(text: &str) {
    println!("\n{text}");
}

/// Runs a load and answers it with the CPU that each process spent meanwhile.
pub(crate) async fn measured<F>(
    processes: &[&Process],
    work: F,
) -> anyhow::Result<(Load, Vec<(&'static str, Duration)>)>
where
    F: Future<Output = anyhow::Result<Load>>,
{
    let before: Vec<_> = processes.iter().map(|process| process.cpu()).collect();
    let load = work.await?;
    let spent = processes
        .iter()
        .zip(before)
        .map(|(process, before)| (process.name, process.cpu().saturating_sub(before)))
        .collect();
    Ok((load, spent))
}
