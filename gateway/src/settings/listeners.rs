//! Settings of listeners for clients beside `http` and `tls`.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use shop_config::{Problems, distinct_ports};
use shop_tls::{AuthoritiesFile, Certificate};

use super::services::is_name;
use crate::message::client::Network;

/// Listeners by name.
pub type Listeners = BTreeMap<String, Listener>;

/// A listener for clients, which serves what `http` and `tls` do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Listener {
    /// Where it listens, such as `0.0.0.0:8443` or `[::]:80`; port 0 takes any free one.
    pub address: ListenerAddress,
    /// Its TLS; cleartext without.
    #[serde(default)]
    pub tls: Option<ListenerTls>,
    /// Whether a proxy says for whom it speaks, before anything else. Off by default: it is for balancers that hand on bytes.
    #[serde(default)]
    pub proxy_protocol: ProxyProtocol,
    /// The proxies that must say so. Nobody else may, and they may not leave it out: whoever says it may say any address.
    #[serde(default)]
    pub proxy_protocol_from: Vec<Network>,
}

/// Address and port of a listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ListenerAddress(pub SocketAddr);

/// Why a text is not one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0} is no address with a port, such as 0.0.0.0:8443 or [::]:80")]
pub struct InvalidListenerAddress(String);

impl FromStr for ListenerAddress {
    type Err = InvalidListenerAddress;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.trim().parse().map(Self).map_err(|_| InvalidListenerAddress(text.to_owned()))
    }
}

impl fmt::Display for ListenerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Serialize for ListenerAddress {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ListenerAddress {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

/// Whether connections begin with the head of the PROXY protocol.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProxyProtocol {
    /// They do not.
    #[default]
    Off,
    /// Those of `proxy_protocol_from` do, in version 1 or 2.
    Accept,
}

/// TLS of a listener.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ListenerTls {
    /// Its certificates. A client gets the one that has the name it asks for (SNI), else the one with a star for that, else the
    /// first. They are read again as often as that of `tls`.
    pub certificates: Vec<Certificate>,
    /// PEM file with the authorities whose certificates clients may show. It is read again as the certificates are.
    pub client_ca_file: Option<PathBuf>,
    /// Whether clients show a certificate.
    pub client_auth: ClientAuth,
}

/// Whether clients show a certificate (mTLS).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClientAuth {
    /// They are not asked.
    #[default]
    None,
    /// They are asked, and may have none. One that is not good is refused.
    Optional,
    /// Without a good one they are refused.
    Required,
}

impl ListenerTls {
    /// Where the authorities of clients are, if these are asked for certificates.
    pub(crate) fn authorities(&self) -> Option<&PathBuf> {
        self.client_ca_file.as_ref().filter(|_| self.client_auth != ClientAuth::None)
    }

    fn check(&self, problems: &mut Problems) {
        let some = "name at least one, such as [{ cert_file = \"tls.crt\", key_file = \"tls.key\" }]; without [tls] the \
                    listener is in cleartext";
        problems.ensure(!self.certificates.is_empty(), "certificates", some);
        for (index, certificate) in self.certificates.iter().enumerate() {
            problems.within(&format!("certificates.{index}"), |p| {
                let is_named = |file: &PathBuf| !file.as_os_str().is_empty();
                p.ensure(is_named(&certificate.cert_file), "cert_file", "name the PEM file with the certificate");
                p.ensure(is_named(&certificate.key_file), "key_file", "name the PEM file with the certificate's key");
            });
        }
        match (self.client_auth, &self.client_ca_file) {
            (ClientAuth::None, Some(_)) => {
                let unused = "has no effect while client_auth is none; say optional or required";
                problems.add("client_ca_file", unused);
            }
            (ClientAuth::Optional | ClientAuth::Required, None) => {
                let unknown =
                    "name the PEM file with the authorities whose certificates are good; or set client_auth = none";
                problems.add("client_ca_file", unknown);
            }
            _ => {}
        }
    }

    fn check_files(&self, problems: &mut Problems) {
        for (index, certificate) in self.certificates.iter().enumerate() {
            // What is not named is found already.
            if [&certificate.cert_file, &certificate.key_file].iter().all(|file| !file.as_os_str().is_empty()) {
                problems.within(&format!("certificates.{index}"), |p| certificate.check_files(p));
            }
        }
        if let Some(file) = self.authorities()
            && let Err(error) = AuthoritiesFile::read(file).and_then(|content| content.parse(file))
        {
            problems.add("client_ca_file", error.to_string());
        }
    }
}

