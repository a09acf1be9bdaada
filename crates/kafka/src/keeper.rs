//! What a bus does by itself beside publishing and reading: it keeps its token fresh. On a thread of its own, so that it goes on
//! whatever the runtimes of the process are at, and ends with the bus.

use std::sync::Arc;

use anyhow::Context as _;
use tokio::runtime;

use crate::client::Link;
use crate::tokens::Source;

/// Starts what this link wants, if it wants anything; until nobody uses it any more. Nobody waits for the end.
pub(crate) fn start(link: &Arc<Link>) -> anyhow::Result<()> {
    let Some(source) = Source::of(&link.settings)? else { return Ok(()) };
    let (availability, ended, link) = (link.availability.clone(), link.ended.clone(), Arc::downgrade(link));
    let runtime = runtime::Builder::new_current_thread().enable_all().build().context("no runtime for kafka")?;
    let work = async move {
        // A producer would ask, too, but in its own time: after a token that it could not get, in 10 s.
        let renewed = || {
            if let Some(link) = link.upgrade() {
                link.hand_on_token();
            }
        };
        tokio::select! {
            () = ended.cancelled() => {}
            never = source.keep(&availability, renewed) => match never {},
        }
    };
    let started = std::thread::Builder::new().name("kafka".to_owned()).spawn(move || {
        runtime.block_on(work);
        // A look-up of a name that does not come back is not waited for.
        runtime.shutdown_background();
    });
    started.map(drop).context("no thread for kafka")
}
