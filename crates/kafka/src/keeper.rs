//! What a bus does by itself beside publishing and reading: it keeps its token fresh, and its clients at what files hold. On a
//! thread of its own, so that it goes on whatever the runtimes of the process are at, and ends with the bus.

use std::convert::Infallible;
use std::future::pending;
use std::sync::{Arc, Weak};
use std::time::Duration;

use anyhow::Context as _;
use tokio::runtime;

use crate::client::Link;
use crate::files::Files;
use crate::tokens::Source;

/// How often files are looked at, as often as those of listeners. Certificates are replaced days before they expire.
const LOOK: Duration = Duration::from_secs(10);

/// Starts what this link wants, if it wants anything; until nobody uses it any more. Nobody waits for the end.
pub(crate) fn start(link: &Arc<Link>, files: Option<Files>) -> anyhow::Result<()> {
    let source = Source::of(&link.settings)?;
    if source.is_none() && files.is_none() {
        return Ok(());
    }
    let (availability, ended, link) = (link.availability.clone(), link.ended.clone(), Arc::downgrade(link));
    let runtime = runtime::Builder::new_current_thread().enable_all().build().context("no runtime for kafka")?;
    let work = async move {
        // A producer would ask, too, but in its own time: after a token that it could not get, in 10 s.
        let renewed = || {
            if let Some(link) = link.upgrade() {
                link.hand_on_token();
            }
        };
        let keep_token = async {
            match source {
                Some(source) => source.keep(&availability, renewed).await,
                None => pending().await,
            }
        };
        tokio::select! {
            () = ended.cancelled() => {}
            never = keep_token => match never {},
            never = keep_files(files, link.clone()) => match never {},
        }
    };
    let started = std::thread::Builder::new().name("kafka".to_owned()).spawn(move || {
        runtime.block_on(work);
        // A look-up of a name that does not come back is not waited for.
        runtime.shutdown_background();
    });
    started.map(drop).context("no thread for kafka")
}

async fn keep_files(files: Option<Files>, link: Weak<Link>) -> Infallible {
    let Some(files) = files else { return pending().await };
    let look = move || {
        if let Some(link) = link.upgrade() {
            files.look(&link);
        }
    };
    shop_tls::watch(LOOK, look).await
}
