//! Redis over TLS: whose certificates are taken, and what is said of those that are not.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use shop_config::{Redis, RedisTls};
use shop_redis::{Source, refused_certificate};
use shop_testing::{Cable, Program, backend, eventually, free_port};
use tempfile::TempDir;
use time::macros::datetime;

/// Files of an authority and of what it signs, and a Redis that has them.
struct Place {
    folder: TempDir,
    authority: CertifiedIssuer<'static, KeyPair>,
}

impl Place {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("parameters");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let authority = CertifiedIssuer::self_signed(params, key).expect("signs itself");
        let place = Self { folder: tempfile::tempdir().expect("a folder"), authority };
        place.put("ca.pem", &place.authority.pem());
        place
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn put(&self, name: &str, text: &str) {
        std::fs::write(self.at(name), text).expect("written");
    }

    /// `NAME.pem` and `NAME.key`.
    fn sign(&self, name: &str, host: &str, change: impl Fn(&mut CertificateParams)) {
        let mut params = CertificateParams::new(vec![host.to_owned()]).expect("parameters");
        // One of the authority's own name counts as signed by itself.
        params.distinguished_name.push(DnType::CommonName, name);
        change(&mut params);
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.authority).expect("signed");
        self.put(&format!("{name}.pem"), &certificate.pem());
        self.put(&format!("{name}.key"), &key.serialize_pem());
    }
}

/// A Redis with a certificate, which asks its clients for theirs or does not; its port.
async fn serve(place: &Place, name: &str, clients: &str, more: &[&str]) -> (impl Sized, u16) {
    let port = free_port();
    let file = |name: &str| place.at(name).display().to_string();
    let running = Program::new("redis-server")
        .args(["--port", "0", "--tls-port", &port.to_string(), "--bind", "127.0.0.1", "--save", ""])
        .args(["--dir", &place.folder.path().display().to_string(), "--tls-auth-clients", clients])
        .args(["--tls-cert-file", &file(&format!("{name}.pem")), "--tls-key-file", &file(&format!("{name}.key"))])
        .args(["--tls-ca-cert-file", &file("ca.pem")])
        .args(more)
        .stdout(std::process::Stdio::null())
        .spawn();
    eventually!(tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_ok());
    (running, port)
}

fn source(url: &str, tls: &RedisTls) -> Source {
    let target = Redis::at(url).target().expect("understood");
    Source::new(&target, tls, Duration::from_secs(30), Some(Duration::from_secs(30))).expect("good files")
}

fn trusting(file: &Path) -> RedisTls {
    RedisTls { ca_file: Some(file.to_owned()), ..RedisTls::default() }
}

async fn ping(url: &str, tls: &RedisTls) -> Result<(), redis::RedisError> {
    let mut connection = source(url, tls).connect().await?;
    redis::cmd("PING").query_async(&mut connection).await
}

async fn refusal(url: &str, tls: &RedisTls) -> String {
    let error = ping(url, tls).await.expect_err("is refused");
    let why = refused_certificate(&error).unwrap_or_else(|| panic!("{error}"));
    assert!(error.to_string().contains(why), "{error}");
    why.to_owned()
}

/// Whether this run has real servers.
fn is_real() -> bool {
    backend::redis_cluster().is_some()
}

#[tokio::test]
async fn a_certificate_is_taken_when_its_authority_its_name_and_its_time_are_right() {
    if !is_real() {
        return;
    }
    let place = Place::new();
    place.sign("good", "localhost", |_| {});
    place.sign("old", "localhost", |params| params.not_after = datetime!(2020-01-01 00:00 UTC));
    place.sign("early", "localhost", |params| params.not_before = datetime!(2090-01-01 00:00 UTC));
    let (_good, port) = serve(&place, "good", "no", &[]).await;
    let ours = trusting(&place.at("ca.pem"));
    let good = format!("rediss://localhost:{port}");
    ping(&good, &ours).await.expect("all is right");
    let other = Place::new();
    for (url, tls, words) in [
        (&good, &trusting(&other.at("ca.pem")), "no authority that is trusted here; name its file in ca_file"),
        (&good, &RedisTls::default(), "no authority that is trusted here"),
        (&format!("rediss://127.0.0.1:{port}"), &ours, "not for the name"),
        (&format!("rediss-cluster://localhost:{port}"), &trusting(&other.at("ca.pem")), "no authority"),
        (&format!("rediss-sentinel://127.0.0.1:{port}/shop"), &ours, "not for the name"),
    ] {
        let why = refusal(url, tls).await;
        assert!(why.contains(words), "{url}: {why}");
    }
    for (name, words) in [("old", "has expired"), ("early", "not valid yet")] {
        let (_running, port) = serve(&place, name, "no", &[]).await;
        let why = refusal(&format!("rediss://localhost:{port}"), &ours).await;
        assert!(why.contains(words), "{name}: {why}");
    }
}

