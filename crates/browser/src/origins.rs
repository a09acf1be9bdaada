//! Web origins: which ones settings allow, and finding that of a request among them.

mod allowed;

pub use allowed::{AllowedOrigin, InvalidOrigin};

use http::header;
use shop_http1::fields::Fields;

use self::allowed::is_host_byte;

/// What a request says about the page it comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin<'a> {
    /// Nothing: no browser, or a browser's plain reading.
    Absent,
    /// One origin, perhaps `null`.
    One(&'a [u8]),
    /// Several headers, which no browser sends.
    Many,
}

impl<'a> Origin<'a> {
    /// The request's.
    pub fn of(headers: &'a impl Fields) -> Self {
        let Some(first) = headers.value(&header::ORIGIN) else { return Self::Absent };
        if headers.values(&header::ORIGIN).nth(1).is_some() { Self::Many } else { Self::One(first) }
    }
}

/// How well an origin is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Known {
    /// By name.
    Named,
    /// Only because the list has `*` or `null`.
    Anybody,
}

/// A list, made for looking up.
#[derive(Debug, Default)]
pub struct Origins {
    /// Sorted.
    exact: Vec<Box<[u8]>>,
    /// Scheme and suffix.
    below: Vec<(&'static str, Box<[u8]>)>,
    null: bool,
    any: bool,
}

impl Origins {
    /// The list of these.
    pub fn new(allowed: &[AllowedOrigin]) -> Self {
        let mut origins = Self::default();
        for origin in allowed {
            match origin {
                AllowedOrigin::Any => origins.any = true,
                AllowedOrigin::Null => origins.null = true,
                AllowedOrigin::Exact(origin) => origins.exact.push(origin.as_bytes().into()),
                AllowedOrigin::Below { scheme, suffix } => origins.below.push((scheme, suffix.as_bytes().into())),
            }
        }
        origins.exact.sort_unstable();
        origins
    }

    /// Whether every origin is in the list.
    pub const fn is_open(&self) -> bool {
        self.any
    }

    /// Looks up an `Origin`, byte by byte as browsers write it.
    pub fn find(&self, origin: &[u8]) -> Option<Known> {
        let is_below = |(scheme, suffix): &(&str, Box<[u8]>)| {
            let name = origin.strip_prefix(scheme.as_bytes()).and_then(|host| host.strip_suffix(&suffix[..]));
            name.is_some_and(|name| name.split(|byte| *byte == b'.').all(is_label))
        };
        if self.exact.binary_search_by(|exact| (**exact).cmp(origin)).is_ok() || self.below.iter().any(is_below) {
            Some(Known::Named)
        } else if self.any || (self.null && origin == b"null") {
            Some(Known::Anybody)
        } else {
            None
        }
    }
}

fn is_label(label: &[u8]) -> bool {
    !label.is_empty() && label.iter().copied().all(is_host_byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origins(texts: &[&str]) -> Origins {
        Origins::new(&texts.iter().map(|text| text.parse().unwrap()).collect::<Vec<_>>())
    }

    #[test]
    fn only_what_is_listed_is_found() {
        let listed = origins(&["https://shop.example", "http://localhost:3000", "https://*.shop.example:8443"]);
        for (origin, expected) in [
            ("https://shop.example", true),
            ("http://localhost:3000", true),
            ("https://a.shop.example:8443", true),
            ("https://a.b-1.shop.example:8443", true),
            ("https://shop.example.evil.example", false),
            ("https://shop.example:8443", false),
            ("https://.shop.example:8443", false),
            ("https://a..shop.example:8443", false),
            ("https://evilshop.example:8443", false),
            ("https://evil.example/.shop.example:8443", false),
            ("https://evil.example:1@a.shop.example:8443", false),
            ("https://a.shop.example", false),
            ("http://a.shop.example:8443", false),
            ("http://shop.example", false),
            ("https://SHOP.example", false),
            ("https://shop.example/", false),
            ("http://localhost:30000", false),
            ("http://localhost", false),
            ("null", false),
            ("*", false),
            ("", false),
        ] {
            assert_eq!(listed.find(origin.as_bytes()), expected.then_some(Known::Named), "{origin}");
        }
    }

    #[test]
    fn null_and_a_star_make_nobody_known_by_name() {
        let null = origins(&["null", "https://a.example"]);
        assert_eq!(null.find(b"null"), Some(Known::Anybody));
        assert_eq!(null.find(b"https://a.example"), Some(Known::Named));
        assert_eq!(null.find(b"https://b.example"), None);
        let any = origins(&["*", "https://a.example"]);
        assert_eq!(any.find(b"https://a.example"), Some(Known::Named));
        assert_eq!(any.find(b"https://b.example"), Some(Known::Anybody));
        assert_eq!(any.find(b"null"), Some(Known::Anybody));
    }
}
