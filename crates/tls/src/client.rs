//! TLS towards servers: whom they are taken for, and who we are to them.

use std::path::PathBuf;
use std::sync::{Arc, LazyLock};

use parking_lot::Mutex;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use serde::{Deserialize, Serialize};
use shop_config::Problems;

use crate::authorities::{AuthoritiesFile, UnusableAuthorities};
use crate::certificate::{self, Certificate, Unusable};
use crate::name::{self, InvalidName, Name};

/// The public authorities and those of this machine. What cannot be read of the machine's is left out.
static EVERYBODY: LazyLock<Arc<RootCertStore>> = LazyLock::new(|| {
    let mut roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    Arc::new(roots)
});

/// How servers are called over TLS. Their certificates are always checked: nothing here switches that off.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ClientTls {
    /// PEM file with the authorities whose certificates are good. Without it those are that the system trusts, and the public
    /// ones.
    pub ca_file: Option<PathBuf>,
    /// Whom the certificates have to be for. A host's name is also sent as SNI; `spiffe://shop/ns/default/sa/product` is the
    /// one URI of a workload's certificate. Without it that is the host of the URL; servers that are looked up in DNS have
    /// none, so it has to be said.
    pub server_name: Option<String>,
    /// PEM file with the certificate that servers are shown that ask for one, and those between it and the authority.
    pub cert_file: Option<PathBuf>,
    /// PEM file with its private key.
    pub key_file: Option<PathBuf>,
}

/// What the files hold.
#[derive(PartialEq, Eq)]
pub struct ClientFiles {
    roots: Option<AuthoritiesFile>,
    pair: Option<certificate::Files>,
}

/// Who is believed, and who we are.
#[derive(Debug, Clone, Default)]
pub struct Credentials {
    /// The authorities whose certificates are good; everybody's without.
    roots: Option<Arc<RootCertStore>>,
    /// What servers are shown that ask for a certificate.
    identity: Option<Arc<CertifiedKey>>,
}

/// TLS towards one server, by what the files hold when a connection is made.
pub struct Client {
    settings: ClientTls,
    name: Option<Name>,
    protocol: &'static [u8],
    kept: Mutex<Kept>,
}

/// What was found last that was good, and what that made.
struct Kept {
    /// Found last, good or not: the same is not judged twice. Nothing while it cannot be read.
    seen: Option<ClientFiles>,
    config: Arc<ClientConfig>,
}

/// A setting that cannot be used, by its key.
#[derive(Debug, thiserror::Error)]
#[error("{key}: {why}")]
pub struct Unfit {
    /// Such as `ca_file`.
    pub key: &'static str,
    /// What is wrong with it.
    pub why: String,
}

impl ClientTls {
    /// Finds values that make no sense; the files are not looked at.
    pub fn check(&self, problems: &mut Problems) {
        if let Some(Err(error)) = self.server_name.as_ref().map(|name| name.parse::<Name>()) {
            problems.add("server_name", error.to_string());
        }
        problems.ensure(self.cert_file.is_some() || self.key_file.is_none(), "key_file", "name its cert_file too");
        problems.ensure(self.key_file.is_some() || self.cert_file.is_none(), "cert_file", "name its key_file too");
    }

    /// Finds what is wrong with the files.
    pub fn check_files(&self, problems: &mut Problems) {
        if let Err(Unfit { key, why }) = ClientFiles::read(self).and_then(|files| files.parse(self)) {
            problems.add(key, why);
        }
    }

    fn pair(&self) -> Option<Certificate> {
        let (cert, key) = self.cert_file.as_ref().zip(self.key_file.as_ref())?;
        Some(Certificate { cert_file: cert.clone(), key_file: key.clone() })
    }
}

impl ClientFiles {
    /// The bytes of all of them.
    pub fn read(settings: &ClientTls) -> Result<Self, Unfit> {
        let roots = settings.ca_file.as_deref().map(AuthoritiesFile::read).transpose()?;
        let pair = settings.pair().map(|pair| certificate::Files::read(&pair)).transpose()?;
        Ok(Self { roots, pair })
    }

    /// What they say, if it can be used.
    pub fn parse(&self, settings: &ClientTls) -> Result<Credentials, Unfit> {
        let roots = self.roots.as_ref().zip(settings.ca_file.as_ref());
        let roots = roots.map(|(roots, file)| roots.parse(file)).transpose()?;
        let pair = self.pair.as_ref().zip(settings.pair());
        let pair = pair.map(|(files, settings)| files.parse(&settings)).transpose()?;
        Ok(Credentials { roots, identity: pair.map(|pair| pair.certified) })
    }
}

