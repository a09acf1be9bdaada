//! Connections over TLS for clients that take a connector, such as those of gRPC.

use std::error::Error;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::Uri;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_rustls::{HttpsConnector, MaybeHttpsStream};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tower::Service;

use crate::client::Client;
use crate::name::Name;
use crate::trouble::{Peer, Trouble};

/// The longest that connecting takes, handshake included: who takes connections and says nothing must not keep calls waiting that
/// another one would answer.
const LONGEST: Duration = Duration::from_secs(5);

type BoxError = Box<dyn Error + Send + Sync>;

/// Makes connections over TLS to one server. Why there is none is said in the log, once until there is one or the reason is
/// another, and in the error.
#[derive(Clone)]
pub struct Connector {
    tcp: HttpConnector,
    client: Arc<Client>,
    telling: Arc<Telling>,
}

/// Tells what is wrong with one server, once.
struct Telling {
    peer: Peer,
    told: Mutex<Option<Trouble>>,
}

/// A connection over TLS. What the other says of our certificate it says after the handshake (TLS 1.3).
pub struct Encrypted {
    inner: MaybeHttpsStream<TokioIo<TcpStream>>,
    /// Until the other said something else.
    telling: Option<Arc<Telling>>,
}

impl Connector {
    /// To the server that `peer` is about.
    pub fn new(tcp: HttpConnector, client: Client, peer: Peer) -> Self {
        Self { tcp, client: Arc::new(client), telling: Arc::new(Telling { peer, told: Mutex::default() }) }
    }
}

impl Service<Uri> for Connector {
    type Response = Encrypted;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Encrypted, BoxError>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.tcp.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, to: Uri) -> Self::Future {
        let Self { tcp, client, telling } = self.clone();
        Box::pin(async move {
            let name = match client.name() {
                Some(Name::Host(name)) => Some(name.clone()),
                Some(Name::Workload(_)) | None => None,
            };
            let config = tokio::task::spawn_blocking(move || client.config()).await?;
            let resolver = move |uri: &Uri| match &name {
                Some(name) => Ok(name.clone()),
                None => host(uri),
            };
            let connecting = HttpsConnector::new(tcp, config, true, Arc::new(resolver)).call(to);
            let connected = timeout(LONGEST, connecting).await.unwrap_or_else(|_| {
                let words = format!("{} did not shake hands within {LONGEST:?}", telling.peer.place);
                Err(io::Error::new(io::ErrorKind::TimedOut, words).into())
            });
            match connected {
                Ok(inner) => Ok(Encrypted { inner, telling: Some(telling) }),
                Err(error) => Err(match Trouble::find(&*error) {
                    Some(trouble) => telling.tell(&trouble).into(),
                    None => error,
                }),
            }
        })
    }
}

fn host(uri: &Uri) -> Result<ServerName<'static>, BoxError> {
    let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
    Ok(ServerName::try_from(host.to_owned())?)
}

impl Telling {
    /// The sentence for an error; a warning, too, if it is news.
    fn tell(&self, trouble: &Trouble) -> String {
        let sentence = trouble.sentence(&self.peer);
        if self.told.lock().replace(trouble.clone()).as_ref() != Some(trouble) {
            tracing::warn!("there is no TLS: {sentence}");
        }
        sentence
    }

    fn is_well(&self) {
        if self.told.lock().take().is_some() {
            tracing::info!("there is TLS with {} again", self.peer.place);
        }
    }
}

impl Read for Encrypted {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        let read = Pin::new(&mut self.inner).poll_read(cx, buf);
        let Poll::Ready(done) = read else { return Poll::Pending };
        let Some(telling) = self.telling.take() else { return Poll::Ready(done) };
        Poll::Ready(done.inspect(|()| telling.is_well()).map_err(|error| match Trouble::find(&error) {
            Some(trouble) => io::Error::other(telling.tell(&trouble)),
            None => error,
        }))
    }
}

impl Write for Encrypted {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(cx, bufs)
    }
}
