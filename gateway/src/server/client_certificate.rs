//! What backends are told of a client's certificate: `X-Forwarded-Client-Cert`, in Envoy's format.

use std::fmt::Write as _;

use http::HeaderValue;
use ring::digest::{SHA256, digest};
use rustls::pki_types::CertificateDer;
use x509_parser::prelude::{GeneralName, X509Certificate};
use x509_parser::x509::X509Name;

/// As many bytes of names, at most: backends take heads of some size only, and every request has this.
const MOST: usize = 4096;

/// Short names of what a subject is made of (RFC 4514, section 3, and the one for e-mail that is in use).
const TYPES: [(&str, &str); 10] = [
    ("2.5.4.3", "CN"),
    ("2.5.4.7", "L"),
    ("2.5.4.8", "ST"),
    ("2.5.4.10", "O"),
    ("2.5.4.11", "OU"),
    ("2.5.4.6", "C"),
    ("2.5.4.9", "STREET"),
    ("0.9.2342.19200300.100.1.25", "DC"),
    ("0.9.2342.19200300.100.1.1", "UID"),
    ("1.2.840.113549.1.9.1", "emailAddress"),
];

/// `Hash=…;Subject="…";URI=…;DNS=…` of a certificate that was found good.
pub(super) fn described(certificate: &CertificateDer<'_>) -> Option<HeaderValue> {
    let mut text = String::with_capacity(256);
    text.push_str("Hash=");
    for byte in digest(&SHA256, certificate).as_ref() {
        // Writing to a text cannot fail, here and below.
        let _ = write!(text, "{byte:02x}");
    }
    if let Ok((_, parsed)) = x509_parser::parse_x509_certificate(certificate) {
        text.push_str(";Subject=\"");
        subject(parsed.subject(), &mut text);
        text.push('"');
        names(&parsed, &mut text);
    }
    HeaderValue::try_from(text).ok()
}

/// As RFC 4514 writes it, the last part first. What would end the quotes is in hexadecimal digits, as it may be there.
fn subject(name: &X509Name<'_>, text: &mut String) {
    let sets: Vec<_> = name.iter().collect();
    for (index, set) in sets.iter().rev().enumerate() {
        if index > 0 {
            text.push(',');
        }
        for (index, attribute) in set.iter().enumerate() {
            if index > 0 {
                text.push('+');
            }
            let id = attribute.attr_type().to_id_string();
            let short = TYPES.iter().find(|(known, _)| *known == id).map(|(_, short)| *short);
            text.push_str(short.unwrap_or(&id));
            text.push('=');
            escaped(attribute.as_slice(), text);
        }
        if text.len() > MOST {
            return;
        }
    }
}

fn escaped(value: &[u8], text: &mut String) {
    for (index, byte) in value.iter().take(MOST).enumerate() {
        let is_edge = index == 0 || index + 1 == value.len();
        match byte {
            b',' | b'+' | b'<' | b'>' | b';' => text.extend(['\\', char::from(*byte)]),
            b' ' if is_edge => text.push_str("\\ "),
            b'#' if index == 0 => text.push_str("\\#"),
            b' '..=b'~' if !matches!(byte, b'"' | b'\\') => text.push(char::from(*byte)),
            _ => drop(write!(text, "\\{byte:02X}")),
        }
    }
}

/// The alternative names, each with a key of its own. One that could be read as something else is left out: no name of a host
/// and no URI has such characters.
fn names(certificate: &X509Certificate<'_>, text: &mut String) {
    let extension = certificate.subject_alternative_name().ok().flatten();
    let all = || extension.iter().flat_map(|extension| &extension.value.general_names);
    let uris = all().filter_map(|name| match name {
        GeneralName::URI(uri) => Some(("URI", *uri)),
        _ => None,
    });
    let hosts = all().filter_map(|name| match name {
        GeneralName::DNSName(host) => Some(("DNS", *host)),
        _ => None,
    });
    for (key, value) in uris.chain(hosts) {
        let is_plain = !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_graphic());
        if !is_plain || value.contains(['"', '\\']) || text.len() + value.len() > MOST {
            continue;
        }
        let quote = if value.contains([',', ';', '=']) { "\"" } else { "" };
        let _ = write!(text, ";{key}={quote}{value}{quote}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, SanType};

    fn told(parts: &[(DnType, &str)], names: &[SanType]) -> String {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        for (kind, value) in parts {
            params.distinguished_name.push(kind.clone(), *value);
        }
        params.subject_alt_names = names.to_vec();
        let key = KeyPair::generate().expect("a key");
        let certificate = params.self_signed(&key).expect("a certificate");
        let value = described(certificate.der()).expect("a value");
        let text = value.to_str().expect("ASCII").to_owned();
        let (hash, rest) = text.strip_prefix("Hash=").expect("a hash").split_at(64);
        assert!(hash.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')), "{text}");
        rest.to_owned()
    }

    fn uri(text: &str) -> SanType {
        SanType::URI(text.try_into().expect("ASCII"))
    }

    fn host(text: &str) -> SanType {
        SanType::DnsName(text.try_into().expect("ASCII"))
    }

    #[test]
    fn subject_and_names_are_in_one_line() {
        let subject = [(DnType::CountryName, "DE"), (DnType::OrganizationName, "Shop"), (DnType::CommonName, "till 7")];
        let names = [host("till.example"), uri("spiffe://shop.example/till/7"), host("*.till.example")];
        let expected =
            ";Subject=\"CN=till 7,O=Shop,C=DE\";URI=spiffe://shop.example/till/7;DNS=till.example;DNS=*.till.example";
        assert_eq!(told(&subject, &names), expected);
        assert_eq!(told(&[], &[]), ";Subject=\"\"");
    }

    #[test]
    fn no_name_passes_for_another() {
        for (value, expected) in [
            ("a\";URI=spiffe://admin", "a\\22\\;URI=spiffe://admin"),
            ("a\\", "a\\5C"),
            ("a,O=Shop", "a\\,O=Shop"),
            (" a ", "\\ a\\ "),
            ("#1", "\\#1"),
            ("ä\r\n", "\\C3\\A4\\0D\\0A"),
        ] {
            let expected = format!(";Subject=\"CN={expected}\"");
            assert_eq!(told(&[(DnType::CommonName, value)], &[]), expected);
        }
        for (name, expected) in [
            (uri("a:b,c;d=e"), ";URI=\"a:b,c;d=e\""),
            (uri("a:b\",URI=c:d"), ""),
            (uri("a:\\"), ""),
            (uri("a:b\r\nx: y"), ""),
            (host("a b"), ""),
            (uri(&format!("a:{}", "b".repeat(MOST))), ""),
        ] {
            assert_eq!(told(&[], &[name]), format!(";Subject=\"\"{expected}"));
        }
    }
}
