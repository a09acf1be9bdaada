//! Settings of TLS towards the backends of one service, and what their files hold.

use std::path::PathBuf;
use std::sync::{Arc, LazyLock};

use rustls::RootCertStore;
use rustls::pki_types::ServerName;
use rustls::sign::CertifiedKey;
use serde::{Deserialize, Serialize};
use shop_config::Problems;

use super::certificate::{self, Certificate, Unusable};
use super::certificate_authorities::{AuthoritiesFile, UnusableAuthorities};

/// The public authorities and those of this machine. What cannot be read of the machine's is left out.
static EVERYBODY: LazyLock<Arc<RootCertStore>> = LazyLock::new(|| {
    let mut roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    Arc::new(roots)
});

/// How backends are called over TLS. With this section all of a service are, those that are looked up too. Their certificates
/// are always checked: nothing here switches that off.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BackendTls {
    /// PEM file with the authorities whose certificates are good. Without it those are that the system trusts, and the public
    /// ones.
    pub ca_file: Option<PathBuf>,
    /// Whom the certificates have to be for, which is also sent as SNI. Without it that is the host of the URL; backends that
    /// are looked up in DNS have none, so it has to be said.
    pub server_name: Option<String>,
    /// PEM file with the certificate that backends are shown that ask for one, and those between it and the authority.
    pub cert_file: Option<PathBuf>,
    /// PEM file with its private key.
    pub key_file: Option<PathBuf>,
}

/// What the files hold.
#[derive(PartialEq, Eq)]
pub(crate) struct Files {
    roots: Option<AuthoritiesFile>,
    pair: Option<certificate::Files>,
}

/// What was made of the files.
pub(crate) type Parsed = (Arc<RootCertStore>, Option<Arc<CertifiedKey>>);

/// A file that cannot be used, by the key of its setting.
pub(crate) struct Unfit {
    key: &'static str,
    pub(crate) why: String,
}

impl BackendTls {
    pub(super) fn check(&self, problems: &mut Problems) {
        if let Some(name) = &self.server_name {
            problems.ensure(is_name(name), "server_name", "is no name that a certificate could be for");
        }
        problems.ensure(self.cert_file.is_some() || self.key_file.is_none(), "key_file", "name its cert_file too");
        problems.ensure(self.key_file.is_some() || self.cert_file.is_none(), "cert_file", "name its key_file too");
    }

    /// Whether the files can be used.
    pub(super) fn check_files(&self, problems: &mut Problems) {
        if let Err(Unfit { key, why }) = Files::read(self).and_then(|files| files.parse(self)) {
            problems.add(key, why);
        }
    }

    fn pair(&self) -> Option<Certificate> {
        let (cert, key) = self.cert_file.as_ref().zip(self.key_file.as_ref())?;
        Some(Certificate { cert_file: cert.clone(), key_file: key.clone() })
    }
}

/// Whether a certificate can be for `name`.
pub(super) fn is_name(name: &str) -> bool {
    ServerName::try_from(name).is_ok()
}

impl Files {
    /// The bytes of all of them.
    pub(crate) fn read(settings: &BackendTls) -> Result<Self, Unfit> {
        let roots = settings.ca_file.as_deref().map(|file| AuthoritiesFile::read(file).map_err(|error| unfit(&error)));
        let pair = settings.pair().map(|pair| certificate::Files::read(&pair).map_err(|error| of_pair(&error)));
        Ok(Self { roots: roots.transpose()?, pair: pair.transpose()? })
    }

    /// What they say, if it can be used.
    pub(crate) fn parse(&self, settings: &BackendTls) -> Result<Parsed, Unfit> {
        let roots = match (&self.roots, &settings.ca_file) {
            (Some(roots), Some(file)) => roots.parse(file).map_err(|error| unfit(&error))?,
            _ => Arc::clone(&EVERYBODY),
        };
        let pair = self.pair.as_ref().zip(settings.pair());
        let pair = pair.map(|(files, settings)| files.parse(&settings).map_err(|error| of_pair(&error))).transpose()?;
        Ok((roots, pair.map(|pair| pair.certified)))
    }
}

fn unfit(error: &UnusableAuthorities) -> Unfit {
    Unfit { key: "ca_file", why: error.to_string() }
}

fn of_pair(error: &Unusable) -> Unfit {
    let key = if matches!(error, Unusable::Key { .. }) { "key_file" } else { "cert_file" };
    Unfit { key, why: error.to_string() }
}
