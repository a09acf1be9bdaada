//! The gateway's threads: one runtime per core with a listener and connections of its own, so that a request never
//! crosses from core to core. One runtime over all cores costs a quarter to a third more CPU per request.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use shop_runtime::CancellationToken;
use tokio::sync::oneshot;

use crate::server::Worker;
use crate::server::crowd::Crowd;
use crate::server::doors::Listeners;
use crate::server::handler::Handler;
use crate::state::State;

/// After the last request, how long connections get to take the end of their answers.
const FLUSH: Duration = Duration::from_millis(500);

/// When workers let go.
#[derive(Clone, Default)]
pub(crate) struct Stop {
    /// Connections end with the request they are serving.
    pub(crate) finish: CancellationToken,
    /// Everything ends.
    pub(crate) end: CancellationToken,
}

/// Starts the thread of worker `index` of those of `crowd`, whose requests `handler` answers; the receiver fails if the thread dies.
pub(crate) fn start<H: Handler>(
    handler: &Arc<H>,
    state: &Arc<State>,
    crowd: &Arc<Crowd>,
    index: usize,
    listeners: Listeners,
    stop: Stop,
) -> anyhow::Result<oneshot::Receiver<()>> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start a worker's runtime")?;
    let worker = Worker::new(Arc::clone(handler), Arc::clone(state), Arc::clone(crowd), index);
    let (done, ended) = oneshot::channel();
    let work = move || {
        let served = runtime.block_on(serve(worker, listeners, stop));
        // Connections are dropped here, on the thread that owns them.
        drop(runtime);
        if served.is_ok() {
            // Nobody waits any more when the gateway itself is dropped.
            let _ = done.send(());
        }
    };
    std::thread::Builder::new().name(format!("gateway-{index}")).spawn(work).context("cannot start a worker")?;
    Ok(ended)
}

async fn serve<H: Handler>(worker: Arc<Worker<H>>, listeners: Listeners, stop: Stop) -> anyhow::Result<()> {
    let watched = |listener| tokio::net::TcpListener::from_std(listener).context("cannot watch a listening socket");
    shop_runtime::spawn_here(Arc::clone(&worker).sweep());
    for (listener, door) in listeners {
        shop_runtime::spawn_here(Arc::clone(&worker).accept(watched(listener)?, door, stop.end.clone()));
    }
    stop.finish.cancelled().await;
    worker.finish();
    stop.end.cancelled().await;
    worker.cut_tunnels();
    let flushed = async {
        while worker.open() > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    // Whoever has not taken its answer by now does not want it.
    let _ = tokio::time::timeout(FLUSH, flushed).await;
    Ok(())
}
