//! TLS towards the backends of one service: whom they are taken for, who the gateway is to them, and in plain words what was
//! wrong when it comes to nothing.

use std::io;
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::pki_types::ServerName;
use shop_discovery::Protocol;
use shop_tls::{Credentials, H2, HTTP_1_1, Name, Peer, Trouble};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::stream::Wire;

/// TLS towards the backends of one service.
pub(crate) struct Tls {
    /// Whom certificates have to be for, instead of the host.
    name: Option<Name>,
    /// As the settings have it.
    said: Option<String>,
    /// Or why there is none that could be used.
    connectors: ArcSwap<Result<Connectors, String>>,
}

/// One for each protocol.
struct Connectors {
    http: TlsConnector,
    grpc: TlsConnector,
}

/// There is no TLS with a backend.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct TlsFailed(String);

/// There is none with any, for a reason that is the gateway's own.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct TlsUnusable(String);

/// All that a handshake with one backend needs.
pub(super) struct Ready<'a> {
    connector: TlsConnector,
    server: ServerName<'static>,
    name: &'a str,
    protocol: Protocol,
}

impl Tls {
    /// With `credentials`, or without any for the reason that is said there. `said` is whom certificates have to be for,
    /// instead of the host that is called.
    pub(crate) fn new(said: Option<String>, credentials: Result<Credentials, String>) -> Self {
        let name = said.as_ref().map(|name| name.parse()).transpose();
        let (name, credentials) = match name {
            Ok(name) => (name, credentials),
            Err(error) => (None, Err(shop_tls::InvalidName::to_string(&error))),
        };
        let connectors = credentials.and_then(|found| Connectors::new(&found, name.as_ref()));
        Self { name, said, connectors: ArcSwap::from_pointee(connectors) }
    }

    /// From now on new connections are made with these.
    pub(crate) fn replace(&self, credentials: &Credentials) -> Result<(), String> {
        self.connectors.store(Arc::new(Ok(Connectors::new(credentials, self.name.as_ref())?)));
        Ok(())
    }

    /// What a handshake with the backend at `host` needs; an error is [`is_unusable`].
    pub(super) fn ready<'a>(&'a self, host: &'a str, protocol: Protocol) -> io::Result<Ready<'a>> {
        let name = self.said.as_deref().unwrap_or(host);
        let connector = match &**self.connectors.load() {
            Ok(Connectors { http, grpc }) => match protocol {
                Protocol::Http => http.clone(),
                Protocol::Grpc => grpc.clone(),
            },
            Err(why) => return Err(io::Error::other(TlsUnusable(why.clone()))),
        };
        let server = match &self.name {
            Some(Name::Host(name)) => name.clone(),
            Some(Name::Workload(_)) | None => ServerName::try_from(host.to_owned()).map_err(|_| {
                io::Error::other(TlsUnusable(format!("no certificate can be for {host}; set tls.server_name")))
            })?,
        };
        Ok(Ready { connector, server, name, protocol })
    }
}

impl Ready<'_> {
    /// Shakes hands with the backend over `stream`.
    pub(super) async fn shake(self, stream: Wire) -> io::Result<Box<TlsStream<Wire>>> {
        let Self { connector, server, name, protocol } = self;
        let stream = connector.connect(server, stream).await.map_err(|error| match of_tls(&error) {
            Some(cause) => failed(in_words(cause, name)),
            None if error.kind() == io::ErrorKind::UnexpectedEof => {
                failed("the backend closed the connection in the middle of the TLS handshake".to_owned())
            }
            None => error,
        })?;
        if protocol == Protocol::Grpc && stream.get_ref().1.alpn_protocol() != Some(H2) {
            return Err(failed("the backend does not offer h2 (ALPN), which gRPC needs".to_owned()));
        }
        Ok(Box::new(stream))
    }
}

impl Connectors {
    fn new(credentials: &Credentials, name: Option<&Name>) -> Result<Self, String> {
        let connector = |protocol: &[u8]| {
            let config = credentials.config(name, protocol).map_err(|error| error.to_string())?;
            Ok::<_, String>(TlsConnector::from(Arc::new(config)))
        };
        Ok(Self { http: connector(HTTP_1_1)?, grpc: connector(H2)? })
    }
}

fn failed(why: String) -> io::Error {
    io::Error::other(TlsFailed(why))
}

/// Whether no backend could be called over TLS, whichever it is.
pub(crate) fn is_unusable(error: &io::Error) -> bool {
    error.get_ref().is_some_and(<dyn std::error::Error + Send + Sync>::is::<TlsUnusable>)
}

/// Why there is no TLS, if that is what `error` says of an attempt to connect.
pub(super) fn failure(error: &io::Error) -> Option<&TlsFailed> {
    error.get_ref()?.downcast_ref()
}

/// Why the backend broke off, if it did not like the certificate that it was shown, or that there was none. In TLS 1.3 that
/// comes after the handshake, when a request may be on its way; nothing of that was seen to.
pub(super) fn refused(error: &io::Error) -> Option<String> {
    match Trouble::of(of_tls(error)?)? {
        trouble @ (Trouble::WantsOurs | Trouble::RefusesOurs(_)) => Some(trouble.sentence(&backend(""))),
        _ => None,
    }
}

fn of_tls(error: &io::Error) -> Option<&rustls::Error> {
    error.get_ref()?.downcast_ref()
}

fn in_words(error: &rustls::Error, name: &str) -> String {
    match (Trouble::of(error), error) {
        (Some(Trouble::OtherProtocol), _) => {
            "the backend does not offer the protocol by ALPN: http/1.1 for urls, h2 for grpc_urls".to_owned()
        }
        (Some(trouble), _) => trouble.sentence(&backend(name)),
        (None, rustls::Error::AlertReceived(alert)) => format!("the backend broke off the TLS handshake: {alert:?}"),
        (None, other) => format!("the TLS handshake failed: {other}"),
    }
}

/// A backend whose certificate has to be for `name`.
fn backend(name: &str) -> Peer {
    let rename = "set tls.server_name to a name that it is for";
    Peer { place: "the backend".to_owned(), name: name.to_owned(), rename, section: "tls" }
}
