//! TLS to real servers: what the words of `ssl_mode` hold, and how a failure is told.

use std::fs;
use std::path::{Path, PathBuf};

use rcgen::{BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
use shop_config::Database;
use shop_testing::backend::Own;
use sqlx::{Connection as _, Executor, MySqlConnection, PgConnection};
use tempfile::TempDir;

/// An authority, and a folder with what it signed.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
    folder: TempDir,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let pem = params.self_signed(&key).expect("a certificate").pem();
        let authority = Self { issuer: Issuer::new(params, key), pem, folder: tempfile::tempdir().expect("a folder") };
        fs::write(authority.file("ca.crt"), &authority.pem).expect("writes it");
        authority
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Signs a certificate for a name, good until a year, and writes it into the folder: `server.crt`, `server.key`.
    fn sign(&self, called: &str, name: &str, until: i32) {
        let mut params = CertificateParams::new([name.to_owned()]).expect("a name");
        // One that is called as its authority would pass for one that signed itself.
        params.distinguished_name.push(DnType::CommonName, called);
        params.not_before = rcgen::date_time_ymd(2000, 1, 1);
        params.not_after = rcgen::date_time_ymd(until, 1, 1);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        fs::write(self.file(&format!("{called}.crt")), certificate.pem()).expect("writes it");
        fs::write(self.file(&format!("{called}.key")), key.serialize_pem()).expect("writes it");
    }

    /// Gives a server another certificate; whose the file is stays.
    fn renew(&self, server: &Path) {
        for file in ["server.crt", "server.key"] {
            fs::write(server.join(file), fs::read(self.file(file)).expect("reads it")).expect("writes it");
        }
    }
}

/// What the tests have to say to each engine.
struct Server {
    name: &'static str,
    url: String,
    mode: &'static str,
    verified: &'static str,
    /// Whether the connection is encrypted.
    encrypted: &'static str,
    reread: &'static str,
    folder: PathBuf,
}

impl Server {
    fn of(own: &Own, name: &'static str) -> Self {
        let folder = own.folder(name);
        if name == "postgres" {
            Self {
                name,
                url: own.variable("SHOP_TEST_POSTGRES_URL").to_owned(),
                mode: "sslmode",
                verified: "verify-full",
                encrypted: "SELECT ssl::int::text FROM pg_stat_ssl WHERE pid = pg_backend_pid()",
                reread: "SELECT pg_reload_conf()",
                folder,
            }
        } else {
            Self {
                name,
                url: own.variable("SHOP_TEST_MARIADB_URL").to_owned(),
                mode: "ssl-mode",
                verified: "VERIFY_IDENTITY",
                encrypted: "SELECT IF(variable_value = '', '0', '1') FROM information_schema.session_status \
                            WHERE variable_name = 'ssl_cipher'",
                reread: "FLUSH SSL",
                folder,
            }
        }
    }

    fn settings(&self, host: &str, mode: &str) -> Database {
        let mut settings = Database::at(&format!("{}?{}={mode}", self.url.replace("127.0.0.1", host), self.mode));
        settings.startup_timeout = shop_config::Duration::secs(5);
        settings
    }

    fn verified(&self, host: &str, authority: &Authority) -> Database {
        Database { ca_file: Some(authority.file("ca.crt")), ..self.settings(host, self.verified) }
    }

    /// Whether a connection of the pool is encrypted, or why there is none.
    async fn open(&self, settings: &Database) -> Result<bool, String> {
        let word = |error: anyhow::Error| format!("{error:#}");
        let said: String = if self.name == "postgres" {
            let pool = shop_sql::postgres(settings).await.map_err(word)?;
            let mut conn = shop_sql::acquire(&pool).await.expect("a connection");
            sqlx::query_scalar(self.encrypted).fetch_one(&mut *conn).await.expect("asks")
        } else {
            let pool = shop_sql::mariadb(settings).await.map_err(word)?;
            let mut conn = shop_sql::acquire(&pool).await.expect("a connection");
            sqlx::query_scalar(self.encrypted).fetch_one(&mut *conn).await.expect("asks")
        };
        Ok(said == "1")
    }

    async fn run(&self, sql: &str) {
        let sql = sqlx::raw_sql(sqlx::AssertSqlSafe(sql.to_owned()));
        if self.name == "postgres" {
            PgConnection::connect(&self.url).await.expect("connects").execute(sql).await.expect("runs");
        } else {
            MySqlConnection::connect(&self.url).await.expect("connects").execute(sql).await.expect("runs");
        }
    }

