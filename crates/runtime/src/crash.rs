//! Points at which a test lets the process die, to prove that nothing is lost.

/// Kills this process at once (`SIGKILL`) when `SHOP_CRASH_AT` is `name`, or `name:N` for the N-th time it is reached.
/// Empty without the cargo feature `crash-points`.
#[inline]
pub fn crash_point(name: &str) {
    #[cfg(feature = "crash-points")]
    armed::reach(name);
    #[cfg(not(feature = "crash-points"))]
    let _ = name;
}

#[cfg(feature = "crash-points")]
mod armed {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU64, Ordering};

    /// Where to die.
    #[derive(Debug)]
    pub(super) struct Plan {
        name: String,
        /// How often the point may still be reached, this time included.
        left: AtomicU64,
    }

    impl Plan {
        /// Reads `name` or `name:N`; anything but a whole number after the colon is part of the name.
        pub(super) fn parse(text: &str) -> Self {
            let (name, nth) = match text.rsplit_once(':').map(|(name, nth)| (name, nth.parse())) {
                Some((name, Ok(nth))) => (name, nth),
                _ => (text, 1),
            };
            Self { name: name.to_owned(), left: AtomicU64::new(nth) }
        }

        /// Counts that `name` was reached; whether now is the time.
        pub(super) fn count_down(&self, name: &str) -> bool {
            name == self.name && self.left.fetch_sub(1, Ordering::SeqCst) == 1
        }
    }

    pub(super) fn reach(name: &str) {
        static PLAN: OnceLock<Option<Plan>> = OnceLock::new();
        #[expect(clippy::disallowed_methods, reason = "a switch of tests, not a setting")]
        let plan = PLAN.get_or_init(|| std::env::var("SHOP_CRASH_AT").ok().map(|text| Plan::parse(&text)));
        if plan.as_ref().is_some_and(|plan| plan.count_down(name)) {
            die();
        }
    }

    /// Dies as in a power cut: no destructor, no flush, no answer to anyone.
    fn die() -> ! {
        let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
        std::process::abort()
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn a_point_is_due_at_the_time_asked_for_and_never_again() {
            let plan = Plan::parse("after_charge:2");
            let due: Vec<bool> =
                ["after_charge", "other", "after_charge", "after_charge"].map(|name| plan.count_down(name)).into();
            assert_eq!(due, [false, false, true, false]);
        }

        #[test]
        fn without_a_number_the_first_time_counts() {
            assert!(Plan::parse("here").count_down("here"));
            assert!(Plan::parse("odd:name").count_down("odd:name"));
        }
    }
}
