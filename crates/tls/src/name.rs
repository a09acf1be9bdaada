//! Whom a certificate is for: a host, an address, or a workload by its SPIFFE ID.

use std::fmt;
use std::str::FromStr;

use rustls::client::verify_server_name;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::server::ParsedCertificate;
use x509_parser::prelude::GeneralName;

/// In front of every SPIFFE ID.
const SPIFFE: &str = "spiffe://";

/// Longest SPIFFE ID (SPIFFE-ID, section 2.3).
const LONGEST: usize = 2048;

/// Whom a certificate has to be for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Name {
    /// A host's name or an address.
    Host(ServerName<'static>),
    /// A workload: `spiffe://shop/ns/default/sa/product`, the one URI that its certificate has (X509-SVID, section 2).
    Workload(String),
}

/// Why a text is no [`Name`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0} is no name that a certificate could be for: use a host's name, an address or spiffe://TRUST-DOMAIN/PATH")]
pub struct InvalidName(String);

impl Name {
    /// Whether `certificate` is for it.
    pub fn is_of(&self, certificate: &CertificateDer<'_>) -> bool {
        match self {
            Self::Host(name) => {
                ParsedCertificate::try_from(certificate).is_ok_and(|parsed| verify_server_name(&parsed, name).is_ok())
            }
            Self::Workload(id) => matches!(&*uris(certificate), [one] if one == id),
        }
    }
}

impl FromStr for Name {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let invalid = || InvalidName(text.to_owned());
        match text.strip_prefix(SPIFFE) {
            Some(rest) if text.len() <= LONGEST && is_workload(rest) => Ok(Self::Workload(text.to_owned())),
            Some(_) => Err(invalid()),
            None => ServerName::try_from(text.to_owned()).map(Self::Host).map_err(|_| invalid()),
        }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Host(name) => f.write_str(&name.to_str()),
            Self::Workload(id) => f.write_str(id),
        }
    }
}

/// A trust domain and a path (SPIFFE-ID, sections 2.1 and 2.2).
fn is_workload(text: &str) -> bool {
    let is_domain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b".-_".contains(&byte);
    let is_path = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
    let Some((domain, path)) = text.split_once('/') else { return false };
    let is_segment = |segment: &str| !["", ".", ".."].contains(&segment) && segment.bytes().all(is_path);
    !domain.is_empty() && domain.bytes().all(is_domain) && path.split('/').all(is_segment)
}

/// The URIs among the alternative names of a certificate.
fn uris(certificate: &CertificateDer<'_>) -> Vec<String> {
    let Ok((_, parsed)) = x509_parser::parse_x509_certificate(certificate) else { return Vec::new() };
    let extension = parsed.subject_alternative_name().ok().flatten();
    let all = extension.iter().flat_map(|extension| &extension.value.general_names);
    all.filter_map(|name| if let GeneralName::URI(uri) = name { Some((*uri).to_owned()) } else { None }).collect()
}

/// All that a certificate is for, for people to read.
pub(crate) fn said(certificate: &CertificateDer<'_>) -> Vec<String> {
    let Ok((_, parsed)) = x509_parser::parse_x509_certificate(certificate) else { return Vec::new() };
    let extension = parsed.subject_alternative_name().ok().flatten();
    let all = extension.iter().flat_map(|extension| &extension.value.general_names);
    all.filter_map(|name| match name {
        GeneralName::DNSName(text) | GeneralName::URI(text) => Some((*text).to_owned()),
        GeneralName::IPAddress(bytes) => match **bytes {
            [a, b, c, d] => Some(std::net::Ipv4Addr::new(a, b, c, d).to_string()),
            ref long => <[u8; 16]>::try_from(long).ok().map(|octets| std::net::Ipv6Addr::from(octets).to_string()),
        },
        _ => None,
    })
    .map(|text| text.escape_debug().take(200).collect())
    .take(10)
    .collect()
}
