//! What waits to be buried, for whoever asks how the bus is.

use std::collections::BTreeMap;

use parking_lot::Mutex;
use shop_events::BusError;

/// Messages that cannot be buried just now, and why: their keys wait until somebody helps.
#[derive(Debug, Default)]
pub(crate) struct Unburied(pub(crate) Mutex<BTreeMap<(String, i32, i64), String>>);

impl Unburied {
    /// What to tell whoever asks for the bus: one that stands for all.
    pub(crate) fn check(&self) -> Result<(), BusError> {
        let waiting = self.0.lock();
        let Some(((topic, partition, offset), error)) = waiting.first_key_value() else { return Ok(()) };
        Err(BusError::new(format!(
            "{} dead letters are not taken, such as {topic}/{partition}/{offset}: {error}",
            waiting.len()
        )))
    }
}
