//! Addresses in a backend's answer, brought into the form in which its client can use them: the prefix that the route cut off
//! comes back, and where the backend is stays inside.

use http::header::{self, HeaderValue};
use http::uri::Authority;
use shop_http1::Edit;
use shop_http1::Headers;
use shop_http1::fields::{self, Fields as _};

use crate::message::headers::X_FORWARDED_HOST;
use crate::routing::routes::Outside;

/// What a backend may call itself.
pub(crate) struct Inside<'a> {
    /// Where it is.
    pub(crate) backend: (&'a str, u16),
    /// The headers of the request as it got them: it may believe `Host` or `X-Forwarded-Host`.
    pub(crate) sent: &'a Headers,
    /// How its paths look from outside.
    pub(crate) outside: &'a Outside,
}

/// Whose an address is.
#[derive(PartialEq, Eq)]
enum Whose {
    /// The backend's own: nobody outside may see it.
    Backend,
    /// The gateway's, as the client calls it.
    Public,
    Others,
}

/// Rewrites the headers of an answer that hold addresses.
pub(crate) fn rewrite(headers: &mut impl Edit, inside: &Inside<'_>) {
    // Most answers have none: looking at the names that are there costs less than looking up each of these.
    headers.change(|name, value| {
        let rewrite = match name {
            b"location" | b"content-location" => Inside::seen_from_outside,
            b"link" => Inside::links,
            b"refresh" => Inside::refresh,
            b"set-cookie" => Inside::cookie,
            _ => return None,
        };
        let rewritten = fields::text(value).and_then(|text| rewrite(inside, text));
        rewritten.and_then(|text| HeaderValue::try_from(text).ok())
    });
}

