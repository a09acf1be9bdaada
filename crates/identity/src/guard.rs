//! The way in of a service: who calls, and whether the operation is for him.

use std::sync::Arc;

use http::HeaderMap;

use crate::access::{Access, Caller, Rule, Who, decide};
use crate::authenticator::Authenticator;
use crate::{Refusal, Role};

/// What every service has beside its own operations, and who may call it.
const COMMON: [Rule; 11] = [
    Rule::new("GET /health", "", Access::Open),
    Rule::new("GET /health/live", "", Access::Open),
    Rule::new("GET /health/ready", "", Access::Open),
    Rule::new("GET /metrics", "", Access::Open),
    Rule::new("GET /openapi.json", "", Access::Open),
    Rule::new("GET /docs", "", Access::Open),
    Rule::new("GET /docs/{part}", "", Access::Open),
    Rule::new("", "grpc.health.v1.Health/Check", Access::Open),
    Rule::new("", "grpc.health.v1.Health/Watch", Access::Open),
    Rule::new("", "grpc.reflection.v1.ServerReflection/ServerReflectionInfo", REFLECTION),
    Rule::new("", "grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", REFLECTION),
];

/// It tells whoever asks of every method.
const REFLECTION: Access = Access::Only(&[
    Who::Has(Role::Operator),
    Who::Service("product"),
    Who::Service("basket"),
    Who::Service("payment"),
    Who::Service("notification"),
    Who::Service("gateway"),
]);

/// Lets callers in, or not.
#[derive(Clone)]
pub struct Guard {
    /// None where anybody may do anything.
    authenticator: Option<Arc<Authenticator>>,
    rules: &'static [Rule],
}

impl Guard {
    pub(crate) fn new(authenticator: Option<Arc<Authenticator>>, rules: &'static [Rule]) -> Self {
        Self { authenticator, rules }
    }

    /// One that lets anybody do anything: `identity.mode = off`.
    pub const fn open() -> Self {
        Self { authenticator: None, rules: &[] }
    }

    /// The row of a request whose path has this template.
    pub fn http(&self, method: &str, template: &str) -> Option<&'static Rule> {
        // HEAD is what GET is (RFC 9110, section 9.3.2).
        let method = if method == "HEAD" { "GET" } else { method };
        self.rules.iter().chain(&COMMON).find(|rule| rule.is_http(method, template))
    }

    /// The row of a call with this path.
    pub fn grpc(&self, path: &str) -> Option<&'static Rule> {
        self.rules.iter().chain(&COMMON).find(|rule| rule.is_grpc(path))
    }

    /// Who calls, if the operation is for him. A bad token is refused also where none is asked for: its bearer believes that he
    /// is somebody.
    pub async fn admit(&self, rule: Option<&Rule>, headers: &HeaderMap) -> Result<Caller, Refusal> {
        match &self.authenticator {
            None => Ok(Caller::anybody()),
            Some(authenticator) => decide(rule.map(|rule| rule.access), authenticator.of(headers).await?),
        }
    }

    /// Whether callers have to say who they are.
    pub fn is_on(&self) -> bool {
        self.authenticator.is_some()
    }
}
