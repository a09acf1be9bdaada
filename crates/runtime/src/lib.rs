//! The life of a process: start, signals, draining, the end.

mod crash;
mod dial;
mod entry;
mod health;
mod holder;
mod listen;
mod shutdown;
mod systemd;
mod tasks;

pub use crash::crash_point;
pub use dial::{dial, is_shortage};
pub use entry::{answer, block_on};
pub use health::{Health, Report, State, Status};
pub use listen::{listen, listen_shared};
pub use shutdown::Shutdown;
pub use systemd::{notify_ready, notify_reloaded, notify_reloading, notify_stopping};
pub use tasks::{Tasks, spawn_here};
pub use tokio_util::sync::CancellationToken;
