//! A Galera cluster of one test alone: three `MariaDB` servers that all write, and may be killed one by one.

use std::collections::BTreeMap;
use std::time::Duration;

use sqlx::{Connection as _, MySqlConnection};

use super::Own;
use crate::{Place, eventually};

/// The nodes, gone with this value, counted from 0. Nothing they do waits for a disk: what is acknowledged is at all of them.
#[derive(Debug)]
pub struct Galera(Own);

const NAMES: [&str; 3] = ["galera1", "galera2", "galera3"];

/// A node that missed much copies all there is.
const LONG: Duration = Duration::from_mins(2);

impl Galera {
    /// Starts the nodes, and waits until they are one cluster. `None`, said loudly, when this run does not use real servers, or
    /// not these.
    pub async fn start() -> Option<Self> {
        Self::start_in(&[]).await
    }

    /// The same in places of a network, each node in its own.
    pub async fn start_in(places: &[Place]) -> Option<Self> {
        super::galera()?;
        let settings = vec![("SHOP_BACKENDS_FSYNC", "off".to_owned()), Own::places(NAMES.into_iter().zip(places))];
        Some(Self(Own::start_with("galera1,galera2,galera3", settings).await?))
    }

    /// The URL of a node, of a user who may do anything.
    #[must_use]
    pub fn url(&self, node: usize) -> &str {
        self.0.variable(&format!("SHOP_TEST_{}_URL", NAMES[node].to_uppercase()))
    }

    /// The same of a node that belongs to the cluster now.
    pub async fn member(&self) -> &str {
        eventually!(within LONG, {
            let mut found = None;
            for node in 0..NAMES.len() {
                if self.size(node).await.is_ok() {
                    found = Some(self.url(node));
                    break;
                }
            }
            found
        })
    }

    /// `host:port` of all.
    #[must_use]
    pub fn places(&self) -> [&str; 3] {
        [0, 1, 2].map(|node| {
            let (_, place) = self.url(node).rsplit_once('@').expect("a password");
            place.split('/').next().unwrap_or_default()
        })
    }

    /// Kills a node, as a power cut would.
    pub async fn kill(&self, node: usize) {
        self.0.kill_one(NAMES[node]).await;
    }

    /// Starts it again with what it has, and waits until the cluster is whole.
    pub async fn resume(&self, node: usize) {
        self.0.script("start", NAMES[node]).await;
        self.whole().await;
    }

    /// The same with nothing: it copies another one.
    pub async fn resume_anew(&self, node: usize) {
        self.0.forget(NAMES[node]);
        self.resume(node).await;
    }

    /// Waits until each node belongs to a cluster of all.
    pub async fn whole(&self) {
        for (node, name) in NAMES.into_iter().enumerate() {
            eventually!(within LONG, {
                let size = self.size(node).await;
                if size == Ok(NAMES.len()) { Ok(()) } else { Err(format!("{name}: {size:?}")) }
            });
        }
    }

    /// Of how many nodes the cluster is, if this one belongs to it and has all; otherwise what it says.
    async fn size(&self, node: usize) -> Result<usize, String> {
        let state = "SELECT variable_name, variable_value FROM information_schema.global_status WHERE variable_name IN \
            ('WSREP_CLUSTER_SIZE', 'WSREP_CLUSTER_STATUS', 'WSREP_LOCAL_STATE_COMMENT', 'WSREP_READY')";
        let asked = tokio::time::timeout(Duration::from_secs(2), async {
            let mut node = MySqlConnection::connect(self.url(node)).await?;
            sqlx::query_as(state).fetch_all(&mut node).await
        });
        let said: Vec<(String, String)> = match asked.await {
            Ok(said) => said.map_err(|error| error.to_string())?,
            Err(_) => return Err("no answer".to_owned()),
        };
        let said: BTreeMap<_, _> = said.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let is = |name, value| said.get(name) == Some(&value);
        let belongs = is("WSREP_CLUSTER_STATUS", "Primary") && is("WSREP_READY", "ON");
        let size = said.get("WSREP_CLUSTER_SIZE").and_then(|size| size.parse().ok());
        size.filter(|_| belongs && is("WSREP_LOCAL_STATE_COMMENT", "Synced")).ok_or_else(|| format!("{said:?}"))
    }
}
