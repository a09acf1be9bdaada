//! Servers of one test alone, which it may stop and kill.

use std::collections::BTreeMap;

use tempfile::TempDir;

use crate::{Place, Program, watch::Watched};

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../scripts/backends");

/// Servers started for one test in a folder of their own, removed with this value.
#[derive(Debug)]
pub struct Own {
    servers: &'static str,
    folder: TempDir,
    variables: BTreeMap<String, String>,
    settings: Vec<(&'static str, String)>,
    _watched: Watched,
}

impl Own {
    /// Starts servers (a comma list such as `kafka`) and waits until they answer. `None`, said loudly, when
    /// this run does not use real servers. `SHOP_TEST_KAFKA_MODE=zookeeper` chooses Kafka's other mode.
    pub async fn start(servers: &'static str) -> Option<Self> {
        Self::start_with(servers, Vec::new()).await
    }

    /// The same for a test that kills servers and never the machine: nothing waits for the disk.
    pub async fn without_sync(servers: &'static str) -> Option<Self> {
        Self::start_with(servers, vec![("SHOP_BACKENDS_FSYNC", "off".to_owned())]).await
    }

    /// The same with TLS: `folder` has the certificate that they show, and whose clients' they take, as `server.crt`,
    /// `server.key` and `ca.crt` in PEM.
    pub async fn with_certificate(servers: &'static str, folder: &std::path::Path) -> Option<Self> {
        Self::start_with(servers, vec![("SHOP_BACKENDS_TLS", folder.to_string_lossy().into_owned())]).await
    }

    /// A Kafka whose clients are sent to `at`, which leads to it.
    pub async fn kafka_at(at: std::net::SocketAddr) -> Option<Self> {
        Self::start_with("kafka", vec![("SHOP_BACKENDS_KAFKA_AT", at.to_string())]).await
    }

    /// The setting that has servers run in places of a network.
    pub(super) fn places<'a>(servers: impl IntoIterator<Item = (&'a str, &'a Place)>) -> (&'static str, String) {
        let places: Vec<_> = servers.into_iter().map(|(server, place)| place.of_server(server)).collect();
        ("SHOP_BACKENDS_PLACES", places.join(" "))
    }

    pub(super) async fn start_with(servers: &'static str, settings: Vec<(&'static str, String)>) -> Option<Self> {
        super::server("SHOP_TEST_BACKENDS_DIR", servers)?;
        let folder = tempfile::Builder::new().prefix("shop-own-").tempdir().expect("makes a folder");
        let purge =
            [SCRIPT, "purge", "--dir", &folder.path().to_string_lossy(), "--only", servers].map(quoted).join(" ");
        let mut own = Self { servers, folder, variables: BTreeMap::new(), settings, _watched: Watched::new(&purge) };
        own.resume().await;
        let printed = own.script("env", servers).await;
        own.variables = printed
            .lines()
            .filter_map(|line| line.strip_prefix("export ")?.split_once('='))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        Some(own)
    }

    /// One of the `SHOP_TEST_*` values for these servers.
    #[must_use]
    pub fn variable(&self, name: &str) -> &str {
        self.variables.get(name).unwrap_or_else(|| panic!("{name} is not among {:?}", self.variables.keys()))
    }

    /// Where the data of one of the servers is, and its certificate.
    #[must_use]
    pub fn folder(&self, server: &str) -> std::path::PathBuf {
        self.folder.path().join(server)
    }

    /// Kills the servers, as a power cut would. Their data stays.
    pub async fn kill(&self) {
        self.kill_one(self.servers).await;
    }

    /// Kills one of them, or some.
    pub async fn kill_one(&self, servers: &'static str) {
        self.script("kill", servers).await;
    }

    /// Starts them again on the same ports with the same data, and waits until they answer.
    pub async fn resume(&self) {
        self.script("start", self.servers).await;
    }

    /// Takes away what a server that does not run has, so that it begins anew.
    pub(super) fn forget(&self, server: &str) {
        let folder = self.folder(server);
        std::fs::remove_dir_all(folder.join("data"))
            .and_then(|()| std::fs::remove_file(folder.join("ready")))
            .expect("is forgotten");
    }

    /// Kills the servers while there is no time to wait.
    pub(super) fn end(&self) {
        drop(self.program("kill", self.servers).run());
    }

    /// Has `scripts/backends` do this with some of them; what it says.
    pub(super) async fn script(&self, command: &'static str, servers: &str) -> String {
        let output = self.program(command, servers).output().await;
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "scripts/backends {command} failed:\n{said}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    fn program(&self, command: &str, servers: &str) -> Program {
        let program = Program::new(SCRIPT).args([command, "--only", servers, "--dir"]).arg(self.folder.path());
        let program = self.settings.iter().fold(program, |program, (name, value)| program.env(name, value));
        match crate::variable("SHOP_TEST_KAFKA_MODE") {
            Some(mode) => program.args(["--kafka", &mode]),
            None => program,
        }
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        drop(self.program("purge", self.servers).run());
    }
}

/// As one word of the shell.
fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_killed_server_comes_back_in_the_same_place() {
        let Some(own) = Own::start("redis").await else { return };
        let client = redis::Client::open(own.variable("SHOP_TEST_REDIS_URL")).expect("is a url");
        client.get_connection().expect("connects");
        own.kill().await;
        assert!(client.get_connection().is_err(), "is down");
        own.resume().await;
        client.get_connection().expect("connects again");
    }
}
