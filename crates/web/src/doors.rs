//! The ports of a service.

use std::net::TcpListener;

use shop_config::{Grpc, Http, Operations};
use shop_runtime::listen;

/// The ports of a service, taken before it does anything else: its own outgoing connections cannot get them then.
#[derive(Debug)]
pub struct Doors {
    /// For HTTP.
    pub http: TcpListener,
    /// For gRPC.
    pub grpc: TcpListener,
    /// For probes and Prometheus, if they have one of their own.
    pub operations: Option<TcpListener>,
}

impl Doors {
    /// Takes them (0 is any that is free), waiting as [`listen`] does. `settings` are what to change when one cannot be
    /// had, such as `["http.port (PORT)", "grpc.port (GRPC_PORT)", "operations.port (OPERATIONS_PORT)"]`.
    pub async fn open(http: &Http, grpc: &Grpc, operations: &Operations, settings: [&str; 3]) -> anyhow::Result<Self> {
        let [http_setting, grpc_setting, operations_setting] = settings;
        let operations = async {
            match operations.addr() {
                Some(addr) => listen(addr, operations_setting).await.map(Some),
                None => Ok(None),
            }
        };
        let (http, grpc) = (listen(http.addr(), http_setting), listen(grpc.addr(), grpc_setting));
        let (http, grpc, operations) = tokio::try_join!(http, grpc, operations)?;
        Ok(Self { http, grpc, operations })
    }

    /// The same for a service that is a process of its own.
    pub async fn of_process(http: &Http, grpc: &Grpc, operations: &Operations) -> anyhow::Result<Self> {
        let settings = ["http.port (PORT)", "grpc.port (GRPC_PORT)", "operations.port (OPERATIONS_PORT)"];
        Self::open(http, grpc, operations, settings).await
    }
}
