//! TLS towards clients: certificates by name, and authorities of clients, replaced while connections that began with others go
//! on.

use std::borrow::Cow;
use std::collections::HashMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use http::HeaderValue;
use parking_lot::Mutex;
use prometheus::IntGauge;
use rustls::crypto::{CryptoProvider, ring};
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert, ServerConfig, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::version::{TLS12, TLS13};
use shop_clock::{Clock, SystemClock};
use tokio::net::TcpStream;
use tokio::signal::unix::{SignalKind, signal};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::client_certificate;
use crate::metrics::Metrics;
use crate::settings;
use crate::settings::certificate::{Certificate, Files, Pair};
use crate::settings::certificate_authorities::AuthoritiesFile;
use crate::settings::{ClientAuth, ListenerTls};

/// What clients may speak, the better first.
const H2: &[u8] = b"h2";
const HTTP_1_1: &[u8] = b"http/1.1";

/// The TLS of one listener.
pub(crate) struct Tls {
    wanted: Wanted,
    config: ArcSwap<ServerConfig>,
    current: Arc<Current>,
    seen: Mutex<Seen>,
}

/// What settings want.
struct Wanted {
    /// Each with when the one in use expires.
    certificates: Vec<(Certificate, IntGauge)>,
    clients: Option<Clients>,
    reload_interval: Duration,
}

/// Whose certificates clients may show.
struct Clients {
    authorities: PathBuf,
    is_required: bool,
}

/// What was found last, good or not: the same is not judged twice.
struct Seen {
    certificates: Vec<Found>,
    authorities: Option<AuthoritiesFile>,
    /// The authorities could not be read the last time.
    is_unreadable: bool,
}

/// What was found in the files of one certificate.
struct Found {
    files: Files,
    /// They could not be read the last time.
    is_unreadable: bool,
    /// What is in use of it.
    pair: Pair,
}

/// The certificates that new connections get.
#[derive(Debug)]
struct Current(ArcSwap<Choice>);

/// The certificates by name.
#[derive(Debug)]
struct Choice {
    first: Arc<CertifiedKey>,
    /// By the name of a host, or one with a star for its first label. Several when the keys are of several kinds.
    named: HashMap<String, Vec<Arc<CertifiedKey>>>,
}

impl Choice {
    fn of(found: &[Found]) -> Option<Self> {
        let mut named: HashMap<String, Vec<_>> = HashMap::new();
        // One alone is for whatever name a client says: clients judge for themselves whether it is the one.
        for pair in found.iter().map(|one| &one.pair).filter(|_| found.len() > 1) {
            for name in &pair.names {
                named.entry(name.clone()).or_default().push(Arc::clone(&pair.certified));
            }
        }
        Some(Self { first: Arc::clone(&found.first()?.pair.certified), named })
    }

    fn find(&self, name: &str) -> Option<&[Arc<CertifiedKey>]> {
        let name = if name.bytes().any(|byte| byte.is_ascii_uppercase()) {
            Cow::Owned(name.to_ascii_lowercase())
        } else {
            Cow::Borrowed(name)
        };
        let starred = || name.split_once('.').and_then(|(_, rest)| self.named.get(&format!("*.{rest}")));
        self.named.get(&*name).or_else(starred).map(Vec::as_slice)
    }
}

impl ResolvesServerCert for Current {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let choice = self.0.load();
        if choice.named.is_empty() {
            return Some(Arc::clone(&choice.first));
        }
        let found = hello.server_name().and_then(|name| choice.find(name)).unwrap_or_default();
        let fits = |one: &&Arc<CertifiedKey>| one.key.choose_scheme(hello.signature_schemes()).is_some();
        let chosen = found.iter().find(fits).or_else(|| found.first());
        Some(Arc::clone(chosen.unwrap_or(&choice.first)))
    }
}

