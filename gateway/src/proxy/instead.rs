//! What a route does instead of asking a service.

use std::fmt::Write as _;

use bytes::Bytes;
use http::header::{self, HeaderValue};
use http::{Method, Response, StatusCode};
use shop_http1::request_head::Parts;

use crate::message::reason::Reason;
use crate::message::refusal::Refusal;
use crate::routing::routes::{Deed, write_made};
use crate::settings::{PathPattern, Redirect};

/// What a client gets who asks for `path`, which fits the route.
pub(super) fn instead(
    deed: &Deed,
    path: &str,
    head: &Parts,
    is_secure: bool,
    host: &[u8],
) -> Result<Response<Bytes>, Refusal> {
    let mut response = Response::new(Bytes::new());
    match deed {
        Deed::Redirect(redirect, own) => {
            let location = location(redirect, own, path, head, is_secure, host);
            let location = HeaderValue::try_from(location)
                .map_err(|_| Refusal::new(Reason::BadPath, "the request target is not valid"))?;
            response.headers_mut().insert(header::LOCATION, location);
            *response.status_mut() = StatusCode::from_u16(redirect.status).unwrap_or(StatusCode::PERMANENT_REDIRECT);
        }
        Deed::Respond(respond, body) => {
            *response.status_mut() = StatusCode::from_u16(respond.status).unwrap_or(StatusCode::OK);
            if !body.is_empty()
                && let Ok(kind) = HeaderValue::from_str(&respond.content_type)
            {
                response.headers_mut().insert(header::CONTENT_TYPE, kind);
            }
            if head.method == Method::HEAD {
                response.headers_mut().insert(header::CONTENT_LENGTH, body.len().into());
            } else {
                *response.body_mut() = body.clone();
            }
        }
        Deed::Ask(_) => {}
    }
    Ok(response)
}

/// Where the client is sent, with its query.
fn location(redirect: &Redirect, own: &PathPattern, path: &str, head: &Parts, is_secure: bool, host: &[u8]) -> String {
    let mut location = String::new();
    if redirect.scheme.is_some() || redirect.host.is_some() || redirect.port.is_some() {
        let scheme = redirect.scheme.as_deref().unwrap_or(if is_secure { "https" } else { "http" });
        let asked = std::str::from_utf8(host).unwrap_or_default();
        let (name, port) = match asked.rsplit_once(':') {
            Some((name, port)) if !port.contains(']') => (name, port.parse().ok()),
            _ => (asked, None),
        };
        // The port that was asked for is of the scheme and the host that were asked for.
        let port = redirect.port.or(port.filter(|_| redirect.scheme.is_none() && redirect.host.is_none()));
        let name = redirect.host.as_deref().unwrap_or(name);
        location.extend([scheme, "://", name]);
        if let Some(port) = port {
            let _ = write!(location, ":{port}");
        }
    }
    let start = location.len();
    match &redirect.path {
        Some(made) => write_made(own, made, path, &mut location),
        None => location.push_str(path),
    }
    if location.len() == start {
        location.push('/');
    }
    if let Some(query) = head.uri.query() {
        location.extend(["?", query]);
    }
    location
}
