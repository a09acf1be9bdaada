//! Keeping what is searched and sorted by folded as this version folds.

use std::sync::Arc;
use std::time::Duration;

use shop_runtime::CancellationToken;
use tokio::time::{Instant, sleep};

use crate::domain::{Result, Store};

/// How often to look. During a rolling upgrade the version before writes on; its products are found after this time.
const EVERY: Duration = Duration::from_secs(30);

/// Folds what another version wrote, until nothing is left or `patience` is over; how many products there were.
pub(crate) async fn fold(store: &dyn Store, patience: Duration) -> Result<usize> {
    let (give_up, mut folded) = (Instant::now() + patience, 0);
    loop {
        let some = store.refold().await?;
        folded += some;
        if some == 0 || Instant::now() >= give_up {
            return Ok(folded);
        }
    }
}

/// Folds what another version wrote, from time to time until `stop`, in small steps between the work of others.
pub(crate) async fn keep_folded(store: Arc<dyn Store>, stop: CancellationToken) {
    while !stop.is_cancelled() {
        let pause = match store.refold().await {
            Ok(0) => EVERY,
            Ok(products) => {
                tracing::debug!(products, "folded products that another version wrote");
                Duration::ZERO
            }
            Err(error) => {
                tracing::warn!(error = %error, "cannot fold products that another version wrote, trying again");
                EVERY
            }
        };
        // None when told to stop, which the loop sees.
        let _ = stop.run_until_cancelled(sleep(pause)).await;
    }
}
