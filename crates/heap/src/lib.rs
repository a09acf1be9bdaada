//! Memory that was freed, given back to the system.

/// Gives back what was freed and not used again since; for once in a while, after work that took much more than it keeps.
///
/// The allocator of glibc does that by itself only for what lies behind all that is in use: one small piece that stays holds
/// everything in front of it. Whoever allocates meanwhile may wait for some milliseconds. With another C library this does nothing.
#[cfg_attr(
    all(target_os = "linux", target_env = "gnu"),
    expect(unsafe_code, reason = "there is no other way, and nothing that can be done wrong: it takes no pointer")
)]
pub fn trim() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: it may be called at any time from any thread (malloc_trim(3)).
    unsafe {
        libc::malloc_trim(0);
    }
}

#[cfg(all(test, target_os = "linux", target_env = "gnu"))]
mod tests {
    /// Of the process, in bytes.
    fn resident() -> usize {
        let text = std::fs::read_to_string("/proc/self/statm").expect("is there");
        let pages: usize = text.split(' ').nth(1).expect("the second").parse().expect("a number");
        pages * 4096
    }

    #[test]
    fn what_lies_between_small_pieces_that_stay_is_given_back() {
        // Some pages each, and so small that they are not the system's own.
        const PIECES: usize = 1024;
        let mut large: Vec<Vec<u8>> = Vec::new();
        let mut small: Vec<Vec<u8>> = Vec::new();
        for _ in 0..PIECES {
            large.push(vec![1; 64 * 1024]);
            small.push(vec![1; 8]);
        }
        drop(large);
        let before = resident();
        super::trim();
        let after = resident();
        assert!(after + PIECES * 50_000 < before, "{before} bytes before, {after} after");
        drop(small);
    }
}
