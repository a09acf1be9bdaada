//! What is sent at any pace is what is read at any other.
#![no_main]

#[path = "../../tests/differential/pacing.rs"]
mod pacing;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|plan: &[u8]| pacing::check(plan));
