//! The mail server's URL.

use std::net::IpAddr;

use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::extension::ClientId;
use percent_encoding::percent_decode_str;
use url::{Host, Url};

const HELP: &str = "write it like smtps://user:password@mail.example:465, \
    smtp://user:password@mail.example:587?tls=required or smtp://mail.example:25";

/// Where the mail server is, and how it is spoken to.
#[derive(Debug)]
pub(super) struct Server {
    /// A name or an address, without brackets.
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) security: Security,
    pub(super) login: Option<Credentials>,
    /// What we say we are called.
    pub(super) hello: ClientId,
}

/// When a connection is encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Security {
    /// Never.
    Plain,
    /// When the server offers STARTTLS; who is in between can take the offer out.
    Offered,
    /// By STARTTLS, or nothing is sent.
    Required,
    /// From the first byte.
    Wrapped,
}

impl Server {
    /// Reads the URL; the error says what to write instead, without repeating anything of it.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let url = Url::parse(text.trim()).map_err(|_| HELP)?;
        let (security, port) = security(&url)?;
        let host = match url.host().ok_or(HELP)? {
            Host::Domain(name) if is_name(name) => name.to_owned(),
            Host::Domain(_) => return Err(format!("the host is neither a name nor an address: {HELP}")),
            Host::Ipv4(ip) => ip.to_string(),
            Host::Ipv6(ip) => ip.to_string(),
        };
        let port = match url.port() {
            Some(0) => return Err("use a port above 0".to_owned()),
            given => given.unwrap_or(port),
        };
        let login = login(&url)?;
        let guarded = matches!(security, Security::Required | Security::Wrapped) || is_loopback(&host);
        if login.is_some() && !guarded {
            return Err("the password would cross the network readable for everybody: \
                use smtps://, or smtp:// with ?tls=required"
                .to_owned());
        }
        let hello = match url.path().trim_matches('/') {
            "" => ClientId::default(),
            name if is_name(name) => ClientId::Domain(name.to_owned()),
            _ => return Err("what follows the / is the name for EHLO, such as shop.example".to_owned()),
        };
        Ok(Self { host, port, security, login, hello })
    }
}

/// How it is encrypted, and the port for that.
fn security(url: &Url) -> Result<(Security, u16), String> {
    let mut tls = None;
    for (name, value) in url.query_pairs() {
        if name != "tls" || tls.is_some() {
            return Err("the only parameter is tls=required or tls=opportunistic".to_owned());
        }
        tls = Some(value.into_owned());
    }
    if url.fragment().is_some() {
        return Err("write a # in user or password as %23".to_owned());
    }
    match (url.scheme(), tls.as_deref()) {
        ("smtps", None) => Ok((Security::Wrapped, 465)),
        ("smtp", None) => Ok((Security::Plain, 25)),
        ("smtp", Some("required")) => Ok((Security::Required, 587)),
        ("smtp", Some("opportunistic")) => Ok((Security::Offered, 587)),
        ("smtp", Some(_)) => Err("the only parameter is tls=required or tls=opportunistic".to_owned()),
        ("smtps", Some(_)) => Err("smtps:// is TLS from the start: leave ?tls= out".to_owned()),
        _ => Err(HELP.to_owned()),
    }
}

fn login(url: &Url) -> Result<Option<Credentials>, String> {
    let decoded = |text: &str| {
        let text = percent_decode_str(text).decode_utf8().map_err(|_| "user and password must be UTF-8")?;
        if text.contains('\0') { Err("user and password must not hold a NUL") } else { Ok(text.into_owned()) }
    };
    match (url.username(), url.password()) {
        ("", None) => Ok(None),
        ("", Some(_)) => Err("there is a password but no user: write user:password@".to_owned()),
        (_, None) => Err("there is a user but no password: write user:password@".to_owned()),
        (user, Some(password)) => Ok(Some(Credentials::new(decoded(user)?, decoded(password)?))),
    }
}

fn is_name(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_".contains(&byte))
}

fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.parse().is_ok_and(|ip: IpAddr| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_to_speak_has_its_url() {
        for (url, host, port, security, login) in [
            ("smtps://u:p@mail.example", "mail.example", 465, Security::Wrapped, true),
            ("smtps://mail.example:4650/", "mail.example", 4650, Security::Wrapped, false),
            ("smtp://u:p%40%2F@mail.example?tls=required", "mail.example", 587, Security::Required, true),
            ("smtp://mail.example:2525?tls=opportunistic", "mail.example", 2525, Security::Offered, false),
            ("smtp://mail.example", "mail.example", 25, Security::Plain, false),
            ("smtp://u:p@127.0.0.1:25", "127.0.0.1", 25, Security::Plain, true),
            ("smtp://u:p@[::1]", "::1", 25, Security::Plain, true),
            ("smtp://u:p@localhost", "localhost", 25, Security::Plain, true),
        ] {
            let server = Server::parse(url).expect(url);
            let found = (server.host.as_str(), server.port, server.security, server.login.is_some());
            assert_eq!(found, (host, port, security, login), "{url}");
        }
        let server = Server::parse("smtp://mail.example/shop.example?tls=required").expect("is fine");
        assert_eq!(server.hello, ClientId::Domain("shop.example".to_owned()));
        let server = Server::parse("smtps://u%3A1:p%40%2F@mail.example").expect("is fine");
        assert_eq!(server.login, Some(Credentials::new("u:1".to_owned(), "p@/".to_owned())));
    }

    #[test]
    fn what_is_no_mail_server_is_refused_without_repeating_the_password() {
        for url in [
            "",
            "mail.example",
            "mail.example:25",
            "https://s3cr3t@mail.example",
            "smtp://",
            "smtp:mail.example",
            "smtp://mail.example:0",
            "smtp://mail.example:99999",
            "smtp://a b.example",
            "smtp://mail%0d%0a.example",
            "smtp://s3cr3t@mail.example",
            "smtps://:s3cr3t@mail.example",
            "smtps://u:s3cr3t%00@mail.example",
            "smtps://u:s3cr3t%ff@mail.example",
            "smtp://u:s3cr3t@mail.example",
            "smtp://u:s3cr3t@mail.example?tls=opportunistic",
            "smtp://u:s3cr3t@localhost.evil.example",
            "smtp://u:s3cr3t@mail.example?tls=requird",
            "smtp://u:s3cr3t@mail.example?tls=required&tls=opportunistic",
            "smtps://u:s3cr3t@mail.example?tls=required",
            "smtps://u:s3cr3t@mail.example?timeout=3",
            "smtps://u:s3cr3t@mail.example#x",
            "smtps://u:p@mail.example/a%20b",
        ] {
            let message = Server::parse(url).expect_err(url);
            assert!(!message.contains("s3cr3t"), "{message}");
        }
    }
}
