//! What callers say: query, body, preconditions, names of services and backends. Whatever is not understood is refused by
//! name, because a misspelt `dry_run` must not become a change.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, header};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::de::DeserializeOwned;
use shop_fault::{Fault, FieldError};
use shop_http::precondition::{self, Verdict};
use shop_input::json;

use crate::message::reason::Reason;
use crate::message::refusal::Refusal;
use crate::routing::{Cluster, Member, Service};
use crate::settings;
use crate::state::generation::Generation;
use crate::upstream::body::Incoming;
use shop_discovery::BackendUrl;
use shop_discovery::Protocol;

/// Far above any change there is.
const LONGEST_BODY: usize = 64 * 1024;
const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// Query parameters.
pub(super) struct Query<'a>(BTreeMap<&'a str, String>);

impl<'a> Query<'a> {
    /// Reads them; only those `known`, each once.
    pub(super) fn of(query: Option<&str>, known: &[&'a str]) -> Result<Self, Refusal> {
        let mut found = BTreeMap::new();
        for pair in shop_input::pairs(query.unwrap_or_default()) {
            let (name, value) = pair.map_err(|wrong| invalid(&wrong.parameter, "invalid", wrong.to_string()))?;
            let Some(known) = known.iter().find(|known| **known == name) else {
                let message = match known {
                    [] => "is not known here; this path takes no parameters".to_owned(),
                    _ => format!("is not known here; known are {}", known.join(", ")),
                };
                return Err(invalid(&name, "unknown_parameter", message));
            };
            if found.insert(*known, value.into_owned()).is_some() {
                return Err(invalid(&name, "repeated", "is given more than once"));
            }
        }
        Ok(Self(found))
    }

    /// The value of one.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// One that is `true` or `false`; false when it is not there.
    pub(super) fn flag(&self, name: &'static str) -> Result<bool, Refusal> {
        match self.get(name) {
            None | Some("false") => Ok(false),
            Some("true") => Ok(true),
            Some(_) => Err(invalid(name, "invalid", "must be true or false")),
        }
    }

    /// What a backend speaks, if that is said.
    pub(super) fn protocol(&self) -> Result<Option<Protocol>, Refusal> {
        match self.get("protocol") {
            None => Ok(None),
            Some("http") => Ok(Some(Protocol::Http)),
            Some("grpc") => Ok(Some(Protocol::Grpc)),
            Some(_) => Err(invalid("protocol", "invalid", "must be http or grpc")),
        }
    }
}

/// A parameter that is wrong.
pub(super) fn invalid(name: &str, code: &'static str, message: impl Into<String>) -> Refusal {
    let message = message.into();
    Refusal::new(Reason::InvalidParameter, format!("parameter {name}: {message}"))
        .fields(vec![FieldError::new(name, code, message)])
}

/// A field that is wrong.
pub(super) fn wrong(field: &str, code: &'static str, message: impl Into<String>) -> Refusal {
    let message = message.into();
    Refusal::new(Reason::ValidationFailed, format!("{field}: {message}"))
        .fields(vec![FieldError::new(field, code, message)])
}

/// The service of this name.
pub(super) fn service<'a>(generation: &'a Generation, name: &str) -> Result<&'a Arc<Service>, Refusal> {
    generation.table.service(name).ok_or_else(|| {
        let names: Vec<_> = generation.table.services.iter().map(|service| &*service.name).collect();
        Refusal::new(Reason::NotFound, format!("there is no service {name}; there are {}", names.join(", ")))
    })
}

/// The route of this name.
pub(super) fn route<'a>(generation: &'a Generation, name: &str) -> Result<&'a settings::Route, Refusal> {
    let found = generation.config.routes.get(name).map(|route| &**route);
    found.ok_or_else(|| Refusal::new(Reason::NotFound, format!("there is no route {name}; /admin/routes lists them")))
}

