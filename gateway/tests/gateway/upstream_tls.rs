//! TLS to backends: real certificates, good and bad ones, in front of real servers for HTTP/1.1 and gRPC.

use std::collections::BTreeSet;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use parking_lot::Mutex;
use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, SanType};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, SupportedProtocolVersion};
use shop_config::Settings as _;
use shop_gateway::Config;
use shop_gateway::settings::{ClientTls, Service};
use shop_testing::eventually;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_tungstenite::connect_async;
use tokio_tungstenite::tungstenite::Message;
use tonic::{Code, Request};

use crate::grpc::{backend, channel_to, number, twice};
use crate::support::{Client, Running, Upstream, config, echoed, get, nobody, request};
use crate::upgrade;

/// An authority, with its certificate in PEM.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pub(crate) pem: String,
}

/// A certificate and its key, in PEM.
pub(crate) struct Pair {
    pub(crate) cert: String,
    pub(crate) key: String,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let pem = params.self_signed(&key).expect("a certificate").pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    /// For `name`, good in these years, or as a client's.
    fn pair(&self, name: &str, years: (i32, i32)) -> Pair {
        let mut params = CertificateParams::new([]).expect("no names");
        params.subject_alt_names = vec![match name.parse::<IpAddr>() {
            Ok(address) => SanType::IpAddress(address),
            Err(_) => SanType::DnsName(name.try_into().expect("a name")),
        }];
        (params.not_before, params.not_after) =
            (rcgen::date_time_ymd(years.0, 1, 1), rcgen::date_time_ymd(years.1, 1, 1));
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate().expect("a key");
        let cert = params.signed_by(&key, &self.issuer).expect("a certificate");
        Pair { cert: cert.pem(), key: key.serialize_pem() }
    }

    pub(crate) fn good(&self, name: &str) -> Pair {
        self.pair(name, (2000, 2100))
    }

    fn roots(&self) -> Arc<RootCertStore> {
        let mut roots = RootCertStore::empty();
        let certificate = CertificateDer::from_pem_slice(self.pem.as_bytes()).expect("PEM");
        roots.add(certificate).expect("an authority");
        Arc::new(roots)
    }
}

/// How a front shakes hands.
pub(crate) struct Hands<'a> {
    pub(crate) pair: &'a Pair,
    pub(crate) versions: &'a [&'static SupportedProtocolVersion],
    pub(crate) protocols: &'a [&'a str],
    /// Whose clients it takes; everybody's without.
    pub(crate) clients: Option<&'a Authority>,
}

impl<'a> Hands<'a> {
    pub(crate) fn of(pair: &'a Pair) -> Self {
        Self { pair, versions: rustls::ALL_VERSIONS, protocols: &["h2", "http/1.1"], clients: None }
    }

    fn config(&self) -> ServerConfig {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider));
        let builder = builder.with_protocol_versions(self.versions).expect("versions");
        let builder = match self.clients {
            None => builder.with_no_client_auth(),
            Some(authority) => {
                let verifier = WebPkiClientVerifier::builder_with_provider(authority.roots(), provider).build();
                builder.with_client_cert_verifier(verifier.expect("a verifier"))
            }
        };
        let cert = CertificateDer::from_pem_slice(self.pair.cert.as_bytes()).expect("PEM");
        let key = PrivateKeyDer::from_pem_slice(self.pair.key.as_bytes()).expect("PEM");
        let mut config = builder.with_single_cert(vec![cert], key).expect("a pair");
        config.alpn_protocols = self.protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
        config
    }
}

/// A server name and a protocol, as far as a client asked for one.
type Asked = (Option<String>, Option<String>);

/// TLS in front of a server in cleartext.
pub(crate) struct Front {
    pub(crate) upstream: Upstream,
    /// Server names and protocols that clients asked for.
    asked: Arc<Mutex<BTreeSet<Asked>>>,
    /// Handshakes that came to nothing.
    failed: Arc<AtomicUsize>,
}