impl Client {
    /// With the files as they are now, for connections that speak `protocol` ([`H2`](crate::H2),
    /// [`HTTP_1_1`](crate::HTTP_1_1)).
    pub fn open(settings: ClientTls, protocol: &'static [u8]) -> Result<Self, Unfit> {
        let name = settings.server_name.as_ref().map(|name| name.parse()).transpose();
        let name = name.map_err(|error: InvalidName| Unfit { key: "server_name", why: error.to_string() })?;
        let files = ClientFiles::read(&settings)?;
        let config = config(&files, &settings, name.as_ref(), protocol)?;
        let kept = Mutex::new(Kept { seen: Some(files), config });
        Ok(Self { settings, name, protocol, kept })
    }

    /// Whom certificates have to be for, instead of the host that is called.
    pub fn name(&self) -> Option<&Name> {
        self.name.as_ref()
    }

    /// What a connection begins with now. Reads the files, so it may block; while they are not good, those that were are used.
    pub fn config(&self) -> Arc<ClientConfig> {
        let mut kept = self.kept.lock();
        let files = match ClientFiles::read(&self.settings) {
            Ok(files) if kept.seen.as_ref() == Some(&files) => return Arc::clone(&kept.config),
            Ok(files) => files,
            Err(Unfit { why, .. }) => {
                if kept.seen.take().is_some() {
                    tracing::warn!(error = why, "the files for TLS that were good are used on");
                }
                return Arc::clone(&kept.config);
            }
        };
        match config(&files, &self.settings, self.name.as_ref(), self.protocol) {
            Ok(config) => kept.config = config,
            Err(Unfit { why, .. }) => tracing::warn!(error = why, "the files for TLS that were good are used on"),
        }
        kept.seen = Some(files);
        Arc::clone(&kept.config)
    }
}

fn config(
    files: &ClientFiles,
    settings: &ClientTls,
    name: Option<&Name>,
    protocol: &[u8],
) -> Result<Arc<ClientConfig>, Unfit> {
    let config = files.parse(settings)?.config(name, protocol);
    config.map(Arc::new).map_err(|error| Unfit { key: "cert_file", why: error.to_string() })
}

impl From<UnusableAuthorities> for Unfit {
    fn from(error: UnusableAuthorities) -> Self {
        Self { key: "ca_file", why: error.to_string() }
    }
}

impl From<Unusable> for Unfit {
    fn from(error: Unusable) -> Self {
        Self { key: error.key(), why: error.to_string() }
    }
}

impl Credentials {
    /// What connections begin with that speak `protocol` ([`H2`](crate::H2), [`HTTP_1_1`](crate::HTTP_1_1)). Who answers has
    /// to be the workload `name`, if that is one, and else the host by whose name the handshake is begun.
    pub fn config(&self, name: Option<&Name>, protocol: &[u8]) -> Result<ClientConfig, Error> {
        let provider: Arc<CryptoProvider> = Arc::new(ring::default_provider());
        let algorithms = provider.signature_verification_algorithms;
        let roots = self.roots.clone().unwrap_or_else(|| Arc::clone(&EVERYBODY));
        let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
        let builder = match name {
            Some(name @ Name::Workload(_)) => {
                let verifier = Workload { name: name.clone(), roots, algorithms };
                builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier))
            }
            Some(Name::Host(_)) | None => builder.with_root_certificates(roots),
        };
        let mut config = match &self.identity {
            Some(identity) => {
                let identity = SingleCertAndKey::from(CertifiedKey::clone(identity));
                builder.with_client_cert_resolver(Arc::new(identity))
            }
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = vec![protocol.to_vec()];
        Ok(config)
    }
}

/// Takes servers for what the URI in their certificate says; what they are called by says nothing.
#[derive(Debug)]
struct Workload {
    name: Name,
    roots: Arc<RootCertStore>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ServerCertVerifier for Workload {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let parsed = ParsedCertificate::try_from(certificate)?;
        verify_server_cert_signed_by_trust_anchor(&parsed, &self.roots, intermediates, now, self.algorithms.all)?;
        if self.name.is_of(certificate) {
            return Ok(ServerCertVerified::assertion());
        }
        let (expected, presented) = (server.to_owned(), name::said(certificate));
        Err(CertificateError::NotValidForNameContext { expected, presented }.into())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signed, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
