//! Asks issuers for their keys. What they answer is bounded in size and time, and nobody is asked who was not named.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CACHE_CONTROL, LOCATION, USER_AGENT};
use http::{HeaderMap, Request, StatusCode};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};
use tokio::time::timeout;

use crate::settings::{Provider, is_safe};

/// Longest answer, in bytes.
const LONGEST: usize = 1024 * 1024;
/// Longest wait for one.
const PATIENCE: Duration = Duration::from_secs(5);
/// Who we say we are.
const AGENT: &str = concat!(env!("CARGO_PKG_NAME"), "/", env!("CARGO_PKG_VERSION"));

/// Asks one issuer.
pub(crate) struct Fetch {
    client: Client<HttpsConnector<HttpConnector>, Empty<Bytes>>,
    token_file: Option<std::path::PathBuf>,
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Fetched {
    pub(crate) body: Bytes,
    /// How long it says that it is good.
    pub(crate) max_age: Option<Duration>,
}

impl Fetch {
    /// Gets ready; nothing is connected yet.
    pub(crate) fn new(provider: &Provider) -> anyhow::Result<Self> {
        let mut roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
        // What cannot be read of the machine's is left out: the public ones are there in any case.
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        if let Some(file) = &provider.ca_file {
            add(&mut roots, file).with_context(|| format!("identity.ca_file {} is not good", file.display()))?;
        }
        let tls = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let connector = HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http().enable_http1().build();
        let client = Client::builder(TokioExecutor::new()).pool_max_idle_per_host(0).build(connector);
        Ok(Self { client, token_file: provider.jwks_token_file.clone() })
    }

    /// What is at `url`.
    pub(crate) async fn get(&self, url: &str) -> anyhow::Result<Fetched> {
        ensure!(is_safe(url), "{url} is neither https:// nor on loopback");
        match timeout(PATIENCE, self.ask(url)).await {
            Ok(answer) => answer,
            Err(_) => bail!("{url} did not answer within {PATIENCE:?}"),
        }
    }

    async fn ask(&self, url: &str) -> anyhow::Result<Fetched> {
        let mut request = Request::get(url).header(ACCEPT, "application/json").header(USER_AGENT, AGENT);
        if let Some(file) = &self.token_file {
            let token = shop_config::read_text(file).with_context(|| format!("{} cannot be read", file.display()))?;
            request = request.header(AUTHORIZATION, format!("Bearer {}", token.trim()));
        }
        let response = self.client.request(request.body(Empty::new())?).await;
        let response = response.with_context(|| format!("{url} cannot be reached"))?;
        let (head, body) = response.into_parts();
        if head.status.is_redirection() {
            let to = head.headers.get(LOCATION).and_then(|to| to.to_str().ok()).unwrap_or("elsewhere");
            bail!("{url} sends us to {to}, which is not followed; name the address itself");
        }
        ensure!(head.status == StatusCode::OK, "{url} answered {}", head.status);
        let body = Limited::new(body, LONGEST).collect().await;
        let body = body.map_err(|error| anyhow::anyhow!("{url} did not answer to the end: {error}"))?;
        Ok(Fetched { body: body.to_bytes(), max_age: max_age(&head.headers) })
    }
}

fn add(roots: &mut RootCertStore, file: &Path) -> anyhow::Result<()> {
    let text = shop_config::read_text(file).context("it cannot be read")?;
    for certificate in CertificateDer::pem_slice_iter(text.as_bytes()) {
        roots.add(certificate.context("it is not PEM")?)?;
    }
    Ok(())
}

/// `max-age` (RFC 9111, section 5.2.2.1).
fn max_age(headers: &HeaderMap) -> Option<Duration> {
    let mut directives = headers.get(CACHE_CONTROL)?.to_str().ok()?.split(',');
    let seconds = directives.find_map(|directive| directive.trim().strip_prefix("max-age="))?;
    seconds.parse().ok().map(Duration::from_secs)
}
