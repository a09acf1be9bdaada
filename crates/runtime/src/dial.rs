//! Outgoing connections that stand in no listener's way.

use std::io::{Error, ErrorKind, Result};
use std::net::SocketAddr;

use tokio::net::{TcpSocket, TcpStream, ToSocketAddrs, lookup_host};

/// Connects to the first address that takes it, with `TCP_NODELAY`.
///
/// The kernel takes the near end's port out of a range that some of our own ports lie in. `SO_REUSEADDR` on both sides lets
/// [`listen`](crate::listen()) have such a port nevertheless, while this connection is open and in the minute after. A
/// connection that met itself, as happens on loopback while nobody listens, is refused.
pub async fn dial(to: impl ToSocketAddrs) -> Result<TcpStream> {
    let mut failed = None;
    for address in lookup_host(to).await? {
        match one(address).await {
            Ok(stream) => return Ok(stream),
            Err(error) => failed = Some(error),
        }
    }
    Err(failed.unwrap_or_else(|| Error::new(ErrorKind::NotFound, "the name has no address")))
}

async fn one(address: SocketAddr) -> Result<TcpStream> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_reuseaddr(true)?;
    socket.set_nodelay(true)?;
    let stream = socket.connect(address).await?;
    if stream.local_addr()? == stream.peer_addr()? {
        return Err(ErrorKind::ConnectionRefused.into());
    }
    Ok(stream)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpListener;

    #[tokio::test]
    async fn a_listener_can_have_the_port_of_a_connection_that_is_open_or_was_just_closed() {
        let far = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let near = dial(far.local_addr().expect("bound")).await.expect("connects");
        let port = near.local_addr().expect("connected");
        let (taken, _) = far.accept().await.expect("accepts");
        drop(crate::listen(port, "x").await.expect("while it is open"));
        // Who closes first keeps the port in TIME_WAIT.
        drop(near);
        drop(taken);
        drop(crate::listen(port, "x").await.expect("after it"));
    }

    #[tokio::test]
    async fn a_port_without_a_listener_refuses() {
        let free = TcpListener::bind("127.0.0.1:0").await.expect("a free port").local_addr().expect("bound");
        assert_eq!(dial(free).await.expect_err("nobody there").kind(), ErrorKind::ConnectionRefused);
    }
}