#[tokio::test]
async fn who_has_to_show_a_certificate_shows_the_one_in_the_files() {
    if !is_real() {
        return;
    }
    let place = Place::new();
    place.sign("good", "localhost", |_| {});
    place.sign("basket", "basket", |_| {});
    let (_running, port) = serve(&place, "good", "yes", &[]).await;
    let url = format!("rediss://localhost:{port}");
    let ours = trusting(&place.at("ca.pem"));
    let with = |place: &Place| RedisTls {
        cert_file: Some(place.at("basket.pem")),
        key_file: Some(place.at("basket.key")),
        ..ours.clone()
    };
    ping(&url, &with(&place)).await.expect("is known");
    let why = refusal(&url, &ours).await;
    assert!(why.contains("name one in cert_file and key_file"), "{why}");
    let other = Place::new();
    other.sign("basket", "basket", |_| {});
    let why = refusal(&url, &with(&other)).await;
    assert!(why.contains("does not trust the certificate in cert_file"), "{why}");
}

#[tokio::test]
async fn a_cluster_is_spoken_to_over_tls_at_all_its_servers() {
    if !is_real() {
        return;
    }
    let place = Place::new();
    place.sign("good", "localhost", |_| {});
    let more = ["--cluster-enabled", "yes", "--cluster-port", "0", "--cluster-announce-hostname", "localhost"];
    let named = ["--cluster-preferred-endpoint-type", "hostname", "--tls-cluster", "yes"];
    let bus = free_port().to_string();
    let more: Vec<&str> = more.into_iter().chain(named).map(|word| if word == "0" { &*bus } else { word }).collect();
    let (_running, port) = serve(&place, "good", "no", &more).await;
    let tls = trusting(&place.at("ca.pem"));
    let client = redis::Client::build_with_tls(
        format!("rediss://localhost:{port}"),
        redis::TlsCertificates { client_tls: None, root_cert: std::fs::read(place.at("ca.pem")).ok() },
    );
    let mut one = client.expect("a client").get_multiplexed_async_connection().await.expect("connects");
    redis::cmd("CLUSTER").arg("ADDSLOTSRANGE").arg(0).arg(16383).exec_async(&mut one).await.expect("all slots");
    eventually!({
        let told: String = redis::cmd("CLUSTER").arg("INFO").query_async(&mut one).await.expect("tells");
        told.contains("cluster_state:ok")
    });
    let mut cluster = source(&format!("rediss-cluster://localhost:{port}"), &tls).connect().await.expect("connects");
    redis::cmd("SET").arg("a").arg(1).exec_async(&mut cluster).await.expect("set");
    assert_eq!(cluster.nodes().await.expect("told"), [Some(("localhost".to_owned(), port))]);
}

#[tokio::test]
async fn a_certificate_that_was_renewed_is_shown_from_the_next_connection_on() {
    if !is_real() {
        return;
    }
    let place = Place::new();
    let (server, next) = (Place::new(), Place::new());
    for server in [&server, &next] {
        server.sign("good", "localhost", |_| {});
    }
    let copy = |from: &Place| {
        from.sign("basket", "basket", |_| {});
        for name in ["ca.pem", "basket.pem", "basket.key"] {
            place.put(name, &std::fs::read_to_string(from.at(name)).expect("read"));
        }
    };
    copy(&server);
    let tls = RedisTls {
        cert_file: Some(place.at("basket.pem")),
        key_file: Some(place.at("basket.key")),
        ..trusting(&place.at("ca.pem"))
    };
    let (running, port) = serve(&server, "good", "yes", &[]).await;
    let (_next, another) = serve(&next, "good", "yes", &[]).await;
    // The one leads to both, one after the other.
    let cable = Cable::to(&format!("127.0.0.1:{port}")).await;
    let source = source(&format!("rediss://localhost:{}", cable.at().port()), &tls);
    let ping = async || {
        let mut connection = source.connect().await?;
        redis::cmd("PING").query_async::<()>(&mut connection).await
    };
    ping().await.expect("is known");
    drop(running);
    cable.lead_to(&format!("127.0.0.1:{another}")).await;
    ping().await.expect_err("knows neither of the other");
    assert!(!source.has_new_files());

    // Half of it: the old ones do no longer, and nothing breaks.
    std::fs::remove_file(place.at("basket.pem")).expect("removed");
    ping().await.expect_err("goes by what it had");
    copy(&next);
    assert!(source.has_new_files());
    ping().await.expect("is known to the next");
    assert!(!source.has_new_files());
}

