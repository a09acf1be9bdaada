//! The gRPC server: the service's routes with health and reflection, drained on stop.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use shop_config::Grpc;
use shop_identity::Guard;
use shop_runtime::{Health, Shutdown};
use shop_telemetry::Metrics;
use tokio::time::timeout;
use tonic::service::Routes;
use tonic::transport::Server;
use tonic_reflection::server::Builder;

use crate::accept::accepted;
use crate::health;
use crate::incoming::IncomingLayer;
use crate::metrics::{Interface, RpcMetrics};

/// How long a keepalive probe may stay unanswered.
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);

/// Streams at once on one connection.
const MAX_STREAMS: u32 = 1024;

/// Largest request head.
const MAX_HEAD: u32 = 64 * 1024;

/// How long the answers to calls that the hard stop ended may take to go out.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// What [`serve`] needs beside the routes.
#[derive(Clone)]
pub struct Parts {
    /// Where call metrics are registered.
    pub metrics: Metrics,
    /// What `grpc.health.v1` asks.
    pub health: Health,
    /// What lets callers in.
    pub guard: Guard,
    /// The encoded `FileDescriptorSet` of the interface, for reflection and for the labels of metrics.
    pub descriptors: &'static [u8],
    /// Limits and keepalive.
    pub settings: Grpc,
    /// What hands are shaken by; in cleartext without.
    pub tls: Option<Arc<shop_tls::Server>>,
}

/// Serves `routes` with health and reflection until the soft stop, then lets running calls finish; the hard stop ends them.
pub async fn serve(
    listener: std::net::TcpListener,
    routes: Routes,
    parts: Parts,
    shutdown: Shutdown,
) -> anyhow::Result<()> {
    let Parts { metrics, health, guard, descriptors, settings, tls } = parts;
    let all = [descriptors, tonic_health::pb::FILE_DESCRIPTOR_SET];
    let interface = Interface::read(&all).context("the descriptors of the gRPC interface cannot be read")?;
    let reflection =
        || all.iter().fold(Builder::configure(), |builder, set| builder.register_encoded_file_descriptor_set(set));
    let metrics = Arc::new(RpcMetrics::new(&metrics, &interface));
    let routes = routes
        .add_service(health::server(health, interface.services))
        .add_service(reflection().build_v1().context("reflection cannot be set up")?)
        .add_service(reflection().build_v1alpha().context("reflection cannot be set up")?)
        .prepare();
    let listener = tokio::net::TcpListener::from_std(listener).context("cannot watch the listening socket")?;
    let serving = Server::builder()
        .layer(IncomingLayer {
            metrics,
            guard,
            unary: Arc::new(interface.unary),
            timeout: settings.timeout.get(),
            hard: shutdown.hard.clone(),
        })
        .http2_keepalive_interval(Some(settings.keepalive.get()))
        .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
        .max_concurrent_streams(MAX_STREAMS)
        .http2_max_header_list_size(MAX_HEAD)
        .add_routes(routes)
        .serve_with_incoming_shutdown(accepted(listener, tls), shutdown.soft.cancelled_owned());
    tokio::pin!(serving);
    tokio::select! {
        ended = &mut serving => return ended.context("the gRPC server failed"),
        () = shutdown.hard.cancelled() => {}
    }
    // The calls were told; their last words get a moment to go out.
    match timeout(LAST_WORDS, serving).await {
        Ok(ended) => ended.context("the gRPC server failed"),
        Err(_) => Ok(()),
    }
}
