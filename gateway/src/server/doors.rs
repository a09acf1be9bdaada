//! The ports of the gateway, each with a listener for every worker.

use std::net::TcpListener;

use shop_runtime::listen_shared;

use crate::settings::Config;

/// The ports of the gateway, taken before it does anything else: its own outgoing connections cannot get them then.
#[derive(Debug)]
pub struct Doors {
    pub(crate) cleartext: Vec<TcpListener>,
    /// None without TLS.
    pub(crate) encrypted: Vec<TcpListener>,
}

impl Doors {
    /// Takes the ports (0 is any that is free), waiting as [`shop_runtime::listen()`] does. `section` is in front of the
    /// settings in errors: nothing, or `gateway.` in a process with more sections.
    pub async fn open(config: &Config, section: &str) -> anyhow::Result<Self> {
        let workers = match config.workers {
            0 => std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
            count => count,
        };
        let (http, tls) = (format!("{section}http.port (PORT)"), format!("{section}tls.port (TLS_PORT)"));
        let cleartext = listen_shared(config.http.addr(), workers, &http);
        let encrypted = async {
            if !config.tls.is_on() {
                return Ok(Vec::new());
            }
            listen_shared(config.tls.addr(config.http.host), workers, &tls).await
        };
        let (cleartext, encrypted) = tokio::try_join!(cleartext, encrypted)?;
        Ok(Self { cleartext, encrypted })
    }
}