/// A sentinel that watches the master at `port` of localhost, and asks everybody for a certificate; its port.
async fn watch(place: &Place, port: u16) -> (impl Sized, u16) {
    let own = free_port();
    let file = |name: &str| place.at(name).display().to_string();
    let settings = [
        ("port", "0".to_owned()),
        ("tls-port", own.to_string()),
        ("bind", "127.0.0.1".to_owned()),
        ("dir", place.folder.path().display().to_string()),
        ("tls-cert-file", file("good.pem")),
        ("tls-key-file", file("good.key")),
        ("tls-ca-cert-file", file("ca.pem")),
        ("tls-auth-clients", "yes".to_owned()),
        ("tls-replication", "yes".to_owned()),
        // A certificate is for a name.
        ("sentinel resolve-hostnames", "yes".to_owned()),
        ("sentinel announce-hostnames", "yes".to_owned()),
        ("sentinel monitor shop", format!("localhost {port} 1")),
        ("sentinel down-after-milliseconds shop", "500".to_owned()),
        ("sentinel failover-timeout shop", "5000".to_owned()),
    ];
    let settings = settings.map(|(name, value)| format!("{name} {value}"));
    place.put("sentinel.conf", &settings.join("\n"));
    let running = Program::new("redis-server")
        .args([&file("sentinel.conf"), "--sentinel"])
        .stdout(std::process::Stdio::null())
        .spawn();
    eventually!(tokio::net::TcpStream::connect(("127.0.0.1", own)).await.is_ok());
    (running, own)
}

#[tokio::test]
async fn sentinels_and_the_master_they_name_are_spoken_to_over_tls_and_so_is_the_next_one() {
    if !is_real() {
        return;
    }
    let place = Place::new();
    place.sign("good", "localhost", |_| {});
    place.sign("basket", "basket", |_| {});
    let replicates =
        ["--tls-replication", "yes", "--replica-announce-ip", "localhost", "--repl-diskless-sync-delay", "0"];
    let (master, first) = serve(&place, "good", "yes", &replicates).await;
    let first = first.to_string();
    let follows: Vec<&str> = replicates.into_iter().chain(["--replicaof", "localhost", &first]).collect();
    let (_replica, _) = serve(&place, "good", "yes", &follows).await;
    let (_sentinel, port) = watch(&place, first.parse().expect("a port")).await;
    let tls = RedisTls {
        cert_file: Some(place.at("basket.pem")),
        key_file: Some(place.at("basket.key")),
        ..trusting(&place.at("ca.pem"))
    };
    let url = format!("rediss-sentinel://localhost:{port}/shop");
    let mut connection = source(&url, &tls).connect().await.expect("all is right");
    redis::cmd("SET").arg("a").arg(1).exec_async(&mut connection).await.expect("set");
    // What is known to be with the replica is there afterwards.
    eventually!({
        let copies: u32 = redis::cmd("WAIT").arg(1).arg(1000).query_async(&mut connection).await.expect("asked");
        copies == 1
    });
    let why = refusal(&url, &trusting(&place.at("ca.pem"))).await;
    assert!(why.contains("name one in cert_file and key_file"), "{why}");
    // The sentinel looks every ten seconds who follows.
    let asked = source(&format!("rediss://localhost:{port}"), &tls);
    eventually!(within Duration::from_secs(30), {
        let mut sentinel = asked.connect().await.expect("connects");
        let told: String = redis::cmd("INFO").arg("sentinel").query_async(&mut sentinel).await.expect("tells");
        told.contains("slaves=1")
    });
    drop(master);
    // A sentinel that got no time for two seconds does nothing for thirty.
    eventually!(within Duration::from_mins(2), {
        let found = async {
            let mut connection = source(&url, &tls).connect().await?;
            redis::cmd("INCR").arg("a").query_async::<u32>(&mut connection).await
        };
        found.await.map(|now| assert_eq!(now, 2))
    });
}
