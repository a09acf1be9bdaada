//! The ports of a service.

use std::net::TcpListener;

use shop_config::{Grpc, Http};
use shop_runtime::listen;

/// The ports of a service, taken before it does anything else: its own outgoing connections cannot get them then.
#[derive(Debug)]
pub struct Doors {
    /// For HTTP.
    pub http: TcpListener,
    /// For gRPC.
    pub grpc: TcpListener,
}

impl Doors {
    /// Takes both (0 is any that is free), waiting as [`listen`] does. `settings` are what to change when one cannot be
    /// had, such as `["http.port (PORT)", "grpc.port (GRPC_PORT)"]`.
    pub async fn open(http: &Http, grpc: &Grpc, settings: [&str; 2]) -> anyhow::Result<Self> {
        let [http_setting, grpc_setting] = settings;
        let (http, grpc) = tokio::try_join!(listen(http.addr(), http_setting), listen(grpc.addr(), grpc_setting))?;
        Ok(Self { http, grpc })
    }

    /// The same for a service that is a process of its own.
    pub async fn of_process(http: &Http, grpc: &Grpc) -> anyhow::Result<Self> {
        Self::open(http, grpc, ["http.port (PORT)", "grpc.port (GRPC_PORT)"]).await
    }
}