/// `host:port` of a path.
pub(super) fn address(text: &str) -> Result<BackendUrl, Refusal> {
    let decoded = percent_encoding::percent_decode_str(text).decode_utf8().unwrap_or_default();
    let is_plain = !decoded.contains([';', ',']);
    match decoded.parse::<BackendUrl>() {
        Ok(url) if is_plain => Ok(url),
        _ => Err(Refusal::new(Reason::NotFound, format!("{decoded} is not host:port of a backend"))),
    }
}

/// The backend at `text`; `protocol` tells two of the same address apart.
pub(super) fn backend<'a>(
    service: &'a Service,
    text: &str,
    protocol: Option<Protocol>,
) -> Result<(&'a Arc<Cluster>, &'a Member), Refusal> {
    find(service, &address(text)?, protocol)
}

/// The backend at `url`; `protocol` tells two of the same address apart.
pub(super) fn find<'a>(
    service: &'a Service,
    url: &BackendUrl,
    protocol: Option<Protocol>,
) -> Result<(&'a Arc<Cluster>, &'a Member), Refusal> {
    let clusters = service.clusters().into_iter().filter(|cluster| protocol.is_none_or(|of| of == cluster.protocol));
    let mut found = clusters.filter_map(|cluster| Some((cluster, cluster.find(&url.host, url.port)?)));
    match (found.next(), found.next()) {
        (Some(one), None) => Ok(one),
        (Some(_), Some(_)) => {
            Err(wrong("protocol", "ambiguous", format!("{url} is a backend for both; say protocol=http or grpc")))
        }
        (None, _) => Err(Refusal::new(Reason::NotFound, format!("{} has no backend {url}", service.name))),
    }
}

/// The states that a caller wants changed, as `If-Match` and `If-None-Match` name them (RFC 9110, section 13).
pub(super) struct Precondition(HeaderMap);

impl Precondition {
    /// Reads both headers, so that one that makes no sense is refused before anything else.
    pub(super) fn of(headers: &HeaderMap) -> Result<Self, Refusal> {
        let mut kept = HeaderMap::new();
        for name in [header::IF_MATCH, header::IF_NONE_MATCH] {
            precondition::tags(headers, name.clone()).map_err(|fault| {
                let wrong =
                    fault.fields().iter().map(|wrong| FieldError { code: "invalid".to_owned(), ..wrong.clone() });
                Refusal::new(Reason::InvalidParameter, fault.detail().to_owned()).fields(wrong.collect())
            })?;
            kept.extend(headers.get_all(&name).iter().map(|line| (name.clone(), line.clone())));
        }
        Ok(Self(kept))
    }

    /// Whether the state tagged `current` may be changed.
    pub(super) fn admits(&self, current: &str) -> bool {
        matches!(precondition::judge(&self.0, Some(current.as_bytes())), Ok(Verdict::Send))
    }
}

/// The body, as strict JSON.
pub(super) async fn json<T: DeserializeOwned>(headers: &HeaderMap, body: Incoming) -> Result<T, Refusal> {
    parse(&bytes(headers, body).await?)
}

