//! Typed request parts: a JSON body, a path parameter and the query, strict and with errors that name the field.

use salvo::extract::{Extractible, Metadata};
use salvo::http::ParseError;
use salvo::oapi::{
    Components, Content, EndpointArgRegister, Operation, Parameter, ParameterIn, RequestBody, ToParameters, ToSchema,
};
use salvo::{Depot, Request};
use serde::de::DeserializeOwned;
use shop_fault::{Fault, Kind};
use shop_http::media;
use shop_input::{Id, json, query};

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

/// The body as it came, to the byte, of at most so many bytes; 413 over that. For what is signed: read and written again it would be
/// another one.
#[derive(Debug)]
pub struct RawBody<const MOST: usize>(pub Vec<u8>);

/// The path parameter named like the handler's argument; 400 `invalid_parameter` when it is not the one spelling of such
/// an id.
#[derive(Debug)]
pub struct Path<T>(pub T);

/// The query string; 400 `invalid_parameter` naming the parameter when one is unknown, repeated or ill-typed.
///
/// A field of type `Vec` takes a parameter that is given several times. An `Option` is `None` when it is absent.
#[derive(Debug)]
pub struct Query<T>(pub T);

static METADATA: Metadata = Metadata::new("");

impl<'ex, T: DeserializeOwned + Send> Extractible<'ex> for StrictJson<T> {
    fn metadata() -> &'static Metadata {
        &METADATA
    }

    #[expect(refining_impl_trait, reason = "the error type is part of the contract")]
    async fn extract(req: &'ex mut Request, _depot: &'ex mut Depot) -> Result<Self, Problem> {
        media::check_json(req.headers())?;
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
        media::check_json(req.headers())?;
        Ok(Self(parse(read(req).await?)?))
    }
}

impl<'ex, T: DeserializeOwned + Send> Extractible<'ex> for Query<T> {
    fn metadata() -> &'static Metadata {
        &METADATA
    }

    #[expect(refining_impl_trait, reason = "the error type is part of the contract")]
    async fn extract(req: &'ex mut Request, _depot: &'ex mut Depot) -> Result<Self, Problem> {
        Ok(Self(query::parse(req.uri().query().unwrap_or_default())?))
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
    Ok(shop_input::parameter(name, req.params().get(name).map_or("", String::as_str))?)
}

impl<'ex, const MOST: usize> Extractible<'ex> for RawBody<MOST> {
    fn metadata() -> &'static Metadata {
        &METADATA
    }

    #[expect(refining_impl_trait, reason = "the error type is part of the contract")]
    async fn extract(req: &'ex mut Request, _depot: &'ex mut Depot) -> Result<Self, Problem> {
        let body = read(req).await?;
        if body.len() > MOST { Err(too_large(MOST).into()) } else { Ok(Self(body.to_vec())) }
    }
}

/// The whole body, at most the limit of the service; cached, so reading it twice is free.
pub(crate) async fn read(req: &mut Request) -> Result<&[u8], Problem> {
    let limit = req.secure_max_size();
    match req.payload().await {
        Ok(body) => Ok(body),
        Err(ParseError::PayloadTooLarge) => Err(too_large(limit).into()),
        Err(error) => Err(Fault::new(Kind::Malformed, "unreadable_body", "the body ended early or came too slowly")
            .with_source(error)
            .into()),
    }
}

/// 413 `body_too_large`, naming the limit.
pub(crate) fn too_large(limit: usize) -> Fault {
    Fault::new(Kind::TooLarge, "body_too_large", format!("the body is over the limit of {limit} bytes"))
}

fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, Problem> {
    json::parse(body).map_err(|refused| Fault::from(refused).into())
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

impl<'de, T: ToParameters<'de>> EndpointArgRegister for Query<T> {
    fn register(components: &mut Components, operation: &mut Operation, _arg: &str) {
        for parameter in T::to_parameters(components) {
            operation.parameters.insert(parameter);
        }
    }
}
