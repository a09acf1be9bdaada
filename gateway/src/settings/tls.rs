//! Settings of the port that speaks TLS.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use shop_config::{Duration, Problems};
use shop_tls::Certificate;

/// A second port, for TLS. Off while no certificate is named.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Tls {
    /// PEM file with the certificate and those between it and the authority, in this order.
    pub cert_file: PathBuf,
    /// PEM file with the certificate's private key.
    pub key_file: PathBuf,
    /// Port for HTTPS and gRPC over TLS, on the address of `http.host`; 0 takes any free one. Beside the cleartext port, so
    /// that probes and neighbours need no certificate; 8443 needs no rights.
    pub port: u16,
    /// Sends who comes in cleartext to TLS. Off, because in a cluster the cleartext port is often the one that is meant.
    pub redirect: bool,
    /// The port that clients see where `tls.port` is mapped to another, for redirects; 0 is `tls.port`.
    pub public_port: u16,
    /// How often the two files, and those of [`Config::listeners`](super::Config::listeners), are read to see whether they
    /// changed, besides on SIGHUP. Certificates are replaced days before they expire, so ten seconds are soon, and reading
    /// small files costs nothing.
    pub reload_interval: Duration,
}

impl Default for Tls {
    fn default() -> Self {
        Self {
            cert_file: PathBuf::new(),
            key_file: PathBuf::new(),
            port: 8443,
            redirect: false,
            public_port: 0,
            reload_interval: Duration::secs(10),
        }
    }
}

impl Tls {
    /// Whether there is such a port.
    pub fn is_on(&self) -> bool {
        !self.cert_file.as_os_str().is_empty()
    }

    /// Address and port together.
    pub(crate) const fn addr(&self, host: IpAddr) -> SocketAddr {
        SocketAddr::new(host, self.port)
    }

    pub(super) fn check(&self, cleartext_port: u16, problems: &mut Problems) {
        problems.ensure(!self.reload_interval.is_zero(), "reload_interval", "must be more than 0");
        let has_key = !self.key_file.as_os_str().is_empty();
        if !self.is_on() {
            problems.ensure(!has_key, "key_file", "has no effect alone; name tls.cert_file (TLS_CERT_FILE) too");
            problems.ensure(!self.redirect, "redirect", "leads nowhere; name tls.cert_file and tls.key_file first");
            return;
        }
        let is_free = self.port == 0 || self.port != cleartext_port;
        problems.ensure(is_free, "port", "is the cleartext port http.port (PORT); choose another");
        if !has_key {
            problems.add("key_file", "name the key of tls.cert_file (TLS_KEY_FILE)");
        }
    }

    /// The certificate and its key.
    pub(crate) fn certificate(&self) -> Certificate {
        Certificate { cert_file: self.cert_file.clone(), key_file: self.key_file.clone() }
    }

    /// Whether the files can be used.
    pub(super) fn check_files(&self, problems: &mut Problems) {
        if self.is_on() && !self.key_file.as_os_str().is_empty() {
            self.certificate().check_files(problems);
        }
    }
}