impl Listener {
    fn check(&self, problems: &mut Problems) {
        if let Some(tls) = &self.tls {
            problems.within("tls", |p| tls.check(p));
        }
        let is_on = self.proxy_protocol == ProxyProtocol::Accept;
        let key = "proxy_protocol_from";
        problems.ensure(
            !is_on || !self.proxy_protocol_from.is_empty(),
            key,
            "name the proxies that are believed, such as [\"10.0.0.0/8\"]: whoever is may say any address",
        );
        let unused = "has no effect while proxy_protocol is off; set proxy_protocol = accept";
        problems.ensure(is_on || self.proxy_protocol_from.is_empty(), key, unused);
    }
}

/// Finds wrong values, and ports that `others`, by the keys of their settings, have.
pub(super) fn check(listeners: &Listeners, others: &[(&str, SocketAddr)], problems: &mut Problems) {
    let mut taken: Vec<(String, SocketAddr)> = others.iter().map(|(key, addr)| ((*key).to_owned(), *addr)).collect();
    for (name, listener) in listeners {
        let key = format!("listeners.{name}");
        problems.ensure(is_name(name), &key, "is no name for a listener: use small letters, digits and dashes");
        problems.within(&key, |p| listener.check(p));
        let own = (format!("{key}.address"), listener.address.0);
        for (other, addr) in &taken {
            distinct_ports(&[(other, *addr), (&own.0, own.1)], problems);
        }
        taken.push(own);
    }
}

/// Finds what is wrong with the files.
pub(super) fn check_files(listeners: &Listeners, problems: &mut Problems) {
    for (name, listener) in listeners {
        if let Some(tls) = &listener.tls {
            problems.within(&format!("listeners.{name}.tls"), |p| tls.check_files(p));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> Vec<(String, String)> {
        let listeners: Listeners = toml::from_str(text).expect("listeners");
        let mut problems = Problems::default();
        check(&listeners, &[("http.port", ([127, 0, 0, 1], 8083).into())], &mut problems);
        check_files(&listeners, &mut problems);
        problems.iter().map(|problem| (problem.key.clone(), problem.message.clone())).collect()
    }

    #[test]
    fn what_is_wrong_is_told_by_its_key() {
        let pair = "certificates = [{ cert_file = '/nowhere.crt', key_file = '/nowhere.key' }]";
        let cert = ("listeners.a.tls.certificates.0.cert_file", "cannot use the certificate in /nowhere.crt");
        let table: [(String, &[(&str, &str)]); 10] = [
            ("[a]\naddress = '127.0.0.1:1'".into(), &[]),
            ("[a]\naddress = '[::]:8083'".into(), &[("listeners.a.address", "http.port is 8083 too")]),
            (
                "[a]\naddress = '0.0.0.0:1'\n[b]\naddress = '127.0.0.1:1'".into(),
                &[("listeners.b.address", "listeners.a.address is 1 too")],
            ),
            ("[A_]\naddress = '127.0.0.1:1'".into(), &[("listeners.A_", "is no name")]),
            (
                "[a]\naddress = '127.0.0.1:1'\nproxy_protocol = 'accept'".into(),
                &[("listeners.a.proxy_protocol_from", "name the proxies")],
            ),
            (
                "[a]\naddress = '127.0.0.1:1'\nproxy_protocol_from = ['10.0.0.0/8']".into(),
                &[("listeners.a.proxy_protocol_from", "has no effect while proxy_protocol is off")],
            ),
            ("[a]\naddress = '127.0.0.1:1'\n[a.tls]".into(), &[("listeners.a.tls.certificates", "name at least one")]),
            (
                "[a]\naddress = '127.0.0.1:1'\n[a.tls]\ncertificates = [{ cert_file = '/x' }]".into(),
                &[("listeners.a.tls.certificates.0.key_file", "name the PEM file")],
            ),
            (
                format!("[a]\naddress = '127.0.0.1:1'\n[a.tls]\nclient_auth = 'required'\n{pair}"),
                &[("listeners.a.tls.client_ca_file", "name the PEM file"), cert],
            ),
            (
                format!("[a]\naddress = '127.0.0.1:1'\n[a.tls]\nclient_ca_file = '/nowhere.crt'\n{pair}"),
                &[("listeners.a.tls.client_ca_file", "has no effect while client_auth is none"), cert],
            ),
        ];
        for (text, expected) in table {
            let found = found(&text);
            assert_eq!(found.len(), expected.len(), "{text}: {found:?}");
            for ((key, message), (expected, begin)) in found.iter().zip(expected) {
                assert!(key == expected && message.starts_with(begin), "{text}: {found:?}");
            }
        }
    }

    #[test]
    fn an_address_has_a_port() {
        for (text, good) in [("0.0.0.0:80", true), ("[::]:0", true), ("::80", false), ("80", false), ("a:80", false)] {
            assert_eq!(text.parse::<ListenerAddress>().is_ok(), good, "{text}");
        }
    }
}
