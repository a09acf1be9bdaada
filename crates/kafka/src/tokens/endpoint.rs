//! Asks a provider for tokens, as a client that has a secret (RFC 6749, section 4.4). What it answers is bounded in size and time.

use std::time::Duration;

use anyhow::Context as _;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderValue, LOCATION, USER_AGENT};
use http::{HeaderMap, Request};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_rustls::HttpsConnectorBuilder;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use rustls::ClientConfig;
use shop_clock::{Clock as _, SystemClock};
use shop_config::SaslOauth;
use shop_tls::{ClientTls, HTTP_1_1};
use tokio::time::timeout;
use url::form_urlencoded;

use super::{Token, answer};

/// Longest answer, in bytes: a token that lists the groups of its subject may be long.
const LONGEST: usize = 256 * 1024;
/// Longest wait for one.
const PATIENCE: Duration = Duration::from_secs(10);
/// Who we say we are.
const AGENT: &str = concat!(env!("CARGO_PKG_NAME"), "/", env!("CARGO_PKG_VERSION"));

/// A provider's token endpoint.
pub(crate) struct Endpoint {
    settings: SaslOauth,
    tls: shop_tls::Client,
    form: Bytes,
    login: HeaderValue,
}

impl Endpoint {
    /// Gets ready; nothing is connected yet.
    pub(crate) fn open(settings: &SaslOauth) -> anyhow::Result<Self> {
        let tls = ClientTls { ca_file: settings.ca_file.clone(), ..ClientTls::default() };
        let tls = shop_tls::Client::open(tls, HTTP_1_1).context("kafka.sasl.oauth")?;
        let mut login = HeaderValue::try_from(login(settings)).context("kafka.sasl.oauth.client_secret")?;
        login.set_sensitive(true);
        Ok(Self { form: Bytes::from(form(settings)), login, tls, settings: settings.clone() })
    }

    /// A new token; why there is none, in a sentence that names the setting.
    pub(crate) async fn fetch(&self) -> Result<Token, String> {
        let url = &self.settings.token_url;
        match timeout(PATIENCE, self.ask()).await {
            Ok(answer) => answer,
            Err(_) => Err(format!("kafka.sasl.oauth.token_url {url} did not answer within {PATIENCE:?}")),
        }
    }

    async fn ask(&self) -> Result<Token, String> {
        let url = &self.settings.token_url;
        let failed = |what: &str, error: &(dyn std::error::Error + 'static)| {
            format!("kafka.sasl.oauth.token_url {url} {what}: {}", root(error))
        };
        let request = Request::post(url)
            .header(ACCEPT, "application/json")
            .header(USER_AGENT, AGENT)
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
            .header(AUTHORIZATION, &self.login)
            .body(Full::new(self.form.clone()))
            .map_err(|error| failed("is not good", &error))?;
        // Made anew each time, once in a token's life: the authorities may have changed, and nothing stays open.
        let mut tls = ClientConfig::clone(&self.tls.config());
        // The connector says itself what it speaks.
        tls.alpn_protocols.clear();
        let connector = HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http().enable_http1().build();
        let client = Client::builder(TokioExecutor::new()).pool_max_idle_per_host(0).build(connector);
        let answer = client.request(request).await.map_err(|error| failed("cannot be reached", &error))?;
        // A token lives from when it was given, not from when it was read.
        let now = SystemClock.now();
        let (head, body) = answer.into_parts();
        if head.status.is_redirection() {
            let to = elsewhere(&head.headers);
            return Err(format!(
                "kafka.sasl.oauth.token_url {url} sends us to {to}, which is not followed; name the address itself"
            ));
        }
        let body = Limited::new(body, LONGEST).collect().await;
        let body = body.map_err(|error| failed("did not answer to the end", error.as_ref()))?.to_bytes();
        answer::read(&self.settings, head.status, &body, now)
    }
}

fn elsewhere(headers: &HeaderMap) -> &str {
    headers.get(LOCATION).and_then(|to| to.to_str().ok()).unwrap_or("elsewhere")
}

/// Who asks, each part encoded as in a form before they are put together (RFC 6749, section 2.3.1).
fn login(settings: &SaslOauth) -> String {
    let part = |text: &str| form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
    let pair = format!("{}:{}", part(&settings.client_id), part(settings.client_secret.expose()));
    format!("Basic {}", STANDARD.encode(pair))
}

fn form(settings: &SaslOauth) -> String {
    let mut form = form_urlencoded::Serializer::new(String::new());
    form.append_pair("grant_type", "client_credentials");
    for (name, value) in [("scope", &settings.scope), ("audience", &settings.audience)] {
        if !value.is_empty() {
            form.append_pair(name, value);
        }
    }
    form.finish()
}

/// What is at the bottom of an error, which is what tells something.
fn root(error: &(dyn std::error::Error + 'static)) -> String {
    let mut bottom = error;
    while let Some(source) = bottom.source() {
        bottom = source;
    }
    bottom.to_string()
}

#[cfg(test)]
mod tests {
    use shop_config::Secret;

    use super::*;

    #[test]
    fn who_asks_and_for_what_is_written_as_in_a_form() {
        let mut settings = SaslOauth {
            client_id: "shop:prod".to_owned(),
            client_secret: Secret::from("a b+c/ü"),
            ..SaslOauth::default()
        };
        let pair = STANDARD.encode("shop%3Aprod:a+b%2Bc%2F%C3%BC");
        assert_eq!(login(&settings), format!("Basic {pair}"));
        assert_eq!(form(&settings), "grant_type=client_credentials");
        settings.scope = "read write".to_owned();
        settings.audience = "urn:kafka".to_owned();
        assert_eq!(form(&settings), "grant_type=client_credentials&scope=read+write&audience=urn%3Akafka");
    }
}
