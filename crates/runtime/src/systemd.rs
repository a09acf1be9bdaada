//! Telling systemd how the process fares. Nothing happens when it was not started by systemd.

use sd_notify::NotifyState;

use crate::tasks;

/// Says that the process serves, and keeps the watchdog quiet from now on when one is set. Call it inside the runtime.
///
/// The watchdog is fed by a task: it falls silent when the runtime hangs, which is what it is there to find.
pub fn notify_ready() {
    notify(&[NotifyState::Ready]);
    if let Some(limit) = sd_notify::watchdog_enabled() {
        // Half the limit, as sd_watchdog_enabled(3) advises.
        let mut ticks = tokio::time::interval(limit / 2);
        tasks::detached(async move {
            loop {
                ticks.tick().await;
                notify(&[NotifyState::Watchdog]);
            }
        });
    }
}

/// Says that settings are being read again; [`notify_reloaded`] ends it.
pub fn notify_reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => notify(&[NotifyState::Reloading, now]),
        Err(error) => tracing::warn!(%error, "systemd could not be told that settings are read again"),
    }
}

/// Says that the process goes on, with new settings or the old.
pub fn notify_reloaded() {
    notify(&[NotifyState::Ready]);
}

/// Says that the process is ending.
pub fn notify_stopping() {
    notify(&[NotifyState::Stopping]);
}

fn notify(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::warn!(%error, "systemd could not be told how the process fares");
    }
}
