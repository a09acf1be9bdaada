//! What the access line says of who asked, as far as settings want it.

use std::net::IpAddr;

use http::uri::PathAndQuery;
use http::{HeaderValue, header};
use shop_http1::fields::Fields as _;
use shop_http1::request_head::Parts;

use crate::settings::{AccessField, AccessLog};

/// Longest text in a line: who sends more shall not fill the log with it.
const LONGEST: usize = 512;

/// Who asked, and for what.
#[derive(Debug, Default)]
pub(crate) struct Asker {
    client: Option<IpAddr>,
    host: Option<HeaderValue>,
    target: Option<PathAndQuery>,
    user_agent: Option<HeaderValue>,
    certificate: Option<HeaderValue>,
}

impl Asker {
    /// Of a request from `client`, which showed `certificate`.
    pub(crate) fn of(client: IpAddr, certificate: Option<&HeaderValue>, request: &Parts, settings: &AccessLog) -> Self {
        let mut asker = Self::default();
        let value = |name| request.headers.value(&name).and_then(|value| HeaderValue::from_bytes(value).ok());
        for field in &settings.fields {
            match field {
                AccessField::Client => asker.client = Some(client),
                AccessField::Host => {
                    let authority = request.uri.authority().map(|authority| HeaderValue::from_str(authority.as_str()));
                    asker.host = authority.and_then(Result::ok).or_else(|| value(header::HOST));
                }
                AccessField::Path => asker.target = request.uri.path_and_query().cloned(),
                AccessField::UserAgent => asker.user_agent = value(header::USER_AGENT),
                AccessField::ClientCertificate => asker.certificate = certificate.cloned(),
            }
        }
        asker
    }

    /// Of a request that could not be read.
    pub(crate) fn unread(peer: Option<IpAddr>, settings: &AccessLog) -> Self {
        Self { client: peer.filter(|_| settings.fields.contains(&AccessField::Client)), ..Self::default() }
    }

    pub(super) fn client(&self) -> Option<IpAddr> {
        self.client
    }

    pub(super) fn host(&self) -> Option<&str> {
        text(self.host.as_ref())
    }

    pub(super) fn path(&self) -> Option<&str> {
        self.target.as_ref().map(|target| short(target.path()))
    }

    pub(super) fn user_agent(&self) -> Option<&str> {
        text(self.user_agent.as_ref())
    }

    pub(super) fn certificate(&self) -> Option<&str> {
        text(self.certificate.as_ref())
    }
}

fn text(value: Option<&HeaderValue>) -> Option<&str> {
    value.and_then(|value| value.to_str().ok()).map(short)
}

fn short(text: &str) -> &str {
    &text[..text.floor_char_boundary(LONGEST)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_wanted_is_kept_and_no_query() {
        let request = http::Request::get("/api/baskets/ada?token=secret").header("host", "shop.example");
        let request = request.header("user-agent", "x".repeat(2000)).body(()).expect("a request");
        let request = Parts::from(request.into_parts().0);
        let client = IpAddr::from([192, 0, 2, 7]);
        let kept = |fields: &[AccessField]| {
            let asker = Asker::of(client, None, &request, &AccessLog { fields: fields.to_vec() });
            let [host, path, agent] =
                [asker.host(), asker.path(), asker.user_agent()].map(|text| text.map(str::to_owned));
            (asker.client(), host, path, agent.map(|agent| agent.len()))
        };
        assert_eq!(kept(&[]), (None, None, None, None));
        assert_eq!(kept(&AccessLog::default().fields), (Some(client), None, None, None));
        let all = [AccessField::Client, AccessField::Host, AccessField::Path, AccessField::UserAgent];
        let (host, path) = (Some("shop.example".to_owned()), Some("/api/baskets/ada".to_owned()));
        assert_eq!(kept(&all), (Some(client), host, path, Some(LONGEST)));
    }
}
