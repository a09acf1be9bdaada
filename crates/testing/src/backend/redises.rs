//! Redis of several servers for one test alone, which may kill a master.

use redis::{Cmd, FromRedisValue, cmd};

use super::Own;
use crate::{Place, Program};

/// Servers that replace a master that is gone, gone with this value.
#[derive(Debug)]
pub struct Redises {
    own: Own,
    /// The variables that say where they are.
    url: &'static str,
    nodes: &'static str,
}

impl Redises {
    /// A master, two replicas and three sentinels. `None`, said loudly, when this run does not use real servers.
    pub async fn behind_sentinels() -> Option<Self> {
        Self::sentinels_with(Vec::new()).await
    }

    /// The same in a place of a network, all of them in one.
    pub async fn behind_sentinels_in(place: &Place) -> Option<Self> {
        Self::sentinels_with(vec![Own::places([("redis_sentinel", place)])]).await
    }

    async fn sentinels_with(settings: Vec<(&'static str, String)>) -> Option<Self> {
        let own = Own::start_with("redis_sentinel", settings).await?;
        Some(Self { own, url: "SHOP_TEST_REDIS_SENTINEL_URL", nodes: "SHOP_TEST_REDIS_SENTINEL_NODES" })
    }

    /// A cluster of three masters and four replicas. `None`, said loudly, when this run does not use real servers.
    pub async fn cluster() -> Option<Self> {
        let own = Own::start("redis_cluster").await?;
        Some(Self { own, url: "SHOP_TEST_REDIS_CLUSTER_URL", nodes: "SHOP_TEST_REDIS_CLUSTER_NODES" })
    }

    /// What settings call them: a URL with passwords.
    #[must_use]
    pub fn url(&self) -> &str {
        self.own.variable(self.url)
    }

    /// The servers, masters and replicas, each with its own URL.
    pub fn nodes(&self) -> impl Iterator<Item = &str> {
        self.own.variable(self.nodes).split(',')
    }

    /// Kills a master, as a power cut would.
    ///
    /// # Panics
    ///
    /// When there is none.
    pub async fn kill_master(&self) {
        self.kill_master_of("*").await;
    }

    /// Kills the master that has keys like `pattern`, which may be of no key at all when it is `*`.
    ///
    /// # Panics
    ///
    /// When there is none.
    pub async fn kill_master_of(&self, pattern: &str) {
        for node in self.nodes() {
            let Some(told) = ask::<String>(node, cmd("INFO").arg("everything")).await else { continue };
            let keys: Vec<String> = ask(node, cmd("KEYS").arg(pattern)).await.unwrap_or_default();
            if told.contains("role:master") && (pattern == "*" || !keys.is_empty()) {
                let process = told.lines().find_map(|line| line.strip_prefix("process_id:")).expect("says so").trim();
                assert!(Program::new("kill").args(["-KILL", process]).output().await.status.success());
                return;
            }
        }
        panic!("no master with {pattern} among {:?}", self.nodes().collect::<Vec<_>>());
    }

    /// Starts again who was killed, with its data, and waits until all is well.
    pub async fn resume(&self) {
        self.own.resume().await;
    }
}

/// What a server answers, if it is there.
async fn ask<T: FromRedisValue>(node: &str, command: &Cmd) -> Option<T> {
    let client = redis::Client::open(node).expect("a url");
    let mut connection = client.get_multiplexed_async_connection().await.ok()?;
    command.query_async(&mut connection).await.ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::eventually;

    async fn info(node: &str) -> Option<String> {
        ask(node, cmd("INFO").arg("replication")).await
    }

    #[tokio::test]
    async fn another_one_is_the_master_when_it_was_killed_and_it_comes_back_as_a_replica() {
        let Some(redises) = Redises::behind_sentinels().await else { return };
        let masters = async || {
            let mut masters = Vec::new();
            for node in redises.nodes() {
                masters.extend(info(node).await.filter(|told| told.contains("role:master")).map(|_| node));
            }
            masters
        };
        let before = masters().await;
        redises.kill_master().await;
        eventually!(masters().await.len() == 1 && masters().await != before);
        let after = masters().await;
        redises.resume().await;
        eventually!({
            let told = info(before[0]).await;
            told.is_some_and(|told| told.contains("role:slave") && told.contains("master_link_status:up"))
        });
        assert_eq!(masters().await, after);
    }
}
