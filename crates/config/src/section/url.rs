//! The little of URLs that stores need: writing a server's, reading a file's.

use std::fmt::Write as _;
use std::path::PathBuf;

/// The parts of a server's URL, unescaped.
pub(crate) struct Server<'a> {
    pub(crate) scheme: &'a str,
    pub(crate) user: &'a str,
    pub(crate) password: &'a str,
    pub(crate) host: &'a str,
    pub(crate) port: u16,
    pub(crate) path: &'a str,
}

/// Writes `scheme://user:password@host:port/path`, escaping what needs it.
pub(crate) fn server(parts: &Server<'_>) -> String {
    let mut url = format!("{}://", parts.scheme);
    if !parts.user.is_empty() || !parts.password.is_empty() {
        url.push_str(&escaped(parts.user));
        if !parts.password.is_empty() {
            url.push(':');
            url.push_str(&escaped(parts.password));
        }
        url.push('@');
    }
    let bare_ipv6 = parts.host.contains(':') && !parts.host.starts_with('[');
    let (open, close) = if bare_ipv6 { ("[", "]") } else { ("", "") };
    // Writing to a String cannot fail.
    let _ = write!(url, "{open}{}{close}:{}/{}", parts.host, parts.port, escaped(parts.path));
    url
}

/// Whether what follows the scheme's colon names a host.
pub(crate) fn has_host(rest: &str) -> bool {
    rest.strip_prefix("//").is_some_and(|rest| !rest.is_empty())
}

/// The path in `sqlite://PATH` or `sqlite:PATH`, given what follows the scheme's colon.
pub(crate) fn file(rest: &str) -> Result<PathBuf, String> {
    let path = rest.strip_prefix("//").unwrap_or(rest);
    if path.is_empty() || path.starts_with(':') {
        return Err("name a file, such as sqlite://data/shop.db".to_owned());
    }
    if path.contains(['?', '#']) {
        return Err("leave out what follows the file's name".to_owned());
    }
    Ok(PathBuf::from(path))
}

/// Percent-encodes everything but RFC 3986's unreserved characters.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            // Writing to a String cannot fail.
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}
