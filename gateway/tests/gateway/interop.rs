//! gRPC as its implementations try it on each other: grpc-go's client and server and tonic's, the gateway between them.

mod client;
mod messages;
mod server;

use std::net::SocketAddr;
use std::time::Duration;

use futures_util::{StreamExt as _, future, stream};
use hyper_util::rt::TokioIo;
use shop_gateway::Config;
use shop_gateway::settings::Service;
use shop_testing::{Child, Program, backend, eventually, free_port};
use tonic::transport::Endpoint;

use self::client::Client;
use crate::routes::bare;
use crate::support::{Running, backends};
use crate::tls::{Folder, Pair, dial, trusting};

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

/// Calls that are not over.
const ACTIVE: &str = r#"gateway_active_requests{service="interop"}"#;

/// A gateway that knows one gRPC service, and sends its calls to `server`.
fn settings(server: SocketAddr) -> Config {
    let service = Service { grpc_urls: backends(&[server]), ..Service::default() };
    bare(&[("interop", service)], &[("interop", "grpc = 'grpc.testing.TestService'\nto = 'interop'")])
}

/// The same with TLS by the files in `folder`.
fn over_tls(server: SocketAddr, folder: &Folder) -> Config {
    let mut settings = settings(server);
    settings.tls.cert_file = folder.path("cert.pem");
    settings.tls.key_file = folder.path("key.pem");
    settings.tls.port = 0;
    settings
}

/// grpc-go's programs.
struct Go {
    folder: String,
}

impl Go {
    fn find() -> Option<Self> {
        Some(Self { folder: backend::peers()? })
    }

    /// The server, as long as the second lives.
    async fn server(&self) -> (SocketAddr, Child) {
        let addr: SocketAddr = ([127, 0, 0, 1], free_port()).into();
        let port = addr.port().to_string();
        let mut server = Program::new(format!("{}/grpc/server", self.folder)).args(["--port", &port]).spawn();
        eventually!({
            assert!(server.exited().is_none(), "the server ended while starting");
            tokio::net::TcpStream::connect(addr).await.is_ok()
        });
        (addr, server)
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

/// tonic's client of whoever listens at `addr`.
async fn client(addr: SocketAddr) -> Client {
    let endpoint = Endpoint::from_shared(format!("http://{addr}")).expect("an address");
    Client(endpoint.connect().await.expect("connects"))
}

#[tokio::test]
async fn every_case_of_grpcs_own_client_passes() {
    let Some(go) = Go::find() else { return };
    let (server, _running) = go.server().await;
    let gateway = Running::start(settings(server)).await;
    assert_eq!(go.failures(gateway.addr, &[]).await, Vec::<String>::new());
    // All calls but those that were taken back, or to a service that has no route.
    let calls = r#"gateway_requests_total{method="POST",service="interop",status="200"}"#;
    eventually!(gateway.metric(calls).is_some_and(|calls| calls >= 12.0));
    eventually!(gateway.metric(ACTIVE) == Some(0.0));
}

#[tokio::test]
async fn every_case_of_grpcs_own_client_passes_over_tls() {
    let Some(go) = Go::find() else { return };
    let (server, _running) = go.server().await;
    let folder = Folder::with(&Pair::valid_until(2100));
    let gateway = Running::start(over_tls(server, &folder)).await;
    let authority = format!("--ca_file={}", folder.path("cert.pem").display());
    let more = ["--use_tls", "--use_test_ca", &authority, "--server_host_override", "localhost"];
    assert_eq!(go.failures(gateway.https.expect("TLS"), &more).await, Vec::<String>::new());
    eventually!(gateway.metric(ACTIVE) == Some(0.0));
}

#[tokio::test]
async fn every_case_of_tonics_client_passes() {
    let gateway = Running::start(settings(server::start().await)).await;
    client(gateway.addr).await.every_case().await;
    eventually!(gateway.metric(ACTIVE) == Some(0.0));
}

#[tokio::test]
async fn every_case_of_tonics_client_passes_over_tls() {
    let pair = Pair::valid_until(2100);
    let folder = Folder::with(&pair);
    let gateway = Running::start(over_tls(server::start().await, &folder)).await;
    let (https, connector) = (gateway.https.expect("TLS"), trusting(&[&pair], rustls::ALL_VERSIONS, &["h2"]));
    let connect = tower::service_fn(move |_: http::Uri| {
        let connector = connector.clone();
        async move { dial(https, &connector).await.map(TokioIo::new) }
    });
    let channel = Endpoint::from_static("http://localhost").connect_with_connector(connect).await.expect("connects");
    Client(channel).every_case().await;
    eventually!(gateway.metric(ACTIVE) == Some(0.0));
}

#[tokio::test]
async fn either_client_passes_every_case_at_the_others_server() {
    let Some(go) = Go::find() else { return };
    let (server, _running) = go.server().await;
    let gateway = Running::start(settings(server)).await;
    client(gateway.addr).await.every_case().await;
    eventually!(gateway.metric(ACTIVE) == Some(0.0));

    let gateway = Running::start(settings(server::start().await)).await;
    assert_eq!(go.failures(gateway.addr, &[]).await, Vec::<String>::new());
    eventually!(gateway.metric(ACTIVE) == Some(0.0));
}

#[tokio::test]
async fn calls_that_are_taken_back_at_any_moment_are_over() {
    let (server, calls) = server::start_counting().await;
    let gateway = Running::start(settings(server)).await;
    for _ in 0..4 {
        // A connection that ends with its calls, and calls that end alone.
        let client = client(gateway.addr).await;
        let taken_back = (0..4).map(|_| async {
            tokio::join!(
                client.cancel_after_begin(),
                client.cancel_after_first_response(),
                client.timeout_on_sleeping_server()
            );
        });
        future::join_all(taken_back).await;
    }
    eventually!(gateway.metric(ACTIVE) == Some(0.0) && calls() == 0);
}

#[tokio::test]
async fn a_call_whose_time_is_over_ends_at_its_backend_while_its_client_goes_on() {
    let (server, calls) = server::start_counting().await;
    let gateway = Running::start(settings(server)).await;
    let client = client(gateway.addr).await;
    client.outlive(Duration::from_secs(3)).await;
    eventually!(gateway.metric(ACTIVE) == Some(0.0) && calls() == 0);
    // Over the connection that is still open.
    client.every_case().await;
}
