//! How brokers are spoken to: encrypted or not, and as whom.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::oauth::SaslOauth;
use super::pem::pem;
use crate::{Problems, Secret};

/// What brokers' listeners speak, in Kafka's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SecurityProtocol {
    /// Neither encrypted nor logged in to.
    #[default]
    #[serde(alias = "PLAINTEXT")]
    Plaintext,
    /// Encrypted.
    #[serde(alias = "SSL")]
    Ssl,
    /// Logged in to, readable for who is in between.
    #[serde(alias = "SASL_PLAINTEXT")]
    SaslPlaintext,
    /// Encrypted and logged in to.
    #[serde(alias = "SASL_SSL")]
    SaslSsl,
}

impl SecurityProtocol {
    /// As clients' `security.protocol`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Plaintext => "plaintext",
            Self::Ssl => "ssl",
            Self::SaslPlaintext => "sasl_plaintext",
            Self::SaslSsl => "sasl_ssl",
        }
    }

    /// Whether connections are encrypted.
    pub const fn is_encrypted(self) -> bool {
        matches!(self, Self::Ssl | Self::SaslSsl)
    }

    /// The one that does both, or not.
    #[must_use]
    pub const fn with(encrypted: bool, login: bool) -> Self {
        match (encrypted, login) {
            (false, false) => Self::Plaintext,
            (true, false) => Self::Ssl,
            (false, true) => Self::SaslPlaintext,
            (true, true) => Self::SaslSsl,
        }
    }

    /// Whether clients log in.
    pub const fn logs_in(self) -> bool {
        matches!(self, Self::SaslPlaintext | Self::SaslSsl)
    }
}

/// Certificates, in PEM. Read again when they change.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct KafkaTls {
    /// Authorities that brokers' certificates may be from, instead of the public ones this machine knows.
    pub ca_file: Option<PathBuf>,
    /// The certificate this client shows, and those that lead from it to an authority; brokers may ask for one.
    pub cert_file: Option<PathBuf>,
    /// Its private key.
    pub key_file: Option<PathBuf>,
    /// What the key is encrypted with; empty when it is not.
    pub key_password: Secret,
}

/// As whom to log in.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Sasl {
    /// How.
    pub mechanism: SaslMechanism,
    /// The user that the brokers know.
    pub username: String,
    /// That user's password.
    pub password: Secret,
    /// Where tokens come from instead of both, with `OAUTHBEARER`.
    pub oauth: SaslOauth,
}

/// How brokers are shown who this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum SaslMechanism {
    /// By the password as it is.
    #[serde(rename = "PLAIN", alias = "plain")]
    Plain,
    /// Without it: both sides prove that they know it (RFC 5802, RFC 7677).
    #[serde(rename = "SCRAM-SHA-256", alias = "scram-sha-256")]
    ScramSha256,
    /// The same with SHA-512: what most brokers are set up with.
    #[default]
    #[serde(rename = "SCRAM-SHA-512", alias = "scram-sha-512")]
    ScramSha512,
    /// By a token that brokers can check (RFC 7628).
    #[serde(rename = "OAUTHBEARER", alias = "oauthbearer")]
    OauthBearer,
}

impl SaslMechanism {
    /// As clients' `sasl.mechanism`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Plain => "PLAIN",
            Self::ScramSha256 => "SCRAM-SHA-256",
            Self::ScramSha512 => "SCRAM-SHA-512",
            Self::OauthBearer => "OAUTHBEARER",
        }
    }
}

impl KafkaTls {
    pub(super) fn check(&self, protocol: SecurityProtocol, problems: &mut Problems) {
        if !protocol.is_encrypted() {
            let message =
                "has no effect without encryption; set the security_protocol of that section to ssl or sasl_ssl";
            return problems.useless("tls", message);
        }
        problems.within("tls", |p| {
            pem(self.ca_file.as_deref(), "ca_file", &["BEGIN CERTIFICATE"], p);
            pem(self.cert_file.as_deref(), "cert_file", &["BEGIN CERTIFICATE"], p);
            let key = pem(self.key_file.as_deref(), "key_file", &["PRIVATE KEY"], p);
            let whole = self.cert_file.is_some() == self.key_file.is_some();
            let lacking = if self.key_file.is_none() { "key_file" } else { "cert_file" };
            p.ensure(whole, lacking, "a certificate and its key belong together: name both files, or none");
            let encrypted = key.is_some_and(|key| key.contains("ENCRYPTED"));
            let opened = !encrypted || !self.key_password.is_empty();
            p.ensure(opened, "key_password", "the key is encrypted: say with what, or give one that is not");
        });
    }
}

impl Sasl {
    pub(super) fn check(&self, protocol: SecurityProtocol, problems: &mut Problems) {
        if !protocol.logs_in() {
            let message = "has no effect where nobody logs in; set the security_protocol of that section to sasl_ssl or sasl_plaintext";
            return problems.useless("sasl", message);
        }
        problems.within("sasl", |p| {
            let by_token = self.mechanism == SaslMechanism::OauthBearer;
            self.oauth.check(by_token, p);
            if by_token {
                for key in ["username", "password"] {
                    p.useless(key, "has no effect with OAUTHBEARER: the token says who this is");
                }
                return;
            }
            p.ensure(!self.username.is_empty(), "username", "name the user that the brokers know");
            p.ensure(!self.password.is_empty(), "password", "give that user's password");
        });
    }
}