impl Front {
    pub(crate) async fn before(server: SocketAddr, hands: &Hands<'_>) -> Self {
        let acceptor = TlsAcceptor::from(Arc::new(hands.config()));
        let asked = Arc::<Mutex<BTreeSet<_>>>::default();
        let failed = Arc::<AtomicUsize>::default();
        let (noted, failures) = (Arc::clone(&asked), Arc::clone(&failed));
        let upstream = Upstream::raw(move |stream| {
            let (acceptor, noted, failures) = (acceptor.clone(), Arc::clone(&noted), Arc::clone(&failures));
            async move {
                let mut stream = match acceptor.accept(stream).into_fallible().await {
                    Ok(stream) => stream,
                    Err((_, mut stream)) => {
                        failures.fetch_add(1, SeqCst);
                        // To close with something unread would be a reset, and its alert would be lost.
                        let _ = stream.shutdown().await;
                        let _ = stream.read_to_end(&mut Vec::new()).await;
                        return;
                    }
                };
                let session = stream.get_ref().1;
                let protocol = session.alpn_protocol().map(|name| String::from_utf8_lossy(name).into_owned());
                noted.lock().insert((session.server_name().map(str::to_owned), protocol));
                let mut inner = TcpStream::connect(server).await.expect("connects");
                let _ = copy_bidirectional(&mut stream, &mut inner).await;
            }
        })
        .await;
        Self { upstream, asked, failed }
    }

    pub(crate) fn url(&self, host: &str) -> String {
        format!("https://{host}:{}", self.upstream.addr.port())
    }

    pub(crate) fn asked(&self) -> Vec<(String, String)> {
        let texts = |(name, protocol): &Asked| (name.clone().unwrap_or_default(), protocol.clone().unwrap_or_default());
        self.asked.lock().iter().map(texts).collect()
    }
}

/// A folder with files of settings.
pub(crate) struct Folder(TempDir);

impl Folder {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().expect("a folder"))
    }

    /// Writes a file at once, as tools that renew certificates do.
    pub(crate) fn put(&self, name: &str, content: &str) -> PathBuf {
        let path = self.0.path().join(name);
        fs::write(self.0.path().join("new"), content).expect("writes");
        fs::rename(self.0.path().join("new"), &path).expect("renames");
        path
    }
}

/// The product service at `http` and `grpc`, over TLS by these settings.
fn over_tls(http: &str, grpc: &str, tls: ClientTls) -> Config {
    let mut settings = config(nobody());
    settings.tls.reload_interval = shop_config::Duration::millis(20);
    let (urls, grpc_urls) = (http.parse().expect("urls"), grpc.parse().expect("urls"));
    settings.services["product"] = Service { urls, grpc_urls, tls: Some(tls), ..Service::default() };
    settings
}

/// TLS with whom `authority` vouches for.
pub(crate) fn trusting(folder: &Folder, authority: &Authority) -> ClientTls {
    ClientTls { ca_file: Some(folder.put("ca.pem", &authority.pem)), ..ClientTls::default() }
}

fn reason_of(status: &tonic::Status) -> Option<&str> {
    status.metadata().get("x-gateway-reason").and_then(|value| value.to_str().ok())
}

/// What operators see of the backends of the product service.
async fn seen(gateway: &Running) -> String {
    String::from_utf8(gateway.look("/health/detailed").await.body.to_vec()).expect("text")
}

