//! The little of URLs that stores need: writing a server's, reading a file's.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, percent_encode};

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
    let mut url = format!("{}://{}", parts.scheme, login(parts.user, parts.password));
    let places: Vec<_> = parts.host.split(',').map(|host| place(host.trim(), parts.port)).collect();
    // Writing to a String cannot fail.
    let _ = write!(url, "{}/{}", places.join(","), escaped(parts.path));
    url
}

/// What is before the host: nothing when both are empty.
fn login(user: &str, password: &str) -> String {
    let (user, password) = (escaped(user), escaped(password));
    match (user.is_empty(), password.is_empty()) {
        (true, true) => String::new(),
        (_, true) => format!("{user}@"),
        (_, false) => format!("{user}:{password}@"),
    }
}

/// Whether a URL that has a host says who logs in there.
pub(crate) fn has_login(url: &str) -> bool {
    authority(url).0.ends_with('@')
}

/// `url`, which has a host, with this login unless it has one.
pub(crate) fn with_login(url: &str, user: &str, password: &str) -> String {
    let (before, hosts, after) = authority(url);
    let login = if has_login(url) { String::new() } else { login(user, password) };
    format!("{before}{login}{hosts}{after}")
}

/// `host:port` as URLs have it, with the port that the host comes with, if it does.
fn place(host: &str, port: u16) -> String {
    let colons = host.matches(':').count();
    match (host.starts_with('['), host.contains("]:")) {
        (true, true) => host.to_owned(),
        (false, _) if colons == 1 || host.is_empty() => host.to_owned(),
        (false, _) if colons > 1 => format!("[{host}]:{port}"),
        _ => format!("{host}:{port}"),
    }
}

/// A URL's host and what is around it: up to there, the hosts, from there on.
fn authority(url: &str) -> (&str, &str, &str) {
    let start = url.find("//").map_or(0, |at| at + 2);
    let end = url[start..].find(['/', '?', '#']).map_or(url.len(), |at| start + at);
    let start = url[start..end].rfind('@').map_or(start, |at| start + at + 1);
    (&url[..start], &url[start..end], &url[end..])
}

/// The URLs with one host each that a URL with several, `scheme://user@a:1,b:2/path`, stands for.
pub(crate) fn each_host(url: &str) -> Result<Vec<String>, String> {
    let (before, hosts, after) = authority(url);
    if parameter(url, &["host", "hostaddr"]).is_some_and(|hosts| hosts.contains(',')) {
        return Err("name several hosts before the database's name: postgres://user@a:5432,b:5432/name".to_owned());
    }
    if !hosts.contains(',') {
        return Ok(vec![url.to_owned()]);
    }
    hosts.split(',').map(|host| each(before, host, after)).collect()
}

/// `url`, with what it does not say as `main` has it: who logs in, the path, each parameter. Both have a host.
pub(crate) fn completed(url: &str, main: &str) -> String {
    let ((login, hosts, rest), (main_login, _, main_rest)) = (authority(url), authority(main));
    let (path, query) = split(rest);
    let (main_path, main_query) = split(main_rest);
    let login = if login.ends_with('@') { login } else { main_login };
    let path = if path.len() > 1 { path } else { main_path };
    let said: Vec<_> = pairs(query).map(name).collect();
    // A host there would win over this one.
    let left_out =
        pairs(main_query).filter(|pair| !said.contains(&name(pair)) && !["host", "hostaddr"].contains(&name(pair)));
    let query = pairs(query).chain(left_out).collect::<Vec<_>>().join("&");
    format!("{login}{hosts}{path}{}{query}", if query.is_empty() { "" } else { "?" })
}

/// The parameters of a query with its question mark.
fn pairs(query: &str) -> impl Iterator<Item = &str> {
    let query = query.split('#').next().unwrap_or_default().trim_start_matches('?');
    query.split('&').filter(|pair| !pair.is_empty())
}

/// What a parameter is called, in the one way of two that both stores know.
fn name(pair: &str) -> &str {
    match pair.split('=').next().unwrap_or_default() {
        "ssl-mode" => "sslmode",
        name => name,
    }
}

/// A path, and the query with its question mark.
fn split(rest: &str) -> (&str, &str) {
    rest.split_at(rest.find('?').unwrap_or(rest.len()))
}

fn each(before: &str, host: &str, after: &str) -> Result<String, String> {
    if host.is_empty() || host.starts_with(':') {
        return Err("there is no host before or after a comma".to_owned());
    }
    let port = host.rsplit_once(':').map(|(_, port)| port).filter(|port| !port.ends_with(']'));
    if port.is_some_and(|port| port.parse::<u16>().is_err()) {
        return Err(format!("{host} has no port from 1 to 65535 after its colon"));
    }
    Ok(format!("{before}{host}{after}"))
}

/// What the query of a URL says by the first of these names.
pub(crate) fn parameter<'a>(url: &'a str, names: &[&str]) -> Option<&'a str> {
    let (_, query) = url.split_once('?')?;
    let query = query.split('#').next().unwrap_or_default();
    query
        .split('&')
        .filter_map(|pair| pair.split_once('='))
        .find(|(name, _)| names.contains(name))
        .map(|(_, value)| value)
}

/// Whether what follows the scheme's colon names a host.
pub(crate) fn has_host(rest: &str) -> bool {
    rest.strip_prefix("//").is_some_and(|rest| !rest.is_empty())
}

/// The path in `sqlite://PATH` or `sqlite:PATH`, given what follows the scheme's colon, percent-decoded.
pub(crate) fn file(rest: &str) -> Result<PathBuf, String> {
    let path = rest.strip_prefix("//").unwrap_or(rest);
    if path.is_empty() || path.starts_with(':') {
        return Err("name a file, such as sqlite://data/shop.db".to_owned());
    }
    if path.contains(['?', '#']) {
        return Err("leave out what follows the file's name; where ? or # is a part of it, write %3F or %23".to_owned());
    }
    let path = percent_decode_str(path).decode_utf8().map_err(|_| "what follows % must make up UTF-8")?;
    if path.contains('\0') {
        return Err("a file's name cannot have %00".to_owned());
    }
    Ok(PathBuf::from(path.as_ref()))
}

/// The URL of a file, `sqlite://PATH`, whatever characters its name has.
pub fn sqlite(path: &Path) -> String {
    /// What would end the path, or be decoded, or stand for no file.
    const AWKWARD: &AsciiSet = &CONTROLS.add(b'%').add(b'?').add(b'#').add(b':');
    format!("sqlite://{}", percent_encode(path.as_os_str().as_encoded_bytes(), AWKWARD))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_file_has_a_url() {
        for path in
            ["data/a.db", "/var/a b.db", "d#x/a.db", "d?x/a.db", "100%/a%20b.db", ":memory:/a.db", "ä/a.db", "//a"]
        {
            let url = sqlite(Path::new(path));
            let rest = url.strip_prefix("sqlite:").expect("its scheme");
            assert_eq!(file(rest), Ok(PathBuf::from(path)), "{url}");
        }
        assert_eq!(sqlite(Path::new("data/a b.db")), "sqlite://data/a b.db", "readable where it can be");
    }

    #[test]
    fn what_names_no_file_is_refused() {
        for rest in ["", "//", "::memory:", "//a?mode=ro", "//a#b", "//a%ff", "//a%00b"] {
            assert!(file(rest).is_err(), "{rest}");
        }
    }
}
