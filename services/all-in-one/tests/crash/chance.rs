//! Chance from a seed.

/// A stream of numbers that a seed repeats (`SplitMix64`, Steele et al. 2014).
pub(crate) struct Chance {
    seed: u64,
    state: u64,
}

impl Chance {
    /// Seeded by `SHOP_TEST_SEED`, or at random; says which.
    pub(crate) fn from_environment(what: &str) -> Self {
        #[expect(clippy::disallowed_methods, reason = "how a test run is repeated")]
        let given = std::env::var("SHOP_TEST_SEED").ok();
        let seed = match given {
            Some(text) => text.parse().expect("SHOP_TEST_SEED is a number"),
            None => uuid::Uuid::new_v4().as_u64_pair().0,
        };
        #[expect(clippy::print_stderr, reason = "needed to repeat a failed run")]
        {
            eprintln!("{what}: SHOP_TEST_SEED={seed}");
        }
        Self { seed, state: seed }
    }

    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Says again which seed it was, after much else was said.
    #[expect(clippy::print_stderr, reason = "what a run is known by")]
    pub(crate) fn tell(&self, what: &str) {
        eprintln!("{what}: SHOP_TEST_SEED={}", self.seed);
    }

    /// One of so many.
    pub(crate) fn pick(&mut self, choices: usize) -> usize {
        usize::try_from(self.below(choices as u64)).expect("small")
    }

    /// A number under `limit`.
    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }
}
