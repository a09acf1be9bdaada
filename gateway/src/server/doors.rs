//! The ports of the gateway, each with a listener for every worker.

use std::net::TcpListener;
use std::sync::Arc;

use shop_runtime::listen_shared;

use crate::message::client::Audience;
use crate::server::tls::Tls;
use crate::settings::Config;

/// What a connection comes in by.
#[derive(Clone)]
pub(crate) enum Door {
    /// The clients' port.
    Cleartext,
    /// The clients' port for TLS.
    Encrypted(Arc<Tls>),
    /// The listener of operators.
    Operators,
}

impl Door {
    pub(super) fn tls(&self) -> Option<&Tls> {
        match self {
            Self::Encrypted(tls) => Some(tls),
            Self::Cleartext | Self::Operators => None,
        }
    }

    pub(super) fn audience(&self) -> Audience {
        match self {
            Self::Cleartext | Self::Encrypted(_) => Audience::Clients,
            Self::Operators => Audience::Operators,
        }
    }
}

/// The ports of the gateway, taken before it does anything else: its own outgoing connections cannot get them then.
#[derive(Debug)]
pub struct Doors {
    pub(crate) cleartext: Vec<TcpListener>,
    /// None without TLS.
    pub(crate) encrypted: Vec<TcpListener>,
    /// One: operators are few.
    pub(crate) operators: Vec<TcpListener>,
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
        let admin = format!("{section}admin.port (ADMIN_PORT)");
        let cleartext = listen_shared(config.http.addr(), workers, &http);
        let encrypted = async {
            if !config.tls.is_on() {
                return Ok(Vec::new());
            }
            listen_shared(config.tls.addr(config.http.host), workers, &tls).await
        };
        let operators = listen_shared(config.admin.addr(), 1, &admin);
        let (cleartext, encrypted, operators) = tokio::try_join!(cleartext, encrypted, operators)?;
        Ok(Self { cleartext, encrypted, operators })
    }
}
