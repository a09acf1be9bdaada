//! The life of a process: start, signals, draining, the end.

mod crash;
mod entry;
mod health;
mod shutdown;
mod systemd;
mod tasks;

pub use crash::crash_point;
pub use entry::block_on;
pub use health::{Health, Report, State, Status};
pub use shutdown::Shutdown;
pub use systemd::{notify_ready, notify_reloaded, notify_reloading, notify_stopping};
pub use tasks::Tasks;
pub use tokio_util::sync::CancellationToken;
