//! How a request reaches Stripe and its answer comes back: over HTTPS, or as a test wants it.

use async_trait::async_trait;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::{ClientConfig, RootCertStore};
use std::sync::Arc;
use std::time::Duration;

use crate::settings::StripeSettings;

/// The longest answer, in bytes. A page of a hundred refunds has about a tenth.
const LONGEST: usize = 1024 * 1024;
/// The largest head of an answer.
const LONGEST_HEAD: usize = 64 * 1024;
/// Idle connections that are kept, and for how long: a checkout makes its calls within seconds of each other.
const MAX_IDLE: usize = 16;
const IDLE: Duration = Duration::from_secs(45);

/// Carries one request at a time.
#[async_trait]
pub trait Wire: Send + Sync {
    /// Sends the request and waits for all of its answer; whoever waits gives up by himself.
    async fn exchange(&self, request: Request<Bytes>) -> Result<Response<Bytes>, Broken>;
}

/// No answer to be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
    /// None came; what was done of the request is unknown.
    #[error("{0}")]
    Lost(String),
    /// One came that is too long to be read.
    #[error("it is longer than {LONGEST} bytes")]
    Long,
}

/// The network.
pub(crate) struct Https(Client<HttpsConnector<HttpConnector>, Full<Bytes>>);

impl Https {
    pub(crate) fn open(settings: &StripeSettings) -> anyhow::Result<Self> {
        let mut roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
        // What cannot be read of the machine's is left out: the public ones are there in any case.
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        let tls = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let mut http = HttpConnector::new();
        http.enforce_http(false);
        http.set_nodelay(true);
        http.set_connect_timeout(Some(settings.connect_timeout.get()));
        let connector =
            HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http().enable_http1().wrap_connector(http);
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .pool_max_idle_per_host(MAX_IDLE)
            .http1_max_buf_size(LONGEST_HEAD)
            .build(connector);
        Ok(Self(client))
    }
}

#[async_trait]
impl Wire for Https {
    async fn exchange(&self, request: Request<Bytes>) -> Result<Response<Bytes>, Broken> {
        let answer = self.0.request(request.map(Full::from)).await;
        let (head, body) = answer.map_err(|error| Broken::Lost(root(&error)))?.into_parts();
        match Limited::new(body, LONGEST).collect().await {
            Ok(body) => Ok(Response::from_parts(head, body.to_bytes())),
            Err(error) if error.is::<LengthLimitError>() => Err(Broken::Long),
            Err(error) => Err(Broken::Lost(root(error.as_ref()))),
        }
    }
}

/// What is at the bottom of an error, which is what tells something.
fn root(error: &(dyn std::error::Error + 'static)) -> String {
    let mut bottom = error;
    while let Some(source) = bottom.source() {
        bottom = source;
    }
    bottom.to_string()
}
