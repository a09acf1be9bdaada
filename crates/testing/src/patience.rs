//! Waiting for something that happens elsewhere: poll until it is so, never sleep and hope.

use std::fmt::Debug;

/// What a condition says about whether to go on waiting.
pub trait Condition {
    /// What there is once the wait is over.
    type Value;

    /// The value, or why it is not there yet.
    fn settle(self) -> Result<Self::Value, String>;
}

impl Condition for bool {
    type Value = ();

    fn settle(self) -> Result<(), String> {
        if self { Ok(()) } else { Err("still false".to_owned()) }
    }
}

impl<T> Condition for Option<T> {
    type Value = T;

    fn settle(self) -> Result<T, String> {
        self.ok_or_else(|| "still nothing".to_owned())
    }
}

impl<T, E: Debug> Condition for Result<T, E> {
    type Value = T;

    fn settle(self) -> Result<T, String> {
        self.map_err(|error| format!("{error:?}"))
    }
}

/// Evaluates an expression (a `bool`, an `Option` or a `Result`; it may `.await`) until it holds, and yields
/// what is in it. Panics with the last reason after 15 seconds, or after the time given with `within`.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().expect("runtime").block_on(async {
/// # use std::time::Duration;
/// let mut tries = 0;
/// shop_testing::eventually!({ tries += 1; tries > 2 });
/// let word: &str = shop_testing::eventually!(within Duration::from_secs(1), Some("word"));
/// # assert_eq!((tries, word), (3, "word"));
/// # });
/// ```
#[macro_export]
macro_rules! eventually {
    (within $limit:expr, $condition:expr) => {{
        let patience = $crate::patience::Patience::new($limit, stringify!($condition));
        loop {
            match $crate::patience::Condition::settle($condition) {
                Ok(value) => break value,
                Err(reason) => patience.pause(&reason).await,
            }
        }
    }};
    ($condition:expr) => {
        $crate::eventually!(within::std::time::Duration::from_secs(15), $condition)
    };
}

/// How long a wait may still take. The machinery of [`eventually!`].
#[derive(Debug)]
pub struct Patience {
    deadline: tokio::time::Instant,
    limit: std::time::Duration,
    condition: &'static str,
}

impl Patience {
    /// Starts waiting for `condition`, as it stands in the test.
    #[must_use]
    pub fn new(limit: std::time::Duration, condition: &'static str) -> Self {
        Self { deadline: tokio::time::Instant::now() + limit, limit, condition }
    }

    /// Lets others run for a moment; panics with the reason once time is up.
    pub async fn pause(&self, reason: &str) {
        assert!(
            tokio::time::Instant::now() < self.deadline,
            "`{}` did not come true within {:?}: {reason}",
            self.condition,
            self.limit
        );
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    #[tokio::test(start_paused = true)]
    #[should_panic(expected = "`1 > 2` did not come true within 5s: still false")]
    async fn a_condition_that_never_holds_is_named() {
        eventually!(within Duration::from_secs(5), 1 > 2);
    }
}
