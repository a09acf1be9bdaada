//! Generations of what settings decide: the one in force, the next, how one replaces the other, and what is kept on disk.

pub(crate) mod draft;
mod found;
pub(crate) mod guard;
pub(crate) mod live;
pub(crate) mod reload;
pub(crate) mod shared;
pub(crate) mod state_file;
