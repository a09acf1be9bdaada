//! TLS towards clients: certificates by name, and authorities of clients, replaced while connections that began with others go
//! on.

mod choice;
mod clients;

use std::path::PathBuf;
use std::sync::Arc;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use rustls::crypto::{CryptoProvider, ring};
use rustls::server::{NoServerSessionStorage, ResolvesServerCert, ServerConfig, WebPkiClientVerifier};
use rustls::version::{TLS12, TLS13};
use shop_clock::{Clock, SystemClock};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::{Accept, TlsAcceptor};

use self::choice::{Choice, Current};
use self::clients::Named;
use crate::authorities::{AuthoritiesFile, UnusableAuthorities};
use crate::certificate::{Certificate, Files, Pair, Unusable};
use crate::name::Name;
use crate::{H2, HTTP_1_1};

/// The TLS of one listener, which offers HTTP/2 and HTTP/1.1.
pub struct Server {
    certificates: Vec<Certificate>,
    clients: Option<Clients>,
    /// Is told of each certificate that is in use from now on, and when it expires, in Unix seconds.
    used: Used,
    config: ArcSwap<ServerConfig>,
    current: Arc<Current>,
    seen: Mutex<Seen>,
}

type Used = Box<dyn Fn(&Certificate, i64) + Send + Sync>;

/// Whose certificates clients may show.
#[derive(Debug, Clone)]
pub struct Clients {
    /// PEM file with the authorities whose certificates are good.
    pub authorities: PathBuf,
    /// Whether nobody gets in without one.
    pub is_required: bool,
    /// Whom the certificates have to be for; anybody when there are none.
    pub names: Vec<Name>,
}

/// Why a listener cannot speak TLS.
#[derive(Debug, thiserror::Error)]
pub enum NoServer {
    /// A certificate or its key.
    #[error(transparent)]
    Certificate(#[from] Unusable),
    /// The authorities of clients.
    #[error(transparent)]
    Authorities(#[from] UnusableAuthorities),
    /// Not one certificate.
    #[error("a listener with TLS has no certificate")]
    Empty,
    /// All of it together.
    #[error("TLS cannot be made of these files: {0}")]
    Rest(String),
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

impl Server {
    /// With the files as they are now. A client gets the certificate that has the name it asks for, else the first.
    pub fn new(
        certificates: Vec<Certificate>,
        clients: Option<Clients>,
        used: impl Fn(&Certificate, i64) + Send + Sync + 'static,
    ) -> Result<Self, NoServer> {
        let mut found = Vec::with_capacity(certificates.len());
        for certificate in &certificates {
            let files = Files::read(certificate)?;
            let pair = files.parse(certificate)?;
            announce(certificate, &pair, &used);
            found.push(Found { files, is_unreadable: false, pair });
        }
        let choice = Choice::of(found.iter().map(|one| &one.pair)).ok_or(NoServer::Empty)?;
        let current = Arc::new(Current::new(choice));
        let authorities = clients.as_ref().map(|clients| AuthoritiesFile::read(&clients.authorities)).transpose()?;
        let config = config(&current, clients.as_ref().zip(authorities.as_ref()))?;
        let seen = Mutex::new(Seen { certificates: found, authorities, is_unreadable: false });
        Ok(Self { certificates, clients, used: Box::new(used), config: ArcSwap::new(config), current, seen })
    }

    /// Whether clients are asked for certificates.
    pub fn asks_clients(&self) -> bool {
        self.clients.is_some()
    }

    /// Shakes hands.
    pub fn accept<S: AsyncRead + AsyncWrite + Unpin>(&self, stream: S) -> Accept<S> {
        TlsAcceptor::from(self.config.load_full()).accept(stream)
    }

    /// Uses what the files hold now, if it is new and good; else a warning says what is kept.
    pub fn reload(&self) {
        let mut seen = self.seen.lock();
        let mut is_new = false;
        for (certificate, found) in self.certificates.iter().zip(&mut seen.certificates) {
            if found.renew(certificate) {
                is_new = true;
                announce(certificate, &found.pair, &self.used);
            }
        }
        if is_new && let Some(choice) = Choice::of(seen.certificates.iter().map(|one| &one.pair)) {
            self.current.replace(choice);
        }
        if let Some(clients) = &self.clients {
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
fn config(
    current: &Arc<Current>,
    clients: Option<(&Clients, &AuthoritiesFile)>,
) -> Result<Arc<ServerConfig>, NoServer> {
    let rest = |error: &dyn ToString| NoServer::Rest(error.to_string());
    let provider: Arc<CryptoProvider> = Arc::new(ring::default_provider());
    let verifier = match clients {
        None => WebPkiClientVerifier::no_client_auth(),
        Some((clients, authorities)) => {
            let roots = authorities.parse(&clients.authorities)?;
            let verifier = WebPkiClientVerifier::builder_with_provider(roots, Arc::clone(&provider));
            let verifier = if clients.is_required { verifier } else { verifier.allow_unauthenticated() };
            Named::wrap(verifier.build().map_err(|error| rest(&error))?, &clients.names)
        }
    };
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13, &TLS12])
        .map_err(|error| rest(&error))?
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
        config.ticketer = ring::Ticketer::new().map_err(|error| rest(&error))?;
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

fn announce(certificate: &Certificate, pair: &Pair, used: &dyn Fn(&Certificate, i64)) {
    used(certificate, pair.expires);
    let file = certificate.cert_file.display();
    let left = pair.expires - SystemClock.now().unix_timestamp();
    if left <= 0 {
        tracing::warn!(%file, "the TLS certificate in {file} has expired");
    } else {
        tracing::info!(%file, "the TLS certificate in {file} is valid for {} more days", left / 86400);
    }
}
