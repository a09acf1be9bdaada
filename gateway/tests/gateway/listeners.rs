//! Listeners by settings: many of them, certificates by name, clients with certificates, proxies that say for whom they speak.

mod proxied;

use std::fs;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use http_body_util::{BodyExt, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, SanType};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde_json::Value;
use shop_gateway::Config;
use shop_testing::{Process, Program, backend, eventually, free_port};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::support::{Running, Upstream, config, echoed, nobody};

/// Tries to pass for somebody on the way.
const ASK: &str = "GET /api/products HTTP/1.1\r\nhost: a\r\nX-Forwarded-Client-Cert: Hash=forged\r\n\
                   X_Forwarded_Client_Cert: Hash=forged\r\nconnection: close\r\n\r\n";

/// Who signs certificates.
struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A certificate with its key.
#[derive(Clone)]
struct Signed {
    cert: String,
    key: String,
    der: CertificateDer<'static>,
}

impl Authority {
    fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("an authority"))
    }

    fn sign(&self, mut params: CertificateParams, name: &str) -> Signed {
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().expect("a key");
        let cert = params.signed_by(&key, &self.0).expect("a certificate");
        Signed { cert: cert.pem(), key: key.serialize_pem(), der: cert.der().clone() }
    }

    /// For these hosts.
    fn server(&self, names: &[&str]) -> Signed {
        let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
        self.sign(CertificateParams::new(names).expect("names"), "server")
    }

    /// For a client.
    fn client(&self, name: &str) -> Signed {
        let mut params = CertificateParams::new([format!("{name}.till.example")]).expect("names");
        params.subject_alt_names.push(SanType::URI(format!("spiffe://shop/{name}").try_into().expect("ASCII")));
        self.sign(params, name)
    }

    fn pem(&self) -> String {
        self.0.pem()
    }
}

/// A folder with what settings name.
struct Folder(TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a folder"))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Replaces a file at once, as tools that renew certificates do.
    fn put(&self, name: &str, content: &str) {
        fs::write(self.path("new"), content).expect("writes");
        fs::rename(self.path("new"), self.path(name)).expect("renames");
    }

    /// As `NAME.crt` and `NAME.key`, which settings name so.
    fn put_pair(&self, name: &str, signed: &Signed) -> String {
        self.put(&format!("{name}.key"), &signed.key);
        self.put(&format!("{name}.crt"), &signed.cert);
        let file = |end: &str| self.path(&format!("{name}.{end}")).display().to_string();
        format!("{{ cert_file = '{}', key_file = '{}' }}", file("crt"), file("key"))
    }
}

/// Settings with these listeners, whose files are looked at all the time.
fn listening(upstream: SocketAddr, text: &str) -> Config {
    let mut settings = config(upstream);
    settings.listeners = toml::from_str(text).expect("listeners");
    settings.tls.reload_interval = shop_config::Duration::millis(20);
    settings
}

fn addr_of(gateway: &Running, name: &str) -> SocketAddr {
    gateway.named.iter().find(|(known, _)| known == name).expect("a listener").1
}

/// A client that trusts `authority`, and shows a certificate if it has one.
fn client(authority: &Authority, shows: Option<&Signed>, protocol: &str) -> TlsConnector {
    let mut roots = RootCertStore::empty();
    roots.add(authority.0.der().clone()).expect("an anchor");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder =
        ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().expect("versions");
    let builder = builder.with_root_certificates(roots);
    let mut config = match shows {
        None => builder.with_no_client_auth(),
        Some(signed) => {
            let key = rustls::pki_types::pem::PemObject::from_pem_slice(signed.key.as_bytes());
            let key: PrivateKeyDer<'static> = key.expect("a key");
            builder.with_client_auth_cert(vec![signed.der.clone()], key).expect("a pair")
        }
    };
    config.alpn_protocols = vec![protocol.as_bytes().to_vec()];
    TlsConnector::from(Arc::new(config))
}

async fn dial(addr: SocketAddr, connector: &TlsConnector, name: &str) -> std::io::Result<TlsStream<TcpStream>> {
    let stream = TcpStream::connect(addr).await.expect("connects");
    connector.connect(ServerName::try_from(name.to_owned()).expect("a name"), stream).await
}

