//! The connection to a neighbour, and what every request on it carries.

use std::time::Duration;

use anyhow::{Context, anyhow};
use hyper_util::client::legacy::connect::HttpConnector;
use shop_config::Neighbour;
use shop_identity::Credential;
use shop_telemetry::context;
use shop_tls::{Client, Connector, Peer, TlsSettings};
use tonic::metadata::{MetadataMap, MetadataValue};
use tonic::service::Interceptor;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};

use crate::call;

/// Longest wait for a TCP connection: within one building it takes less than a millisecond.
const CONNECT: Duration = Duration::from_secs(1);

/// How often a quiet connection is probed, so that a neighbour that vanished without a word is noticed.
const KEEPALIVE: Duration = Duration::from_secs(20);

/// How long a probe may stay unanswered.
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(5);

/// Largest head of an answer. A refusal's details travel in it, one for each of a basket's hundred lines; the usual 16 KiB are
/// too small for that.
const MAX_HEAD: u32 = 64 * 1024;

/// A connection that is made with the first call and made again after a failure; clones share it. Over TLS it is made with the
/// files of `tls`, as they are then.
///
/// Call it inside a runtime. An address that cannot be dialled at all is an error here, and so is a file that cannot be used;
/// one where nobody listens is not.
pub fn channel(neighbour: &Neighbour, tls: &TlsSettings) -> anyhow::Result<Channel> {
    let endpoint = Endpoint::from_shared(neighbour.uri())
        .with_context(|| format!("{} is not the address of a service; use host:port", neighbour.url))?
        .http2_keep_alive_interval(KEEPALIVE)
        .keep_alive_timeout(KEEPALIVE_TIMEOUT)
        .keep_alive_while_idle(true)
        .http2_max_header_list_size(MAX_HEAD);
    if !neighbour.is_encrypted() {
        return Ok(endpoint.connect_with_connector_lazy(connector()));
    }
    let name = neighbour.server_name.as_deref();
    let client = Client::open(tls.client(name), shop_tls::H2).map_err(|unfit| anyhow!("tls.{unfit}"))?;
    let authority = endpoint.uri().authority().map_or("", |authority| authority.as_str());
    let peer = Peer {
        place: authority.to_owned(),
        name: name.or(endpoint.uri().host()).unwrap_or_default().to_owned(),
        rename: "say in server_name, beside the url, whom it is for",
        section: "tls",
    };
    Ok(endpoint.connect_with_connector_lazy(Connector::new(connector(), client, peer)))
}

/// As [`shop_runtime::dial`]: a listener may have the port that the near end got.
fn connector() -> HttpConnector {
    let mut connector = HttpConnector::new();
    connector.enforce_http(false);
    connector.set_connect_timeout(Some(CONNECT));
    connector.set_nodelay(true);
    connector.set_keepalive(Some(KEEPALIVE));
    connector.set_reuse_address(true);
    connector
}

/// Hands on the request id, the trace and the deadline of the work at hand, and shows the service's credential.
#[derive(Clone, Default)]
pub struct Outgoing {
    credential: Credential,
}

impl Outgoing {
    /// For calls to the neighbour that this credential is for.
    pub const fn new(credential: Credential) -> Self {
        Self { credential }
    }
}

impl Interceptor for Outgoing {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        let traceparent = call::goes_out(request.extensions()).or_else(shop_telemetry::traceparent);
        let metadata = request.metadata_mut();
        context::with(|context| {
            insert(metadata, "x-request-id", &context.request_id);
            if let Some(state) = &context.state {
                insert(metadata, "tracestate", state.as_str());
            }
        });
        if let Some(traceparent) = traceparent {
            insert(metadata, "traceparent", &traceparent);
        }
        if let Some(authorization) = self.credential.authorization().and_then(|value| value.to_str().ok()?.parse().ok())
        {
            metadata.insert("authorization", authorization);
        }
        if let Some(left) = call::time_left() {
            request.set_timeout(left);
        }
        Ok(request)
    }
}

fn insert(metadata: &mut MetadataMap, name: &'static str, value: &str) {
    if let Ok(value) = MetadataValue::try_from(value) {
        metadata.insert(name, value);
    }
}
