//! When settings are read again: on SIGHUP, and when a file they come from holds something else.

use std::convert::Infallible;
use std::io::IsTerminal;
use std::path::PathBuf;
use std::sync::{Arc, Weak};
use std::time::Duration;

use anyhow::Context;
use rustix::io::Errno;
use shop_config::{Change, Problem, Problems, Settings, Sources};
use shop_runtime::Shutdown;
use tokio::signal::unix::{SignalKind, signal};

use super::watched::Watched;
use super::{Applied, Handle};
use crate::settings::Config;
use crate::state::generation::Generation;

/// Reads the settings of this process again, from the same `sources`, whenever SIGHUP comes or a file changes, until the
/// soft stop. `take` takes the gateway's out of them, and says what else is different and so waits for a restart.
/// Settings that are wrong are logged, each with its source, and change nothing. Nor does anything when one of the sources is
/// a pipe: a second reader finds it empty, and empty settings are fine ones.
///
/// Call it before anybody can know that the process runs: from then on SIGHUP does not end it any more. The future does
/// the work and never ends. Needs a runtime.
pub fn follow<S: Settings + 'static>(
    handle: Handle,
    sources: Sources,
    take: impl Fn(S) -> (Config, Vec<Change>) + Send + Sync + 'static,
    shutdown: Shutdown,
) -> anyhow::Result<impl Future<Output = Infallible>> {
    let mut hangups = signal(SignalKind::hangup()).context("SIGHUP cannot be caught")?;
    let pipe = sources.files_of::<S>().into_iter().find(is_spent);
    Ok(async move {
        let had_terminal = std::io::stdin().is_terminal();
        let refusal = pipe.map(|pipe| format!("{} is not a file, so settings cannot be read again", pipe.display()));
        let files = if refusal.is_none() { sources.files_of::<S>() } else { Vec::new() };
        let mut watched = Watched::new(files).await;
        let all = Arc::new((handle, sources, take));
        let again = |is_start| {
            let all = Arc::clone(&all);
            // Files may be on a disk that hangs, and another change may be on its way to one.
            let once = move || reload(&all.0, &all.1, &all.2, is_start);
            let (soft, mut is_told) = (shutdown.soft.clone(), false);
            async move {
                loop {
                    match tokio::task::spawn_blocking(once.clone()).await {
                        Ok(Ok(replaced)) => return replaced,
                        Ok(Err(NoDescriptor)) => {
                            if !std::mem::replace(&mut is_told, true) {
                                tracing::warn!("no descriptor is left to read the settings with; it is tried again");
                            }
                            soft.run_until_cancelled(tokio::time::sleep(LOOK)).await?;
                        }
                        Err(_) => {
                            tracing::error!("the settings could not be read again");
                            return None;
                        }
                    }
                }
            }
        };
        let mut replaced = match &refusal {
            Some(refusal) => {
                tracing::info!("{refusal}; a restart reads them");
                None
            }
            // What changed between the start and now.
            None => again(true).await,
        };
        loop {
            let cause = tokio::select! {
                () = shutdown.soft.cancelled() => break,
                () = gone(replaced.as_ref()) => {
                    replaced = None;
                    let _ = tokio::task::spawn_blocking(shop_heap::trim).await;
                    continue;
                }
                _ = hangups.recv() => "SIGHUP",
                () = watched.changed() => "a file changed",
            };
            if cause == "SIGHUP" {
                // `Shutdown` makes that the end.
                if had_terminal && !std::io::stdin().is_terminal() {
                    break;
                }
                watched.note().await;
            }
            shop_runtime::notify_reloading();
            if let Some(refusal) = &refusal {
                let mut problems = Problems::default();
                problems.add("", refusal.clone());
                refuse(&all.0, &problems);
            } else {
                tracing::info!("reading the settings again: {cause}");
                replaced = again(false).await.or(replaced);
            }
            shop_runtime::notify_reloaded();
        }
        std::future::pending().await
    })
}

/// Whether what was read from it is gone. One that is away may come back.
fn is_spent(file: &PathBuf) -> bool {
    std::fs::metadata(file).is_ok_and(|data| !data.is_file())
}

/// Waits until nobody uses any more what was replaced; for ever, if nothing was that is worth it.
async fn gone(replaced: Option<&Weak<Generation>>) {
    let Some(replaced) = replaced else { return std::future::pending().await };
    while replaced.strong_count() > 0 {
        tokio::time::sleep(LOOK).await;
    }
}

/// The pause between two looks whether what was replaced is still used.
const LOOK: Duration = Duration::from_secs(1);

/// Once. The first time, at the start, it is no news that nothing is different. What was in force before is given back where it,
/// or what it takes to read settings, leaves memory behind that is worth giving back once nobody uses it.
fn reload<S: Settings>(
    handle: &Handle,
    sources: &Sources,
    take: &impl Fn(S) -> (Config, Vec<Change>),
    is_start: bool,
) -> Result<Option<Weak<Generation>>, NoDescriptor> {
    let before = Arc::downgrade(&handle.state.settings.current());
    let (reloads, metrics) = (&handle.state.settings.reloads, &handle.state.numbers.metrics);
    let applied = shop_config::load::<S>(sources).and_then(|loaded| {
        if !is_start {
            loaded.warnings.log();
        }
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
        Err(problems) if problems.iter().any(is_short) => return Err(NoDescriptor),
        Err(problems) => refuse(handle, &problems),
    }
    let now = handle.state.settings.current();
    // To read settings takes many times the memory that they keep. It costs some milliseconds, which few routes are not worth.
    if now.config.routes.len() <= MANY_ROUTES {
        return Ok(None);
    }
    shop_heap::trim();
    Ok((!std::ptr::eq(before.as_ptr(), Arc::as_ptr(&now))).then_some(before))
}

/// The process, or the system, had no descriptor left to read a file with, which says nothing of the file.
#[derive(Clone, Copy)]
struct NoDescriptor;

/// Whether it was that. The error of the system is known as a text only.
fn is_short(problem: &Problem) -> bool {
    [Errno::MFILE, Errno::NFILE]
        .iter()
        .any(|errno| problem.message.contains(&format!("os error {}", errno.raw_os_error())))
}

/// Routes whose settings leave memory behind that is worth giving back, some MiB.
const MANY_ROUTES: usize = 500;

/// Changes that have a line each in the log; files with thousands of routes may change them all.
const MOST_TOLD: usize = 100;

fn tell(applied: &Applied) {
    for change in applied.changed.iter().take(MOST_TOLD) {
        tracing::info!(key = change.key, "setting changed: {change}");
    }
    if let Some(more @ 1..) = applied.changed.len().checked_sub(MOST_TOLD) {
        tracing::info!("and {more} more settings changed");
    }
    for change in &applied.needs_restart {
        tracing::warn!(key = change.key, "{} holds from the next start on: {change}", change.key);
    }
    let (revision, count) = (applied.revision, applied.changed.len());
    tracing::info!(revision, changed = count, "settings are in force, {count} of them different");
}

fn refuse(handle: &Handle, problems: &Problems) {
    for problem in problems {
        tracing::error!(key = problem.key, "setting is wrong: {problem}");
    }
    tracing::error!("the settings stay as they were: {}", problems.count());
    let state = &handle.state;
    state.settings.reloads.failed(problems.iter().map(ToString::to_string).collect(), &state.numbers.metrics);
}