impl Tls {
    /// Of the port `tls`, with the files as they are now.
    pub(super) fn of_port(settings: &settings::Tls, metrics: &Metrics) -> anyhow::Result<Arc<Self>> {
        let expiry = metrics.all.gauge(
            "gateway_tls_certificate_expiry_timestamp_seconds",
            "Until when the certificate in use is valid, in Unix time",
        );
        let certificates = vec![(settings.certificate(), expiry)];
        Self::new(Wanted { certificates, clients: None, reload_interval: settings.reload_interval.get() })
    }

    /// Of the listener `name`.
    pub(super) fn of_listener(
        name: &str,
        settings: &ListenerTls,
        reload_interval: Duration,
        metrics: &Metrics,
    ) -> anyhow::Result<Arc<Self>> {
        let expiry = metrics.all.gauges(
            "gateway_listener_certificate_expiry_timestamp_seconds",
            "Until when a listener's certificate in use is valid, in Unix time",
            &["listener", "file"],
        );
        let with_expiry = |certificate: &Certificate| {
            let file = certificate.cert_file.display().to_string();
            (certificate.clone(), expiry.with_label_values(&[name, &file]))
        };
        let is_required = settings.client_auth == ClientAuth::Required;
        let clients = settings.authorities().cloned().map(|authorities| Clients { authorities, is_required });
        let certificates = settings.certificates.iter().map(with_expiry).collect();
        Self::new(Wanted { certificates, clients, reload_interval })
    }

    fn new(wanted: Wanted) -> anyhow::Result<Arc<Self>> {
        let mut certificates = Vec::with_capacity(wanted.certificates.len());
        for (certificate, expiry) in &wanted.certificates {
            let files = Files::read(certificate)?;
            let pair = files.parse(certificate)?;
            announce(certificate, expiry, &pair);
            certificates.push(Found { files, is_unreadable: false, pair });
        }
        let choice =
            Choice::of(&certificates).ok_or_else(|| anyhow::anyhow!("a listener with TLS has no certificate"))?;
        let current = Arc::new(Current(ArcSwap::from_pointee(choice)));
        let clients = wanted.clients.as_ref();
        let authorities = clients.map(|clients| AuthoritiesFile::read(&clients.authorities)).transpose()?;
        let config = config(&current, clients.zip(authorities.as_ref()))?;
        let seen = Mutex::new(Seen { certificates, authorities, is_unreadable: false });
        Ok(Arc::new(Self { wanted, config: ArcSwap::new(config), current, seen }))
    }

    /// Shakes hands; the flag says whether HTTP/2 was agreed on, when anything was.
    pub(super) async fn accept(&self, stream: TcpStream) -> io::Result<(TlsStream<TcpStream>, Option<bool>)> {
        let stream = TlsAcceptor::from(self.config.load_full()).accept(stream).await?;
        let is_http2 = stream.get_ref().1.alpn_protocol().map(|protocol| protocol == H2);
        Ok((stream, is_http2))
    }

    /// What backends are told of the certificate that the client showed, if it did.
    pub(super) fn told(&self, stream: &TlsStream<TcpStream>) -> Option<HeaderValue> {
        self.wanted.clients.as_ref()?;
        client_certificate::described(stream.get_ref().1.peer_certificates()?.first()?)
    }

