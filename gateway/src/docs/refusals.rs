//! What the gateway itself may answer to any call that has a route, for the document.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use crate::message::reason::Reason;
use crate::routing::routes::Route;
use crate::state::generation::Generation;

/// Which calls a refusal can meet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Meets {
    All,
    /// Those with a body.
    Bodies,
    /// Those that browsers may not send for another site's page.
    Changes,
}

/// Refusals of calls to services; `docs/gateway.md` has all there are.
const REFUSALS: [(Reason, Meets, &str); 27] = [
    (Reason::BadPath, Meets::All, "the path has two readings"),
    (Reason::TokenMissing, Meets::All, "a token is needed"),
    (Reason::TokenInvalid, Meets::All, "the token is not valid here"),
    (Reason::TokenExpired, Meets::All, "the token has expired"),
    (Reason::Forbidden, Meets::All, "the token is good, but its bearer may not do this"),
    (Reason::AddressRefused, Meets::All, "this is not for clients of this address"),
    (Reason::CrossOriginRefused, Meets::Changes, "a page of another site made a user's browser send it"),
    (Reason::BodyTimeout, Meets::Bodies, "the body paused for too long"),
    (Reason::BodyTooLarge, Meets::Bodies, "the body is over the limit"),
    (Reason::UriTooLong, Meets::All, "the target is over the limit"),
    (Reason::HeadTooLarge, Meets::All, "the headers are over the limit"),
    (Reason::RateLimited, Meets::All, "the client is over its rate"),
    (Reason::TooManyUnfinished, Meets::All, "the client has too many requests under way"),
    (Reason::ConnectFailed, Meets::All, "the service cannot be reached"),
    (Reason::UpstreamTlsFailed, Meets::All, "the service cannot be reached over TLS"),
    (Reason::UpstreamReset, Meets::All, "the service broke off"),
    (Reason::UpstreamInvalid, Meets::All, "the service's answer is not HTTP"),
    (Reason::IdentityUnavailable, Meets::All, "the keys of tokens cannot be had"),
    (Reason::TlsUnusable, Meets::All, "the gateway cannot call the service over TLS just now"),
    (Reason::AuthUnavailable, Meets::All, "whether the call may go on cannot be found out"),
    (Reason::ServiceDisabled, Meets::All, "the service is switched off"),
    (Reason::BreakerOpen, Meets::All, "the service failed too often lately"),
    (Reason::NoHealthyBackend, Meets::All, "nobody serves this at the moment"),
    (Reason::GatewayExhausted, Meets::All, "the gateway has no room for another call"),
    (Reason::Draining, Meets::All, "the gateway is shutting down"),
    (Reason::UpstreamBusy, Meets::All, "the service has too many calls already"),
    (Reason::UpstreamTimeout, Meets::All, "the service did not answer in time"),
];

/// The header that every answer has.
const ALWAYS: &str = "X-Request-Id";

/// The name of the schema of a refusal.
const PROBLEM: &str = "GatewayProblem";