/// The body, which says that it is JSON.
pub(super) async fn bytes(headers: &HeaderMap, body: Incoming) -> Result<Bytes, Refusal> {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if !kind.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("application/json") {
        return Err(Refusal::new(Reason::UnsupportedMedia, "send application/json"));
    }
    let whole = tokio::time::timeout(LONGEST_WAIT, Limited::new(body, LONGEST_BODY).collect()).await;
    match whole {
        Ok(Ok(whole)) => Ok(whole.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => {
            Err(Refusal::new(Reason::BodyTooLarge, format!("the body is larger than {LONGEST_BODY} bytes")))
        }
        Ok(Err(_)) => Err(Refusal::new(Reason::BadRequest, "the body broke off")),
        Err(_) => Err(Refusal::new(Reason::BodyTimeout, "the body did not arrive in time")),
    }
}

pub(super) fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Refusal> {
    json::parse(bytes).map_err(|refused| {
        let fault = Fault::from(refused);
        let reason = if fault.fields().is_empty() { Reason::MalformedJson } else { Reason::ValidationFailed };
        Refusal::new(reason, fault.detail().to_owned()).fields(fault.fields().to_vec())
    })
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;
    use serde::Deserialize;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Sample {
        #[expect(dead_code, reason = "only read by serde")]
        weight: u8,
    }

    #[test]
    fn a_body_that_is_not_understood_is_refused_by_name() {
        let table = [
            (r#"{"weight": 1}"#, None),
            (r#"{"weight": 1"#, Some(("malformed_json", ""))),
            (r#"{"weight": 1} x"#, Some(("malformed_json", ""))),
            (r#"{"weight": 300}"#, Some(("validation_failed", "weight"))),
            (r#"{"weight": "1"}"#, Some(("validation_failed", "weight"))),
            (r#"{"wieght": 1}"#, Some(("validation_failed", "wieght"))),
            (r#"{"weight": 1, "weight": 2}"#, Some(("validation_failed", "weight"))),
            (r#"{"weight": 1e400}"#, Some(("validation_failed", "weight"))),
            ("", Some(("malformed_json", ""))),
        ];
        for (text, expected) in table {
            let parsed = parse::<Sample>(text.as_bytes());
            let refused = parsed.as_ref().err().map(|refusal| {
                let field = refusal.errors.first().map_or("", |error| error.field.as_str());
                (refusal.reason.word(), field)
            });
            assert_eq!(refused, expected, "{text}");
        }
    }

    #[test]
    fn a_misspelt_parameter_is_refused() {
        assert!(Query::of(Some("dry-run=true"), &["dry_run"]).is_err());
        assert!(Query::of(Some("dry_run=true&dry_run=false"), &["dry_run"]).is_err());
        let query = Query::of(Some("dry_run=yes"), &["dry_run"]).unwrap_or_else(|_| unreachable!("it is known"));
        assert!(query.flag("dry_run").is_err());
        assert!(Query::of(Some("x=1"), &[]).is_err() && Query::of(None, &[]).is_ok());
    }

    #[test]
    fn refusals_are_in_words_for_people() {
        let said = |query: &str| Query::of(Some(query), &[]).err().map(|refusal| refusal.detail.into_owned());
        assert_eq!(said("x=1").as_deref(), Some("parameter x: is not known here; this path takes no parameters"));
        let refused = Query::of(Some("path=%ff"), &["path"]).err().map(|refusal| refusal.detail.into_owned());
        assert_eq!(refused.as_deref(), Some("parameter path: is not UTF-8"));
        let refused = parse::<Sample>(br#"{"weight": "1"}"#).err().map(|refusal| refusal.detail.into_owned());
        assert_eq!(refused.as_deref(), Some("weight: must be a whole number from 0 to 255"));
    }

    #[test]
    fn a_precondition_is_read_as_a_list_of_tags() {
        for (name, value, admits) in [
            ("if-match", "\"a-1\"", Some(true)),
            ("if-match", "\"x\", \"a-1\"", Some(true)),
            ("if-match", "*", Some(true)),
            ("if-match", "W/\"a-1\"", Some(false)),
            ("if-match", "\"a-2\"", Some(false)),
            ("if-match", "", Some(false)),
            ("if-match", "a-1", None),
            ("if-none-match", "*", Some(false)),
            ("if-none-match", "W/\"a-1\"", Some(false)),
            ("if-none-match", "\"a-2\"", Some(true)),
        ] {
            let headers = HeaderMap::from_iter([(name.parse().expect("a name"), HeaderValue::from_static(value))]);
            let judged = Precondition::of(&headers).ok().map(|precondition| precondition.admits("\"a-1\""));
            assert_eq!(judged, admits, "{name}: {value}");
        }
    }

    #[test]
    fn addresses_come_from_paths() {
        for (text, expected) in [("a:1", Some("http://a:1")), ("%5B::1%5D:80", Some("http://[::1]:80")), ("a:0", None)]
        {
            assert_eq!(address(text).ok().map(|url| url.to_string()).as_deref(), expected, "{text}");
        }
        assert!(address("a:1;weight=2").is_err());
    }
}
