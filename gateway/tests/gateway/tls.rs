//! The port with TLS: both protocols, gRPC and tunnels through it, and certificates that are replaced while it runs.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};
use shop_gateway::Config;
use shop_testing::{Process, eventually, free_port};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tonic::transport::Endpoint;

use crate::support::{Running, Upstream, config, echoed, nobody};

/// A folder with a certificate and its key.
pub(crate) struct Folder {
    folder: TempDir,
}

/// A certificate for `localhost`, and its key, in PEM.
pub(crate) struct Pair {
    cert: String,
    key: String,
    der: CertificateDer<'static>,
}

impl Pair {
    pub(crate) fn valid_until(year: i32) -> Self {
        let mut params = rcgen::CertificateParams::new(["localhost".to_owned()]).expect("a name");
        params.not_after = rcgen::date_time_ymd(year, 1, 2);
        let key = rcgen::KeyPair::generate().expect("a key");
        let cert = params.self_signed(&key).expect("a certificate");
        Self { cert: cert.pem(), key: key.serialize_pem(), der: cert.der().clone() }
    }
}

impl Folder {
    pub(crate) fn with(pair: &Pair) -> Self {
        let folder = Self { folder: tempfile::tempdir().expect("a folder") };
        folder.put("cert.pem", &pair.cert);
        folder.put("key.pem", &pair.key);
        folder
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Replaces a file at once, as tools that renew certificates do.
    fn put(&self, name: &str, content: &str) {
        fs::write(self.path("new"), content).expect("writes");
        fs::rename(self.path("new"), self.path(name)).expect("renames");
    }

    fn settings(&self, upstream: SocketAddr) -> Config {
        let mut settings = config(upstream);
        settings.tls.cert_file = self.path("cert.pem");
        settings.tls.key_file = self.path("key.pem");
        settings.tls.port = 0;
        settings.tls.reload_interval = shop_config::Duration::millis(20);
        settings
    }
}

/// Trusts these certificates only.
pub(crate) fn trusting(
    pairs: &[&Pair],
    versions: &[&'static SupportedProtocolVersion],
    protocols: &[&str],
) -> TlsConnector {
    let mut roots = RootCertStore::empty();
    for pair in pairs {
        roots.add(pair.der.clone()).expect("an anchor");
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_protocol_versions(versions).expect("versions");
    let mut config = builder.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
    TlsConnector::from(Arc::new(config))
}

/// Connects as who wants `localhost`.
pub(crate) async fn dial(addr: SocketAddr, connector: &TlsConnector) -> std::io::Result<TlsStream<TcpStream>> {
    let stream = TcpStream::connect(addr).await.expect("connects");
    connector.connect(ServerName::try_from("localhost").expect("a name"), stream).await
}

/// What a new connection is shown.
async fn shown(addr: SocketAddr, connector: &TlsConnector) -> Option<CertificateDer<'static>> {
    let stream = dial(addr, connector).await.ok()?;
    let certificates = stream.get_ref().1.peer_certificates()?;
    certificates.first().map(|certificate| certificate.clone().into_owned())
}

fn get(path: &str) -> http::Request<Full<Bytes>> {
    let request = http::Request::get(format!("https://localhost{path}")).header("host", "localhost");
    request.body(Full::default()).expect("a request")
}

async fn seen(response: http::Response<hyper::body::Incoming>) -> (http::HeaderMap, serde_json::Value) {
    let (head, body) = response.into_parts();
    assert_eq!(head.status, 200);
    let body = body.collect().await.expect("a body").to_bytes();
    (head.headers, serde_json::from_slice(&body).expect("json"))
}

#[tokio::test]
async fn both_protocols_are_served_and_everybody_learns_that_it_was_tls() {
    let pair = Pair::valid_until(2100);
    let folder = Folder::with(&pair);
    let upstream = Upstream::echo().await;
    let gateway = Running::start(folder.settings(upstream.addr)).await;
    let https = gateway.https.expect("a port");
    let both = [&rustls::version::TLS12, &rustls::version::TLS13];
    for version in both {
        let connector = trusting(&[&pair], &[version], &["http/1.1"]);
        let stream = dial(https, &connector).await.expect("shakes hands");
        let (mut client, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.expect("shakes hands");
        tokio::spawn(connection);
        for _ in 0..2 {
            let (headers, seen) = seen(client.send_request(get("/api/products")).await.expect("an answer")).await;
            assert!(headers.contains_key("strict-transport-security"));
            assert_eq!(echoed(&seen, "x-forwarded-proto"), ["https"]);
            assert_eq!(echoed(&seen, "forwarded"), ["for=127.0.0.1;host=\"localhost\";proto=https"]);
            client.ready().await.expect("is kept");
        }
    }
    let stream = dial(https, &trusting(&[&pair], &both, &["h2", "http/1.1"])).await.expect("shakes hands");
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let (mut client, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.expect("shakes hands");
    tokio::spawn(connection);
    let (headers, told) = seen(client.send_request(get("/api/products")).await.expect("an answer")).await;
    assert!(headers.contains_key("strict-transport-security"));
    assert_eq!(echoed(&told, "x-forwarded-proto"), ["https"]);
    // No protocol agreed on: the first bytes tell.
    let mut stream = dial(https, &trusting(&[&pair], &both, &[])).await.expect("shakes hands");
    stream.write_all(b"GET /health/live HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await.expect("writes");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("ends with close_notify");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    // The cleartext port is still there, and says what it is.
    let reply = gateway.get("/api/products").await;
    assert_eq!((reply.status(), reply.header("strict-transport-security")), (200, None));
    assert_eq!(echoed(&reply.json(), "x-forwarded-proto"), ["http"]);
}

#[tokio::test]
async fn who_offers_no_protocol_of_ours_or_no_tls_is_turned_away() {
    let pair = Pair::valid_until(2100);
    let folder = Folder::with(&pair);
    let mut settings = folder.settings(nobody());
    settings.http.header_timeout = shop_config::Duration::millis(300);
    let gateway = Running::start(settings).await;
    let https = gateway.https.expect("a port");
    let connector = trusting(&[&pair], &[&rustls::version::TLS13], &["spdy/3"]);
    assert!(dial(https, &connector).await.is_err());
    let mut plain = TcpStream::connect(https).await.expect("connects");
    plain.write_all(b"GET /health/live HTTP/1.1\r\nhost: a\r\n\r\n").await.expect("writes");
    let mut answer = Vec::new();
    let _ = plain.read_to_end(&mut answer).await;
    assert!(!answer.starts_with(b"HTTP"), "{answer:?}");
    eventually!(gateway.metric("gateway_connections_cut_total{reason=\"tls_handshake\"}") == Some(2.0));
    // Says nothing, and says half a hello.
    for hello in [&b""[..], b"\x16\x03\x01\x02\x00\x01"] {
        let mut silent = TcpStream::connect(https).await.expect("connects");
        silent.write_all(hello).await.expect("writes");
        let end = tokio::time::timeout(Duration::from_secs(5), silent.read_to_end(&mut Vec::new())).await;
        let _ = end.expect("is cut in time");
    }
    eventually!(gateway.metric("gateway_connections_cut_total{reason=\"tls_handshake\"}") == Some(4.0));
    // The handshake is done, and nothing follows.
    let mut silent = dial(https, &trusting(&[&pair], &[&rustls::version::TLS13], &[])).await.expect("shakes hands");
    let end = tokio::time::timeout(Duration::from_secs(5), silent.read_to_end(&mut Vec::new())).await;
    let _ = end.expect("is cut in time");
    eventually!(gateway.metric("gateway_connections_cut_total{reason=\"head_timeout\"}") == Some(1.0));
    assert_eq!(gateway.get("/health/live").await.status(), 200);
}

#[tokio::test]
async fn grpc_is_served_over_tls() {
    let pair = Pair::valid_until(2100);
    let folder = Folder::with(&pair);
    let gateway = Running::start(folder.settings(crate::grpc::backend().await)).await;
    let https = gateway.https.expect("a port");
    let connector = trusting(&[&pair], &[&rustls::version::TLS13], &["h2"]);
    let connect = tower::service_fn(move |_: http::Uri| {
        let connector = connector.clone();
        async move { dial(https, &connector).await.map(TokioIo::new) }
    });
    let channel = Endpoint::from_static("http://localhost").connect_with_connector(connect).await.expect("connects");
    let mut client = tonic::client::Grpc::new(channel);
    let answer = crate::grpc::twice(&mut client, tonic::Request::new(crate::grpc::number(21))).await;
    assert_eq!(answer.expect("an answer").get_ref().id, 42);
}

#[tokio::test]
async fn a_websocket_is_tunnelled_over_tls() {
    let pair = Pair::valid_until(2100);
    let folder = Folder::with(&pair);
    let backend = crate::upgrade::echo().await;
    let gateway = Running::start(folder.settings(backend.addr)).await;
    let connector = trusting(&[&pair], &[&rustls::version::TLS13], &["http/1.1"]);
    let stream = dial(gateway.https.expect("a port"), &connector).await.expect("shakes hands");
    let opened = tokio_tungstenite::client_async("wss://localhost/api/notifications", stream).await;
    let (mut socket, _) = opened.expect("upgrades");
    for size in [1, 70_000, 3 << 20] {
        let message = tokio_tungstenite::tungstenite::Message::binary(vec![1; size]);
        socket.send(message.clone()).await.expect("sends");
        assert_eq!(socket.next().await.expect("open").expect("a message"), message);
    }
}

#[tokio::test]
async fn a_new_pair_is_for_new_connections_and_a_bad_one_for_none() {
    let (old, new) = (Pair::valid_until(2100), Pair::valid_until(2101));
    let folder = Folder::with(&old);
    let upstream = Upstream::echo().await;
    let gateway = Running::start(folder.settings(upstream.addr)).await;
    let https = gateway.https.expect("a port");
    // 2 January 2100 and 2101, 0:00 UTC.
    let (first, second) = (Some(4_102_531_200.0), Some(4_134_067_200.0));
    let expiry = || gateway.metric("gateway_tls_certificate_expiry_timestamp_seconds");
    assert_eq!(expiry(), first);
    let connector = trusting(&[&old, &new], &[&rustls::version::TLS13], &["http/1.1"]);
    let stream = dial(https, &connector).await.expect("shakes hands");
    let (mut client, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.expect("shakes hands");
    tokio::spawn(connection);
    seen(client.send_request(get("/api/products")).await.expect("an answer")).await;

    // Half of the change: certificate and key do not belong together. Nor is garbage used, nor what is not there.
    for (name, bad) in [("cert.pem", &new.cert[..]), ("cert.pem", "no PEM"), ("key.pem", "no PEM")] {
        folder.put(name, bad);
        let before = std::time::Instant::now();
        eventually!(before.elapsed() > Duration::from_millis(100));
        assert_eq!((shown(https, &connector).await, expiry()), (Some(old.der.clone()), first), "{name} {bad}");
    }
    fs::remove_file(folder.path("key.pem")).expect("is there");
    assert_eq!(shown(https, &connector).await, Some(old.der.clone()));

    folder.put("cert.pem", &new.cert);
    folder.put("key.pem", &new.key);
    eventually!(shown(https, &connector).await == Some(new.der.clone()));
    assert_eq!(expiry(), second);
    client.ready().await.expect("is kept");
    seen(client.send_request(get("/api/products")).await.expect("an answer")).await;
}

#[tokio::test]
async fn a_folder_swapped_by_a_link_is_noticed() {
    let (old, new) = (Pair::valid_until(2100), Pair::valid_until(2101));
    let (first, second) = (Folder::with(&old), Folder::with(&new));
    let mounted = tempfile::tempdir().expect("a folder");
    let link = |target: &Path| {
        std::os::unix::fs::symlink(target, mounted.path().join("tmp")).expect("links");
        fs::rename(mounted.path().join("tmp"), mounted.path().join("data")).expect("renames");
    };
    link(first.folder.path());
    let mut settings = first.settings(nobody());
    settings.tls.cert_file = mounted.path().join("data/cert.pem");
    settings.tls.key_file = mounted.path().join("data/key.pem");
    let gateway = Running::start(settings).await;
    let https = gateway.https.expect("a port");
    let connector = trusting(&[&old, &new], &[&rustls::version::TLS13], &["http/1.1"]);
    assert_eq!(shown(https, &connector).await, Some(old.der.clone()));
    link(second.folder.path());
    eventually!(shown(https, &connector).await == Some(new.der.clone()));
}

#[tokio::test]
async fn cleartext_is_sent_to_tls_when_settings_say_so() {
    let pair = Pair::valid_until(2100);
    let folder = Folder::with(&pair);
    let mut settings = folder.settings(nobody());
    settings.tls.redirect = true;
    settings.tls.public_port = 443;
    let gateway = Running::start(settings).await;
    let reply = gateway.get("/api/products/7?a=b").await;
    reply.refused(308, "tls_required");
    assert_eq!(reply.header("location"), Some("https://gw.test/api/products/7?a=b"));
    // Probes and scrapes come in cleartext, as they do without TLS.
    assert_eq!(gateway.get("/health/live").await.status(), 200);
    let connector = trusting(&[&pair], &[&rustls::version::TLS13], &["http/1.1"]);
    let mut stream = dial(gateway.https.expect("a port"), &connector).await.expect("shakes hands");
    stream.write_all(b"GET /api/products HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await.expect("writes");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("reads");
    assert!(answer.starts_with("HTTP/1.1 502"), "{answer}");
}

#[tokio::test]
async fn hangup_reads_the_certificate_at_once_and_ends_nothing() {
    let (old, new) = (Pair::valid_until(2100), Pair::valid_until(2101));
    let folder = Folder::with(&old);
    let (port, tls_port) = (free_port(), free_port());
    let mut process = Process::new("gateway")
        .env("IDENTITY_MODE", "off")
        .env("PORT", port.to_string())
        .env("ADMIN_PORT", "0")
        .env("TLS_PORT", tls_port.to_string())
        .env("TLS_CERT_FILE", folder.path("cert.pem").display().to_string())
        .env("TLS_KEY_FILE", folder.path("key.pem").display().to_string())
        .env("SHOP_TLS__RELOAD_INTERVAL", "1h");
    process.start(port).await;
    let addr = SocketAddr::from(([127, 0, 0, 1], tls_port));
    let connector = trusting(&[&old, &new], &[&rustls::version::TLS13], &["http/1.1"]);
    assert_eq!(shown(addr, &connector).await, Some(old.der.clone()));
    folder.put("cert.pem", &new.cert);
    folder.put("key.pem", &new.key);
    process.signal("HUP");
    eventually!(shown(addr, &connector).await == Some(new.der.clone()));
    assert!(process.stop().await.success(), "{}", process.output());
}

#[tokio::test]
async fn a_check_names_the_file_that_cannot_be_used() {
    let (one, other) = (Pair::valid_until(2100), Pair::valid_until(2100));
    let folder = Folder::with(&one);
    folder.put("other.pem", &other.key);
    folder.put("text.pem", "no PEM");
    for (cert, key, code, message) in [
        ("cert.pem", "key.pem", 0, ""),
        ("cert.pem", "other.pem", 2, "is not that of the certificate"),
        ("cert.pem", "text.pem", 2, "no PEM block of a private key"),
        ("text.pem", "key.pem", 2, "no PEM block of a certificate"),
        ("absent.pem", "key.pem", 2, "No such file"),
        ("cert.pem", "absent.pem", 2, "No such file"),
        ("cert.pem", "", 2, "TLS_KEY_FILE"),
        ("", "key.pem", 2, "TLS_CERT_FILE"),
    ] {
        let path = |name: &str| if name.is_empty() { String::new() } else { folder.path(name).display().to_string() };
        let mut process = Process::new("gateway").env("IDENTITY_MODE", "off").arg("--check");
        process.set("TLS_CERT_FILE", path(cert));
        process.set("TLS_KEY_FILE", path(key));
        process.spawn();
        let ended = process.wait().await;
        let output = process.output();
        assert_eq!(ended.code(), Some(code), "{cert} {key}: {output}");
        assert!(output.contains(message), "{cert} {key}: {output}");
    }
}