#[tokio::test]
async fn calls_of_both_protocols_go_over_tls_and_connections_are_used_again() {
    let (authority, folder) = (Authority::new(), Folder::new());
    let pair = authority.good("localhost");
    let (echo, grpc) = (Upstream::echo().await, backend().await);
    let http = Front::before(echo.addr, &Hands::of(&pair)).await;
    let calls = Front::before(grpc, &Hands::of(&pair)).await;
    let tls = ClientTls { server_name: Some("localhost".to_owned()), ..trusting(&folder, &authority) };
    let gateway = Running::start(over_tls(&http.url("127.0.0.1"), &calls.url("127.0.0.1"), tls)).await;

    let mut client = Client::connect(gateway.addr).await;
    for _ in 0..5 {
        let reply = client.send(get("/api/products/1")).await.expect("an answer");
        assert_eq!(reply.status(), 200);
        assert_eq!(echoed(&reply.json(), "x-forwarded-proto"), ["http"], "what the client came by");
    }
    // More than any buffer on the way has room for, both ways.
    let long = "a".repeat(2 * 1024 * 1024);
    let reply = client.send(request("POST", "/api/products", long.clone())).await.expect("an answer");
    assert_eq!(reply.json()["body"].as_str().map(str::len), Some(long.len()));
    assert_eq!(http.upstream.connections.load(SeqCst), 1);
    assert_eq!(http.asked(), [("localhost".to_owned(), "http/1.1".to_owned())]);

    let mut client = channel_to(gateway.addr).await;
    for id in 1..5 {
        let answer = twice(&mut client, Request::new(number(id))).await.expect("an answer");
        assert_eq!(answer.get_ref().id, 2 * id);
    }
    assert_eq!(calls.upstream.connections.load(SeqCst), 1);
    assert_eq!(calls.asked(), [("localhost".to_owned(), "h2".to_owned())]);
}

#[tokio::test]
async fn a_web_socket_goes_through_tls() {
    let (authority, folder) = (Authority::new(), Folder::new());
    let sockets = upgrade::echo().await;
    let front = Front::before(sockets.addr, &Hands::of(&authority.good("127.0.0.1"))).await;
    let settings = over_tls(&front.url("127.0.0.1"), "", trusting(&folder, &authority));
    let gateway = Running::start(settings).await;
    let (mut socket, _) = connect_async(format!("ws://{}/api/products/live", gateway.addr)).await.expect("upgrades");
    for size in [1, 100_000] {
        let message = Message::text("x".repeat(size));
        socket.send(message.clone()).await.expect("sends");
        assert_eq!(socket.next().await.expect("open").expect("a message"), message);
    }
    assert_eq!(front.asked(), [(String::new(), "http/1.1".to_owned())], "an address is no name to ask for");
}

#[tokio::test]
async fn a_request_that_outlasts_its_answer_goes_on_over_tls() {
    let (authority, folder) = (Authority::new(), Folder::new());
    let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
    let early = Upstream::raw(move |mut stream| {
        let tell = tell.clone();
        async move {
            crate::support::read_head(&mut stream).await;
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nearly").await;
            let mut rest = Vec::new();
            let _ = stream.read_to_end(&mut rest).await;
            let _ = tell.send(rest.len());
        }
    })
    .await;
    let front = Front::before(early.addr, &Hands::of(&authority.good("127.0.0.1"))).await;
    let gateway = Running::start(over_tls(&front.url("127.0.0.1"), "", trusting(&folder, &authority))).await;
    let mut client = TcpStream::connect(gateway.addr).await.expect("connects");
    let size = 300_000;
    let head = format!("POST /api/products HTTP/1.1\r\nhost: gw.test\r\ncontent-length: {size}\r\n\r\n");
    client.write_all(head.as_bytes()).await.expect("writes");
    let mut answer = Vec::new();
    while !answer.ends_with(b"early") {
        assert!(client.read_buf(&mut answer).await.expect("reads") > 0);
    }
    client.write_all(&vec![b'x'; size]).await.expect("writes");
    // With the end of the gateway's connection the backend has all that came.
    let received = tokio::time::timeout(std::time::Duration::from_secs(20), told.recv()).await;
    assert_eq!(received.expect("in time"), Some(size));
}

