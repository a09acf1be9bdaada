//! A certificate and its key, as the two files of the settings hold them.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use rustls::crypto::ring;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use serde::{Deserialize, Serialize};
use shop_config::{Problems, without_mark};
use x509_parser::prelude::{GeneralName, X509Certificate};

/// A certificate and its key, each in a file.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Certificate {
    /// PEM file with the certificate and those between it and the authority, in this order.
    pub cert_file: PathBuf,
    /// PEM file with the certificate's private key.
    pub key_file: PathBuf,
}

/// Why a certificate and its key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Unusable {
    /// The certificate's file.
    #[error("cannot use the certificate in {}: {why}", .file.display())]
    Certificate {
        /// Which that is.
        file: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// The key's file.
    #[error("cannot use the key in {}: {why}", .file.display())]
    Key {
        /// Which that is.
        file: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// Both are good, but do not belong together.
    #[error("the key in {} is not that of the certificate in {}", .key.display(), .cert.display())]
    Mismatch {
        /// The certificate's file.
        cert: PathBuf,
        /// The key's file.
        key: PathBuf,
    },
}

impl Unusable {
    /// The key of the setting that names the file to blame.
    pub const fn key(&self) -> &'static str {
        match self {
            Self::Key { .. } => "key_file",
            Self::Certificate { .. } | Self::Mismatch { .. } => "cert_file",
        }
    }
}

/// A certificate with its key.
#[derive(Debug)]
pub struct Pair {
    /// Both, as handshakes take them.
    pub certified: Arc<CertifiedKey>,
    /// Until when it is valid, in Unix seconds.
    pub expires: i64,
    /// The names of hosts that it is for, in small letters; `*.` stands for one label more.
    pub names: Vec<String>,
}

/// What the two files hold.
#[derive(PartialEq, Eq)]
pub struct Files {
    cert: Vec<u8>,
    key: Vec<u8>,
}

impl Certificate {
    /// Finds what is wrong with the two files.
    pub fn check_files(&self, problems: &mut Problems) {
        if let Err(error) = Files::read(self).and_then(|files| files.parse(self)) {
            problems.add(error.key(), error.to_string());
        }
    }

    fn bad_certificate(&self, why: &dyn ToString) -> Unusable {
        Unusable::Certificate { file: self.cert_file.clone(), why: why.to_string() }
    }

    fn bad_key(&self, why: &dyn ToString) -> Unusable {
        Unusable::Key { file: self.key_file.clone(), why: why.to_string() }
    }
}

impl Files {
    /// The bytes of both.
    pub fn read(settings: &Certificate) -> Result<Self, Unusable> {
        let cert = fs::read(&settings.cert_file).map_err(|error| settings.bad_certificate(&error))?;
        let key = fs::read(&settings.key_file).map_err(|error| settings.bad_key(&error))?;
        Ok(Self { cert, key })
    }

    /// What they say, if it can be used.
    pub fn parse(&self, settings: &Certificate) -> Result<Pair, Unusable> {
        let chain: Vec<_> = CertificateDer::pem_slice_iter(without_mark(&self.cert))
            .collect::<Result<_, _>>()
            .map_err(|error| settings.bad_certificate(&plain(&error)))?;
        let Some(first) = chain.first() else {
            return Err(settings.bad_certificate(&"it has no PEM block of a certificate"));
        };
        let (expires, names) = said(first).map_err(|why| settings.bad_certificate(&why))?;
        let private =
            PrivateKeyDer::from_pem_slice(without_mark(&self.key)).map_err(|error| settings.bad_key(&plain(&error)))?;
        let certified =
            CertifiedKey::from_der(chain, private, &ring::default_provider()).map_err(|error| match error {
                rustls::Error::InconsistentKeys(_) => {
                    Unusable::Mismatch { cert: settings.cert_file.clone(), key: settings.key_file.clone() }
                }
                rustls::Error::InvalidCertificate(_) => settings.bad_certificate(&error),
                _ => settings.bad_key(&error),
            })?;
        Ok(Pair { certified: Arc::new(certified), expires, names })
    }
}

/// The library words what it did not find as a missing "section".
fn plain(error: &pem::Error) -> String {
    match error {
        pem::Error::NoItemsFound => "it has no PEM block of a private key".to_owned(),
        other => format!("it is not PEM: {other}"),
    }
}

/// Until when a certificate is valid, and for which hosts.
fn said(certificate: &CertificateDer<'_>) -> Result<(i64, Vec<String>), String> {
    let (_, certificate) = x509_parser::parse_x509_certificate(certificate).map_err(|error| error.to_string())?;
    Ok((certificate.validity().not_after.timestamp(), names(&certificate)))
}

/// The subject's alternative names: clients look at no others (RFC 9525, section 2).
fn names(certificate: &X509Certificate<'_>) -> Vec<String> {
    let extension = certificate.subject_alternative_name().ok().flatten();
    let all = extension.iter().flat_map(|extension| &extension.value.general_names);
    let of_host = |name: &GeneralName<'_>| match name {
        GeneralName::DNSName(name) => Some(name.to_ascii_lowercase()),
        _ => None,
    };
    all.filter_map(of_host).collect()
}
