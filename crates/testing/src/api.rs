//! A client for JSON over HTTP that says what it got when a test expected something else.

use reqwest::{Client, Method, RequestBuilder, header::HeaderMap};
use serde_json::Value;

/// A service under test.
#[derive(Clone, Debug)]
pub struct Api {
    base: String,
    client: Client,
    token: Option<String>,
}

impl Api {
    /// The service at `base`, such as `http://127.0.0.1:8080` (the scheme may be left out).
    #[must_use]
    pub fn new(base: impl std::fmt::Display) -> Self {
        let base = base.to_string();
        let base = if base.contains("://") { base } else { format!("http://{base}") };
        let client = Client::builder().no_proxy().build().expect("builds a client");
        Self { base: base.trim_end_matches('/').to_owned(), client, token: None }
    }

    /// The same, called with this bearer token.
    #[must_use]
    pub fn by(self, token: impl Into<String>) -> Self {
        Self { token: Some(token.into()), ..self }
    }

    /// Where a path of it is.
    #[must_use]
    pub fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }

    /// `GET`: status and body (`null` when there is none or it is no JSON).
    pub async fn get(&self, path: &str) -> (u16, Value) {
        self.send(self.request(Method::GET, path)).await.pair()
    }

    /// `POST` with a JSON body.
    pub async fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        self.send(self.request(Method::POST, path).json(body)).await.pair()
    }

    /// `PUT` with a JSON body.
    pub async fn put(&self, path: &str, body: &Value) -> (u16, Value) {
        self.send(self.request(Method::PUT, path).json(body)).await.pair()
    }

    /// `DELETE`.
    pub async fn delete(&self, path: &str) -> (u16, Value) {
        self.send(self.request(Method::DELETE, path)).await.pair()
    }

    /// A request to add headers or another body to; [`Api::send`] sends it.
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self.client.request(method, self.url(path));
        match &self.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        }
    }

    /// Sends a request and reads the whole answer. Panics when there is none.
    pub async fn send(&self, request: RequestBuilder) -> Reply {
        self.try_send(request).await.unwrap_or_else(|error| panic!("no answer: {error:?}"))
    }

    /// Sends a request to a service that may be down.
    pub async fn try_send(&self, request: RequestBuilder) -> Result<Reply, reqwest::Error> {
        let response = request.send().await?;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        Ok(Reply { status, headers, text: response.text().await? })
    }
}

/// A whole answer.
#[derive(Clone, Debug)]
pub struct Reply {
    /// The status code.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub text: String,
}

impl Reply {
    /// The body, `null` when there is none or it is no JSON.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or(Value::Null)
    }

    /// A header, empty when it is missing.
    #[must_use]
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or("")
    }

    /// Checks that this is a problem document with this status and code, and yields it.
    #[track_caller]
    #[must_use]
    pub fn problem(&self, status: u16, code: &str) -> Value {
        assert_eq!(self.status, status, "{self:?}");
        assert_eq!(self.header("content-type"), "application/problem+json", "{self:?}");
        let problem = self.json();
        assert_problem(&problem, status, code);
        problem
    }

    fn pair(self) -> (u16, Value) {
        (self.status, self.json())
    }
}

/// Checks that a body is a problem document (RFC 9457) with this status and code, and complete.
#[track_caller]
pub fn assert_problem(problem: &Value, status: u16, code: &str) {
    assert_eq!((&problem["status"], &problem["code"]), (&status.into(), &code.into()), "{problem}");
    for member in ["type", "title", "detail", "instance", "request_id"] {
        assert!(problem[member].as_str().is_some_and(|text| !text.is_empty()), "{member} is missing: {problem}");
    }
}
