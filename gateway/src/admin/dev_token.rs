//! `/dev/token`: a token for whoever asks on this machine, as long as `identity.development` says that it is for development.

use std::borrow::Cow;

use bytes::Bytes;
use http::{HeaderValue, Method, Response, header};
use shop_identity::{Role, Signer, TokenFlags};

use super::input::invalid;
use crate::message::refusal::Refusal;
use crate::state::generation::Generation;
use crate::state::guard::{self, Asked};

/// Where it is.
pub(crate) const PATH: &str = "/dev/token";

/// Whether `path` is that, and there is one.
pub(crate) fn is_at(generation: &Generation, path: &str) -> bool {
    path == PATH && signer(generation).is_some()
}

fn signer(generation: &Generation) -> Option<&Signer> {
    generation.identity.signer().map(AsRef::as_ref).filter(|_| generation.config.identity.development)
}

/// The token that is asked for, as plain text. Pages of other sites, and what came from elsewhere, get none.
pub(crate) fn answer(generation: &Generation, asked: &Asked<'_>) -> Result<Response<Bytes>, Refusal> {
    guard::local_only(asked)?;
    generation.guard.own_pages_only(asked)?;
    if asked.head.method != Method::GET {
        return Err(Refusal::of_method(PATH, &asked.head.method, "GET"));
    }
    let wanted = wanted(asked.head.uri.query().unwrap_or_default())?;
    let token = signer(generation).map(|signer| wanted.sign(signer)).transpose();
    let token = token.map_err(|error| invalid("user", "invalid", error.to_string()))?.unwrap_or_default();
    let mut response = Response::new(Bytes::from(token));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

/// `user=ada`, with `role=support` as often as there are roles, and `for=15m`.
fn wanted(query: &str) -> Result<TokenFlags, Refusal> {
    let mut wanted = TokenFlags::of("");
    let mut seen: Vec<Cow<'_, str>> = Vec::new();
    for pair in shop_input::pairs(query) {
        let (name, value) = pair.map_err(|wrong| invalid(&wrong.parameter, "invalid", wrong.to_string()))?;
        if name != "role" && seen.contains(&name) {
            return Err(invalid(&name, "repeated", "is given more than once"));
        }
        match &*name {
            "user" => wanted.user = value.into_owned(),
            "role" => wanted.role.push(Role::parse(&value).ok_or_else(|| {
                invalid("role", "invalid", format!("is one of {}", Role::ALL.map(Role::word).join(", ")))
            })?),
            "for" => wanted = wanted.lasting(&value).map_err(|error| invalid("for", "invalid", error))?,
            _ => return Err(invalid(&name, "unknown_parameter", "is not known here; known are user, role, for")),
        }
        seen.push(name);
    }
    Ok(wanted)
}
