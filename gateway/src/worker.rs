//! The gateway's threads: one runtime per core with a listener and connections of its own, so that a request never
//! crosses from core to core. One runtime over all cores costs a quarter to a third more CPU per request.

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use shop_runtime::CancellationToken;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::sync::oneshot;

use crate::front::Worker;
use crate::shared::Shared;

/// Connections waiting to be accepted: a burst of this size is not refused.
const BACKLOG: i32 = 1024;
/// After the last request, how long connections get to take the end of their answers.
const FLUSH: Duration = Duration::from_millis(500);

/// `count` listeners on one address, among which the kernel spreads connections.
pub(crate) fn bind(addr: SocketAddr, count: usize) -> anyhow::Result<Vec<TcpListener>> {
    let all = || -> std::io::Result<Vec<TcpListener>> {
        if addr.port() != 0 {
            // Another process of ours could share the port unnoticed: an exclusive socket finds out.
            drop(listen(addr, false)?);
        }
        let first = listen(addr, true)?;
        let addr = first.local_addr()?;
        std::iter::once(Ok(first)).chain((1..count).map(|_| listen(addr, true))).collect::<std::io::Result<Vec<_>>>()
    };
    all().map_err(|error| {
        let port = addr.port();
        let why = match error.kind() {
            ErrorKind::AddrInUse => {
                format!("port {port} is already in use; free it or choose another with http.port (PORT)")
            }
            ErrorKind::PermissionDenied => {
                format!("port {port} needs more rights; choose one over 1023 with http.port (PORT)")
            }
            _ => format!("cannot listen on {addr}; check http.host and http.port (PORT)"),
        };
        anyhow::Error::new(error).context(why)
    })
}

fn listen(addr: SocketAddr, shared: bool) -> std::io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(shared)?;
    socket.set_nonblocking(true)?;
    socket.bind(&addr.into())?;
    if shared {
        socket.listen(BACKLOG)?;
    }
    Ok(socket.into())
}

/// When workers let go.
#[derive(Clone, Default)]
pub(crate) struct Stop {
    /// Connections end with the request they are serving.
    pub(crate) finish: CancellationToken,
    /// Everything ends.
    pub(crate) end: CancellationToken,
}

/// Starts the thread of worker `index`; the receiver fails if the thread dies.
pub(crate) fn start(
    shared: &Arc<Shared>,
    index: usize,
    listener: TcpListener,
    stop: Stop,
) -> anyhow::Result<oneshot::Receiver<()>> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start a worker's runtime")?;
    let worker = Worker::new(Arc::clone(shared), index);
    let (done, ended) = oneshot::channel();
    let work = move || {
        let served = runtime.block_on(serve(worker, listener, stop));
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

async fn serve(worker: Arc<Worker>, listener: TcpListener, stop: Stop) -> anyhow::Result<()> {
    let listener = tokio::net::TcpListener::from_std(listener).context("cannot watch the listening socket")?;
    crate::spawn(Arc::clone(&worker).sweep());
    crate::spawn(Arc::clone(&worker).accept(listener, stop.end.clone()));
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
