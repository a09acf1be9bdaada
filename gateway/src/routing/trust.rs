//! TLS towards the backends of one service, or a server that is asked, kept as the files of its settings have it.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use shop_tls::{ClientFiles, ClientTls, Credentials, Unfit};
use tokio::sync::watch;

use crate::upstream::Tls;

/// TLS towards those for whom the same settings hold.
pub(crate) struct Trust {
    /// In words.
    whom: String,
    settings: ClientTls,
    pub(super) tls: Arc<Tls>,
    /// What was found last, good or not: the same is not judged twice. Nothing while it cannot be read.
    seen: Mutex<Option<ClientFiles>>,
}

impl Trust {
    /// By what the files hold now. When they cannot be used, nobody can be called until they can: `--check` and a reload
    /// refuse such files, but they may change in between.
    pub(super) fn new(whom: String, settings: &ClientTls) -> Arc<Self> {
        let read = ClientFiles::read(settings);
        let credentials = match &read {
            Ok(files) => parse(files, settings),
            Err(Unfit { why, .. }) => Err(why.clone()),
        };
        if let Err(error) = &credentials {
            tracing::warn!(error, "{whom} cannot be called over TLS");
        }
        Arc::new(Self {
            whom,
            settings: settings.clone(),
            tls: Arc::new(Tls::new(settings.server_name.clone(), credentials)),
            seen: Mutex::new(read.ok()),
        })
    }

    /// Whether it is made of these settings.
    pub(super) fn is_of(&self, settings: &ClientTls) -> bool {
        self.settings == *settings
    }

    /// Uses what the files hold now, if it is new and good.
    fn reload(&self) {
        let whom = &self.whom;
        let mut seen = self.seen.lock();
        let files = match ClientFiles::read(&self.settings) {
            Ok(files) => files,
            Err(Unfit { why, .. }) => {
                if seen.take().is_some() {
                    tracing::warn!(error = why, "TLS to {whom} stays as it is");
                }
                return;
            }
        };
        if seen.as_ref() == Some(&files) {
            return;
        }
        match parse(&files, &self.settings).and_then(|credentials| self.tls.replace(&credentials)) {
            Ok(()) => tracing::info!("TLS to {whom} is by the files as they are now"),
            Err(error) => tracing::warn!(error, "TLS to {whom} stays as it is"),
        }
        *seen = Some(files);
    }
}

fn parse(files: &ClientFiles, settings: &ClientTls) -> Result<Credentials, String> {
    files.parse(settings).map_err(|unfit| unfit.why)
}

/// Looks at the files of all of them now and then, and on SIGHUP, until dropped. `current` gives those in force, with how long to
/// wait in between, and `changes` tells when there are others.
pub(crate) async fn watch(mut changes: watch::Receiver<u64>, current: impl Fn() -> (Vec<Arc<Trust>>, Duration)) {
    loop {
        changes.mark_unchanged();
        let (all, interval) = current();
        if all.is_empty() {
            // Whoever could tell of a change is gone with the process.
            let _ = changes.changed().await;
            continue;
        }
        tokio::select! {
            never = shop_tls::watch(interval, move || all.iter().for_each(|trust| trust.reload())) => match never {},
            _ = changes.changed() => {}
        }
    }
}
