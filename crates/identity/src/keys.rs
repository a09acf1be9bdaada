//! Public keys that tokens are checked with, and what each is for.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyAlgorithm, KeyOperations, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, SubjectPublicKeyInfoDer};
use serde::Deserialize;
use x509_parser::prelude::{FromDer as _, SubjectPublicKeyInfo, X509Certificate};

/// More keys than any issuer needs at once are not taken.
const MOST: usize = 64;
/// The shortest modulus of an RSA key, in bytes (RFC 7518, section 3.3).
const SHORTEST_RSA: usize = 256;

/// A key, and the one algorithm it is for.
#[derive(Clone)]
pub(crate) struct Key {
    pub(crate) id: Option<String>,
    pub(crate) algorithm: Algorithm,
    pub(crate) material: DecodingKey,
}

impl Key {
    /// A secret that an issuer shares with us (HS256).
    pub(crate) fn secret(secret: &str) -> Option<Self> {
        let key = DecodingKey::from_secret(secret.as_bytes()).ok()?;
        Some(Self { id: None, algorithm: Algorithm::HS256, material: key })
    }

    /// A point on P-256, by its fingerprint.
    pub(crate) fn point(point: &[u8]) -> Self {
        Self { id: Some(fingerprint(point)), algorithm: Algorithm::ES256, material: DecodingKey::from_ec_der(point) }
    }

    /// Whether a token whose head says so may be signed with it.
    pub(crate) fn fits(&self, algorithm: Algorithm, id: Option<&str>) -> bool {
        self.algorithm == algorithm && (id.is_none() || self.id.is_none() || self.id.as_deref() == id)
    }

    /// What it is for is read from the key, never from a token.
    fn of_jwk(jwk: &Jwk) -> Option<Self> {
        let declared = jwk.common.key_algorithm;
        let fits = |of: KeyAlgorithm| declared.is_none_or(|declared| declared == of);
        let decoded = |text: &str| URL_SAFE_NO_PAD.decode(text).unwrap_or_default();
        let algorithm = match &jwk.algorithm {
            AlgorithmParameters::RSA(rsa) if decoded(&rsa.n).len() >= SHORTEST_RSA => match declared {
                None | Some(KeyAlgorithm::RS256) => Algorithm::RS256,
                Some(KeyAlgorithm::RS384) => Algorithm::RS384,
                Some(KeyAlgorithm::PS256) => Algorithm::PS256,
                Some(_) => return None,
            },
            AlgorithmParameters::EllipticCurve(curve) => {
                let size = (decoded(&curve.x).len(), decoded(&curve.y).len());
                match (&curve.curve, size) {
                    (EllipticCurve::P256, (32, 32)) if fits(KeyAlgorithm::ES256) => Algorithm::ES256,
                    (EllipticCurve::P384, (48, 48)) if fits(KeyAlgorithm::ES384) => Algorithm::ES384,
                    _ => return None,
                }
            }
            AlgorithmParameters::OctetKeyPair(pair)
                if pair.curve == EllipticCurve::Ed25519
                    && fits(KeyAlgorithm::EdDSA)
                    && decoded(&pair.x).len() == 32 =>
            {
                Algorithm::EdDSA
            }
            _ => return None,
        };
        let is_to_verify = |uses: &Vec<KeyOperations>| uses.contains(&KeyOperations::Verify);
        if !matches!(jwk.common.public_key_use, None | Some(PublicKeyUse::Signature))
            || !jwk.common.key_operations.as_ref().is_none_or(is_to_verify)
        {
            return None;
        }
        let key = DecodingKey::from_jwk(jwk).ok()?;
        Some(Self { id: jwk.common.key_id.clone(), algorithm, material: key })
    }
}

/// A name for a key by which the two sides know it.
pub(crate) fn fingerprint(point: &[u8]) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, point);
    URL_SAFE_NO_PAD.encode(&digest.as_ref()[..12])
}

/// The keys for signatures of a JWK set (RFC 7517, section 5). Sets have keys for other purposes, too, and of kinds that are
/// not known here; one that is broken says nothing about the others. The error says what is wrong with the set.
pub(crate) fn of_set(text: &[u8]) -> Result<Vec<Key>, String> {
    #[derive(Deserialize)]
    struct Set {
        keys: Vec<serde_json::Value>,
    }
    let set: Set = serde_json::from_slice(text).map_err(|error| format!("is not a JWK set: {error}"))?;
    let jwks = set.keys.into_iter().filter_map(|key| serde_json::from_value::<Jwk>(key).ok());
    let keys: Vec<_> = jwks.filter_map(|jwk| Key::of_jwk(&jwk)).take(MOST).collect();
    if keys.is_empty() {
        return Err("has no key for RS256, RS384, PS256, ES256, ES384 or EdDSA".to_owned());
    }
    Ok(keys)
}

/// The keys of a JWK set, or the P-256 keys of certificates and public keys in PEM.
pub(crate) fn of_file(text: &str) -> Result<Vec<Key>, String> {
    if text.trim_start().starts_with('{') {
        return of_set(text.as_bytes());
    }
    let certificates = CertificateDer::pem_slice_iter(text.as_bytes()).flatten();
    let of_certificates = certificates.filter_map(|der| {
        let (_, certificate) = X509Certificate::from_der(&der).ok()?;
        Some(certificate.public_key().subject_public_key.data.to_vec())
    });
    let keys = SubjectPublicKeyInfoDer::pem_slice_iter(text.as_bytes()).flatten();
    let of_keys = keys.filter_map(|der| {
        let (_, key) = SubjectPublicKeyInfo::from_der(&der).ok()?;
        Some(key.subject_public_key.data.to_vec())
    });
    let points = of_certificates.chain(of_keys).filter(|point| point.len() == 65 && point[0] == 4);
    let keys: Vec<_> = points.map(|point| Key::point(&point)).take(MOST).collect();
    if keys.is_empty() {
        return Err("has neither a JWK set nor certificates or public keys of P-256 in PEM".to_owned());
    }
    Ok(keys)
}
