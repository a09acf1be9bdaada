//! The servers of a service, HTTP and gRPC, and the listener of probes where these could not ask the others; bound before they
//! serve and stopped together.
//!
//! A service makes its routes and hands them over; what every service has around them is the same and stands here.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use anyhow::anyhow;
use salvo::{Router, Service};
use shop_config::{Grpc, Http};
use shop_events::Bus;
use shop_identity::Guard;
use shop_runtime::{Health, Shutdown};
use shop_telemetry::Metrics;
use shop_tls::TlsSettings;
use shop_web::{About, Doors};
use tonic::service::Routes;

/// What the servers of a service have in common.
#[derive(Clone)]
pub struct Parts {
    /// What the documentation says of the interface beside its operations.
    pub about: About,
    /// Where requests and calls are counted, and what `/metrics` shows.
    pub metrics: Metrics,
    /// What probes ask.
    pub health: Health,
    /// What lets callers in.
    pub guard: Guard,
    /// What both listen with.
    pub tls: TlsSettings,
}

/// The servers of a service, bound and not yet serving.
pub struct Servers {
    http: (TcpListener, Service, Http),
    http_addr: SocketAddr,
    grpc: (TcpListener, Routes, shop_rpc::Parts),
    grpc_addr: SocketAddr,
    operations: Option<(TcpListener, Service)>,
    operations_addr: Option<SocketAddr>,
    tls: Option<Arc<shop_tls::Server>>,
    reload_interval: Duration,
}

impl Servers {
    /// Of `routes` over HTTP and `calls` over gRPC with the descriptors that reflection tells of, behind these doors.
    pub fn new(
        doors: Doors,
        (routes, http): (Router, Http),
        (calls, descriptors, grpc): (Routes, &'static [u8], Grpc),
        parts: Parts,
    ) -> anyhow::Result<Self> {
        let (http_addr, grpc_addr) = (doors.http.local_addr()?, doors.grpc.local_addr()?);
        let operations_addr = doors.operations.as_ref().map(TcpListener::local_addr).transpose()?;
        let tls = listens_with(&parts.tls, &parts.metrics)?;
        let rpc = shop_rpc::Parts {
            metrics: parts.metrics.clone(),
            health: parts.health.clone(),
            guard: parts.guard.clone(),
            descriptors,
            settings: grpc,
            tls: tls.clone(),
        };
        let Parts { about, metrics, health, guard, tls: settings } = parts;
        let parts = shop_web::Parts { about, metrics, health, guard, settings: http.clone() };
        let operations = doors.operations.map(|door| (door, shop_web::operations_service(parts.clone())));
        Ok(Self {
            http: (doors.http, shop_web::service(routes, parts), http),
            http_addr,
            grpc: (doors.grpc, calls, rpc),
            grpc_addr,
            operations,
            operations_addr,
            tls,
            reload_interval: settings.reload_interval.get(),
        })
    }

    /// Where HTTP is served.
    pub fn http_addr(&self) -> SocketAddr {
        self.http_addr
    }

    /// Where gRPC is served.
    pub fn grpc_addr(&self) -> SocketAddr {
        self.grpc_addr
    }

    /// Where probes are served, if they are apart.
    pub fn operations_addr(&self) -> Option<SocketAddr> {
        self.operations_addr
    }

    /// Serves until the soft stop, then finishes what runs. One that fails ends the others.
    pub async fn run(self, shutdown: Shutdown) -> anyhow::Result<()> {
        let (door, service, settings) = self.http;
        let http = shop_web::serve(door, self.tls.clone(), service, &settings, shutdown.clone());
        let operations = async {
            match self.operations {
                Some((door, service)) => shop_web::serve(door, None, service, &settings, shutdown.clone()).await,
                None => Ok(()),
            }
        };
        let (listener, calls, parts) = self.grpc;
        let grpc = shop_rpc::serve(listener, calls, parts, shutdown.clone());
        let serving = Box::pin(async { tokio::try_join!(http, operations, grpc).map(|_| ()) });
        let Some(tls) = self.tls else { return serving.await };
        tokio::select! {
            served = serving => served,
            never = shop_tls::watch(self.reload_interval, move || tls.reload()) => match never {},
        }
    }
}

/// What the listeners shake hands by.
fn listens_with(settings: &TlsSettings, metrics: &Metrics) -> anyhow::Result<Option<Arc<shop_tls::Server>>> {
    if !settings.is_on() {
        return Ok(None);
    }
    let expiry = metrics
        .gauge("tls_certificate_expiry_timestamp_seconds", "Until when the certificate in use is valid, in Unix time");
    let tls = settings.server(move |at| expiry.set(at)).map_err(|unfit| anyhow!("tls.{unfit}"))?;
    Ok(tls.map(Arc::new))
}

/// The health of a service, with the two checks that all have: `store`, without which none can work, and `bus`, without
/// which each can for a while.
pub fn health<A>(store: impl Fn() -> A + Send + Sync + 'static, bus: Arc<dyn Bus>, shutdown: &Shutdown) -> Health
where
    A: Future<Output = Result<(), String>> + Send + 'static,
{
    let health = Health::new(shutdown);
    health.check_optional("bus", move || {
        let bus = bus.clone();
        async move { bus.check().await.map_err(|error| error.to_string()) }
    });
    health.check("store", store);
    health
}