#[tokio::test]
async fn an_early_answer_comes_through_tls_although_its_backend_takes_no_more_of_the_request() {
    let (authority, folder) = (Authority::new(), Folder::new());
    let acceptor = TlsAcceptor::from(Arc::new(Hands::of(&authority.good("127.0.0.1")).config()));
    let full = Upstream::raw(move |stream| {
        let acceptor = acceptor.clone();
        async move {
            let Ok(mut stream) = acceptor.accept(stream).await else { return };
            let _ = stream.read(&mut [0; 1024]).await;
            let _ = stream.write_all(b"HTTP/1.1 413 Content Too Large\r\ncontent-length: 4\r\n\r\nfull").await;
            // With much of the request unread, so that the connection is reset.
        }
    })
    .await;
    let url = format!("https://127.0.0.1:{}", full.addr.port());
    let gateway = Running::start(over_tls(&url, "", trusting(&folder, &authority))).await;
    let (mut seen, size) = ([0, 0], 4 * 1024 * 1024);
    for _ in 0..20 {
        let reply = gateway.send(request("POST", "/api/products", vec![b'x'; size])).await;
        if reply.status() == 413 {
            seen[0] += 1;
        } else {
            // What a reset takes with it nobody can read.
            reply.refused(502, "upstream_reset");
            seen[1] += 1;
        }
    }
    assert!(seen[0] > 0, "{seen:?}");
    assert_eq!(full.connections.load(SeqCst), 20, "no request is sent anew: {seen:?}");
}