impl Inside<'_> {
    /// The address for the client, relative to its own request; nothing when it is right as it is.
    fn seen_from_outside(&self, address: &str) -> Option<String> {
        let (whose, path) = match address.strip_prefix("//") {
            Some(rest) => self.split(rest, None)?,
            None if address.starts_with('/') => (Whose::Public, address),
            None => {
                let (scheme, rest) = address.split_once("://")?;
                let port = match scheme.len() {
                    4 if scheme.eq_ignore_ascii_case("http") => 80,
                    5 if scheme.eq_ignore_ascii_case("https") => 443,
                    _ => return None,
                };
                self.split(rest, Some(port))?
            }
        };
        if whose == Whose::Others {
            return None;
        }
        match self.outside.public(path) {
            // Two slashes would begin another host.
            public if whose == Whose::Backend => {
                Some(format!("/{}", public.as_deref().unwrap_or(path).trim_start_matches(['/', '\\'])))
            }
            public => public.filter(|public| public != path),
        }
    }

    /// The owner of the authority that `rest` begins with, and the path behind it.
    fn split<'b>(&self, rest: &'b str, port: Option<u16>) -> Option<(Whose, &'b str)> {
        let end = rest.find(['/', '?', '#', '\\']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        let path = if path.is_empty() { "/" } else { path };
        Some((self.owner(&authority.parse().ok()?, port), path))
    }

    fn owner(&self, authority: &Authority, port: Option<u16>) -> Whose {
        let bare = |host: &str| host.trim_start_matches('[').trim_end_matches(']').to_ascii_lowercase();
        let host = bare(authority.host());
        // Without a scheme either will do.
        let fits = |said: Option<u16>, other: u16| match said.or(port) {
            Some(port) => port == other,
            None => matches!(other, 80 | 443),
        };
        let (backend, at) = self.backend;
        if host == bare(backend) && fits(authority.port_u16(), at) {
            return Whose::Backend;
        }
        let host_header = header::HOST;
        let names = self.sent.values(&host_header).chain(self.sent.values(&X_FORWARDED_HOST));
        let is_ours = names.filter_map(|name| Authority::try_from(name).ok()).any(|name| {
            host == bare(name.host())
                && match name.port_u16() {
                    Some(at) => fits(authority.port_u16(), at),
                    // The client left it out, so its scheme says it.
                    None => authority.port_u16().is_none_or(|said| matches!(said, 80 | 443)),
                }
        });
        if is_ours { Whose::Public } else { Whose::Others }
    }

    /// Each `<…>` of a `Link` (RFC 8288).
    fn links(&self, links: &str) -> Option<String> {
        let mut out = String::with_capacity(links.len() + 16);
        let (mut rest, mut is_new) = (links, false);
        while let Some(place) = rest.find(['<', '"']) {
            let (before, found) = rest.split_at(place);
            let (mark, end) = if found.starts_with('<') { ('<', '>') } else { ('"', '"') };
            let (inner, after) = found[1..].split_once(end)?;
            let rewritten = if mark == '<' { self.seen_from_outside(inner.trim()) } else { None };
            is_new |= rewritten.is_some();
            out.push_str(before);
            out.push(mark);
            out.push_str(rewritten.as_deref().unwrap_or(inner));
            out.push(end);
            rest = after;
        }
        out.push_str(rest);
        is_new.then_some(out)
    }

    /// The `Path` of a cookie (RFC 6265, section 5.2.4): a browser would send it to that one only.
    fn cookie(&self, cookie: &str) -> Option<String> {
        let (value, attributes) = cookie.split_once(';')?;
        let (mut out, mut is_new) = (value.to_owned(), false);
        for attribute in attributes.split(';') {
            let path = attribute.split_once('=').filter(|(name, _)| name.trim().eq_ignore_ascii_case("path"));
            let rewritten = path.and_then(|(_, path)| self.seen_from_outside(path.trim()));
            is_new |= rewritten.is_some();
            out.push(';');
            match rewritten {
                Some(path) => out.extend([" Path=", &path]),
                None => out.push_str(attribute),
            }
        }
        is_new.then_some(out)
    }

    /// The address in `5; url=/products`.
    fn refresh(&self, refresh: &str) -> Option<String> {
        let place = refresh.to_ascii_lowercase().find("url")?;
        let (before, found) = refresh.split_at(place);
        let address = found["url".len()..].trim_start().strip_prefix('=')?.trim().trim_matches(['"', '\'']);
        self.seen_from_outside(address).map(|address| format!("{before}url={address}"))
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;

    use super::*;

    const BACKEND: (&str, u16) = ("10.0.0.9", 8080);

    /// A service with three routes, one of them not rewritten.
    fn outside() -> Outside {
        let routes = [("products", "/api/products/*"), ("payments", "/api/payments/*"), ("baskets", "/api/baskets/*")];
        let one = |(name, path): (&str, &str)| {
            let text = format!("path = '{path}'\nrewrite = '/{name}/*'\nto = 'product'");
            (name.to_owned(), toml::from_str(&text).expect("a route"))
        };
        let plain = toml::from_str("path = '/about/*'\nto = 'product'").expect("a route");
        Outside::of("product", &routes.map(one).into_iter().chain([("about".to_owned(), plain)]).collect())
    }

    fn sent() -> Headers {
        Headers::from(HeaderMap::from_iter([
            (header::HOST, HeaderValue::from_static("gw.test:8083")),
            (X_FORWARDED_HOST.clone(), HeaderValue::from_static("shop.example")),
        ]))
    }

    fn rewritten(name: &http::HeaderName, value: &'static str) -> String {
        let mut headers = HeaderMap::new();
        headers.insert(name, HeaderValue::from_static(value));
        rewrite(&mut headers, &Inside { backend: BACKEND, sent: &sent(), outside: &outside() });
        headers[name].to_str().expect("text").to_owned()
    }

    #[test]
    fn an_address_of_ours_gets_its_prefix_back_and_shows_no_backend() {
        let table = [
            ("/products/5", "/api/products/5"),
            ("/products?limit=1", "/api/products?limit=1"),
            ("/products", "/api/products"),
            ("/payments/1#x", "/api/payments/1#x"),
            ("/productsx", "/productsx"),
            ("/api/products/5", "/api/products/5"),
            ("5", "5"),
            ("../5", "../5"),
            ("?cursor=x", "?cursor=x"),
            // By the name that the client called.
            ("http://gw.test:8083/products/5", "/api/products/5"),
            ("HTTP://GW.test:8083/products/5", "/api/products/5"),
            ("https://shop.example/products/5", "/api/products/5"),
            ("https://shop.example:443/products/5", "/api/products/5"),
            ("//shop.example/products/5", "/api/products/5"),
            ("https://shop.example/api/products/5", "https://shop.example/api/products/5"),
            ("https://shop.example/about", "https://shop.example/about"),
            // Others.
            ("http://gw.test/products/5", "http://gw.test/products/5"),
            ("http://gw.test:80/products/5", "http://gw.test:80/products/5"),
            ("https://shop.example:8443/products/5", "https://shop.example:8443/products/5"),
            ("https://pay.example/products/5", "https://pay.example/products/5"),
            ("https://shop.example.evil.example/products/5", "https://shop.example.evil.example/products/5"),
            ("//pay.example/products/5", "//pay.example/products/5"),
            ("ftp://10.0.0.9:8080/products/5", "ftp://10.0.0.9:8080/products/5"),
            ("mailto:a@b.example", "mailto:a@b.example"),
            // By the backend's own.
            ("http://10.0.0.9:8080/products/5", "/api/products/5"),
            ("http://user:secret@10.0.0.9:8080/products/5", "/api/products/5"),
            ("//10.0.0.9:8080/products/5", "/api/products/5"),
            ("http://10.0.0.9:8080", "/"),
            ("http://10.0.0.9:8080/docs?x", "/docs?x"),
            ("http://10.0.0.9:8080?x", "/?x"),
            ("http://10.0.0.9:8080//evil.example/", "/evil.example/"),
            ("http://10.0.0.9:8080/\\\\evil.example/", "/evil.example/"),
            ("http://10.0.0.9/products/5", "http://10.0.0.9/products/5"),
        ];
        for name in [header::LOCATION, header::CONTENT_LOCATION] {
            for (value, expected) in table {
                assert_eq!(rewritten(&name, value), expected, "{name}: {value}");
            }
        }
    }

    #[test]
    fn a_backend_at_an_ipv6_address_or_the_port_of_its_scheme_is_known() {
        let headers = Headers::from(HeaderMap::new());
        for (backend, address) in [
            (("::1", 8080), "http://[::1]:8080/products/5"),
            (("product", 80), "http://product/products/5"),
            (("Product", 80), "http://product:80/products/5"),
            (("product", 443), "https://PRODUCT/products/5"),
        ] {
            let inside = Inside { backend, sent: &headers, outside: &outside() };
            assert_eq!(inside.seen_from_outside(address).as_deref(), Some("/api/products/5"), "{address}");
        }
    }

    #[test]
    fn a_cookie_for_a_path_of_the_backends_is_for_that_of_the_client() {
        for (value, expected) in [
            ("s=1; Path=/products; Secure", "s=1; Path=/api/products; Secure"),
            ("s=/products; HttpOnly;path = /baskets/u ", "s=/products; HttpOnly; Path=/api/baskets/u"),
            ("s=1; Path=/", "s=1; Path=/"),
            ("s=1; Path=/api/products", "s=1; Path=/api/products"),
            ("s=1; Domain=shop.example", "s=1; Domain=shop.example"),
            ("Path=/products", "Path=/products"),
        ] {
            assert_eq!(rewritten(&header::SET_COOKIE, value), expected);
        }
    }

    #[test]
    fn links_and_refreshes_are_addresses_too() {
        for (value, expected) in [
            ("</products?cursor=x>; rel=\"next\"", "</api/products?cursor=x>; rel=\"next\""),
            (
                "<http://10.0.0.9:8080/products/1>; title=\"a <b>, c\", </about>; rel=help, </baskets/u>",
                "</api/products/1>; title=\"a <b>, c\", </about>; rel=help, </api/baskets/u>",
            ),
            ("<https://pay.example/products>; rel=next", "<https://pay.example/products>; rel=next"),
            ("</products", "</products"),
        ] {
            assert_eq!(rewritten(&header::LINK, value), expected);
        }
        for (value, expected) in [
            ("5; url=http://10.0.0.9:8080/products/1", "5; url=/api/products/1"),
            ("0;URL = '/products/1'", "0;url=/api/products/1"),
            ("5", "5"),
            ("5; url=https://pay.example/", "5; url=https://pay.example/"),
        ] {
            assert_eq!(rewritten(&header::REFRESH, value), expected);
        }
    }
}
