//! Every failure of a handler leaves as a problem ([`shop_http::problem`]); this is the one place that writes it.

use std::borrow::Cow;
use std::fmt;

use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, ETAG, LOCATION, RETRY_AFTER};
use http::{HeaderValue, StatusCode};
use salvo::http::ResBody;
use salvo::oapi::schema::AdditionalProperties;
use salvo::oapi::{Array, Components, EndpointOutRegister, Object, Operation, RefOr};
use salvo::{Depot, Request, Response, Writer, async_trait};
use shop_fault::{Fault, Kind};
use shop_http::problem::{self, Body};

use crate::describe;
use crate::request_id::request_id;

/// A [`Fault`], or what becomes one, on its way to an HTTP client; what handlers return, so that `?` is all they need.
pub struct Problem(pub(crate) Fault);

impl<E> From<E> for Problem
where
    Fault: From<E>,
{
    fn from(error: E) -> Self {
        Self(error.into())
    }
}

impl fmt::Debug for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The code of the error a response carries, for the metric that counts errors by code.
#[derive(Clone)]
pub(crate) struct ErrorCode(pub(crate) Cow<'static, str>);

#[async_trait]
impl Writer for Problem {
    async fn write(self, req: &mut Request, _depot: &mut Depot, res: &mut Response) {
        render(&self.0, req, res);
    }
}

impl EndpointOutRegister for Problem {
    fn register(components: &mut Components, _operation: &mut Operation) {
        // Which operation refuses what is in its document; all refusals are of this form.
        describe(components);
    }
}

/// Writes `fault` as the response, whatever was there before, and logs the cause once if the server is to blame.
pub(crate) fn render(fault: &Fault, req: &Request, res: &mut Response) {
    problem::log(fault);
    let status = StatusCode::from_u16(fault.kind().status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    write(status, fault.kind().title(), fault, req, res);
}

/// Gives an error response without a body (salvo's own 404, 405, 413 …) the uniform one.
pub(crate) fn fill_bare(req: &Request, res: &mut Response) {
    let Some(status) = res.status_code.filter(|status| status.is_client_error() || status.is_server_error()) else {
        return;
    };
    if !(res.body.is_none() || res.body.is_error()) {
        return;
    }
    let path = problem::public_path(req.uri().path(), req.headers());
    if let Some(fault) = problem::bare(status, req.method(), &path) {
        return render(&fault, req, res);
    }
    let title = status.canonical_reason().unwrap_or("Error");
    let fault = Fault::new(Kind::Malformed, format!("http_{}", status.as_u16()), title.to_lowercase());
    write(status, title, &fault, req, res);
}

fn write(status: StatusCode, title: &str, fault: &Fault, req: &Request, res: &mut Response) {
    let instance = problem::public_path(req.uri().path(), req.headers());
    let body = Body::of(fault, status, title).at(&instance, request_id(req)).to_json();
    let headers = res.headers_mut();
    for stale in [CONTENT_LENGTH, CONTENT_ENCODING, ETAG, LOCATION] {
        headers.remove(stale);
    }
    headers.insert(CONTENT_TYPE, problem::MEDIA_TYPE);
    if let Some(seconds) = problem::retry_after(status, fault) {
        headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    if fault.kind().is_server() {
        headers.insert(problem::SCOPE, HeaderValue::from_static(fault.scope().word()));
    }
    res.status_code(status);
    res.body = ResBody::Once(body.into());
    res.extensions.insert(ErrorCode(fault.code().to_owned().into()));
}

/// More fields or violations are never listed: there is one for a field, a line of a basket or an unknown field at most.
const MOST_LISTED: usize = 200;

/// The schema `Problem`, which every response from 400 on refers to.
fn describe(components: &mut Components) {
    let text = |most: usize| describe::string(0..=most);
    let code = || describe::string(1..=64).pattern("^[a-z][a-z0-9_.]*$");
    let field = Object::new()
        .description("A field or parameter that is not valid")
        .property("field", text(1000).description("Its path, such as `items[0].quantity`"))
        .property("code", code().description("Stable, snake_case"))
        .property("message", text(2000).description("What to do about it"));
    let violation = Object::new()
        .description("Something whose state stands in the way")
        .property("type", code().description("Stable, snake_case"))
        .property("subject", text(1000).description("Which thing, such as `products/7`"))
        .property("description", text(2000).description("What is the matter with it"));
    let mut list = |name, object: Object, required: [&str; 3]| {
        let object = required.into_iter().fold(object, Object::required);
        Array::new().items(describe::component(components, name, RefOr::Type(object.into())))
    };
    let errors = list("FieldError", field, ["field", "code", "message"]);
    let violations = list("Violation", violation, ["type", "subject", "description"]);
    let problem = Object::new()
        .description("What went wrong (RFC 9457). Some codes come with members of their own")
        .property("type", text(100).description("Says no more than the status").example("about:blank"))
        .property("title", text(100).description("Of the status"))
        .property("status", describe::integer(400..=599).description("The HTTP status"))
        .property("detail", text(8000).description("For people"))
        .property("instance", text(8000).description("The path that was asked"))
        .property("code", code().description("Stable, snake_case: what programs decide by"))
        .property("request_id", text(128).description("Find it in the logs"))
        .property("errors", errors.max_items(MOST_LISTED).description("Every field that is not valid"))
        .property("violations", violations.max_items(MOST_LISTED).description("What stands in the way"))
        .additional_properties(AdditionalProperties::FreeForm(true));
    let problem = ["type", "title", "status", "detail", "instance", "code", "request_id"]
        .into_iter()
        .fold(problem, Object::required);
    describe::component(components, "Problem", RefOr::Type(problem.into()));
}
