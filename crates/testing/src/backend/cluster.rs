//! A Kafka cluster of one test alone: it encrypts and wants logins, and its brokers may be killed and stopped one by one.

use std::fs;
use std::path::{Path, PathBuf};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use tempfile::TempDir;

use super::Own;
use crate::Place;

/// Brokers by themselves (`KRaft`), each a controller too, gone with this value. The user is `shop`.
#[derive(Debug)]
pub struct Cluster {
    own: Own,
    brokers: usize,
    certificates: TempDir,
}

/// Ways in, of each broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Listener {
    /// For everybody, readable.
    Plaintext,
    /// TLS and SCRAM.
    Secure,
    /// TLS, with a certificate of the client's.
    Mutual,
    /// PLAIN, readable.
    Clear,
    /// TLS and tokens for `kafka`, in a cluster that was [started with](Cluster::start_with_tokens_of) an issuer.
    Oauth,
}

const NAMES: [&str; 3] = ["kafka1", "kafka2", "kafka3"];

impl Cluster {
    /// Starts one broker or three, and waits until they answer. `None`, said loudly, when this run does not use real servers.
    pub async fn start(brokers: usize) -> Option<Self> {
        Self::start_in(brokers, &[]).await
    }

    /// The same with a way in for the tokens of an issuer.
    pub async fn start_with_tokens_of(issuer: &str, brokers: usize) -> Option<Self> {
        Self::start_as(brokers, vec![("SHOP_BACKENDS_KAFKA_OIDC", issuer.to_owned())]).await
    }

    /// The same in places of a network, each broker in its own. Their certificates are not for there.
    pub async fn start_in(brokers: usize, places: &[Place]) -> Option<Self> {
        Self::start_as(brokers, vec![Own::places(NAMES.into_iter().zip(places))]).await
    }

    async fn start_as(brokers: usize, mut settings: Vec<(&'static str, String)>) -> Option<Self> {
        let certificates = tempfile::Builder::new().prefix("shop-certificates-").tempdir().expect("makes a folder");
        write_certificates(certificates.path());
        let place = certificates.path().to_string_lossy().into_owned();
        let servers = if brokers == 1 { NAMES[0] } else { "kafka1,kafka2,kafka3" };
        settings.push(("SHOP_BACKENDS_KAFKA_CERTS", place));
        let own = Own::start_with(servers, settings).await?;
        Some(Self { own, brokers, certificates })
    }

    /// Where all brokers are, `host:port` each.
    #[must_use]
    pub fn at(&self, listener: Listener) -> Vec<String> {
        let suffix = match listener {
            Listener::Plaintext => "PLAINTEXT",
            Listener::Secure => "SECURE",
            Listener::Mutual => "MUTUAL",
            Listener::Clear => "CLEAR",
            Listener::Oauth => "OAUTH",
        };
        let variable = |number| format!("SHOP_TEST_KAFKA{number}_{suffix}");
        (1..=self.brokers).map(|number| self.own.variable(&variable(number)).to_owned()).collect()
    }

    /// The password of `shop`.
    #[must_use]
    pub fn password(&self) -> &str {
        self.own.variable("SHOP_TEST_KAFKA_PASSWORD")
    }

    /// `ca.pem`, from which the brokers' certificates are, and `client.pem` with `client.key`; `other.pem` with `other.key` of
    /// another authority in `ca.pem`; `stranger-ca.pem`, of which the brokers know nothing, and `stranger.pem` with `stranger.key`.
    #[must_use]
    pub fn file(&self, name: &str) -> PathBuf {
        self.certificates.path().join(name)
    }

    /// Kills one (counted from 1), as a power cut would.
    pub async fn kill(&self, broker: usize) {
        self.own.script("kill", NAMES[broker - 1]).await;
    }

    /// Stops one in order: it hands over first.
    pub async fn stop(&self, broker: usize) {
        self.own.script("stop", NAMES[broker - 1]).await;
    }

    /// Starts one again, on the same ports with the same data, and waits until it is one of those that live.
    pub async fn resume(&self, broker: usize) {
        self.own.script("start", NAMES[broker - 1]).await;
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // All at once they would wait for one another to hand over to.
        self.own.end();
    }
}

fn write_certificates(folder: &Path) {
    let all = [("ca", ["broker", "client"].as_slice()), ("other-ca", &["other"]), ("stranger-ca", &["stranger"])];
    for (authority, certificates) in all {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, authority);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("an authority");
        let write = |name: &str, text: String| fs::write(folder.join(name), text).expect("writes");
        write(&format!("{authority}.pem"), issuer.pem());
        if authority == "other-ca" {
            let first = fs::read_to_string(folder.join("ca.pem")).expect("was written");
            write("ca.pem", first + &issuer.pem());
        }
        for name in certificates {
            let key = KeyPair::generate().expect("a key");
            let mut params = CertificateParams::new(["127.0.0.1".to_owned()]).expect("an address");
            params.distinguished_name.push(DnType::CommonName, *name);
            let certificate = params.signed_by(&key, &issuer).expect("a certificate").pem();
            if *name == "broker" {
                write("broker.pem", format!("{}{certificate}", key.serialize_pem()));
            } else {
                write(&format!("{name}.pem"), certificate);
                write(&format!("{name}.key"), key.serialize_pem());
            }
        }
    }
}