/// What the upstream saw of a request over `stream`; none when the connection ended without an answer.
async fn seen(mut stream: impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin, ask: &str) -> Option<Value> {
    let mut answer = Vec::new();
    // Whoever is refused may hear of it at the write, or at the read.
    let _ = stream.write_all(ask.as_bytes()).await;
    let _ = stream.read_to_end(&mut answer).await;
    let answer = String::from_utf8(answer).expect("text");
    let (head, body) = answer.split_once("\r\n\r\n")?;
    assert!(head.starts_with("HTTP/1.1 200"), "{answer}");
    Some(serde_json::from_str(body).expect("json"))
}

/// The same of one over TLS.
async fn seen_by(addr: SocketAddr, connector: &TlsConnector) -> Option<Value> {
    seen(dial(addr, connector, "shop.example").await.ok()?, ASK).await
}

/// Where a program is; none, said loudly, where it is not and need not be.
fn program(name: &str) -> Option<String> {
    let look = format!("PATH=$PATH:/usr/sbin:/sbin command -v {name}");
    let found = Program::new("sh").args(["-c", &look]).run();
    let path = String::from_utf8(found.stdout).expect("text").trim().to_owned();
    if path.is_empty() {
        assert!(!backend::required(), "{name} is not here: this run requires it (scripts/backends install)");
        // Past the test runner's capture, as for the servers.
        let line = format!("SKIPPED: no {name}; see scripts/backends\n");
        std::io::stderr().write_all(line.as_bytes()).expect("writes");
        return None;
    }
    Some(path)
}

#[tokio::test]
async fn every_listener_serves_the_same_and_ends_with_the_others() {
    let authority = Authority::new("ours");
    let folder = Folder::new();
    let pair = folder.put_pair("a", &authority.server(&["shop.example"]));
    let upstream = Upstream::echo().await;
    let text = format!(
        "[one]\naddress = '127.0.0.1:0'\n[six]\naddress = '[::1]:0'\n[secret]\naddress = '127.0.0.1:0'\n\
         [secret.tls]\ncertificates = [{pair}]"
    );
    let gateway = Running::start(listening(upstream.addr, &text)).await;
    for (name, client) in [("one", "127.0.0.1"), ("six", "::1")] {
        let stream = TcpStream::connect(addr_of(&gateway, name)).await.expect("connects");
        let seen = seen(stream, ASK).await.expect("an answer");
        assert_eq!(
            (&echoed(&seen, "x-forwarded-for")[..], &echoed(&seen, "x-forwarded-proto")[..]),
            (&[client.to_owned()][..], &["http".to_owned()][..])
        );
        assert_eq!(echoed(&seen, "x-forwarded-client-cert"), [""; 0]);
    }
    let connector = client(&authority, None, "http/1.1");
    let seen = seen_by(addr_of(&gateway, "secret"), &connector).await.expect("an answer");
    assert_eq!(echoed(&seen, "x-forwarded-proto"), ["https"]);
    assert_eq!(gateway.get("/api/products").await.status(), 200);
    // A connection that waits ends with the gateway, and nobody is let in any more.
    let addrs: Vec<_> = gateway.named.iter().map(|(_, addr)| *addr).chain([gateway.addr]).collect();
    let mut waiting = TcpStream::connect(addr_of(&gateway, "one")).await.expect("connects");
    waiting.write_all(b"GET /health/live HTTP/1.1\r\nhost: a\r\n\r\n").await.expect("writes");
    assert!(waiting.read(&mut [0; 4096]).await.expect("reads") > 0);
    gateway.shutdown.soft.cancel();
    gateway.ended.await.expect("no panic").expect("ends well");
    assert_eq!(waiting.read(&mut [0; 4096]).await.unwrap_or(0), 0);
    for addr in addrs {
        assert!(TcpStream::connect(addr).await.is_err(), "{addr}");
    }
}

