//! The command line every binary shares.

use std::process::ExitCode;

use crate::Settings;

/// What to do after reading settings.
#[derive(Debug)]
pub enum Start<S> {
    /// Run with these.
    Run(S),
    /// Nothing to run (`--check`, `--help`, or settings that are wrong): end with this code.
    Exit(ExitCode),
}

/// Reads arguments and environment. Problems are printed, all of them; the code is then 2.
pub fn start<S: Settings>(_version: &'static str) -> Start<S> {
    todo!()
}
