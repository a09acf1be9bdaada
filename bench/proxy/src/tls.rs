//! TLS 1.3 towards the proxies, with one certificate for all of them.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use anyhow::ensure;
use rustls::client::Resumption;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::version::TLS13;
use rustls::{ClientConfig, HandshakeKind, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::scenario::Opens;

/// Whose certificate it is.
const HOST: &str = "shop.example";
/// After so many connections nearly all have a session to go on with.
const SETTLED: usize = 200;

/// The certificate that all proxies show.
pub(crate) fn cert_file(dir: &Path) -> PathBuf {
    dir.join("cert.pem")
}

/// Its key (P-256), under the name by which `HAProxy` looks for it.
pub(crate) fn key_file(dir: &Path) -> PathBuf {
    dir.join("cert.pem.key")
}

/// Makes both in `dir`.
pub(crate) fn make(dir: &Path) -> anyhow::Result<()> {
    let made = rcgen::generate_simple_self_signed([HOST.to_owned()])?;
    std::fs::write(cert_file(dir), made.cert.pem())?;
    std::fs::write(key_file(dir), made.signing_key.serialize_pem())?;
    Ok(())
}

/// A client that trusts this certificate alone.
#[derive(Clone)]
pub(crate) struct Client {
    connector: TlsConnector,
    opens: Opens,
    opened: Arc<AtomicUsize>,
    resumed: Arc<AtomicUsize>,
}

impl Client {
    /// One that remembers sessions only if they are to be resumed.
    pub(crate) fn new(dir: &Path, opens: Opens) -> anyhow::Result<Self> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(cert_file(dir))?)?;
        let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(&[&TLS13])?
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        config.resumption = match opens {
            Opens::Resumed => Resumption::in_memory_sessions(1024),
            Opens::Once | Opens::Anew => Resumption::disabled(),
        };
        let connector = TlsConnector::from(Arc::new(config));
        Ok(Self { connector, opens, opened: Arc::default(), resumed: Arc::default() })
    }

    /// Over `stream`. A proxy that does not resume sessions does not do what is measured.
    pub(crate) async fn shake_hands(&self, stream: TcpStream) -> anyhow::Result<TlsStream<TcpStream>> {
        let stream = self.connector.connect(ServerName::try_from(HOST)?, stream).await?;
        let opened = self.opened.fetch_add(1, Relaxed) + 1;
        if stream.get_ref().1.handshake_kind() == Some(HandshakeKind::Resumed) {
            self.resumed.fetch_add(1, Relaxed);
        }
        let resumed = self.resumed.load(Relaxed);
        let is_fine = self.opens != Opens::Resumed || opened < SETTLED || resumed * 10 >= opened * 8;
        ensure!(is_fine, "{resumed} of {opened} connections resumed a session");
        Ok(stream)
    }
}
