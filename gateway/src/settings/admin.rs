//! Settings of what is for operators: a listener of their own, with metrics, detailed health and the admin API.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use shop_config::{Problems, Secret, distinct_ports};

/// Shorter tokens can be guessed: sixteen random characters are out of reach at any rate.
pub(crate) const SHORT_TOKEN: usize = 16;

/// The listener of operators, and who may call the admin API there.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Admin {
    /// Address of the listener with `/metrics`, `/health/detailed` and `/admin`. This machine alone by default, whatever
    /// [`host`](super::Config::host) says: who opens the gateway to its clients does not mean this one.
    pub host: IpAddr,
    /// Its port; 0 takes any free one. That of the clients and 1000 more, which no program of the shop or near it has.
    pub port: u16,
    /// Whether the same is answered on the clients' port to this machine itself, and to nobody through it; the admin API only
    /// with its token there. On, because that is where the architecture document has it. A proxy on the same machine that
    /// adds no header to what it hands on cannot be told from you: switch it off beside one.
    pub on_client_port: bool,
    /// What callers must show as `Authorization: Bearer …`; at least 16 characters are advised. None by default: then only
    /// this machine itself may call, on the listener of operators.
    pub token: Secret,
    /// Where changes made through the admin API are kept, so that they outlive a restart. Nowhere by default: a restart
    /// then begins with the settings alone.
    pub state_file: Option<PathBuf>,
}

impl Default for Admin {
    fn default() -> Self {
        Self {
            host: IpAddr::V4(Ipv4Addr::LOCALHOST),
            port: 9083,
            on_client_port: true,
            token: Secret::default(),
            state_file: None,
        }
    }
}

impl Admin {
    /// Address and port together.
    pub fn addr(&self) -> SocketAddr {
        SocketAddr::new(self.host, self.port)
    }

    /// Whether there is a token that can be found by trying.
    pub(crate) fn has_short_token(&self) -> bool {
        (1..SHORT_TOKEN).contains(&self.token.expose().len())
    }

    /// The ports of `clients`, by their keys, are others.
    pub(super) fn check(&self, clients: &[(&str, SocketAddr)], problems: &mut Problems) {
        for client in clients {
            distinct_ports(&[*client, ("admin.port", self.addr())], problems);
        }
    }
}
