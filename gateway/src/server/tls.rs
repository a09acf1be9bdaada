//! TLS towards clients, on the port `tls` and on listeners of their own.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;
use shop_tls::{Clients, H2, Server};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

use super::client_certificate;
use crate::metrics::Metrics;
use crate::settings;
use crate::settings::{ClientAuth, ListenerTls};

/// The TLS of one listener.
pub(crate) struct Tls {
    server: Server,
    reload_interval: Duration,
}

impl Tls {
    /// Of the port `tls`, with the files as they are now.
    pub(super) fn of_port(settings: &settings::Tls, metrics: &Metrics) -> anyhow::Result<Arc<Self>> {
        let expiry = metrics.all.gauge(
            "gateway_tls_certificate_expiry_timestamp_seconds",
            "Until when the certificate in use is valid, in Unix time",
        );
        let server = Server::new(vec![settings.certificate()], None, move |_, expires| expiry.set(expires))?;
        Ok(Arc::new(Self { server, reload_interval: settings.reload_interval.get() }))
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
        let is_required = settings.client_auth == ClientAuth::Required;
        let authorities = settings.authorities().cloned();
        let clients = authorities.map(|authorities| Clients { authorities, is_required, names: Vec::new() });
        let name = name.to_owned();
        let server = Server::new(settings.certificates.clone(), clients, move |certificate, expires| {
            let file = certificate.cert_file.display().to_string();
            expiry.with_label_values(&[&*name, &file]).set(expires);
        })?;
        Ok(Arc::new(Self { server, reload_interval }))
    }

    /// Shakes hands; the flag says whether HTTP/2 was agreed on, when anything was.
    pub(super) async fn accept(&self, stream: TcpStream) -> io::Result<(TlsStream<TcpStream>, Option<bool>)> {
        let stream = self.server.accept(stream).await?;
        let is_http2 = stream.get_ref().1.alpn_protocol().map(|protocol| protocol == H2);
        Ok((stream, is_http2))
    }

    /// What backends are told of the certificate that the client showed, if it did.
    pub(super) fn told(&self, stream: &TlsStream<TcpStream>) -> Option<HeaderValue> {
        if !self.server.asks_clients() {
            return None;
        }
        client_certificate::described(stream.get_ref().1.peer_certificates()?.first()?)
    }

    /// Looks at the files now and then, and on SIGHUP.
    pub(crate) async fn watch(self: Arc<Self>) {
        let interval = self.reload_interval;
        match shop_tls::watch(interval, move || self.server.reload()).await {}
    }
}
