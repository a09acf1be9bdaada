//! The service as its clients see it: HTTP and events on a process that runs in the test, and what it sends.

mod access;
mod delivery;
mod harness;
mod hostile;
mod http;
mod personal;
