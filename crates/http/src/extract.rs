//! Typed request parts: a JSON body and a path parameter, strict and with errors that name the field.

use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use salvo::extract::{Extractible, Metadata};
use salvo::http::ParseError;
use salvo::oapi::{Components, Content, EndpointArgRegister, Operation, Parameter, ParameterIn, RequestBody, ToSchema};
use salvo::{Depot, Request};
use serde::de::DeserializeOwned;
use shop_fault::{Fault, FieldError, Kind};
use shop_input::{Id, json};

use crate::Problem;
use crate::schema::Described;

/// A JSON body.
///
/// 415 when it is not `application/json`, 413 over the limit, 400 `malformed_json` when it is not JSON, 422 with
/// the path of the field when a field is unknown, missing or of another type.
#[derive(Debug)]
pub struct StrictJson<T>(pub T);

/// A JSON body that may be absent: then it is `T::default()` and no content type is asked for.
#[derive(Debug)]
pub struct OptionalJson<T>(pub T);

/// The path parameter named like the handler's argument; 400 `invalid_parameter` when it is not the one spelling of such
/// an id.
#[derive(Debug)]
pub struct Path<T>(pub T);

static METADATA: Metadata = Metadata::new("");

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

impl<'ex, T: Id + Send> Extractible<'ex> for Path<T> {
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

/// The path parameter `name`; 400 `invalid_parameter` when it is no id of that kind.
fn path<T: Id>(req: &Request, name: &str) -> Result<T, Problem> {
    id(name, req.params().get(name).map_or("", String::as_str))
}

/// The id in the path or query parameter `name`; 400 `invalid_parameter` when it is none.
pub fn id<T: Id>(name: &str, text: &str) -> Result<T, Problem> {
    shop_input::read(name, text).map_err(|wrong| invalid_parameter(name, wrong.message))
}

/// 400 `invalid_parameter` on the path or query parameter `name`.
pub fn invalid_parameter(name: &str, message: impl Into<String>) -> Problem {
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

fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, Problem> {
    json::parse(body).map_err(|refused| Fault::from(refused).into())
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

impl<T: Described> EndpointArgRegister for Path<T> {
    fn register(_components: &mut Components, operation: &mut Operation, arg: &str) {
        let parameter = Parameter::new(arg).location(ParameterIn::Path).schema(T::schema()).required(true);
        operation.parameters.insert(parameter);
    }
}
