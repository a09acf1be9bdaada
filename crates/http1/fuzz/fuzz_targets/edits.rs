//! What is done to the lines of a head is what goes out.
#![no_main]

#[path = "../../tests/differential/edits.rs"]
mod edits;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|plan: &[u8]| {
    edits::check(plan);
});
