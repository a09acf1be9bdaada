//! TLS towards the backends of one service: whom they are taken for, who the gateway is to them, and in plain words what was
//! wrong when it comes to nothing.

use std::io;
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::crypto::ring;
use rustls::pki_types::ServerName;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{AlertDescription, CertificateError, ClientConfig, InvalidMessage, RootCertStore};
use shop_discovery::Protocol;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::stream::Wire;

/// What is agreed on by ALPN (RFC 7301).
const H2: &[u8] = b"h2";
const HTTP_1_1: &[u8] = b"http/1.1";

/// Who is believed, and who the gateway is.
pub(crate) struct Credentials {
    /// The authorities whose certificates are good.
    pub(crate) roots: Arc<RootCertStore>,
    /// What backends are shown that ask for a certificate.
    pub(crate) identity: Option<Arc<CertifiedKey>>,
}

/// TLS towards the backends of one service.
pub(crate) struct Tls {
    /// Whom certificates have to be for, instead of the host.
    name: Option<String>,
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
    /// With `credentials`, or without any for the reason that is said there. `name` is whom certificates have to be for,
    /// instead of the host that is called.
    pub(crate) fn new(name: Option<String>, credentials: Result<Credentials, String>) -> Self {
        Self { name, connectors: ArcSwap::from_pointee(credentials.and_then(|found| Connectors::new(&found))) }
    }

    /// From now on new connections are made with these.
    pub(crate) fn replace(&self, credentials: &Credentials) -> Result<(), String> {
        self.connectors.store(Arc::new(Ok(Connectors::new(credentials)?)));
        Ok(())
    }

    /// What a handshake with the backend at `host` needs; an error is [`is_unusable`].
    pub(super) fn ready<'a>(&'a self, host: &'a str, protocol: Protocol) -> io::Result<Ready<'a>> {
        let name = self.name.as_deref().unwrap_or(host);
        let connector = match &**self.connectors.load() {
            Ok(Connectors { http, grpc }) => match protocol {
                Protocol::Http => http.clone(),
                Protocol::Grpc => grpc.clone(),
            },
            Err(why) => return Err(io::Error::other(TlsUnusable(why.clone()))),
        };
        let server = ServerName::try_from(name.to_owned()).map_err(|_| {
            io::Error::other(TlsUnusable(format!("no certificate can be for {name}; set tls.server_name")))
        })?;
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
    fn new(credentials: &Credentials) -> Result<Self, String> {
        let connector = |protocol: &[u8]| {
            let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
                .with_safe_default_protocol_versions()
                .map_err(|error| error.to_string())?
                .with_root_certificates(Arc::clone(&credentials.roots));
            let mut config = match &credentials.identity {
                Some(identity) => {
                    let identity = SingleCertAndKey::from(CertifiedKey::clone(identity));
                    builder.with_client_cert_resolver(Arc::new(identity))
                }
                None => builder.with_no_client_auth(),
            };
            config.alpn_protocols = vec![protocol.to_vec()];
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
    match of_tls(error)? {
        rustls::Error::AlertReceived(alert) => of_alert(*alert),
        _ => None,
    }
}

fn of_tls(error: &io::Error) -> Option<&rustls::Error> {
    error.get_ref()?.downcast_ref()
}

fn in_words(error: &rustls::Error, name: &str) -> String {
    use CertificateError as Bad;
    match error {
        rustls::Error::InvalidCertificate(why) => match why {
            Bad::Expired | Bad::ExpiredContext { .. } => "the backend's certificate has expired".to_owned(),
            Bad::NotValidYet | Bad::NotValidYetContext { .. } => {
                "the backend's certificate is not valid yet".to_owned()
            }
            Bad::NotValidForName | Bad::NotValidForNameContext { .. } => {
                format!("the backend's certificate is not for {name}; set tls.server_name to a name that it is for")
            }
            // Another authority of the same name has signed it.
            Bad::UnknownIssuer | Bad::BadSignature => {
                "the backend's certificate is of no authority that is trusted here; name its file in tls.ca_file"
                    .to_owned()
            }
            other => format!("the backend's certificate is not valid: {other}"),
        },
        rustls::Error::InvalidMessage(InvalidMessage::InvalidContentType) => {
            "the backend does not speak TLS".to_owned()
        }
        rustls::Error::AlertReceived(AlertDescription::NoApplicationProtocol)
        | rustls::Error::NoApplicationProtocol => {
            "the backend does not offer the protocol by ALPN: http/1.1 for urls, h2 for grpc_urls".to_owned()
        }
        rustls::Error::AlertReceived(alert) => {
            of_alert(*alert).unwrap_or_else(|| format!("the backend broke off the TLS handshake: {alert:?}"))
        }
        other => format!("the TLS handshake failed: {other}"),
    }
}

fn of_alert(alert: AlertDescription) -> Option<String> {
    use AlertDescription as Alert;
    match alert {
        Alert::CertificateRequired | Alert::NoCertificate => Some(
            "the backend wants a certificate of the gateway's; name one in tls.cert_file and tls.key_file".to_owned(),
        ),
        Alert::BadCertificate
        | Alert::UnsupportedCertificate
        | Alert::CertificateRevoked
        | Alert::CertificateExpired
        | Alert::CertificateUnknown
        | Alert::UnknownCA
        | Alert::AccessDenied => Some(format!("the backend does not take the gateway's certificate: {alert:?}")),
        _ => None,
    }
}