/// The refusals that are possible under these settings.
pub(super) struct Refusals(Vec<(Reason, Meets, &'static str)>);

impl Refusals {
    /// Those of this generation.
    pub(super) fn of(generation: &Generation) -> Self {
        let tokens = generation.identity.authenticator().is_some();
        let any = |is_one: fn(&Route) -> bool| generation.table.routes.iter().any(|route| is_one(route));
        Self::with(|reason| match reason {
            Reason::CrossOriginRefused => generation.csrf.is_some(),
            // Who shows bad tokens meets it, too.
            Reason::RateLimited => generation.limiter.is_some() || tokens,
            Reason::TooManyUnfinished => generation.config.limits.unfinished_per_address > 0,
            Reason::AuthUnavailable => any(|route| route.forward_auth.is_some()),
            Reason::TokenMissing => any(|route| route.access.as_ref().is_some_and(|access| access.needs_token())),
            Reason::Forbidden => any(|route| route.access.as_ref().is_some_and(|access| access.needs_role())),
            Reason::AddressRefused => any(|route| route.access.as_ref().is_some_and(|access| access.needs_address())),
            Reason::TokenInvalid | Reason::TokenExpired | Reason::IdentityUnavailable => tokens,
            _ => true,
        })
    }

    fn with(is_possible: impl Fn(Reason) -> bool) -> Self {
        Self(REFUSALS.into_iter().filter(|(reason, ..)| is_possible(*reason)).collect())
    }

    /// All of them.
    #[cfg(test)]
    pub(super) fn all() -> Self {
        Self::with(|_| true)
    }

    /// What operations refer to, as a document of the gateway's own.
    pub(super) fn components(&self) -> Value {
        let mut responses = Map::new();
        for (reason, ..) in &self.0 {
            let status = reason.status().as_u16();
            responses.entry(name(status)).or_insert_with(|| self.response(status));
        }
        json!({"components": {"responses": responses, "schemas": {PROBLEM: schema()}}})
    }

    /// Adds them to the operation of `method`. Where the service itself may answer with a status, its words are kept.
    pub(super) fn add_to(&self, method: &str, operation: &mut Value) {
        let has_body = operation["requestBody"].is_object();
        let statuses: BTreeSet<_> = self
            .0
            .iter()
            .filter(|(_, meets, _)| match meets {
                Meets::All => true,
                Meets::Bodies => has_body,
                Meets::Changes => !matches!(method, "get" | "head" | "options"),
            })
            .map(|(reason, ..)| reason.status().as_u16())
            .collect();
        let Some(responses) = operation.as_object_mut().map(|operation| operation.entry("responses")) else { return };
        let Some(responses) = responses.or_insert_with(|| json!({})).as_object_mut() else { return };
        for status in statuses {
            let by_us = || json!({"$ref": format!("#/components/responses/{}", name(status))});
            let response = responses.entry(status.to_string()).or_insert_with(by_us);
            if let Some(own) = response["description"].as_str() {
                response["description"] = format!("{own}; by the gateway: {}", self.words(status)).into();
                // The service may promise what the gateway does not send.
                let headers = response.get_mut("headers").and_then(Value::as_object_mut);
                for (name, header) in headers.into_iter().flatten() {
                    if let Some(header) = header.as_object_mut().filter(|_| !name.eq_ignore_ascii_case(ALWAYS)) {
                        header.remove("required");
                    }
                }
            }
        }
    }

    fn words(&self, status: u16) -> String {
        let of_it = self.0.iter().filter(|(reason, ..)| reason.status() == status);
        of_it.map(|(reason, _, when)| format!("`{}` ({when})", reason.word())).collect::<Vec<_>>().join(", ")
    }

    fn response(&self, status: u16) -> Value {
        let codes: Vec<_> =
            self.0.iter().filter(|(reason, ..)| reason.status() == status).map(|(reason, ..)| reason.word()).collect();
        let mut headers = json!({
            "X-Gateway-Reason": {"description": "The problem's code", "schema": {"type": "string", "enum": codes}},
            ALWAYS: {"description": "The caller's id of the request, or one made for it", "required": true,
                "schema": {"type": "string"}},
        });
        if matches!(status, 429 | 503) {
            headers["Retry-After"] =
                json!({"description": "Seconds to wait", "schema": {"type": "integer", "minimum": 1}});
        }
        if status == 401 {
            headers["WWW-Authenticate"] = json!({"description": "What is wrong with the token (RFC 6750, section 3)",
                "schema": {"type": "string"}});
        }
        let schema = json!({"$ref": format!("#/components/schemas/{PROBLEM}")});
        json!({
            "description": format!("By the gateway: {}", self.words(status)),
            "headers": headers,
            "content": {"application/problem+json": {"schema": schema}},
        })
    }
}

fn name(status: u16) -> String {
    format!("Gateway{status}")
}

fn schema() -> Value {
    let text = |description: &str| json!({"type": "string", "description": description});
    let codes: Vec<_> = REFUSALS.iter().map(|(reason, ..)| reason.word()).collect();
    json!({
        "type": "object",
        "description": "A problem (RFC 9457) that the gateway answers instead of a service",
        "required": ["type", "title", "status", "detail", "instance", "code", "request_id"],
        "properties": {
            "type": text("`about:blank`"),
            "title": text("The status in words"),
            "status": {"type": "integer", "minimum": 400, "maximum": 599, "description": "The status"},
            "detail": text("What happened, for people"),
            "instance": text("The path"),
            "code": {"type": "string", "enum": codes, "description": "What happened, for programs"},
            "request_id": text("The id of the request, as in logs"),
        },
        "additionalProperties": false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_operation_gets_what_it_can_meet_and_keeps_what_it_has() {
        let refusals = Refusals::all();
        let headers = json!({"X-Request-Id": {"required": true}, "Retry-After": {"required": true}});
        let full = json!({"description": "full", "headers": headers});
        let mut get = json!({"responses": {"200": {"description": "fine"}, "503": full}});
        refusals.add_to("get", &mut get);
        let statuses: Vec<_> = get["responses"].as_object().expect("responses").keys().cloned().collect();
        assert_eq!(statuses, ["200", "400", "401", "403", "414", "429", "431", "502", "503", "504"]);
        assert_eq!(get["responses"]["429"]["$ref"], "#/components/responses/Gateway429");
        let full = get["responses"]["503"]["description"].as_str().expect("text");
        assert!(full.starts_with("full; by the gateway: `identity_unavailable`"), "{full}");
        assert_eq!(full.matches("by the gateway:").count(), 1, "{full}");
        let headers = &get["responses"]["503"]["headers"];
        assert_eq!((&headers["Retry-After"], &headers["X-Request-Id"]["required"]), (&json!({}), &json!(true)));
        let mut post = json!({"requestBody": {}, "responses": {}});
        refusals.add_to("post", &mut post);
        assert!(["403", "408", "413"].iter().all(|status| post["responses"][status].is_object()), "{post}");
    }

    #[test]
    fn a_real_refusal_is_as_described() {
        let described = Refusals::all().components();
        let problem = schema();
        for (reason, ..) in REFUSALS {
            let refusal = crate::message::refusal::Refusal::new(reason, "why");
            let answer = refusal.problem("/api/products", &http::HeaderValue::from_static("r1"));
            let response = &described["components"]["responses"][name(answer.status().as_u16())];
            let kind = answer.headers()["content-type"].to_str().expect("text");
            assert!(response["content"][kind].is_object(), "{response}");
            let codes = response["headers"]["X-Gateway-Reason"]["schema"]["enum"].as_array().expect("codes");
            assert!(codes.iter().any(|code| code == reason.word()), "{codes:?}");
            let body: Value = serde_json::from_slice(answer.body()).expect("JSON");
            for (key, value) in body.as_object().expect("members") {
                let kind = &problem["properties"][key]["type"];
                assert_eq!(kind, if value.is_number() { "integer" } else { "string" }, "{key} of {body}");
            }
            let mut required = problem["required"].as_array().expect("names").iter().filter_map(Value::as_str);
            assert!(required.all(|key| body.get(key).is_some()), "{body}");
        }
    }

    #[test]
    fn what_settings_rule_out_is_not_promised() {
        let refusals = Refusals::with(|reason| {
            !matches!(reason.status().as_u16(), 401 | 403 | 429) && reason != Reason::IdentityUnavailable
        });
        let mut post = json!({"responses": {}});
        refusals.add_to("post", &mut post);
        assert!(["401", "403", "429"].iter().all(|status| post["responses"][status].is_null()), "{post}");
        assert!(refusals.components()["components"]["responses"]["Gateway429"].is_null());
    }
}
