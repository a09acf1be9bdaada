//! A server that is asked whether requests may go on, with the connections to it and what is known of it.

use std::sync::Arc;

use shop_balance::{PassiveHealth, Seen};
use tokio::sync::Semaphore;

use super::{Site, Trust};
use crate::settings;
use crate::settings::route::host_of;
use crate::upstream::Endpoint;

/// Questions at once, by the number of workers, which share them. Beyond, the server does not keep up, and nobody is helped by more of them.
const AT_ONCE: usize = 1024;

/// One server. Routes, and generations of settings, that name it alike share it.
pub(crate) struct Authority {
    pub(crate) endpoint: Arc<Endpoint>,
    /// How it is called over TLS, if it is.
    trust: Option<Arc<Trust>>,
    /// Room for questions.
    pub(crate) places: Semaphore,
    health: PassiveHealth,
}

impl Authority {
    /// A server that was asked nothing yet, if the settings name one.
    pub(super) fn new(auth: &settings::ForwardAuth, site: &Site<'_>) -> Option<Arc<Self>> {
        let (uri, label) = (auth.uri()?, label(auth)?);
        let is_encrypted = uri.scheme_str() == Some("https");
        let trust = is_encrypted.then(|| Trust::new(label.clone(), &auth.tls.as_deref().cloned().unwrap_or_default()));
        let tls = trust.as_ref().map(|trust| Arc::clone(&trust.tls));
        let port = uri.port_u16().unwrap_or(if is_encrypted { 443 } else { 80 });
        let address = (host_of(&uri)?.to_owned(), port);
        let (opened, reused) = site.metrics.authority(&label);
        Some(Arc::new(Self {
            endpoint: Endpoint::new(address, label, tls, opened, reused, site.workers),
            trust,
            places: Semaphore::new(AT_ONCE * site.workers),
            health: PassiveHealth::default(),
        }))
    }

    /// Whether it is the one of these settings, whose `label` is given, called as they say.
    pub(super) fn is_of(&self, label: &str, auth: &settings::ForwardAuth) -> bool {
        let none = settings::ClientTls::default();
        let tls = auth.tls.as_deref().unwrap_or(&none);
        label == self.endpoint.label() && self.trust.as_ref().is_none_or(|trust| trust.is_of(tls))
    }

    pub(super) fn trust(&self) -> Option<&Arc<Trust>> {
        self.trust.as_ref()
    }

    /// It answered.
    pub(crate) fn answered(&self) {
        if self.health.note(Seen::Up, None) == Seen::Down {
            tracing::info!(server = self.endpoint.label(), "the server that says who may use a route answers again");
        }
    }

    /// It did not, or not as it should; told once.
    pub(crate) fn failed(&self, error: &str) {
        let server = self.endpoint.label();
        if self.health.note(Seen::Down, Some(error)) != Seen::Down {
            tracing::warn!(server, error, "the server that says who may use a route gave no answer");
        }
    }
}

/// `http://host:port`, or `https://host:port`, as the URL has it.
pub(super) fn label(auth: &settings::ForwardAuth) -> Option<String> {
    let uri = auth.uri()?;
    Some(format!("{}://{}", uri.scheme_str()?, uri.authority()?))
}
