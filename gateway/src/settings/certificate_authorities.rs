//! The authorities whose certificates clients or backends may show, as a file of the settings holds them.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use shop_config::without_mark;

/// Why the file cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("cannot use the authorities in {}: {why}", .file.display())]
pub(crate) struct UnusableAuthorities {
    file: PathBuf,
    why: String,
}

/// What the file holds.
#[derive(PartialEq, Eq)]
pub(crate) struct AuthoritiesFile(Vec<u8>);

impl AuthoritiesFile {
    /// Its bytes.
    pub(crate) fn read(file: &Path) -> Result<Self, UnusableAuthorities> {
        fs::read(file).map(Self).map_err(|error| unusable(file, &error))
    }

    /// The certificates in it, at least one and all of them good: to leave one out would shut out those it vouches for without a word.
    pub(crate) fn parse(&self, file: &Path) -> Result<Arc<RootCertStore>, UnusableAuthorities> {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(without_mark(&self.0)) {
            let certificate = certificate.map_err(|error| unusable(file, &format!("it is not PEM: {error}")))?;
            roots.add(certificate).map_err(|error| unusable(file, &error))?;
        }
        if roots.is_empty() {
            return Err(unusable(file, &"it has no PEM block of a certificate"));
        }
        Ok(Arc::new(roots))
    }
}

fn unusable(file: &Path, why: &dyn ToString) -> UnusableAuthorities {
    UnusableAuthorities { file: file.to_owned(), why: why.to_string() }
}
