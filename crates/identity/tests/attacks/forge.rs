//! Keys and tokens of every kind, good and bad.

use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ring::rand::SystemRandom;
use ring::rsa::PublicKeyComponents;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _,
    RSA_PKCS1_SHA256, RSA_PKCS1_SHA384, RSA_PSS_SHA256, RsaKeyPair,
};
use ring::{digest, hmac};
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::pki_types::pem::PemObject as _;
use serde_json::{Value, json};

/// `iss` of good tokens.
pub(crate) const ISSUER: &str = "https://issuer.test";
/// `aud` of good tokens.
pub(crate) const AUDIENCE: &str = "shop-api";

const P256: &[u8] = &[
    0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03,
    0x01, 0x07,
];
const RSA: &[u8] = &[0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01, 0x05, 0x00];

enum Kind {
    Curve(EcdsaKeyPair),
    Edwards(Ed25519KeyPair),
    Rsa(RsaKeyPair),
}

/// A key pair, used for one algorithm.
pub(crate) struct Pair {
    pub(crate) algorithm: &'static str,
    pub(crate) id: String,
    kind: Kind,
    /// The private key (PKCS #8).
    der: Vec<u8>,
}

impl Pair {
    pub(crate) fn new(algorithm: &'static str, id: &str) -> Self {
        let chance = SystemRandom::new();
        let curve = |of: &'static _| {
            let der = EcdsaKeyPair::generate_pkcs8(of, &chance).expect("chance").as_ref().to_vec();
            (Kind::Curve(EcdsaKeyPair::from_pkcs8(of, &der, &chance).expect("a key")), der)
        };
        let (kind, der) = match algorithm {
            "ES256" => curve(&ECDSA_P256_SHA256_FIXED_SIGNING),
            "ES384" => curve(&ECDSA_P384_SHA384_FIXED_SIGNING),
            "EdDSA" => {
                let der = Ed25519KeyPair::generate_pkcs8(&chance).expect("chance").as_ref().to_vec();
                (Kind::Edwards(Ed25519KeyPair::from_pkcs8(&der).expect("a key")), der)
            }
            _ => {
                let der = PrivatePkcs8KeyDer::from_pem_slice(include_bytes!("rsa.pem")).expect("PEM");
                let der = der.secret_pkcs8_der().to_vec();
                (Kind::Rsa(RsaKeyPair::from_pkcs8(&der).expect("a key")), der)
            }
        };
        Self { algorithm, id: id.to_owned(), kind, der }
    }

    /// A signature under the algorithm of this key.
    pub(crate) fn sign(&self, message: &[u8]) -> Vec<u8> {
        let chance = SystemRandom::new();
        match &self.kind {
            Kind::Curve(pair) => pair.sign(&chance, message).expect("chance").as_ref().to_vec(),
            Kind::Edwards(pair) => pair.sign(message).as_ref().to_vec(),
            Kind::Rsa(pair) => {
                let mut signature = vec![0; pair.public().modulus_len()];
                let padding: &dyn ring::signature::RsaEncoding = match self.algorithm {
                    "RS256" => &RSA_PKCS1_SHA256,
                    "RS384" => &RSA_PKCS1_SHA384,
                    _ => &RSA_PSS_SHA256,
                };
                pair.sign(padding, &chance, message, &mut signature).expect("chance");
                signature
            }
        }
    }

    /// The public half as a JWK.
    pub(crate) fn jwk(&self) -> Value {
        let mut jwk = self.shape();
        let more = json!({ "kid": self.id, "alg": self.algorithm, "use": "sig" });
        jwk.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        jwk
    }

    /// The same without a name and without what it is for.
    pub(crate) fn shape(&self) -> Value {
        match &self.kind {
            Kind::Curve(pair) => {
                let point = &pair.public_key().as_ref()[1..];
                let (x, y) = point.split_at(point.len() / 2);
                let curve = if self.algorithm == "ES256" { "P-256" } else { "P-384" };
                json!({ "kty": "EC", "crv": curve, "x": part(x), "y": part(y) })
            }
            Kind::Edwards(pair) => json!({ "kty": "OKP", "crv": "Ed25519", "x": part(pair.public_key().as_ref()) }),
            Kind::Rsa(pair) => {
                let PublicKeyComponents { n, e }: PublicKeyComponents<Vec<u8>> = pair.public().into();
                json!({ "kty": "RSA", "n": part(&n), "e": part(&e) })
            }
        }
    }

    /// Whatever somebody could take for the bytes of the public key.
    pub(crate) fn spellings(&self) -> Vec<Vec<u8>> {
        let (inner, algorithm) = match &self.kind {
            Kind::Curve(pair) => (pair.public_key().as_ref().to_vec(), P256),
            Kind::Edwards(pair) => (pair.public_key().as_ref().to_vec(), P256),
            Kind::Rsa(pair) => (pair.public().as_ref().to_vec(), RSA),
        };
        let der = tagged(0x30, &[algorithm, &tagged(0x03, &[&[0], &inner[..]].concat())].concat());
        let jwk = self.jwk();
        let set = json!({ "keys": [jwk] }).to_string();
        let mut texts = vec![jwk.to_string(), self.shape().to_string(), set];
        texts.extend(["n", "x", "y"].iter().filter_map(|name| jwk[name].as_str().map(str::to_owned)));
        for (label, der) in [("PUBLIC KEY", &der), ("RSA PUBLIC KEY", &inner), ("EC PUBLIC KEY", &inner)] {
            texts.extend([pem(label, der), STANDARD.encode(der)]);
        }
        let numbers = texts.iter().filter_map(|text| URL_SAFE_NO_PAD.decode(text).ok()).collect::<Vec<_>>();
        let mut all: Vec<_> = texts
            .iter()
            .flat_map(|text| [text.clone(), format!("{text}\n"), text.replace('\n', "\r\n"), format!("{text}\r\n")])
            .map(String::into_bytes)
            .collect();
        all.extend(numbers);
        all.extend([der, inner, Vec::new()]);
        all
    }

    /// The private key, in PEM.
    pub(crate) fn pem(&self) -> String {
        pem("PRIVATE KEY", &self.der)
    }

    /// A good token for ada.
    pub(crate) fn good(&self) -> String {
        self.token(&[], &[])
    }

    /// A token signed with this key in which these members of head and claims are others.
    pub(crate) fn token(&self, head: &[(&str, &str)], claims: &[(&str, &str)]) -> String {
        self.signed(&self.head(head), &self::claims(claims))
    }

    pub(crate) fn head(&self, changes: &[(&str, &str)]) -> String {
        let (algorithm, id) = (format!("{:?}", self.algorithm), format!("{:?}", self.id));
        object(&[("alg", &algorithm), ("typ", r#""at+jwt""#), ("kid", &id)], changes)
    }

    pub(crate) fn signed(&self, head: &str, claims: &str) -> String {
        let message = message(head, claims);
        let signature = self.sign(message.as_bytes());
        format!("{message}.{}", part(&signature))
    }
}

/// A set of these keys.
pub(crate) fn set(pairs: &[&Pair]) -> String {
    json!({ "keys": pairs.iter().map(|pair| pair.jwk()).collect::<Vec<_>>() }).to_string()
}

/// What a good token says, with other values, in JSON, or without those that are empty.
pub(crate) fn claims(changes: &[(&str, &str)]) -> String {
    let (iat, exp) = (now().to_string(), (now() + 300).to_string());
    let (iss, aud) = (format!("{ISSUER:?}"), format!("{AUDIENCE:?}"));
    object(&[("iss", &iss), ("sub", r#""ada""#), ("aud", &aud), ("iat", &iat), ("exp", &exp)], changes)
}

/// A member that is changed twice is there twice.
fn object(members: &[(&str, &str)], changes: &[(&str, &str)]) -> String {
    let kept = members.iter().filter(|(name, _)| changes.iter().all(|(changed, _)| changed != name));
    let all = kept.chain(changes.iter().filter(|(_, value)| !value.is_empty()));
    let all: Vec<_> = all.map(|(name, value)| format!("{name:?}:{value}")).collect();
    format!("{{{}}}", all.join(","))
}

pub(crate) fn message(head: &str, claims: &str) -> String {
    format!("{}.{}", part(head.as_bytes()), part(claims.as_bytes()))
}

/// Signed with a shared secret.
pub(crate) fn with_secret(secret: &[u8], head: &str, claims: &str, bits: u32) -> String {
    let message = message(head, claims);
    let algorithm = match bits {
        256 => hmac::HMAC_SHA256,
        384 => hmac::HMAC_SHA384,
        _ => hmac::HMAC_SHA512,
    };
    let signature = hmac::sign(&hmac::Key::new(algorithm, secret), message.as_bytes());
    format!("{message}.{}", part(signature.as_ref()))
}

/// base64url, as tokens have it.
pub(crate) fn part(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Seconds since 1970.
pub(crate) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs()
}

/// Bytes that nobody chose.
pub(crate) fn noise(seed: &str) -> String {
    part(digest::digest(&digest::SHA256, seed.as_bytes()).as_ref())
}

fn pem(label: &str, der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let lines: Vec<_> = text.as_bytes().chunks(64).map(String::from_utf8_lossy).collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----", lines.join("\n"))
}

fn tagged(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = content.len();
    let mut der = vec![tag];
    match u8::try_from(length) {
        Ok(short) if short < 128 => der.push(short),
        Ok(long) => der.extend([0x81, long]),
        Err(_) => {
            der.push(0x82);
            der.extend(u16::try_from(length).expect("a short key").to_be_bytes());
        }
    }
    der.extend(content);
    der
}
