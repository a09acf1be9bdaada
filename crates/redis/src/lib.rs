//! A connection to Redis: one server, the one that sentinels name, or a cluster.
//!
//! A [`Source`] is where Redis is. What it connects to is a [`Connection`], which many share: to one server it never connects
//! again by itself, and who uses it asks the source for another; one to a cluster follows the cluster, but does not leave it.

mod connection;
mod files;
mod script;
mod sentinels;
mod server;
mod source;

pub use connection::{Connection, Node};
pub use script::{Call, Script};
pub use source::{Source, only_reads, refused_certificate, refuses_login};