#[tokio::test]
async fn what_is_wrong_with_the_gateways_own_files_is_no_backends_fault() {
    let (authority, folder) = (Authority::new(), Folder::new());
    let echo = Upstream::echo().await;
    let front = Front::before(echo.addr, &Hands::of(&authority.good("127.0.0.1"))).await;
    let url = front.url("127.0.0.1");
    let dead = format!("https://127.0.0.1:{}", nobody().port());
    let mut settings = over_tls(&format!("{url}, {dead}"), &url, trusting(&folder, &authority));
    settings.circuit_breaker.enabled = true;
    settings.retries.enabled = true;
    settings.health_check.enabled = true;
    settings.health_check.interval = shop_config::Duration::millis(20);
    fs::remove_file(folder.0.path().join("ca.pem")).expect("removes");
    let gateway = Running::start(settings).await;
    for _ in 0..20 {
        gateway.get("/api/products/1").await.refused(503, "tls_unusable");
    }
    let failed = twice(&mut channel_to(gateway.addr).await, Request::new(number(1))).await.expect_err("refused");
    assert_eq!((failed.code(), reason_of(&failed)), (Code::Unavailable, Some("tls_unusable")));
    let text = seen(&gateway).await;
    assert!(text.contains("ca.pem"), "{text}");
    for backend in [&url, &dead] {
        let health = format!(r#"gateway_backend_health{{backend="{backend}",service="product"}}"#);
        assert_eq!(gateway.metric(&health), Some(1.0), "{text}");
    }
    assert_eq!(front.upstream.connections.load(SeqCst), 0, "nobody is called for nothing");
    folder.put("ca.pem", &authority.pem);
    eventually!(gateway.get("/api/products/1").await.status() == 200);
}

/// What is wrong, the settings to meet it with, and words of what is said of it.
struct Wrong {
    what: &'static str,
    front: Front,
    name: Option<&'static str>,
    words: &'static str,
}

#[tokio::test]
async fn who_is_not_who_he_should_be_gets_no_call_and_the_log_says_why() {
    let (authority, other, folder) = (Authority::new(), Authority::new(), Folder::new());
    let echo = Upstream::echo().await;
    let of = async |pair: &Pair| Front::before(echo.addr, &Hands::of(pair)).await;
    let good = authority.good("localhost");
    let speaking = |protocols| Hands { protocols, ..Hands::of(&good) };
    let all = [
        Wrong {
            what: "another name",
            front: of(&good).await,
            name: Some("search.internal"),
            words: "not for search.internal",
        },
        Wrong { what: "no such address", front: of(&good).await, name: None, words: "not for 127.0.0.1" },
        Wrong {
            what: "another authority",
            front: of(&other.good("localhost")).await,
            name: Some("localhost"),
            words: "of no authority that is trusted",
        },
        Wrong {
            what: "expired",
            front: of(&authority.pair("localhost", (2000, 2001))).await,
            name: Some("localhost"),
            words: "has expired",
        },
        Wrong {
            what: "too early",
            front: of(&authority.pair("localhost", (2099, 2100))).await,
            name: Some("localhost"),
            words: "not valid yet",
        },
        Wrong {
            what: "another protocol",
            front: Front::before(echo.addr, &speaking(&["spdy/3"])).await,
            name: Some("localhost"),
            words: "does not offer",
        },
    ];
    for Wrong { what, front, name, words } in all {
        let tls = ClientTls { server_name: name.map(str::to_owned), ..trusting(&folder, &authority) };
        let url = front.url("127.0.0.1");
        let gateway = Running::start(over_tls(&url, &url, tls)).await;
        gateway.get("/api/products/1").await.refused(502, "upstream_tls_failed");
        let seen = seen(&gateway).await;
        assert!(seen.contains(words), "{what}: {seen}");
        let failed = twice(&mut channel_to(gateway.addr).await, Request::new(number(1))).await.expect_err(what);
        assert_eq!((failed.code(), reason_of(&failed)), (Code::Unavailable, Some("upstream_tls_failed")), "{what}");
    }
    assert_eq!(echo.requests.load(SeqCst), 0, "none of them saw a request");
}

#[tokio::test]
async fn a_server_in_cleartext_is_none_over_tls() {
    let (authority, folder) = (Authority::new(), Folder::new());
    let plain = Upstream::echo().await;
    let url = format!("https://{}", plain.addr);
    let gateway = Running::start(over_tls(&url, "", trusting(&folder, &authority))).await;
    gateway.get("/api/products/1").await.refused(502, "upstream_tls_failed");
    assert!(seen(&gateway).await.contains("does not speak TLS"));
    assert_eq!(plain.requests.load(SeqCst), 0);
}

#[tokio::test]
async fn a_backend_that_knows_its_clients_takes_the_gateway_with_its_certificate_only() {
    let (authority, clients, folder) = (Authority::new(), Authority::new(), Folder::new());
    let pair = authority.good("127.0.0.1");
    let (echo, grpc) = (Upstream::echo().await, backend().await);
    for version in rustls::ALL_VERSIONS {
        let hands = Hands { versions: &[version], clients: Some(&clients), ..Hands::of(&pair) };
        let (http, calls) = (Front::before(echo.addr, &hands).await, Front::before(grpc, &hands).await);
        let without = trusting(&folder, &authority);
        let client = clients.good("gateway");
        let with = ClientTls {
            cert_file: Some(folder.put("cert.pem", &client.cert)),
            key_file: Some(folder.put("key.pem", &client.key)),
            ..without.clone()
        };
        let start = |tls| Running::start(over_tls(&http.url("127.0.0.1"), &calls.url("127.0.0.1"), tls));

        let gateway = start(with).await;
        assert_eq!(gateway.get("/api/products/1").await.status(), 200, "{version:?}");
        let answer = twice(&mut channel_to(gateway.addr).await, Request::new(number(4))).await.expect("an answer");
        assert_eq!(answer.get_ref().id, 8);

        let gateway = start(without).await;
        gateway.get("/api/products/1").await.refused(502, "upstream_tls_failed");
        assert!(seen(&gateway).await.contains("wants a certificate of ours"), "{version:?}");
        let failed = twice(&mut channel_to(gateway.addr).await, Request::new(number(1))).await.expect_err("refused");
        assert_eq!(
            (failed.code(), reason_of(&failed)),
            (Code::Unavailable, Some("upstream_tls_failed")),
            "{version:?}"
        );
        assert!(http.failed.load(SeqCst) > 0 && calls.failed.load(SeqCst) > 0);
    }
}

#[tokio::test]
async fn a_backend_with_a_bad_certificate_costs_nobody_a_call_and_counts_as_down() {
    let (authority, folder) = (Authority::new(), Folder::new());
    let echo = Upstream::echo().await;
    let good = Front::before(echo.addr, &Hands::of(&authority.good("127.0.0.1"))).await;
    let bad = Front::before(echo.addr, &Hands::of(&authority.pair("127.0.0.1", (2000, 2001)))).await;
    let urls = format!("{}, {}", bad.url("127.0.0.1"), good.url("127.0.0.1"));
    let mut settings = over_tls(&urls, "", trusting(&folder, &authority));
    settings.circuit_breaker.enabled = true;
    let gateway = Running::start(settings).await;
    for _ in 0..10 {
        assert_eq!(gateway.send(request("POST", "/api/products", "{}")).await.status(), 200);
    }
    let health = format!(r#"gateway_backend_health{{backend="{}",service="product"}}"#, bad.url("127.0.0.1"));
    assert_eq!(gateway.metric(&health), Some(0.0));
}

#[tokio::test]
async fn files_that_change_are_used_for_new_connections() {
    let (authority, other, folder) = (Authority::new(), Authority::new(), Folder::new());
    let echo = Upstream::echo().await;
    let front = Front::before(echo.addr, &Hands::of(&authority.good("127.0.0.1"))).await;
    let gateway = Running::start(over_tls(&front.url("127.0.0.1"), "", trusting(&folder, &other))).await;
    gateway.get("/api/products/1").await.refused(502, "upstream_tls_failed");
    folder.put("ca.pem", "not a certificate");
    folder.put("ca.pem", &authority.pem);
    eventually!(gateway.get("/api/products/1").await.status() == 200);
    // What cannot be used changes nothing.
    folder.put("ca.pem", "not a certificate");
    let dead = Front::before(echo.addr, &Hands::of(&other.good("127.0.0.1"))).await;
    let mut more = over_tls(&front.url("127.0.0.1"), "", trusting(&folder, &authority));
    fs::remove_file(folder.0.path().join("ca.pem")).expect("removes");
    more.services["product"].urls =
        format!("{}, {}", front.url("127.0.0.1"), dead.url("127.0.0.1")).parse().expect("urls");
    gateway.handle.apply(more).expect("applies");
    for _ in 0..4 {
        assert_eq!(gateway.get("/api/products/1").await.status(), 200);
    }
}

#[tokio::test]
async fn other_settings_of_tls_hold_from_the_next_call_on() {
    let (authority, folder) = (Authority::new(), Folder::new());
    let echo = Upstream::echo().await;
    let front = Front::before(echo.addr, &Hands::of(&authority.good("localhost"))).await;
    let named = |name: &str| ClientTls { server_name: Some(name.to_owned()), ..trusting(&folder, &authority) };
    let settings = |name| over_tls(&front.url("127.0.0.1"), "", named(name));
    let gateway = Running::start(settings("localhost")).await;
    assert_eq!(gateway.get("/api/products/1").await.status(), 200);
    gateway.handle.apply(settings("elsewhere")).expect("applies");
    gateway.get("/api/products/1").await.refused(502, "upstream_tls_failed");
    let mut plain = settings("localhost");
    plain.services["product"].tls = None;
    plain.services["product"].urls = format!("http://{}", echo.addr).parse().expect("a url");
    gateway.handle.apply(plain).expect("applies");
    assert_eq!(gateway.get("/api/products/1").await.status(), 200);
}

#[tokio::test]
async fn checks_and_descriptions_go_over_tls_and_so_does_what_a_file_lists() {
    let (authority, folder) = (Authority::new(), Folder::new());
    let pair = authority.good("127.0.0.1");
    let document = r#"{"openapi": "3.1.0", "info": {"title": "x", "version": "1"}, "paths": {}}"#;
    let http =
        Upstream::serving(
            move |_| async move { hyper::Response::new(http_body_util::Full::new(Bytes::from(document))) },
        );
    let (http, grpc) = (http.await, backend().await);
    let (front, calls) =
        (Front::before(http.addr, &Hands::of(&pair)).await, Front::before(grpc, &Hands::of(&pair)).await);
    let list = serde_json::json!({
        "http": [front.upstream.addr.to_string()], "grpc": [calls.upstream.addr.to_string()],
    });
    let list = format!("file://{}", folder.put("list.json", &list.to_string()).display());
    let mut settings = over_tls(&list, &list, trusting(&folder, &authority));
    settings.services["product"].described = true;
    settings.health_check.enabled = true;
    settings.health_check.interval = shop_config::Duration::millis(50);
    let gateway = Running::start(settings).await;
    eventually!(seen(&gateway).await.matches(r#""check":"healthy""#).count() == 2);
    let text = seen(&gateway).await;
    assert!(text.contains(&front.url("127.0.0.1")) && text.contains(&calls.url("127.0.0.1")), "{text}");
    let described = gateway.get("/openapi.json").await.json();
    assert_eq!(described["x-services"]["product"], "described", "{described}");
    assert_eq!(gateway.get("/api/products/1").await.status(), 200);
}

#[test]
fn settings_that_would_be_without_effect_or_unsafe_are_refused_by_key() {
    let (authority, folder) = (Authority::new(), Folder::new());
    let ca = folder.put("ca.pem", &authority.pem).display().to_string();
    let (mine, others) = (authority.good("a"), authority.good("b"));
    let cert = folder.put("cert.pem", &mine.cert).display().to_string();
    let key = folder.put("key.pem", &others.key).display().to_string();
    for (service, key, words) in [
        (r#"urls = ["http://a:1"]"#.to_owned() + "\ntls = {}", "urls", "write https://a:1"),
        (r#"urls = ["dns://a:1"]"#.to_owned() + "\ntls = {}", "urls", "set tls.server_name"),
        (r#"grpc_urls = ["srv://_grpc._tcp.a"]"#.to_owned() + "\ntls = {}", "grpc_urls", "set tls.server_name"),
        (r#"urls = ["https://-a-:1"]"#.to_owned(), "urls", "no certificate can be for -a-"),
        (r#"urls = ["https://a"]"#.to_owned() + "\ntls = { server_name = \"a b\" }", "tls.server_name", "no name"),
        (r#"urls = ["https://a"]"#.to_owned() + "\ntls = { cert_file = \"/x\" }", "tls.cert_file", "key_file too"),
        (r#"urls = ["https://a"]"#.to_owned() + "\ntls = { key_file = \"/x\" }", "tls.key_file", "cert_file too"),
        (r#"urls = ["https://a"]"#.to_owned() + "\ntls = { ca_file = \"/none\" }", "tls.ca_file", "/none"),
        (
            format!(
                "urls = [\"https://a\"]\ntls = {{ ca_file = \"{ca}\", cert_file = \"{cert}\", key_file = \"{key}\" }}"
            ),
            "tls.cert_file",
            "is not that of",
        ),
    ] {
        let mut settings = config(SocketAddr::from((Ipv4Addr::LOCALHOST, 1)));
        settings.services.insert("search", toml::from_str(&service).expect("a service"));
        let mut problems = shop_config::Problems::default();
        settings.check(&mut problems);
        let key = format!("services.search.{key}");
        let found = problems.iter().any(|problem| problem.key == key && problem.message.contains(words));
        assert!(found, "{service}: {problems}");
    }
    let unsafe_one = toml::from_str::<Service>("tls = { insecure_skip_verify = true }").expect_err("there is none");
    assert!(unsafe_one.to_string().contains("unknown field"), "{unsafe_one}");
}
