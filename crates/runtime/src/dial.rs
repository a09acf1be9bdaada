//! Outgoing connections that stand in no listener's way.

use std::io::{Error, ErrorKind, Result};
use std::net::SocketAddr;

use tokio::net::{TcpSocket, TcpStream, ToSocketAddrs, lookup_host};

/// `EMFILE`, `ENFILE` and `ENOBUFS`, for which the standard library has no kinds.
const SHORTAGES: [i32; 3] = [24, 23, if cfg!(any(target_os = "linux", target_os = "android")) { 105 } else { 55 }];

/// Whether no connection could be made because this machine ran out of something: descriptors, ports, memory. It says nothing
/// about the other end.
pub fn is_shortage(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::AddrNotAvailable | ErrorKind::OutOfMemory)
        || error.raw_os_error().is_some_and(|number| SHORTAGES.contains(&number))
}

/// Connects to the first address that takes it, with `TCP_NODELAY`.
///
/// The kernel takes the near end's port out of a range that some of our own ports lie in. `SO_REUSEADDR` on both sides lets
/// [`listen`](crate::listen()) have such a port nevertheless, while this connection is open and in the minute after. A
/// connection that met itself, as happens on loopback while nobody listens, is refused. As the port is taken only when the far
/// end is known, the same one serves for connections to many.
///
/// # Errors
///
/// When no address takes it: what the last one said, or the last one that was tried at all.
pub async fn dial(to: impl ToSocketAddrs) -> Result<TcpStream> {
    let mut failed: Option<Error> = None;
    for address in lookup_host(to).await? {
        match one(address).await {
            Ok(stream) => return Ok(stream),
            // Where a machine has no IPv6, its own lack must not hide what the other address said.
            Err(error) if is_shortage(&error) && failed.is_some() => {}
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

    #[test]
    fn what_this_machine_lacks_is_told_from_what_the_other_end_says() {
        use rustix::io::Errno;
        for lack in [Errno::MFILE, Errno::NFILE, Errno::ADDRNOTAVAIL, Errno::NOBUFS, Errno::NOMEM] {
            assert!(is_shortage(&lack.into()), "{lack:?}");
        }
        for said in [Errno::CONNREFUSED, Errno::CONNRESET, Errno::TIMEDOUT, Errno::HOSTUNREACH, Errno::NETUNREACH] {
            assert!(!is_shortage(&said.into()), "{said:?}");
        }
        assert!(!is_shortage(&ErrorKind::ConnectionRefused.into()));
    }

    #[tokio::test]
    async fn a_port_without_a_listener_refuses() {
        let free = TcpListener::bind("127.0.0.1:0").await.expect("a free port").local_addr().expect("bound");
        assert_eq!(dial(free).await.expect_err("nobody there").kind(), ErrorKind::ConnectionRefused);
    }
}