    /// Shows what the authority's folder has from now on.
    async fn renew(&self, authority: &Authority) {
        authority.renew(&self.folder);
        self.run(self.reread).await;
    }

    /// Refused, with these words, and not only when the time is up.
    async fn refuses(&self, settings: &Database, words: &[&str]) {
        let start = std::time::Instant::now();
        let error = self.open(settings).await.expect_err("is refused");
        for word in words {
            assert!(error.contains(word), "{}: {word}: {error}", self.name);
        }
        assert!(start.elapsed() < std::time::Duration::from_secs(4), "{}: at once: {error}", self.name);
    }
}

#[tokio::test]
async fn encryption_is_what_its_word_says_and_a_bad_certificate_is_told() {
    let authority = Authority::new();
    authority.sign("server", "localhost", 2100);
    let Some(own) = Own::with_certificate("postgres,mariadb", authority.folder.path()).await else { return };
    let stranger = Authority::new();
    for server in [Server::of(&own, "postgres"), Server::of(&own, "mariadb")] {
        let (off, on) = if server.name == "postgres" { ("disable", "require") } else { ("DISABLED", "REQUIRED") };
        assert_eq!(server.open(&server.settings("127.0.0.1", off)).await, Ok(false), "{}", server.name);
        assert_eq!(server.open(&server.settings("127.0.0.1", on)).await, Ok(true), "{}", server.name);
        assert_eq!(server.open(&server.verified("localhost", &authority)).await, Ok(true), "{}", server.name);

        let unknown = "is of no authority that is trusted here: name its file in database.ca_file";
        server.refuses(&server.settings("localhost", server.verified), &[unknown]).await;
        server.refuses(&server.verified("localhost", &stranger), &[unknown]).await;
        server
            .refuses(&server.verified("127.0.0.1", &authority), &["is not for 127.0.0.1, but for", "localhost"])
            .await;
        let mut missing = server.verified("localhost", &authority);
        missing.ca_file = Some(authority.file("nothing.pem"));
        server.refuses(&missing, &["could not read database.ca_file", "nothing.pem"]).await;
        missing.ca_file = Some(authority.file("server.key"));
        server.refuses(&missing, &["database.ca_file", "has no certificate in PEM"]).await;

        authority.sign("server", "localhost", 2020);
        server.renew(&authority).await;
        let at = format!(
            "localhost:{} has expired",
            server.url.rsplit(':').next().and_then(|rest| rest.split('/').next()).expect("a port")
        );
        server.refuses(&server.verified("localhost", &authority), &[&at]).await;
        authority.sign("server", "localhost", 2100);
        server.renew(&authority).await;
        assert_eq!(server.open(&server.verified("localhost", &authority)).await, Ok(true), "{}", server.name);

        shows_a_certificate(&server, &authority, &stranger).await;
    }
}

/// A server that wants a certificate gets that of the settings.
async fn shows_a_certificate(server: &Server, authority: &Authority, stranger: &Authority) {
    let with = |signed_by: &Authority| Database {
        cert_file: Some(signed_by.file("client.crt")),
        key_file: Some(signed_by.file("client.key")),
        ..server.verified("localhost", authority)
    };
    authority.sign("client", "shop", 2100);
    stranger.sign("client", "shop", 2100);
    if server.name == "postgres" {
        let lines = "host all all all scram-sha-256\n";
        let file = server.folder.join("data/pg_hba.conf");
        fs::write(&file, format!("hostssl all all all scram-sha-256 clientcert=verify-ca\n{lines}"))
            .expect("writes it");
        server.run("SELECT pg_reload_conf()").await;
    } else {
        server.run("ALTER USER shop@'%' REQUIRE X509").await;
    }
    assert_eq!(server.open(&with(authority)).await, Ok(true), "{}", server.name);
    server.refuses(&server.verified("localhost", authority), &["certificate"]).await;
    server.refuses(&with(stranger), &["certificate"]).await;
}

#[tokio::test]
async fn a_server_without_tls_is_no_server_for_who_wants_it() {
    for (place, require) in crate::open::servers().await.iter().zip(["sslmode=require", "ssl-mode=REQUIRED"]) {
        let mut settings = Database::at(&format!("{}?{require}", place.url()));
        settings.startup_timeout = shop_config::Duration::secs(5);
        let error = match place.engine {
            "postgres" => shop_sql::postgres(&settings).await.map(drop),
            _ => shop_sql::mariadb(&settings).await.map(drop),
        };
        let error = format!("{:#}", error.expect_err("there is no TLS"));
        assert!(error.contains("there is no TLS to ") && error.contains("database.ssl_mode"), "{error}");
    }
}
