//! Which clients are let in, of those whose certificates are good.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, Error, SignatureScheme};
use tokio::time::Instant;

use crate::name::{self, Name};

/// Lets those in whose certificate is good and for one of these names.
#[derive(Debug)]
pub(super) struct Named {
    inner: Arc<dyn ClientCertVerifier>,
    names: Vec<Name>,
    /// When somebody was told last of one that was not let in.
    told: Mutex<Option<Instant>>,
}

/// From one word about a client that is not let in to the next, however often they come.
const PAUSE: Duration = Duration::from_secs(10);

impl Named {
    /// Puts the names beside what `inner` asks for, if there are any.
    pub(super) fn wrap(inner: Arc<dyn ClientCertVerifier>, names: &[Name]) -> Arc<dyn ClientCertVerifier> {
        if names.is_empty() { inner } else { Arc::new(Self { inner, names: names.to_vec(), told: Mutex::default() }) }
    }
}

impl ClientCertVerifier for Named {
    fn offer_client_auth(&self) -> bool {
        self.inner.offer_client_auth()
    }

    fn client_auth_mandatory(&self) -> bool {
        self.inner.client_auth_mandatory()
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.inner.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let verified = self.inner.verify_client_cert(certificate, intermediates, now)?;
        if self.names.iter().any(|name| name.is_of(certificate)) {
            return Ok(verified);
        }
        // Its authority is one of ours: somebody here has mistaken whom it calls, or whom this lets in. It will try again.
        let mut told = self.told.lock();
        if told.is_none_or(|at| at.elapsed() >= PAUSE) {
            *told = Some(Instant::now());
            let shown = name::said(certificate).join(", ");
            tracing::warn!(
                shown,
                "a client is not let in: its certificate is good, but for {shown}, not for a client of ours"
            );
        }
        Err(CertificateError::ApplicationVerificationFailure.into())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }

    fn requires_raw_public_keys(&self) -> bool {
        self.inner.requires_raw_public_keys()
    }
}