    /// Looks at the files now and then, and on SIGHUP.
    pub(crate) async fn watch(self: Arc<Self>) {
        let mut ticks = tokio::time::interval(self.wanted.reload_interval);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut hangups = signal(SignalKind::hangup())
            .inspect_err(|error| tracing::warn!(%error, "SIGHUP will not reload the certificate"))
            .ok();
        loop {
            let hangup = async {
                match &mut hangups {
                    Some(hangups) => drop(hangups.recv().await),
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                _ = ticks.tick() => {}
                () = hangup => {}
            }
            let tls = Arc::clone(&self);
            // Files may be on a network.
            let _ = tokio::task::spawn_blocking(move || tls.reload()).await;
        }
    }

    /// Uses what the files hold now, if it is new and good.
    fn reload(&self) {
        let mut seen = self.seen.lock();
        let mut is_new = false;
        for ((certificate, expiry), found) in self.wanted.certificates.iter().zip(&mut seen.certificates) {
            if found.renew(certificate) {
                is_new = true;
                announce(certificate, expiry, &found.pair);
            }
        }
        if is_new && let Some(choice) = Choice::of(&seen.certificates) {
            self.current.0.store(Arc::new(choice));
        }
        if let Some(clients) = &self.wanted.clients {
            self.reload_authorities(clients, &mut seen);
        }
    }

    fn reload_authorities(&self, clients: &Clients, seen: &mut Seen) {
        let authorities = match AuthoritiesFile::read(&clients.authorities) {
            Ok(authorities) => authorities,
            Err(error) => {
                if !std::mem::replace(&mut seen.is_unreadable, true) {
                    tracing::warn!(%error, "the authorities of clients in use are kept");
                }
                return;
            }
        };
        seen.is_unreadable = false;
        if seen.authorities.as_ref() == Some(&authorities) {
            return;
        }
        match config(&self.current, Some((clients, &authorities))) {
            Ok(config) => {
                self.config.store(config);
                let file = clients.authorities.display();
                tracing::info!(%file, "the authorities of clients in {file} are in use");
            }
            Err(error) => tracing::warn!(%error, "the authorities of clients in use are kept"),
        }
        seen.authorities = Some(authorities);
    }
}

/// What connections begin with, certificates and authorities apart as they change at other times.
fn config(current: &Arc<Current>, clients: Option<(&Clients, &AuthoritiesFile)>) -> anyhow::Result<Arc<ServerConfig>> {
    let provider: Arc<CryptoProvider> = Arc::new(ring::default_provider());
    let verifier = match clients {
        None => WebPkiClientVerifier::no_client_auth(),
        Some((clients, authorities)) => {
            let roots = authorities.parse(&clients.authorities)?;
            let verifier = WebPkiClientVerifier::builder_with_provider(roots, Arc::clone(&provider));
            if clients.is_required { verifier.build()? } else { verifier.allow_unauthenticated().build()? }
        }
    };
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13, &TLS12])?
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(Arc::clone(current) as Arc<dyn ResolvesServerCert>);
    config.alpn_protocols = vec![H2.to_vec(), HTTP_1_1.to_vec()];
    if clients.is_some() {
        // A session that is resumed does not ask for the certificate again: one that expired, or whose authority is not trusted
        // any more, would go on for hours.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
    } else {
        // Tickets rather than a cache: resumption works on whatever thread the client comes back to.
        config.ticketer = ring::Ticketer::new()?;
    }
    Ok(Arc::new(config))
}

impl Found {
    /// Takes over what the files hold now. Whether that is a new pair which is good.
    fn renew(&mut self, certificate: &Certificate) -> bool {
        let files = match Files::read(certificate) {
            Ok(files) => files,
            Err(error) => {
                if !std::mem::replace(&mut self.is_unreadable, true) {
                    tracing::warn!(%error, "the TLS certificate in use is kept");
                }
                return false;
            }
        };
        self.is_unreadable = false;
        if self.files == files {
            return false;
        }
        let parsed = files.parse(certificate);
        self.files = files;
        match parsed {
            Ok(pair) => {
                self.pair = pair;
                true
            }
            Err(error) => {
                tracing::warn!(%error, "the TLS certificate in use is kept");
                false
            }
        }
    }
}

fn announce(certificate: &Certificate, expiry: &IntGauge, pair: &Pair) {
    expiry.set(pair.expires);
    let file = certificate.cert_file.display();
    let left = pair.expires - SystemClock.now().unix_timestamp();
    if left <= 0 {
        tracing::warn!(%file, "the TLS certificate in {file} has expired");
    } else {
        tracing::info!(%file, "the TLS certificate in {file} is valid for {} more days", left / 86400);
    }
}
