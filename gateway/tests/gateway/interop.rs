//! gRPC as its implementations try it on each other: grpc-go's own client and server, the gateway between them.

use std::net::SocketAddr;

use futures_util::{StreamExt as _, stream};
use shop_gateway::Config;
use shop_gateway::settings::Service;
use shop_testing::{Child, Program, backend, eventually, free_port};

use crate::routes::bare;
use crate::support::{Running, backends};

/// What every implementation is asked, but for the cases that need a cloud's credentials.
const CASES: [&str; 14] = [
    "empty_unary",
    "large_unary",
    "client_streaming",
    "server_streaming",
    "ping_pong",
    "empty_stream",
    "cancel_after_begin",
    "cancel_after_first_response",
    "timeout_on_sleeping_server",
    "custom_metadata",
    "status_code_and_message",
    "special_status_message",
    "unimplemented_method",
    "unimplemented_service",
];

/// The programs, the server among them as long as this lives.
struct Interop {
    folder: String,
    addr: SocketAddr,
    _server: Child,
}

impl Interop {
    async fn start() -> Option<Self> {
        let folder = backend::peers()?;
        let addr: SocketAddr = ([127, 0, 0, 1], free_port()).into();
        let port = addr.port().to_string();
        let mut server = Program::new(format!("{folder}/grpc/server")).args(["--port", &port]).spawn();
        eventually!({
            assert!(server.exited().is_none(), "the server ended while starting");
            tokio::net::TcpStream::connect(addr).await.is_ok()
        });
        Some(Self { folder, addr, _server: server })
    }

    /// A gateway that knows one gRPC service, and sends its calls to the server.
    fn settings(&self) -> Config {
        let service = Service { grpc_urls: backends(&[self.addr]), ..Service::default() };
        bare(&[("interop", service)], &[("interop", "grpc = 'grpc.testing.TestService'\nto = 'interop'")])
    }

    /// Tries each case on `addr`, and says what failed.
    async fn failures(&self, addr: SocketAddr, more: &[&str]) -> Vec<String> {
        let port = addr.port().to_string();
        let tried = stream::iter(CASES).map(|case| {
            let client = Program::new(format!("{}/grpc/client", self.folder));
            let client = client.args(["--server_host", "127.0.0.1", "--server_port", &port, "--test_case", case]);
            async move {
                let output = client.args(more).output().await;
                let said = String::from_utf8_lossy(&output.stderr).into_owned();
                (!output.status.success()).then(|| format!("{case}: {said}"))
            }
        });
        tried.buffer_unordered(4).filter_map(std::future::ready).collect().await
    }
}

#[tokio::test]
async fn every_case_of_grpcs_own_client_passes() {
    let Some(interop) = Interop::start().await else { return };
    let gateway = Running::start(interop.settings()).await;
    assert_eq!(interop.failures(gateway.addr, &[]).await, Vec::<String>::new());
    // All calls but those that were taken back, or to a service that has no route.
    let calls = r#"gateway_requests_total{method="POST",service="interop",status="200"}"#;
    eventually!(gateway.metric(calls).is_some_and(|calls| calls >= 12.0));
    eventually!(gateway.metric(r#"gateway_active_requests{service="interop"}"#) == Some(0.0));
}

#[tokio::test]
async fn every_case_of_grpcs_own_client_passes_over_tls() {
    let Some(interop) = Interop::start().await else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).expect("written");
        path
    };
    let pair = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    let mut settings = interop.settings();
    settings.tls.cert_file = file("cert.pem", &pair.cert.pem());
    settings.tls.key_file = file("key.pem", &pair.signing_key.serialize_pem());
    settings.tls.port = 0;
    let gateway = Running::start(settings).await;
    let authority = format!("--ca_file={}", folder.path().join("cert.pem").display());
    let more = ["--use_tls", "--use_test_ca", &authority, "--server_host_override", "localhost"];
    assert_eq!(interop.failures(gateway.https.expect("TLS"), &more).await, Vec::<String>::new());
}