#[tokio::test]
async fn the_certificate_is_the_one_for_the_name_that_is_asked_for() {
    let authority = Authority::new("ours");
    let folder = Folder::new();
    let first = authority.server(&["shop.example"]);
    let starred = authority.server(&["*.b.example", "*.shared.example"]);
    let exact = authority.server(&["one.b.example", "A.example"]);
    let all = [("first", &first), ("starred", &starred), ("exact", &exact)];
    let pairs = all.map(|(name, signed)| folder.put_pair(name, signed)).join(", ");
    let text = format!("[edge]\naddress = '127.0.0.1:0'\n[edge.tls]\ncertificates = [{pairs}]");
    let gateway = Running::start(listening(nobody(), &text)).await;
    let addr = addr_of(&gateway, "edge");
    let connector = client(&authority, None, "http/1.1");
    // The names are asked for whatever the certificate says, which only a client that does not judge can see.
    let shown = async |name: &str| {
        let stream = dial(addr, &connector, name).await.ok()?;
        stream.get_ref().1.peer_certificates()?.first().map(|der| der.clone().into_owned())
    };
    for (name, signed) in [
        ("shop.example", Some(&first)),
        ("one.b.example", Some(&exact)),
        ("two.b.example", Some(&starred)),
        ("TWO.B.example", Some(&starred)),
        ("a.example", Some(&exact)),
        ("a.shared.example", Some(&starred)),
        // The first, with which these clients go no further.
        ("two.levels.b.example", None),
        ("b.example", None),
        ("other.example", None),
    ] {
        assert_eq!(shown(name).await, signed.map(|signed| signed.der.clone()), "{name}");
    }
    // One of them is replaced, while another cannot be used any more.
    let renewed = authority.server(&["*.b.example"]);
    folder.put("exact.crt", "no PEM");
    folder.put_pair("starred", &renewed);
    eventually!(shown("two.b.example").await == Some(renewed.der.clone()));
    assert_eq!(shown("one.b.example").await, Some(exact.der.clone()));
    assert_eq!(shown("a.shared.example").await, None, "the name is gone with the certificate");
    let line = format!(
        "gateway_listener_certificate_expiry_timestamp_seconds{{file=\"{}\",listener=\"edge\"}}",
        folder.path("starred.crt").display()
    );
    assert!(gateway.metric(&line).is_some_and(|expires| expires > 0.0));
}

