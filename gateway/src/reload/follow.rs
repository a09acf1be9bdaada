//! When settings are read again: on SIGHUP, and when a file they come from holds something else.

use std::convert::Infallible;
use std::io::IsTerminal;

use anyhow::Context;
use shop_config::{Change, Problems, Settings, Sources};
use shop_runtime::Shutdown;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::watched::Watched;
use super::{Applied, Handle};
use crate::config::Config;

/// Reads the settings of this process again, from the same `sources`, whenever SIGHUP comes or a file changes, until the
/// soft stop. `take` takes the gateway's out of them, and says what else is different and so waits for a restart.
/// Settings that are wrong are logged, each with its source, and change nothing.
///
/// Call it before anybody can know that the process runs: from then on SIGHUP does not end it any more. The future does
/// the work and never ends. Needs a runtime.
pub fn follow<S: Settings>(
    handle: Handle,
    sources: Sources,
    take: impl Fn(S) -> (Config, Vec<Change>),
    shutdown: Shutdown,
) -> anyhow::Result<impl Future<Output = Infallible>> {
    let hangups = signal(SignalKind::hangup()).context("SIGHUP cannot be caught")?;
    Ok(work(handle, sources, take, shutdown, hangups))
}

async fn work<S: Settings>(
    handle: Handle,
    sources: Sources,
    take: impl Fn(S) -> (Config, Vec<Change>),
    shutdown: Shutdown,
    mut hangups: Signal,
) -> Infallible {
    let had_terminal = std::io::stdin().is_terminal();
    let mut watched = Watched::new(sources.files_of::<S>()).await;
    // What changed between the start and now.
    reload(&handle, &sources, &take, true);
    loop {
        let cause = tokio::select! {
            () = shutdown.soft.cancelled() => break,
            _ = hangups.recv() => "SIGHUP",
            () = watched.changed() => "a file changed",
        };
        if cause == "SIGHUP" {
            if had_terminal && !std::io::stdin().is_terminal() {
                tracing::info!("stopping: the terminal is gone");
                shutdown.soft.cancel();
                break;
            }
            watched.note().await;
        }
        tracing::info!("reading the settings again: {cause}");
        shop_runtime::notify_reloading();
        reload(&handle, &sources, &take, false);
        shop_runtime::notify_reloaded();
    }
    std::future::pending().await
}

/// Once. The first time, at the start, it is no news that nothing is different.
fn reload<S: Settings>(handle: &Handle, sources: &Sources, take: &impl Fn(S) -> (Config, Vec<Change>), is_start: bool) {
    let (reloads, metrics) = (&handle.shared.reloads, &handle.shared.metrics);
    let applied = shop_config::load::<S>(sources).and_then(|loaded| {
        let (config, others) = take(loaded.settings);
        let applied = handle.apply(config)?;
        let needs_restart = others.into_iter().chain(applied.needs_restart).collect();
        Ok(Applied { needs_restart, ..applied })
    });
    match applied {
        Ok(applied) => {
            let is_news = !applied.changed.is_empty() || !applied.needs_restart.is_empty();
            if is_news || !is_start {
                tell(&applied);
                let keys = applied.needs_restart.iter().map(|change| change.key.clone()).collect();
                reloads.succeeded(!applied.changed.is_empty(), keys, metrics);
            }
        }
        Err(problems) => {
            refuse(&problems);
            reloads.failed(problems.iter().map(ToString::to_string).collect(), metrics);
        }
    }
}

fn tell(applied: &Applied) {
    for change in &applied.changed {
        tracing::info!(key = change.key, "setting changed: {change}");
    }
    for change in &applied.needs_restart {
        tracing::warn!(key = change.key, "{} holds from the next start on: {change}", change.key);
    }
    let (revision, count) = (applied.revision, applied.changed.len());
    tracing::info!(revision, changed = count, "settings are in force, {count} of them different");
}

fn refuse(problems: &Problems) {
    for problem in problems {
        tracing::error!(key = problem.key, "setting is wrong: {problem}");
    }
    tracing::error!("the settings stay as they were: {} problems", problems.len());
}
