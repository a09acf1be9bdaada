//! A certificate and its key, as the two files of the settings hold them.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use rustls::crypto::ring;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use shop_config::without_mark;

use super::Tls as Settings;

/// Why a certificate and its key cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unusable {
    /// The certificate's file.
    #[error("cannot use the certificate in {}: {why}", .file.display())]
    Certificate { file: PathBuf, why: String },
    /// The key's file.
    #[error("cannot use the key in {}: {why}", .file.display())]
    Key { file: PathBuf, why: String },
    /// Both are good, but do not belong together.
    #[error("the key in {} is not that of the certificate in {}", .key.display(), .cert.display())]
    Mismatch { cert: PathBuf, key: PathBuf },
}

/// A certificate with its key, and until when it is valid, in Unix seconds.
#[derive(Debug)]
pub(crate) struct Pair {
    pub(crate) certified: Arc<CertifiedKey>,
    pub(crate) expires: i64,
}

/// What the two files hold.
#[derive(PartialEq, Eq)]
pub(crate) struct Files {
    cert: Vec<u8>,
    key: Vec<u8>,
}

/// Reads the two files and sees that they belong together.
pub(super) fn read(settings: &Settings) -> Result<Pair, Unusable> {
    Files::read(settings)?.parse(settings)
}

impl Files {
    /// The bytes of both.
    pub(crate) fn read(settings: &Settings) -> Result<Self, Unusable> {
        let cert = fs::read(&settings.cert_file).map_err(|error| certificate(settings, &error))?;
        let key = fs::read(&settings.key_file).map_err(|error| key(settings, &error))?;
        Ok(Self { cert, key })
    }

    /// What they say, if it can be used.
    pub(crate) fn parse(&self, settings: &Settings) -> Result<Pair, Unusable> {
        let chain: Vec<_> = CertificateDer::pem_slice_iter(without_mark(&self.cert))
            .collect::<Result<_, _>>()
            .map_err(|error| certificate(settings, &plain(&error)))?;
        let Some(first) = chain.first() else {
            return Err(certificate(settings, &"it has no PEM block of a certificate"));
        };
        let expires = expiry(first).map_err(|why| certificate(settings, &why))?;
        let private =
            PrivateKeyDer::from_pem_slice(without_mark(&self.key)).map_err(|error| key(settings, &plain(&error)))?;
        let certified =
            CertifiedKey::from_der(chain, private, &ring::default_provider()).map_err(|error| match error {
                rustls::Error::InconsistentKeys(_) => {
                    Unusable::Mismatch { cert: settings.cert_file.clone(), key: settings.key_file.clone() }
                }
                rustls::Error::InvalidCertificate(_) => certificate(settings, &error),
                _ => key(settings, &error),
            })?;
        Ok(Pair { certified: Arc::new(certified), expires })
    }
}

fn certificate(settings: &Settings, why: &dyn ToString) -> Unusable {
    Unusable::Certificate { file: settings.cert_file.clone(), why: why.to_string() }
}

fn key(settings: &Settings, why: &dyn ToString) -> Unusable {
    Unusable::Key { file: settings.key_file.clone(), why: why.to_string() }
}

/// The library words what it did not find as a missing "section".
fn plain(error: &pem::Error) -> String {
    match error {
        pem::Error::NoItemsFound => "it has no PEM block of a private key".to_owned(),
        other => format!("it is not PEM: {other}"),
    }
}

fn expiry(certificate: &CertificateDer<'_>) -> Result<i64, String> {
    match x509_parser::parse_x509_certificate(certificate) {
        Ok((_, certificate)) => Ok(certificate.validity().not_after.timestamp()),
        Err(error) => Err(error.to_string()),
    }
}
