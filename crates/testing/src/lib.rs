//! What the tests of every crate share: real servers, clients, processes, and patience without sleeping.

pub mod api;
#[expect(clippy::disallowed_methods, reason = "databases are made and dropped here; a test that hangs is ended")]
pub mod backend;
pub mod browser;
#[expect(clippy::disallowed_methods, reason = "ended with the cable")]
pub mod cable;
pub mod certificates;
pub mod collector;
pub mod hostile;
pub mod layers;
pub mod leaks;
pub mod network;
pub mod patience;
pub mod preconditions;
pub mod process;
pub mod program;
pub mod receiver;
pub mod stripe;
mod watch;

pub use api::{Api, Reply, assert_problem};
pub use browser::Browser;
pub use cable::Cable;
pub use collector::{Collector, Traced};
pub use network::{Network, Place};
pub use process::{Process, free_port};
pub use program::{Child, Program};
pub use receiver::Receiver;
pub use stripe::Stripe;

/// A variable of the environment, when it is set and not empty.
#[expect(clippy::disallowed_methods, reason = "tests have no settings file; the servers to use come by environment")]
#[must_use]
pub fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}
