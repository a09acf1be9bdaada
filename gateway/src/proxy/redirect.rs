//! Sending clients that came in cleartext to the port with TLS.

use http::header::{self, HeaderValue};
use http::uri::{Authority, Uri};

use crate::message::reason::Reason;
use crate::message::refusal::Refusal;
use crate::settings::Tls;

/// The answer to a request for `host` and `target`: 308, which keeps method and body, unlike 301.
pub(crate) fn to_tls(settings: &Tls, host: &[u8], target: &Uri) -> Refusal {
    let refusal = Refusal::new(Reason::TlsRequired, "this is served over TLS only");
    match location(settings, host, target) {
        Some(location) => refusal.header(header::LOCATION, location),
        None => refusal,
    }
}

fn location(settings: &Tls, host: &[u8], target: &Uri) -> Option<HeaderValue> {
    let authority = Authority::try_from(host).ok()?;
    let target = target.path_and_query().map_or("/", |target| target.as_str());
    let port = if settings.public_port == 0 { settings.port } else { settings.public_port };
    let location = match port {
        443 => format!("https://{}{target}", authority.host()),
        _ => format!("https://{}:{port}{target}", authority.host()),
    };
    HeaderValue::from_str(&location).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_target_is_named_on_the_port_that_clients_see() {
        let table = [
            (8443, 0, "shop.example", "/a?b=c", "https://shop.example:8443/a?b=c"),
            (8443, 443, "shop.example:8083", "/", "https://shop.example/"),
            (443, 0, "[::1]:80", "/a", "https://[::1]/a"),
            (8443, 444, "shop.example", "http://shop.example/a", "https://shop.example:444/a"),
            (8443, 443, "shop.example", "//evil.example/a", "https://shop.example//evil.example/a"),
        ];
        for (port, public_port, host, target, expected) in table {
            let settings = Tls { port, public_port, ..Tls::default() };
            let target: Uri = target.parse().expect("a target");
            let found = location(&settings, host.as_bytes(), &target).expect("a location");
            assert_eq!(found, expected);
        }
    }
}
