//! Lists of backend addresses, as an array of texts or as one text with commas.

use std::fmt;
use std::num::NonZeroU16;
use std::str::FromStr;

use serde::de::{self, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::invalid_backend::InvalidBackend;
use crate::source::SourceUrl;

/// Where one backend is: `http://host:port` or, over TLS, `https://host:port`, optionally `;weight=N` and `;draining`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct BackendUrl {
    /// Name or address; an IPv6 address without its brackets.
    pub host: String,
    /// Port; 80 when not written, 443 over TLS.
    pub port: u16,
    /// It is called over TLS.
    pub tls: bool,
    /// Share of the calls under `weighted_round_robin`; 1 when not written.
    pub weight: NonZeroU16,
    /// It gets no new calls; those it has are finished.
    pub draining: bool,
}

impl BackendUrl {
    /// A backend of weight 1, in cleartext.
    pub fn new(host: impl Into<String>, port: u16) -> Self {
        Self { host: host.into(), port, tls: false, weight: NonZeroU16::MIN, draining: false }
    }
}

impl fmt::Display for BackendUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls { "https" } else { "http" };
        if self.host.contains(':') {
            write!(f, "{scheme}://[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{scheme}://{}:{}", self.host, self.port)
        }
    }
}

impl FromStr for BackendUrl {
    type Err = InvalidBackend;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut parts = text.split(';').map(str::trim);
        let url = parts.next().unwrap_or_default();
        let (tls, rest) = match url.split_once("://") {
            Some(("http", rest)) => (false, rest),
            Some(("https", rest)) => (true, rest),
            Some(_) => return Err(InvalidBackend::Scheme(text.to_owned())),
            None => (false, url),
        };
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        if rest.contains(['/', '?', '#', '@']) {
            return Err(InvalidBackend::Extra(text.to_owned()));
        }
        let address = || InvalidBackend::Address(text.to_owned());
        let authority: http::uri::Authority = rest.parse().map_err(|_| address())?;
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        // Not `Authority::port`, which takes a number over 65535 for no port at all.
        let port = match rest.strip_prefix(authority.host()) {
            Some("") if tls => 443,
            Some("") => 80,
            Some(port) => port.strip_prefix(':').and_then(port_number).unwrap_or(0),
            None => 0,
        };
        if host.is_empty() || port == 0 {
            return Err(address());
        }
        let mut weight = NonZeroU16::MIN;
        let mut draining = false;
        for option in parts {
            if option == "draining" {
                draining = true;
                continue;
            }
            weight = option
                .strip_prefix("weight=")
                .and_then(|number| number.parse().ok())
                .ok_or_else(|| InvalidBackend::Option(text.to_owned()))?;
        }
        Ok(Self { host, port, tls, weight, draining })
    }
}

/// A port in its one spelling: no plus sign, no leading zeros.
fn port_number(text: &str) -> Option<u16> {
    text.parse().ok().filter(|port: &u16| port.to_string() == text)
}

/// A list of backends, and of places where more are looked up.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Backends(
    /// Those written down.
    pub Vec<BackendUrl>,
    /// Where to look for more.
    pub Vec<SourceUrl>,
);

impl From<Vec<BackendUrl>> for Backends {
    fn from(backends: Vec<BackendUrl>) -> Self {
        Self(backends, Vec::new())
    }
}

impl Backends {
    /// Whether nobody can ever be in it.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty() && self.1.is_empty()
    }

    fn read<'a>(texts: impl Iterator<Item = &'a str>) -> Result<Self, InvalidBackend> {
        let mut list = Self::default();
        for text in texts {
            if SourceUrl::is_meant(text) {
                list.1.push(text.parse()?);
            } else {
                list.0.push(text.parse()?);
            }
        }
        Ok(list)
    }
}

impl FromStr for Backends {
    type Err = InvalidBackend;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::read(text.split(',').map(str::trim).filter(|text| !text.is_empty()))
    }
}

impl Serialize for Backends {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let backends = self.0.iter().map(|backend| {
            let weight = Some(backend.weight.get()).filter(|weight| *weight != 1);
            let weight = weight.map_or_else(String::new, |weight| format!(";weight={weight}"));
            format!("{backend}{weight}{}", if backend.draining { ";draining" } else { "" })
        });
        serializer.collect_seq(backends.chain(self.1.iter().map(ToString::to_string)))
    }
}

impl<'de> Deserialize<'de> for Backends {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = Backends;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("URLs such as http://host:8080 or http://host:8080;weight=2, separated by commas")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Backends, E> {
                text.parse().map_err(E::custom)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Backends, A::Error> {
                let mut texts = Vec::new();
                while let Some(text) = seq.next_element::<String>()? {
                    texts.push(text);
                }
                Backends::read(texts.iter().map(String::as_str)).map_err(de::Error::custom)
            }
        }
        deserializer.deserialize_any(Reader)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn backend(host: &str, port: u16, weight: u16) -> BackendUrl {
        BackendUrl { weight: NonZeroU16::new(weight).expect("not zero"), ..BackendUrl::new(host, port) }
    }

    #[test]
    fn a_list_is_read_from_text_and_from_an_array() {
        let expected =
            Backends(vec![backend("a", 8080, 1), backend("::1", 80, 3)], vec!["dns://b:81".parse().expect("a source")]);
        let text = serde_json::json!("http://a:8080, dns://b:81, http://[::1]/;weight=3,");
        let array = serde_json::json!(["a:8080", "http://[::1];weight=3", "dns://b:81"]);
        assert_eq!(serde_json::from_value::<Backends>(text).expect("text"), expected);
        assert_eq!(serde_json::from_value::<Backends>(array).expect("array"), expected);
        let written = serde_json::to_value(&expected).expect("serialises");
        assert_eq!(written, serde_json::json!(["http://a:8080", "http://[::1]:80;weight=3", "dns://b:81"]));
        let draining: Backends = "a:1;draining,a:2;draining;weight=2".parse().expect("a list");
        let written = serde_json::to_value(&draining).expect("serialises");
        assert_eq!(written, serde_json::json!(["http://a:1;draining", "http://a:2;weight=2;draining"]));
    }

    #[test]
    fn over_tls_the_scheme_stays_and_the_port_is_another_when_it_is_not_written() {
        for (text, expected) in [
            ("https://a", "https://a:443"),
            ("https://a:80;weight=2", "https://a:80;weight=2"),
            ("https://[::1]/", "https://[::1]:443"),
            ("http://a", "http://a:80"),
        ] {
            let backends: Backends = text.parse().expect(text);
            assert_eq!(serde_json::to_value(&backends).expect("serialises"), serde_json::json!([expected]));
            assert_eq!(backends.0[0].tls, text.starts_with("https"));
        }
    }

    #[test]
    fn what_is_no_backend_is_refused_with_a_reason() {
        for (text, message) in [
            ("ftp://a", "neither an http nor an https URL"),
            ("https://a:0", "no usable host and port"),
            ("http://a/base", "more than host and port"),
            ("http://u:p@a", "more than host and port"),
            ("http://a:99999", "no usable host and port"),
            ("http://a:0", "no usable host and port"),
            ("http://", "no usable host and port"),
            ("http://a;weight=0", "unknown option"),
            ("http://a;speed=2", "unknown option"),
        ] {
            let error = text.parse::<BackendUrl>().expect_err(text).to_string();
            assert!(error.contains(message), "{text}: {error}");
        }
    }
}
