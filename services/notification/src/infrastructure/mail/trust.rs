//! Whose certificates are good.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::anyhow;
use lettre::transport::smtp::client::{Certificate, CertificateStore, TlsParameters, TlsParametersBuilder};
use parking_lot::Mutex;
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use shop_tls::AuthoritiesFile;

/// Of a server, by the authorities of a file, which is read again for each connection; where there is none, by public ones and
/// those that this machine trusts (`SSL_CERT_FILE`, `SSL_CERT_DIR`).
pub(super) struct Trust {
    parameters: Mutex<TlsParameters>,
    file: Option<Arc<File>>,
}

struct File {
    host: String,
    path: PathBuf,
    last: Mutex<AuthoritiesFile>,
}

impl Trust {
    pub(super) fn open(host: &str, file: Option<&PathBuf>) -> anyhow::Result<Self> {
        let Some(path) = file else {
            let known = rustls_native_certs::load_native_certs().certs.into_iter();
            // One that rustls cannot read would fail them all.
            let readable = known.filter(|der| RootCertStore::empty().add(der.clone()).is_ok());
            let found = parameters(host, CertificateStore::WebpkiRoots, readable)?;
            return Ok(Self { parameters: Mutex::new(found), file: None });
        };
        let read = AuthoritiesFile::read(path).map_err(|error| anyhow!("email.ca_file: {error}"))?;
        let file = File { host: host.to_owned(), path: path.clone(), last: Mutex::new(read) };
        let found = file.parameters().map_err(|error| anyhow!("email.ca_file: {error}"))?;
        Ok(Self { parameters: Mutex::new(found), file: Some(Arc::new(file)) })
    }

    /// What goes for a connection now.
    pub(super) async fn now(&self) -> TlsParameters {
        if let Some(file) = &self.file {
            let file = file.clone();
            // It may be on a network.
            if let Ok(Some(renewed)) = tokio::task::spawn_blocking(move || file.renewed()).await {
                *self.parameters.lock() = renewed;
            }
        }
        self.parameters.lock().clone()
    }
}

impl File {
    /// What goes since the file holds something else, if it can be used.
    fn renewed(&self) -> Option<TlsParameters> {
        // Somebody may be about to replace it.
        let found = AuthoritiesFile::read(&self.path).ok()?;
        {
            let mut last = self.last.lock();
            if *last == found {
                return None;
            }
            *last = found;
        }
        self.parameters().inspect_err(|error| tracing::warn!("email.ca_file stays as it was: {error}")).ok()
    }

    fn parameters(&self) -> anyhow::Result<TlsParameters> {
        let roots = self.last.lock().certificates(&self.path)?;
        parameters(&self.host, CertificateStore::None, roots)
    }
}

fn parameters(
    host: &str,
    store: CertificateStore,
    roots: impl IntoIterator<Item = CertificateDer<'static>>,
) -> anyhow::Result<TlsParameters> {
    let roots: Vec<_> = roots.into_iter().map(|der| Certificate::from_der(der.to_vec())).collect::<Result<_, _>>()?;
    let known = TlsParameters::builder(host.to_owned()).certificate_store(store);
    Ok(roots.into_iter().fold(known, TlsParametersBuilder::add_root_certificate).build()?)
}
