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
pub struct UnusableAuthorities {
    file: PathBuf,
    why: String,
}

/// What the file holds.
#[derive(PartialEq, Eq)]
pub struct AuthoritiesFile(Vec<u8>);

impl AuthoritiesFile {
    /// Its bytes.
    pub fn read(file: &Path) -> Result<Self, UnusableAuthorities> {
        fs::read(file).map(Self).map_err(|error| unusable(file, &error))
    }

    /// The certificates in it, at least one and all of them good: to leave one out would shut out those it vouches for without a word.
    pub fn parse(&self, file: &Path) -> Result<Arc<RootCertStore>, UnusableAuthorities> {
        let mut roots = RootCertStore::empty();
        for certificate in self.certificates(file)? {
            roots.add(certificate).map_err(|error| unusable(file, &error))?;
        }
        Ok(Arc::new(roots))
    }

    /// The certificates as they stand there, at least one; whether they are good is not looked at.
    pub fn certificates(&self, file: &Path) -> Result<Vec<CertificateDer<'static>>, UnusableAuthorities> {
        let all = CertificateDer::pem_slice_iter(without_mark(&self.0)).collect::<Result<Vec<_>, _>>();
        let all = all.map_err(|error| unusable(file, &format!("it is not PEM: {error}")))?;
        if all.is_empty() {
            return Err(unusable(file, &"it has no PEM block of a certificate"));
        }
        Ok(all)
    }
}

fn unusable(file: &Path, why: &dyn ToString) -> UnusableAuthorities {
    UnusableAuthorities { file: file.to_owned(), why: why.to_string() }
}
