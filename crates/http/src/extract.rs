//! Typed request parts: a JSON body and a path parameter, strict and with errors that name the field.

use std::fmt::Display;
use std::str::FromStr;

use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use salvo::extract::{Extractible, Metadata};
use salvo::http::ParseError;
use salvo::oapi::{Components, Content, EndpointArgRegister, Operation, Parameter, ParameterIn, RequestBody, ToSchema};
use salvo::{Depot, Request};
use serde::de::{DeserializeOwned, IgnoredAny};
use serde_ignored::Path as Ignored;
use shop_fault::{Fault, FieldError, Kind};
use shop_number::Exact;

use crate::Problem;

/// A JSON body.
///
/// 415 when it is not `application/json`, 413 over the limit, 400 `malformed_json` when it is not JSON, 422 with
/// the path of the field when a field is unknown, missing or of another type.
#[derive(Debug)]
pub struct StrictJson<T>(pub T);

/// A JSON body that may be absent: then it is `T::default()` and no content type is asked for.
#[derive(Debug)]
pub struct OptionalJson<T>(pub T);

/// The path parameter named like the handler's argument; 400 `invalid_parameter` when it does not parse.
#[derive(Debug)]
pub struct Path<T>(pub T);

static METADATA: Metadata = Metadata::new("");

/// Most unknown fields named in one answer, which must not become many times the size of the request.
const MAX_UNKNOWN: usize = 20;

impl<'ex, T: DeserializeOwned + Send> Extractible<'ex> for StrictJson<T> {
    fn metadata() -> &'static Metadata {
        &METADATA
    }

    #[expect(refining_impl_trait, reason = "the error type is part of the contract")]
    async fn extract(req: &'ex mut Request, _depot: &'ex mut Depot) -> Result<Self, Problem> {
        check_headers(req)?;
        Ok(Self(parse(read(req).await?)?))
    }
}

impl<'ex, T: DeserializeOwned + Default + Send> Extractible<'ex> for OptionalJson<T> {
    fn metadata() -> &'static Metadata {
        &METADATA
    }

    #[expect(refining_impl_trait, reason = "the error type is part of the contract")]
    async fn extract(req: &'ex mut Request, _depot: &'ex mut Depot) -> Result<Self, Problem> {
        if read(req).await?.is_empty() {
            return Ok(Self(T::default()));
        }
        check_headers(req)?;
        Ok(Self(parse(read(req).await?)?))
    }
}

impl<'ex, T: FromStr + Send> Extractible<'ex> for Path<T>
where
    T::Err: Display,
{
    fn metadata() -> &'static Metadata {
        &METADATA
    }

    #[expect(refining_impl_trait, reason = "the error type is part of the contract")]
    async fn extract(_req: &'ex mut Request, _depot: &'ex mut Depot) -> Result<Self, Problem> {
        Err(Fault::internal("a path parameter was extracted without a name").into())
    }

    #[expect(refining_impl_trait, reason = "the error type is part of the contract")]
    async fn extract_with_arg(req: &'ex mut Request, _depot: &'ex mut Depot, arg: &str) -> Result<Self, Problem> {
        path(req, arg).map(Self)
    }
}

/// The path parameter `name`; 400 `invalid_parameter` when it does not parse.
pub fn path<T: FromStr>(req: &Request, name: &str) -> Result<T, Problem>
where
    T::Err: Display,
{
    let raw = req.params().get(name).map_or("", String::as_str);
    raw.parse().map_err(|error: T::Err| invalid_parameter(name, error.to_string()))
}

/// 400 `invalid_parameter` on the path or query parameter `name`.
pub(crate) fn invalid_parameter(name: &str, message: impl Into<String>) -> Problem {
    let message = message.into();
    Fault::new(Kind::Malformed, "invalid_parameter", format!("parameter {name}: {message}"))
        .with_field(FieldError::new(name, "invalid_parameter", message))
        .into()
}

/// The whole body, at most the limit of the service; cached, so reading it twice is free.
pub(crate) async fn read(req: &mut Request) -> Result<&[u8], Problem> {
    let limit = req.secure_max_size();
    match req.payload().await {
        Ok(body) => Ok(body),
        Err(ParseError::PayloadTooLarge) => Err(too_large(limit)),
        Err(error) => Err(Fault::new(Kind::Malformed, "unreadable_body", "the body ended early or came too slowly")
            .with_source(error)
            .into()),
    }
}

/// 413 `body_too_large`, naming the limit.
pub(crate) fn too_large(limit: usize) -> Problem {
    Fault::new(Kind::TooLarge, "body_too_large", format!("the body is over the limit of {limit} bytes")).into()
}

fn check_headers(req: &Request) -> Result<(), Problem> {
    let refuse = |code, detail: String| Err(Fault::new(Kind::UnsupportedMedia, code, detail).into());
    if let Some(coding) = req.headers().get(CONTENT_ENCODING)
        && !coding.as_bytes().eq_ignore_ascii_case(b"identity")
    {
        return refuse("unsupported_content_encoding", "send the body without a content encoding".to_owned());
    }
    let sent = req.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if is_json(sent) {
        return Ok(());
    }
    let detail = if sent.is_empty() { "no content type was sent" } else { "this content type is not read here" };
    refuse("unsupported_media_type", format!("{detail}; send application/json"))
}

