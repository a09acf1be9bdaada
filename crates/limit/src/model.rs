//! The same limit in other words, to hold the real ones against: a bucket into which a token's worth of time drips.

use proptest::prelude::*;

/// A client's budget.
pub(super) struct Bucket {
    token: u128,
    size: u128,
    level: u128,
    at: u128,
}

impl Bucket {
    /// Full, with room for so many tokens of so much time each.
    pub(super) fn new(token: u64, tokens: u32) -> Self {
        let size = u128::from(token) * u128::from(tokens);
        Self { token: token.into(), size, level: size, at: 0 }
    }

    /// How many tokens are left after this one, or how long it takes until there is one.
    pub(super) fn take(&mut self, now: u128) -> Result<u128, u128> {
        self.level = self.size.min(self.level + now - self.at);
        self.at = now;
        if self.level < self.token {
            return Err(self.token - self.level);
        }
        self.level -= self.token;
        Ok(self.level / self.token)
    }

    /// The time until it is full, as of the last call.
    pub(super) const fn missing(&self) -> u128 {
        self.size - self.level
    }
}

/// What happens next.
#[derive(Debug, Clone)]
pub(super) enum Step {
    Wait(u64),
    Call { client: u8, times: u8 },
    Forget,
}

/// Calls of four clients, close together and far apart, also just before, at and just after the moment a token is there.
pub(super) fn steps(token: u64) -> impl Strategy<Value = Vec<Step>> {
    let edges = [1, token / 2, token - 1, token, token + 1, 3 * token, 100 * token];
    let step = prop_oneof![
        3 => prop::sample::select(edges.to_vec()).prop_map(|wait| Step::Wait(wait.max(1))),
        2 => (1..2 * token).prop_map(Step::Wait),
        6 => (0_u8..4, 1_u8..8).prop_map(|(client, times)| Step::Call { client, times }),
        1 => Just(Step::Forget),
    ];
    prop::collection::vec(step, 0..120)
}
