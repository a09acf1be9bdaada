//! What a request over HTTP asks for, so that a repeat of it is told from another one.

use std::future::Future;

use percent_encoding::{NON_ALPHANUMERIC, percent_decode_str, percent_encode};
use salvo::extract::Extractible;
use salvo::{Depot, Request};
use serde::de::DeserializeOwned;
use serde_json::Value;
use shop_idempotency::Fingerprint;

use crate::{OptionalJson, Problem, StrictJson, extract};

/// A body that says the same in more than one way.
pub trait Canonical {
    /// What it asks for, the same for every way to write it: defaults filled in, texts trimmed, numbers in one spelling.
    /// Members that are null count as left out, and the order of members does not count. An error is the answer: what
    /// is not valid takes no key.
    fn canonical(self) -> Result<Value, Problem>;
}

/// The body of a route, as far as it tells requests apart.
pub trait Asked {
    /// What the request asks for beyond its path; any problem is the one that the handler would find.
    fn asked(req: &mut Request) -> impl Future<Output = Result<Value, Problem>> + Send;
}

impl<T: DeserializeOwned + Canonical + Send> Asked for StrictJson<T> {
    async fn asked(req: &mut Request) -> Result<Value, Problem> {
        Self::extract(req, &mut Depot::new()).await?.0.canonical()
    }
}

impl<T: DeserializeOwned + Default + Canonical + Send> Asked for OptionalJson<T> {
    async fn asked(req: &mut Request) -> Result<Value, Problem> {
        Self::extract(req, &mut Depot::new()).await?.0.canonical()
    }
}

/// A route that reads no body, so whatever is in one makes no difference.
impl Asked for () {
    async fn asked(_req: &mut Request) -> Result<Value, Problem> {
        Ok(Value::Null)
    }
}

/// The fingerprint of a request: method, path, query and what its body asks for.
pub(super) async fn fingerprint(req: &mut Request, asked: &Value) -> Result<Fingerprint, Problem> {
    let method = req.method().as_str();
    let target = req.uri().path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
    let operation = format!("{method} {}", canonical_target(req.uri()));
    let head = format!("{method}\0{target}");
    let body = extract::read(req).await?;
    Ok(Fingerprint::new(&operation, asked, [head.as_bytes(), body]))
}

/// Path and query with one spelling of their escapes, parameters in order.
fn canonical_target(uri: &http::Uri) -> String {
    let mut target = String::with_capacity(uri.path().len());
    for segment in uri.path().split('/') {
        let decoded: Vec<u8> = percent_decode_str(segment).collect();
        target.push('/');
        target.extend(percent_encode(&decoded, NON_ALPHANUMERIC));
    }
    let mut parameters: Vec<_> = uri.query().unwrap_or_default().split('&').filter(|pair| !pair.is_empty()).collect();
    parameters.sort_unstable();
    target + "?" + &parameters.join("&")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_has_one_spelling() {
        let target = |text: &str| canonical_target(&text.parse().expect("a URI"));
        assert_eq!(target("/baskets/a%40b/items?x=1&y=2"), target("/baskets/a@b/items?y=2&x=1"));
        assert_ne!(target("/baskets/a%2Fb"), target("/baskets/a/b"));
        assert_ne!(target("/baskets/a?x=1"), target("/baskets/a"));
    }
}