fn is_json(content_type: &str) -> bool {
    let mut parts = content_type.split(';');
    let essence = parts.next().unwrap_or_default().trim().to_ascii_lowercase();
    let is_json = essence == "application/json" || (essence.starts_with("application/") && essence.ends_with("+json"));
    // RFC 8259: JSON between systems is UTF-8; a caller who says otherwise would be misread.
    let is_utf8 = parts.all(|parameter| match parameter.trim().to_ascii_lowercase().split_once('=') {
        Some(("charset", charset)) => matches!(charset.trim_matches('"'), "utf-8" | "utf8" | "us-ascii"),
        _ => true,
    });
    is_json && is_utf8
}

fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, Problem> {
    if body.is_empty() {
        return Err(Fault::new(Kind::Malformed, "malformed_json", "the body is empty; send a JSON object").into());
    }
    // serde would also fill a struct from an array, by position: nothing a client should come to rely on.
    if body.trim_ascii_start().first() != Some(&b'{') {
        serde_json::from_slice::<IgnoredAny>(body).map_err(|error| refused(&error, "."))?;
        let field = FieldError::new("body", "invalid_type", "must be a JSON object");
        return Err(Fault::invalid(vec![field]).into());
    }
    let mut unknown = Vec::new();
    let mut track = serde_path_to_error::Track::new();
    let mut json = serde_json::Deserializer::from_slice(body);
    let tracked = serde_path_to_error::Deserializer::new(Exact(&mut json), &mut track);
    let read = serde_ignored::deserialize(tracked, |path| {
        if unknown.len() < MAX_UNKNOWN {
            unknown.push(written(&path));
        }
    });
    let value = match read.and_then(|value| json.end().map(|()| value)) {
        Ok(value) => value,
        Err(error) => return Err(refused(&error, &track.path().to_string())),
    };
    if unknown.is_empty() {
        return Ok(value);
    }
    let refuse = |field: String| FieldError::new(field, "unknown_field", "is not known here");
    Err(Fault::invalid(unknown.into_iter().map(refuse).collect()).into())
}

/// Turns serde's sentence into a problem: syntax is 400, a wrong field is 422 with its path.
fn refused(error: &serde_json::Error, path: &str) -> Problem {
    let text = error.to_string();
    // serde_json appends the position; in a field error the path says more.
    let mut message = text.split(" at line ").next().unwrap_or(&text).to_owned();
    if let Some((before, _)) = message.split_once("struct ") {
        message = format!("{before}an object");
    }
    if !error.is_data() {
        let detail = format!("the body is not JSON: {message} (line {}, column {})", error.line(), error.column());
        return Fault::new(Kind::Malformed, "malformed_json", detail).into();
    }
    let named = |prefix: &str| message.strip_prefix(prefix).and_then(|rest| rest.split('`').next());
    let field = if let Some(name) = named("missing field `") {
        FieldError::new(join(path, name), "required", "is required")
    } else if let Some(name) = named("unknown field `") {
        FieldError::new(join(path, name), "unknown_field", "is not known here")
    } else if let Some(name) = named("duplicate field `") {
        FieldError::new(join(path, name), "duplicate_field", "is given more than once")
    } else {
        let code = if message.starts_with("invalid type") { "invalid_type" } else { "invalid_value" };
        FieldError::new(if path == "." { "body" } else { path }, code, message)
    };
    Fault::invalid(vec![field]).into()
}

/// `path` the way the tracker writes it: `items[0].quantity`.
fn written(path: &Ignored<'_>) -> String {
    match path {
        Ignored::Root => String::new(),
        Ignored::Seq { parent, index } => format!("{}[{index}]", written(parent)),
        Ignored::Map { parent, key } => match written(parent) {
            above if above.is_empty() => key.clone(),
            above => format!("{above}.{key}"),
        },
        Ignored::Some { parent } | Ignored::NewtypeStruct { parent } | Ignored::NewtypeVariant { parent } => {
            written(parent)
        }
    }
}

/// `name` inside of `path`, where the tracker may or may not have seen `name` already.
fn join(path: &str, name: &str) -> String {
    if path == "." || path == name {
        return name.to_owned();
    }
    if path.ends_with(&format!(".{name}")) { path.to_owned() } else { format!("{path}.{name}") }
}

impl<T: ToSchema> EndpointArgRegister for StrictJson<T> {
    fn register(components: &mut Components, operation: &mut Operation, _arg: &str) {
        let body = RequestBody::new().add_content("application/json", Content::new(T::to_schema(components)));
        operation.request_body = Some(body.required(true.into()));
    }
}

impl<T: ToSchema> EndpointArgRegister for OptionalJson<T> {
    fn register(components: &mut Components, operation: &mut Operation, _arg: &str) {
        let body = RequestBody::new().add_content("application/json", Content::new(T::to_schema(components)));
        operation.request_body = Some(body.required(false.into()));
    }
}

impl<T: ToSchema> EndpointArgRegister for Path<T> {
    fn register(components: &mut Components, operation: &mut Operation, arg: &str) {
        let parameter = Parameter::new(arg).location(ParameterIn::Path).schema(T::to_schema(components)).required(true);
        operation.parameters.insert(parameter);
    }
}
