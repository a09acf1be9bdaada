//! Taking a port to listen on. One that no listener has is waited for: it will be free again by itself.

use std::io::{ErrorKind, Result};
use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::time::{Instant, sleep};

use crate::holder::{Holder, holders};

/// Connections waiting to be accepted: a burst of this size is not refused.
const BACKLOG: i32 = 1024;
/// How long a port is waited for. Linux keeps the port of a closed connection for a minute, and may be 2 s late.
const PATIENCE: Duration = Duration::from_secs(62);
/// From one try to the next.
const PAUSE: Duration = Duration::from_millis(500);

/// Takes `addr`; port 0 is any that is free. `setting` is what to change when that fails, such as `http.port (PORT)`.
///
/// A port that only connections have (any program's outgoing one may have got it, and keeps it for a minute after its end) is
/// waited for, a minute at most, and the log says for what. One that a listener has is an error at once, which names its
/// program where the system tells. Where it does not (outside Linux), nothing is waited for.
///
/// The socket has `TCP_NODELAY` (accepted ones inherit it: a small answer must not wait for an ack) and does not block.
pub async fn listen(addr: SocketAddr, setting: &str) -> anyhow::Result<TcpListener> {
    patiently(addr, setting, || {
        let socket = socket(addr, false)?;
        socket.listen(BACKLOG)?;
        Ok(socket.into())
    })
    .await
}

/// The same for `count` listeners on one address, among which the kernel spreads connections.
pub async fn listen_shared(addr: SocketAddr, count: usize, setting: &str) -> anyhow::Result<Vec<TcpListener>> {
    let one = |addr: SocketAddr| -> Result<TcpListener> {
        let socket = socket(addr, true)?;
        socket.listen(BACKLOG)?;
        Ok(socket.into())
    };
    patiently(addr, setting, || {
        if addr.port() != 0 {
            // Another process of the same user could share the port unnoticed: an exclusive socket finds out.
            drop(socket(addr, false)?);
        }
        let first = one(addr)?;
        let addr = first.local_addr()?;
        std::iter::once(Ok(first)).chain((1..count).map(|_| one(addr))).collect()
    })
    .await
}

fn socket(addr: SocketAddr, shared: bool) -> Result<Socket> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
    // Connections accepted by whoever listened here before stay for a minute, and so may those of `dial`.
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(shared)?;
    socket.set_tcp_nodelay(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&addr.into())?;
    Ok(socket)
}

async fn patiently<T>(addr: SocketAddr, setting: &str, open: impl Fn() -> Result<T>) -> anyhow::Result<T> {
    let port = addr.port();
    let begun = Instant::now();
    let mut told = false;
    loop {
        let error = match open() {
            Ok(opened) => {
                if told {
                    tracing::info!(port, setting, "port {port} is free, after {:.1?}", begun.elapsed());
                }
                return Ok(opened);
            }
            Err(error) => error,
        };
        let why = match error.kind() {
            ErrorKind::AddrInUse => match holders(addr) {
                None => format!("port {port} is already in use; free it or choose another with {setting}"),
                Some(found) if found.first().is_some_and(Holder::listens) => {
                    format!(
                        "port {port} is already in use: {}; stop it or choose another port with {setting}",
                        said(&found)
                    )
                }
                Some(found) if begun.elapsed() < PATIENCE => {
                    if !told {
                        let (by, wait) = (said(&found), PATIENCE.as_secs());
                        tracing::warn!(
                            port,
                            setting,
                            "waiting for port {port} of {setting}, {wait} s at most: it is held by {by}"
                        );
                        told = true;
                    }
                    sleep(PAUSE).await;
                    continue;
                }
                Some(found) => format!(
                    "port {port} is still in use after a minute: held by {}; end that, or choose another port with \
                     {setting}. Ports in net.ipv4.ip_local_reserved_ports are not given to outgoing connections",
                    said(&found)
                ),
            },
            ErrorKind::PermissionDenied => {
                format!("port {port} needs more rights; choose one over 1023 with {setting}")
            }
            ErrorKind::AddrNotAvailable => {
                format!("{} is no address of this machine; check the host beside {setting}", addr.ip())
            }
            _ => format!("cannot listen on {addr}; check {setting}"),
        };
        return Err(anyhow::Error::new(error).context(why));
    }
}

/// The first of them, and how many more there are.
fn said(found: &[Holder]) -> String {
    match found {
        [] => "a socket that neither listens nor is connected".to_owned(),
        [one] => one.to_string(),
        [first, more @ ..] => format!("{first}, and {} more", more.len()),
    }
}

#[cfg(test)]
mod tests;
