//! Telling systemd how the process fares. Nothing happens when it was not started by systemd.

/// Says that the process serves, and keeps the watchdog quiet from now on when one is set. Call it inside the runtime.
pub fn notify_ready() {}

/// Says that the process is ending.
pub fn notify_stopping() {}
