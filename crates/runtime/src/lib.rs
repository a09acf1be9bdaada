//! The life of a process: start, signals, draining, the end.

mod crash;
mod health;
mod main_loop;
mod service_manager;
mod shutdown;
mod tasks;

pub use crash::crash_point;
pub use health::{Health, Report, State, Status};
pub use main_loop::block_on;
pub use service_manager::{notify_ready, notify_stopping};
pub use shutdown::Shutdown;
pub use tasks::Tasks;
pub use tokio_util::sync::CancellationToken;
