//! The files for TLS, as they are now.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use redis::{ClientTlsConfig, TlsCertificates};
use shop_config::{RedisTls, read_text};

/// Names of files, and what they held when they were last read.
pub(crate) struct Files(Arc<State>);

struct State {
    tls: RedisTls,
    last: Mutex<Last>,
}

struct Last {
    certificates: Option<TlsCertificates>,
    stamps: Stamps,
}

/// When each was written, and how long it is; none of one that is not there.
type Stamps = [Option<(SystemTime, u64)>; 3];

impl Files {
    /// Reads them. The error says what is wrong.
    pub(crate) fn new(tls: &RedisTls) -> Result<Self, String> {
        let last = Last { stamps: stamps(tls), certificates: read(tls)? };
        Ok(Self(Arc::new(State { tls: tls.clone(), last: Mutex::new(last) })))
    }

    /// What they held when they were last read.
    pub(crate) fn last(&self) -> Option<TlsCertificates> {
        self.0.last().certificates.clone()
    }

    /// What they hold now; what they held before where they cannot be read: somebody may be about to replace them.
    pub(crate) async fn now(&self) -> Option<TlsCertificates> {
        if self.changed() {
            let state = self.0.clone();
            // They may be on a network.
            let _ = tokio::task::spawn_blocking(move || state.renew()).await;
        }
        self.last()
    }

    /// Whether they are others than those that were last read.
    pub(crate) fn changed(&self) -> bool {
        stamps(&self.0.tls) != self.0.last().stamps
    }
}

impl State {
    fn renew(&self) {
        // First: what is written meanwhile is read the next time.
        let stamps = stamps(&self.tls);
        let found = read(&self.tls);
        let mut last = self.last();
        last.stamps = stamps;
        match found {
            Ok(certificates) => last.certificates = certificates,
            Err(error) => tracing::warn!("{error}; Redis is connected to with what it held before"),
        }
    }

    fn last(&self) -> MutexGuard<'_, Last> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn read(tls: &RedisTls) -> Result<Option<TlsCertificates>, String> {
    let read = |file: &Option<PathBuf>| {
        let read =
            |file: &PathBuf| read_text(file).map_err(|error| format!("{} cannot be read: {error}", file.display()));
        file.as_ref().map(read).transpose().map(|text| text.map(String::into_bytes))
    };
    let (root_cert, cert, key) = (read(&tls.ca_file)?, read(&tls.cert_file)?, read(&tls.key_file)?);
    let client_tls = cert.zip(key).map(|(client_cert, client_key)| ClientTlsConfig { client_cert, client_key });
    let some = root_cert.is_some() || client_tls.is_some();
    Ok(some.then_some(TlsCertificates { client_tls, root_cert }))
}

fn stamps(tls: &RedisTls) -> Stamps {
    let stamp = |file: &PathBuf| {
        let found = file.metadata().ok()?;
        Some((found.modified().ok()?, found.len()))
    };
    [&tls.ca_file, &tls.cert_file, &tls.key_file].map(|file| file.as_ref().and_then(stamp))
}