#[tokio::test]
async fn a_client_with_a_certificate_is_told_of_and_one_without_is_refused() {
    let (servers, ours, others) = (Authority::new("servers"), Authority::new("ours"), Authority::new("others"));
    let folder = Folder::new();
    let pair = folder.put_pair("a", &servers.server(&["shop.example"]));
    folder.put("ca.crt", &ours.pem());
    let upstream = Upstream::echo().await;
    let tls = |auth: &str| {
        let file = folder.path("ca.crt");
        format!("certificates = [{pair}]\nclient_ca_file = '{}'\nclient_auth = '{auth}'", file.display())
    };
    let text = format!(
        "[must]\naddress = '127.0.0.1:0'\n[must.tls]\n{}\n[may]\naddress = '127.0.0.1:0'\n[may.tls]\n{}",
        tls("required"),
        tls("optional")
    );
    let mut settings = listening(upstream.addr, &text);
    // Whoever is trusted to speak for others does not thereby speak for other certificates.
    settings.trusted_proxies = vec!["127.0.0.1".parse().expect("a range")];
    let gateway = Running::start(settings).await;
    let (must, may) = (addr_of(&gateway, "must"), addr_of(&gateway, "may"));
    let (good, bad) = (ours.client("till7"), others.client("till7"));
    let told = |seen: Value| echoed(&seen, "x-forwarded-client-cert");
    let hash = sha256(&good.der).await;
    let expected = format!("Hash={hash};Subject=\"CN=till7\";URI=spiffe://shop/till7;DNS=till7.till.example");
    for (addr, shows, expected) in [
        (must, Some(&good), Some(vec![expected.clone()])),
        (must, Some(&bad), None),
        (must, None, None),
        (may, Some(&good), Some(vec![expected.clone()])),
        (may, Some(&bad), None),
        (may, None, Some(Vec::new())),
    ] {
        let connector = client(&servers, shows, "http/1.1");
        // The second time there is a session that could be resumed.
        for _ in 0..2 {
            let told = seen_by(addr, &connector).await.map(told);
            assert_eq!(told, expected, "{addr} {:?}", shows.map(|signed| &signed.cert));
        }
    }
    let stream = dial(must, &client(&servers, Some(&good), "h2"), "shop.example").await.expect("shakes hands");
    let (mut over_http2, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.expect("shakes hands");
    tokio::spawn(connection);
    let ask = http::Request::get("https://shop.example/api/products").header("x-forwarded-client-cert", "Hash=forged");
    let answer = over_http2.send_request(ask.body(Full::<bytes::Bytes>::default()).expect("a request")).await;
    let body = answer.expect("an answer").into_body().collect().await.expect("a body").to_bytes();
    assert_eq!(told(serde_json::from_slice(&body).expect("json")), [expected]);

    // Other authorities are for connections that begin from now on; a file that cannot be used is for none.
    let (with_good, with_bad) = (client(&servers, Some(&good), "http/1.1"), client(&servers, Some(&bad), "http/1.1"));
    folder.put("ca.crt", &others.pem());
    eventually!(seen_by(must, &with_bad).await.is_some());
    assert!(seen_by(must, &with_good).await.is_none());
    folder.put("ca.crt", "no PEM");
    let before = std::time::Instant::now();
    eventually!(before.elapsed() > std::time::Duration::from_millis(100));
    assert!(seen_by(must, &with_bad).await.is_some());
}

/// SHA-256 in hexadecimal digits, by another program than ours.
async fn sha256(der: &CertificateDer<'_>) -> String {
    let mut file = tempfile::NamedTempFile::new().expect("a file");
    file.write_all(der).expect("writes");
    let output = Program::new("sha256sum").arg(file.path()).output().await;
    String::from_utf8(output.stdout).expect("text").split(' ').next().expect("a word").to_owned()
}

#[tokio::test]
async fn listeners_hold_for_the_life_of_the_process() {
    let upstream = Upstream::echo().await;
    let gateway = Running::start(listening(upstream.addr, "[one]\naddress = '127.0.0.1:0'")).await;
    let other = "[one]\naddress = '127.0.0.1:1'\n[two]\naddress = '127.0.0.1:2'";
    let applied = gateway.handle.apply(listening(upstream.addr, other)).expect("good settings");
    let keys: Vec<_> = applied.needs_restart.iter().map(|change| change.key.as_str()).collect();
    for key in ["listeners.one.address", "listeners.two.address"] {
        assert!(keys.contains(&key), "{keys:?}");
    }
    assert!(applied.changed.is_empty(), "{:?}", applied.changed);
    let stream = TcpStream::connect(addr_of(&gateway, "one")).await.expect("connects");
    assert!(seen(stream, ASK).await.is_some());
}

/// A process with a file of settings.
fn process(folder: &Folder, settings: &str) -> Process {
    folder.put("settings.toml", settings);
    let file = folder.path("settings.toml").display().to_string();
    Process::new("gateway").env("IDENTITY_MODE", "off").env("ADMIN_PORT", "0").arg("--config").arg(file)
}

#[tokio::test]
async fn a_check_says_by_key_what_is_wrong_with_a_listener() {
    let authority = Authority::new("ours");
    let folder = Folder::new();
    let pair = folder.put_pair("a", &authority.server(&["shop.example"]));
    folder.put_pair("b", &authority.server(&["shop.example"]));
    folder.put("text", "no PEM");
    let at = |name: &str| folder.path(name).display().to_string();
    let twisted = format!("{{ cert_file = '{}', key_file = '{}' }}", at("a.crt"), at("b.key"));
    let absent = format!("{{ cert_file = '{}', key_file = '{}' }}", at("a.crt"), at("absent"));
    let with_ca =
        |file: &str| format!("certificates = [{pair}]\nclient_auth = 'required'\nclient_ca_file = '{}'", at(file));
    let tls = |text: &str| format!("[[listeners]]\nname = 'edge'\naddress = '127.0.0.1:1'\n[listeners.tls]\n{text}\n");
    let cert = "listeners.edge.tls.certificates.0";
    for (settings, code, words) in [
        (tls(&format!("certificates = [{pair}]")), 0, ["", ""]),
        (tls(&format!("certificates = [{twisted}]")), 2, [cert, "is not that of the certificate"]),
        (tls(&format!("certificates = [{absent}]")), 2, ["certificates.0.key_file", "No such file"]),
        (tls(&with_ca("a.crt")), 0, ["", ""]),
        (tls(&with_ca("text")), 2, ["listeners.edge.tls.client_ca_file", "no PEM block of a certificate"]),
        (tls(&with_ca("absent")), 2, ["listeners.edge.tls.client_ca_file", "No such file"]),
        (
            tls(&format!("certificates = [{pair}]\nclient_auth = 'required'")),
            2,
            ["listeners.edge.tls.client_ca_file", "name the PEM file with the authorities"],
        ),
        (
            "[listeners.edge]\naddress = '127.0.0.1:1'\nproxy_protocol = 'accept'".to_owned(),
            2,
            ["listeners.edge.proxy_protocol_from", "name the proxies"],
        ),
        ("[listeners.edge]\naddress = '1'".to_owned(), 2, ["listeners.edge.address", "is no address with a port"]),
        ("[listeners.edge]\nproxy_protocol = 'off'".to_owned(), 2, ["listeners.edge", "address"]),
        (
            "[http]\nport = 4\n[listeners.edge]\naddress = '0.0.0.0:4'\n[identity]\nallow_anonymous = true".to_owned(),
            2,
            ["listeners.edge.address", "choose another port"],
        ),
        ("[listeners.edge]\naddress = '0.0.0.0:1'".to_owned(), 2, ["listeners.edge.address", "anybody who reaches"]),
    ] {
        let mut process = process(&folder, &settings).arg("--check");
        process.spawn();
        let ended = process.wait().await;
        let output = process.output();
        assert_eq!(ended.code(), Some(code), "{settings}: {output}");
        assert!(words.iter().all(|word| output.contains(word)), "{settings}: {output}");
    }
    let mut process = process(&folder, &tls(&with_ca("a.crt"))).arg("--explain");
    process.spawn();
    assert!(process.wait().await.success(), "{}", process.output());
    let output = process.output();
    assert!(output.contains("listeners.edge.tls.client_auth") && output.contains("settings.toml"), "{output}");
}

#[tokio::test]
async fn what_is_installed_everywhere_gets_in_with_a_certificate_and_the_log_says_whose_it_was() {
    let (Some(openssl), Some(curl)) = (program("openssl"), program("curl")) else { return };
    let (servers, ours) = (Authority::new("servers"), Authority::new("ours"));
    let folder = Folder::new();
    let pair = folder.put_pair("a", &servers.server(&["first.example"]));
    let other = folder.put_pair("b", &servers.server(&["localhost"]));
    folder.put_pair("client", &ours.client("till7"));
    folder.put("ca.crt", &ours.pem());
    folder.put("servers.crt", &servers.pem());
    let at = |name: &str| folder.path(name).display().to_string();
    let upstream = Upstream::echo().await;
    let (port, tls_port) = (free_port(), free_port());
    let settings = format!(
        "[http]\nport = {port}\n[access_log]\nfields = ['client_certificate']\n[log]\nformat = 'json'\n\
         [services.product]\nurls = ['http://{}']\n[listeners.edge]\naddress = '127.0.0.1:{tls_port}'\n[listeners.edge.tls]\n\
         certificates = [{pair}, {other}]\nclient_ca_file = '{}'\nclient_auth = 'required'",
        upstream.addr,
        at("ca.crt"),
    );
    let mut gateway = process(&folder, &settings);
    gateway.start(port).await;
    let url = format!("https://localhost:{tls_port}/api/products/7");
    let (trusted, cert, key) = (at("servers.crt"), at("client.crt"), at("client.key"));
    for version in ["--http1.1", "--http2"] {
        let with_trust = ["-sS", version, "--cacert", &trusted, &url];
        let refused = Program::new(&curl).args(with_trust).output().await;
        assert!(!refused.status.success(), "{refused:?}");
        let taken = Program::new(&curl).args(with_trust).args(["--cert", &cert, "--key", &key]).output().await;
        let seen: Value = serde_json::from_slice(&taken.stdout).unwrap_or_else(|error| panic!("{error}: {taken:?}"));
        let told = echoed(&seen, "x-forwarded-client-cert").concat();
        assert!(told.ends_with(";Subject=\"CN=till7\";URI=spiffe://shop/till7;DNS=till7.till.example"), "{told}");
    }
    let edge = format!("127.0.0.1:{tls_port}");
    for (name, expected) in
        [("localhost", "localhost"), ("first.example", "first.example"), ("x.example", "first.example")]
    {
        let arguments = ["s_client", "-connect", &edge, "-servername", name, "-cert", &cert, "-key", &key];
        let shown = Program::new(&openssl).args(arguments).input("").output().await;
        folder.put("shown.crt", &String::from_utf8_lossy(&shown.stdout));
        let names = ["x509", "-in", &at("shown.crt"), "-noout", "-ext", "subjectAltName"].map(str::to_owned);
        let names = Program::new(&openssl).args(names).output().await;
        let names = String::from_utf8_lossy(&names.stdout).into_owned();
        assert!(names.contains(&format!("DNS:{expected}")), "{name}: {names} {shown:?}");
    }
    assert!(gateway.stop().await.success(), "{}", gateway.output());
    let output = gateway.output();
    let line = output.lines().find(|line| line.contains("/api/products/*")).expect("an access line");
    let line: Value = serde_json::from_str(line).expect("json");
    let told = line["client_certificate"].as_str().unwrap_or_default();
    assert!(told.starts_with("Hash=") && told.contains(";Subject=\"CN=till7\";"), "{line}");
}
