//! HTTP/2 in the clear, for plain requests and unary gRPC calls, every answer compared.

use anyhow::{Context as _, ensure};
use bytes::{Bytes, BytesMut};
use futures_util::future::try_join_all;
use http::{Request, Version, header};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http2::{Builder, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;

use crate::gate::Gate;
use crate::scenario::{HEADERS, Scenario, Wire};

/// A connection and what is sent over it.
pub(crate) struct Connection {
    sender: SendRequest<Full<Bytes>>,
    scenario: Scenario,
    sent: Bytes,
    expected: Bytes,
}

/// Opens the connections of `scenario`.
pub(crate) async fn open(scenario: &Scenario, port: u16) -> anyhow::Result<Vec<Connection>> {
    let mut connections = Vec::new();
    for _ in 0..scenario.connections {
        let stream = TcpStream::connect(("127.0.0.1", port)).await.with_context(|| format!("connect to {port}"))?;
        stream.set_nodelay(true)?;
        let mut builder = Builder::new(TokioExecutor::new());
        builder.initial_stream_window_size(1 << 20).initial_connection_window_size(1 << 24);
        let (sender, connection) = builder.handshake(TokioIo::new(stream)).await?;
        tokio::spawn(async {
            // The requests fail with it.
            let _ = connection.await;
        });
        connections.push(Connection {
            sender,
            scenario: *scenario,
            sent: scenario.sent(),
            expected: scenario.expected(),
        });
    }
    Ok(connections)
}

/// Sends on all connections as `gate` allows; the nanoseconds of each request by stream.
pub(crate) async fn run(connections: &mut [Connection], gate: &Gate) -> anyhow::Result<Vec<Vec<u64>>> {
    let streams = connections.iter().flat_map(|connection| (0..connection.scenario.streams).map(move |_| connection));
    try_join_all(streams.map(|connection| gate.drive(async || connection.call().await))).await
}

impl Connection {
    async fn call(&self) -> anyhow::Result<()> {
        let mut sender = self.sender.clone();
        sender.ready().await?;
        let response = sender.send_request(self.request()?).await?;
        ensure!(response.status() == 200, "{}", response.status());
        let mut body = response.into_body();
        let mut got = BytesMut::new();
        let mut status = None;
        while let Some(frame) = body.frame().await {
            let frame = frame?;
            if let Some(trailers) = frame.trailers_ref() {
                status = trailers.get("grpc-status").cloned();
            } else if let Ok(data) = frame.into_data() {
                got.extend_from_slice(&data);
            }
        }
        ensure!(got == self.expected, "the body is not the one asked for");
        let is_fine = self.scenario.wire != Wire::Grpc || status.as_ref().is_some_and(|status| status == "0");
        ensure!(is_fine, "grpc-status is {status:?}");
        Ok(())
    }

    fn request(&self) -> anyhow::Result<Request<Full<Bytes>>> {
        let scenario = &self.scenario;
        let mut request = Request::builder()
            .method(scenario.method())
            .version(Version::HTTP_2)
            .uri(format!("http://shop.example{}", scenario.path));
        if scenario.wire == Wire::Grpc {
            request = request.header(header::CONTENT_TYPE, "application/grpc").header(header::TE, "trailers");
            request = request.header("user-agent", "shop-bench");
        } else {
            for (name, value) in HEADERS {
                request = request.header(name, value);
            }
        }
        Ok(request.body(Full::new(self.sent.clone()))?)
    }
}
