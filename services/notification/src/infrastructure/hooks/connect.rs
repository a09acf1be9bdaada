//! Connections to receivers. Whatever a name leads to is judged, and then exactly that is connected to: there is no
//! second look-up between the two, so a name that changes its mind gains nothing.

use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use async_trait::async_trait;
use http::Uri;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;
use tower::Service;

use crate::domain::Reach;

/// More addresses than a receiver has any use for are not tried.
const MAX_ADDRESSES: usize = 8;

type BoxError = Box<dyn std::error::Error + Send + Sync>;
type Connecting<T, E> = Pin<Box<dyn Future<Output = Result<T, E>> + Send>>;

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub(super) enum Trouble {
    /// The name is not known, or nobody can be asked.
    #[error("the name could not be looked up")]
    Lookup(#[source] io::Error),
    /// Everything behind the name is out of reach for webhooks.
    #[error("the name leads to no public address")]
    Refused,
    /// No address took the connection; this is what the last one said.
    #[error("could not connect")]
    Dial(#[source] io::Error),
    /// It took too long.
    #[error("connecting took too long")]
    Slow,
}

/// Names and addresses, as the system knows them.
#[async_trait]
pub(super) trait Network: Send + Sync {
    /// The addresses of `name`.
    async fn lookup(&self, name: &str) -> io::Result<Vec<IpAddr>>;

    /// A connection to exactly that address.
    async fn dial(&self, address: SocketAddr) -> io::Result<TcpStream>;
}

/// The network of this machine.
pub(super) struct Internet;

#[async_trait]
impl Network for Internet {
    async fn lookup(&self, name: &str) -> io::Result<Vec<IpAddr>> {
        Ok(lookup_host((name, 0)).await?.map(|address| address.ip()).collect())
    }

    async fn dial(&self, address: SocketAddr) -> io::Result<TcpStream> {
        shop_runtime::dial(address).await
    }
}

/// Lets connections through to addresses in reach, and no others.
#[derive(Clone)]
pub(super) struct Gate {
    network: Arc<dyn Network>,
    reach: Reach,
    patience: Duration,
}

impl std::fmt::Debug for Gate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Gate").field("reach", &self.reach).finish_non_exhaustive()
    }
}

impl Gate {
    /// Connects by `network` as far as `reach` allows; the addresses of a name share `patience`.
    pub(super) fn new(network: Arc<dyn Network>, reach: Reach, patience: Duration) -> Self {
        Self { network, reach, patience }
    }

    async fn connect(self, uri: Uri) -> Result<TokioIo<TcpStream>, Trouble> {
        let host = uri.host().unwrap_or_default();
        let plain = uri.scheme() == Some(&http::uri::Scheme::HTTP);
        let port = uri.port_u16().unwrap_or(if plain { 80 } else { 443 });
        let addresses = self.addresses(host).await?;
        let share = self.patience / u32::try_from(addresses.len()).unwrap_or(1).max(1);
        let mut last = Trouble::Slow;
        for ip in addresses {
            match timeout(share, self.network.dial(SocketAddr::new(ip, port))).await {
                Ok(Ok(stream)) => return Ok(TokioIo::new(stream)),
                Ok(Err(error)) => last = Trouble::Dial(error),
                Err(_) => last = Trouble::Slow,
            }
        }
        Err(last)
    }

    /// What may be connected to for `host`, an address or a name.
    async fn addresses(&self, host: &str) -> Result<Vec<IpAddr>, Trouble> {
        let mut found = match host.trim_matches(['[', ']']).parse() {
            Ok(ip) => vec![ip],
            Err(_) => self.network.lookup(host).await.map_err(Trouble::Lookup)?,
        };
        if found.is_empty() {
            return Err(Trouble::Lookup(io::ErrorKind::NotFound.into()));
        }
        found.retain(|ip| self.reach.allows(*ip));
        found.truncate(MAX_ADDRESSES);
        if found.is_empty() { Err(Trouble::Refused) } else { Ok(found) }
    }
}

impl Service<Uri> for Gate {
    type Response = TokioIo<TcpStream>;
    type Error = Trouble;
    type Future = Connecting<Self::Response, Trouble>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Trouble>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        Box::pin(self.clone().connect(uri))
    }
}

/// A connector whose connections, TLS included, are there in time or not at all. The client may go on connecting after
/// the message that asked for it found another way.
#[derive(Debug, Clone)]
pub(super) struct Bounded<C> {
    inner: C,
    patience: Duration,
}

impl<C> Bounded<C> {
    pub(super) fn new(inner: C, patience: Duration) -> Self {
        Self { inner, patience }
    }
}

impl<C> Service<Uri> for Bounded<C>
where
    C: Service<Uri, Error = BoxError>,
    C::Future: Send + 'static,
{
    type Response = C::Response;
    type Error = BoxError;
    type Future = Connecting<C::Response, BoxError>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let (connecting, patience) = (self.inner.call(uri), self.patience);
        Box::pin(async move { timeout(patience, connecting).await.unwrap_or_else(|_| Err(Trouble::Slow.into())) })
    }
}
