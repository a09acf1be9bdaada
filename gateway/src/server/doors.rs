//! The ports of the gateway, each with a listener for every worker.

use std::net::{IpAddr, SocketAddr, TcpListener};
use std::sync::Arc;

use anyhow::Context;
use futures_util::future::try_join_all;
use shop_runtime::listen_shared;

use crate::message::client::{Audience, Network};
use crate::metrics::Metrics;
use crate::server::tls::Tls;
use crate::settings::{Config, Listener};

/// What a connection comes in by.
#[derive(Clone)]
pub(crate) enum Door {
    /// The clients' port.
    Cleartext,
    /// The clients' port for TLS.
    Encrypted(Arc<Tls>),
    /// The listener of operators.
    Operators,
    /// One of the listeners by name.
    Named(Arc<Named>),
}

/// What there is to know of a listener by name.
pub(crate) struct Named {
    tls: Option<Arc<Tls>>,
    /// Who says for whom it speaks, by the PROXY protocol.
    proxies: Vec<Network>,
}

impl Door {
    pub(super) fn tls(&self) -> Option<&Tls> {
        match self {
            Self::Encrypted(tls) => Some(tls),
            Self::Named(named) => named.tls.as_deref(),
            Self::Cleartext | Self::Operators => None,
        }
    }

    pub(super) fn audience(&self) -> Audience {
        match self {
            Self::Cleartext | Self::Encrypted(_) | Self::Named(_) => Audience::Clients,
            Self::Operators => Audience::Operators,
        }
    }

    /// Whether there are proxies that say for whom they speak.
    pub(super) fn has_proxies(&self) -> bool {
        matches!(self, Self::Named(named) if !named.proxies.is_empty())
    }

    /// Whether `peer` is one of them.
    pub(super) fn is_proxy(&self, peer: IpAddr) -> bool {
        matches!(self, Self::Named(named) if named.proxies.iter().any(|network| network.contains(peer)))
    }
}

/// The ports of the gateway, taken before it does anything else: its own outgoing connections cannot get them then.
#[derive(Debug)]
pub struct Doors {
    cleartext: Vec<TcpListener>,
    /// None without TLS.
    encrypted: Vec<TcpListener>,
    /// One: operators are few.
    operators: Vec<TcpListener>,
    /// By the names that settings have.
    named: Vec<(String, Vec<TcpListener>)>,
}

/// What one worker listens on.
pub(crate) type Listeners = Vec<(TcpListener, Door)>;

/// The ports with all that is behind them.
pub(crate) struct Opened {
    /// Of each worker.
    pub(crate) workers: Vec<Listeners>,
    pub(crate) cleartext: SocketAddr,
    pub(crate) encrypted: Option<SocketAddr>,
    pub(crate) operators: SocketAddr,
    pub(crate) named: Vec<(String, SocketAddr)>,
    /// Whose files are looked after.
    pub(crate) tls: Vec<Arc<Tls>>,
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
        let named = try_join_all(config.listeners.iter().map(async |(name, listener)| {
            let key = format!("{section}listeners.{name}.address");
            anyhow::Ok((name.clone(), listen_shared(listener.address.0, workers, &key).await?))
        }));
        let (cleartext, encrypted, operators, named) = tokio::try_join!(cleartext, encrypted, operators, named)?;
        Ok(Self { cleartext, encrypted, operators, named })
    }

    /// How many workers there are ports for.
    pub(crate) fn workers(&self) -> usize {
        self.cleartext.len()
    }

    /// Puts behind the ports what `config`, for which they were taken, says of them.
    pub(crate) fn furnish(self, config: &Config, metrics: &Metrics) -> anyhow::Result<Opened> {
        let mut opened = Opened {
            workers: (0..self.workers()).map(|_| Listeners::new()).collect(),
            cleartext: local_addr(&self.cleartext)?,
            encrypted: None,
            operators: local_addr(&self.operators)?,
            named: Vec::new(),
            tls: Vec::new(),
        };
        opened.put(self.cleartext, &Door::Cleartext);
        if config.tls.is_on() {
            let tls = Tls::of_port(&config.tls, metrics)?;
            opened.encrypted = Some(local_addr(&self.encrypted)?);
            opened.tls.push(Arc::clone(&tls));
            opened.put(self.encrypted, &Door::Encrypted(tls));
        }
        opened.put(self.operators, &Door::Operators);
        for (name, listeners) in self.named {
            let settings = config.listeners.get(&name).context("the ports were taken for other settings")?;
            let named = named(&name, settings, config, metrics)?;
            opened.named.push((name, local_addr(&listeners)?));
            opened.tls.extend(named.tls.clone());
            opened.put(listeners, &Door::Named(Arc::new(named)));
        }
        Ok(opened)
    }
}

impl Opened {
    /// Shares the sockets of one port among the workers, from the first on.
    fn put(&mut self, listeners: Vec<TcpListener>, door: &Door) {
        for (worker, listener) in self.workers.iter_mut().zip(listeners) {
            worker.push((listener, door.clone()));
        }
    }
}

fn named(name: &str, settings: &Listener, config: &Config, metrics: &Metrics) -> anyhow::Result<Named> {
    let reload_interval = config.tls.reload_interval.get();
    let tls = settings.tls.as_ref().map(|tls| Tls::of_listener(name, tls, reload_interval, metrics)).transpose();
    let tls = tls.with_context(|| format!("listeners.{name} cannot speak TLS"))?;
    // None while the protocol is off, as settings are checked.
    Ok(Named { tls, proxies: settings.proxy_protocol_from.clone() })
}

fn local_addr(listeners: &[TcpListener]) -> anyhow::Result<SocketAddr> {
    Ok(listeners.first().context("no worker to listen")?.local_addr()?)
}
