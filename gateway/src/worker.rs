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
use crate::tls::Tls;

/// Connections waiting to be accepted: a burst of this size is not refused.
const BACKLOG: i32 = 1024;
/// After the last request, how long connections get to take the end of their answers.
const FLUSH: Duration = Duration::from_millis(500);

/// `count` listeners on one address, among which the kernel spreads connections.
///
/// `setting` is what to change when the port cannot be had.
pub(crate) fn bind(addr: SocketAddr, count: usize, setting: &str) -> anyhow::Result<Vec<TcpListener>> {
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
                format!("port {port} is already in use; free it or choose another with {setting}")
            }
            ErrorKind::PermissionDenied => {
                format!("port {port} needs more rights; choose one over 1023 with {setting}")
            }
            _ => format!("cannot listen on {addr}; check http.host and {setting}"),
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

/// What one worker listens on.
pub(crate) struct Listeners {
    pub(crate) cleartext: TcpListener,
    pub(crate) encrypted: Option<TcpListener>,
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
    listeners: Listeners,
    tls: Option<Arc<Tls>>,
    stop: Stop,
) -> anyhow::Result<oneshot::Receiver<()>> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start a worker's runtime")?;
    let worker = Worker::new(Arc::clone(shared), index);
    let (done, ended) = oneshot::channel();
    let work = move || {
        let served = runtime.block_on(serve(worker, listeners, tls, stop));
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

async fn serve(worker: Arc<Worker>, listeners: Listeners, tls: Option<Arc<Tls>>, stop: Stop) -> anyhow::Result<()> {
    let watched = |listener| tokio::net::TcpListener::from_std(listener).context("cannot watch a listening socket");
    let Listeners { cleartext, encrypted } = listeners;
    let cleartext = watched(cleartext)?;
    let encrypted = encrypted.map(watched).transpose()?;
    crate::spawn(Arc::clone(&worker).sweep());
    crate::spawn(Arc::clone(&worker).accept(cleartext, None, stop.end.clone()));
    if let Some(encrypted) = encrypted {
        crate::spawn(Arc::clone(&worker).accept(encrypted, tls, stop.end.clone()));
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
