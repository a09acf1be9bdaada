//! TLS towards clients: one certificate at a time, replaced while connections that began with another go on.

use std::io;
use std::sync::Arc;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use prometheus::IntGauge;
use rustls::crypto::{CryptoProvider, ring};
use rustls::server::{ClientHello, ResolvesServerCert, ServerConfig};
use rustls::sign::CertifiedKey;
use rustls::version::{TLS12, TLS13};
use shop_clock::{Clock, SystemClock};
use tokio::net::TcpStream;
use tokio::signal::unix::{SignalKind, signal};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::metrics::Metrics;
use crate::settings::Tls as Settings;
use crate::settings::certificate::{Files, Pair};

/// What clients may speak, the better first.
const H2: &[u8] = b"h2";
const HTTP_1_1: &[u8] = b"http/1.1";

/// The TLS of one gateway.
pub(crate) struct Tls {
    settings: Settings,
    acceptor: TlsAcceptor,
    current: Arc<Current>,
    /// What was found last, good or not: the same is not judged twice.
    seen: Mutex<Seen>,
    expiry: IntGauge,
}

/// What was found in the files, and whether they could be read the last time.
struct Seen {
    files: Files,
    unreadable: bool,
}

/// The certificate that new connections get.
#[derive(Debug)]
struct Current(ArcSwap<CertifiedKey>);

impl ResolvesServerCert for Current {
    /// One certificate, whatever name the client says: clients judge for themselves whether it is the one.
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.load_full())
    }
}

impl Tls {
    /// With the files as they are now.
    pub(crate) fn new(settings: &Settings, metrics: &Metrics) -> anyhow::Result<Arc<Self>> {
        let files = Files::read(settings)?;
        let pair = files.parse(settings)?;
        let current = Arc::new(Current(ArcSwap::new(Arc::clone(&pair.certified))));
        let provider: Arc<CryptoProvider> = Arc::new(ring::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&TLS13, &TLS12])?
            .with_no_client_auth()
            .with_cert_resolver(Arc::clone(&current) as Arc<dyn ResolvesServerCert>);
        config.alpn_protocols = vec![H2.to_vec(), HTTP_1_1.to_vec()];
        // Tickets rather than a cache: resumption works on whatever thread the client comes back to.
        config.ticketer = ring::Ticketer::new()?;
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let expiry = metrics.all.gauge(
            "gateway_tls_certificate_expiry_timestamp_seconds",
            "Until when the certificate in use is valid, in Unix time",
        );
        let tls = Self {
            settings: settings.clone(),
            acceptor,
            current,
            seen: Mutex::new(Seen { files, unreadable: false }),
            expiry,
        };
        tls.announce(&pair);
        Ok(Arc::new(tls))
    }

    /// Shakes hands; the flag says whether HTTP/2 was agreed on, when anything was.
    pub(crate) async fn accept(&self, stream: TcpStream) -> io::Result<(TlsStream<TcpStream>, Option<bool>)> {
        let stream = self.acceptor.accept(stream).await?;
        let is_http2 = stream.get_ref().1.alpn_protocol().map(|protocol| protocol == H2);
        Ok((stream, is_http2))
    }

    /// Looks at the files now and then, and on SIGHUP.
    pub(crate) async fn watch(self: Arc<Self>) {
        let mut ticks = tokio::time::interval(self.settings.reload_interval.get());
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
        let read = Files::read(&self.settings);
        let mut seen = self.seen.lock();
        let files = match read {
            Ok(files) => files,
            Err(error) => {
                if !std::mem::replace(&mut seen.unreadable, true) {
                    tracing::warn!(%error, "the TLS certificate in use is kept");
                }
                return;
            }
        };
        seen.unreadable = false;
        if seen.files == files {
            return;
        }
        match files.parse(&self.settings) {
            Ok(pair) => {
                self.current.0.store(Arc::clone(&pair.certified));
                self.announce(&pair);
            }
            Err(error) => tracing::warn!(%error, "the TLS certificate in use is kept"),
        }
        seen.files = files;
    }

    fn announce(&self, pair: &Pair) {
        self.expiry.set(pair.expires);
        let file = self.settings.cert_file.display();
        let left = pair.expires - SystemClock.now().unix_timestamp();
        if left <= 0 {
            tracing::warn!(%file, "the TLS certificate in {file} has expired");
        } else {
            tracing::info!(%file, "the TLS certificate in {file} is valid for {} more days", left / 86400);
        }
    }
}
