//! The server on a listening socket: HTTP/1.1 and HTTP/2 on one port, in cleartext or over TLS, drained on stop.

use std::sync::Arc;

use anyhow::Context;
use salvo::conn::tcp::TcpAcceptor;
use salvo::fuse::FuseConfig;
use salvo::{Server, Service};
use shop_config::Http;
use shop_runtime::{CancellationToken, Shutdown};

use crate::accept::Stoppable;

/// Largest request head: browsers and proxies stay under 16 KiB; more is an attack or a mistake.
const MAX_HEAD: usize = 64 * 1024;

/// Most lines of a request's head: the hundred that our gateway takes, and room for those that it and other proxies add.
const MAX_LINES: usize = 128;

/// Streams at once on one HTTP/2 connection.
const MAX_STREAMS: u32 = 256;

/// Serves, over `tls` if there is any, until the soft stop and for [`Http::linger`] more, then lets running requests finish; the hard stop ends them.
pub async fn serve(
    listener: std::net::TcpListener,
    tls: Option<Arc<shop_tls::Server>>,
    service: Service,
    settings: &Http,
    shutdown: Shutdown,
) -> anyhow::Result<()> {
    let listener = tokio::net::TcpListener::from_std(listener).context("cannot watch the listening socket")?;
    let inner = TcpAcceptor::try_from(listener).context("cannot accept on the listening socket")?;
    let closing = CancellationToken::new();
    let head = settings.header_timeout.get();
    let mut server = Server::new(Stoppable { inner, tls, stop: closing.clone(), head }).fuse_config(fuse(settings));
    server.http1_mut().max_buf_size(MAX_HEAD).max_headers(MAX_LINES);
    server
        .http2_mut()
        .max_concurrent_streams(MAX_STREAMS)
        .max_header_list_size(u32::try_from(MAX_HEAD).unwrap_or(u32::MAX));
    let handle = server.handle();
    let serving = server.try_serve(service);
    tokio::pin!(serving);
    tokio::select! {
        ended = &mut serving => return ended.context("the HTTP server failed"),
        () = shutdown.soft.cancelled() => {}
    }
    tokio::select! {
        ended = &mut serving => return ended.context("the HTTP server failed"),
        () = tokio::time::sleep(settings.linger.get()) => {}
        () = shutdown.hard.cancelled() => {}
    }
    closing.cancel();
    handle.stop_graceful(None);
    tokio::select! {
        ended = &mut serving => ended.context("the HTTP server failed"),
        () = shutdown.hard.cancelled() => {
            handle.stop_forceful();
            serving.await.context("the HTTP server failed")
        }
    }
}

/// Time limits on connections: slow heads, slow bodies and idle sockets must not pile up.
fn fuse(settings: &Http) -> FuseConfig {
    let handler = settings.timeout.get();
    // While a handler works nothing moves on the socket, so the idle limit has to be longer than the handler's.
    let idle = settings.idle_timeout.get().max(handler.saturating_add(settings.header_timeout.get()));
    FuseConfig::default()
        // Also the time a kept connection may wait for its next request; the first head's own limit is `Stoppable`'s.
        .with_http1_header_timeout(settings.idle_timeout.get())
        .with_request_body_timeout(handler)
        .with_write_stall_timeout(handler)
        .with_connection_idle_timeout(idle)
}
