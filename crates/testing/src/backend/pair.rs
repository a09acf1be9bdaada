//! Two servers of one database for one test alone: one writes, and the other has all that it acknowledged and takes over when it is
//! told to, as by a tool of operators.

use std::time::Duration;

use sqlx::{AssertSqlSafe, Connection as _, Executor as _, MySqlConnection, PgConnection, Row as _};

use super::Own;
use crate::{Place, eventually};

/// What the servers are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Engine {
    /// With synchronous replication.
    Postgres,
    /// With semi-synchronous replication, which waits before others see what is committed.
    MariaDb,
}

/// The servers, gone with this value. The user of the tests may do anything; another, [`Pair::WRITER`], does not write where it
/// should not.
#[derive(Debug)]
pub struct Pair {
    own: Own,
    engine: Engine,
    /// The place of the one that writes.
    leader: usize,
}

/// A restarted server writes nothing and follows nobody until it is told to, and a replica passes on what it was given. That it
/// follows is not said at the start: a leader that is killed would then begin again without what it was about to acknowledge.
const MARIADB: &str = "--read-only=ON --log-slave-updates=ON --skip-slave-start --rpl-semi-sync-master-enabled=ON \
    --rpl-semi-sync-master-wait-point=AFTER_SYNC --rpl-semi-sync-master-wait-no-slave=OFF --rpl-semi-sync-master-timeout=600000";

/// A replica that has much to take over takes its time.
const LONG: Duration = Duration::from_mins(2);

impl Engine {
    const fn servers(self) -> [&'static str; 2] {
        match self {
            Self::Postgres => ["postgres", "standby"],
            Self::MariaDb => ["mariadb", "replica"],
        }
    }
}

impl Pair {
    /// A user and its password, as a URL has them.
    pub const WRITER: &str = "writer:kept-to-itself";

    /// Starts both, the second following the first, in places of a network if there are any. `None`, said loudly, when this run
    /// does not use real servers.
    pub async fn start(engine: Engine, places: Option<[&Place; 2]>) -> Option<Self> {
        let (servers, mut settings) = match engine {
            Engine::Postgres => ("postgres,standby", Vec::new()),
            Engine::MariaDb => ("mariadb,replica", vec![("SHOP_BACKENDS_MARIADB_OPTIONS", MARIADB.to_owned())]),
        };
        settings.extend(places.map(|places| Own::places(engine.servers().into_iter().zip(places))));
        let pair = Self { own: Own::start_with(servers, settings).await?, engine, leader: 0 };
        pair.follow(1).await;
        pair.lead().await;
        match engine {
            Engine::Postgres => {
                // SCRAM takes a program that is built for debugging so long that on a busy machine the server seems to be away.
                let user = "SET password_encryption = 'md5'; CREATE ROLE writer LOGIN PASSWORD 'kept-to-itself'";
                pair.execute(0, &[user]).await;
            }
            Engine::MariaDb => {
                let user = "CREATE USER writer@'%' IDENTIFIED BY 'kept-to-itself'";
                pair.execute(0, &[user, "GRANT ALL ON `region%`.* TO writer@'%'"]).await;
            }
        }
        Some(pair)
    }

    /// The URL of one of both, of a user who may do anything.
    #[must_use]
    pub fn url(&self, server: usize) -> &str {
        let name = match (self.engine, server) {
            (Engine::Postgres, 0) => "SHOP_TEST_POSTGRES_URL",
            (Engine::Postgres, _) => "SHOP_TEST_STANDBY_URL",
            (Engine::MariaDb, 0) => "SHOP_TEST_MARIADB_URL",
            (Engine::MariaDb, _) => "SHOP_TEST_REPLICA_URL",
        };
        self.own.variable(name)
    }

    /// The same of the one that writes.
    #[must_use]
    pub fn leader(&self) -> &str {
        self.url(self.leader)
    }

    /// `host:port` of both.
    #[must_use]
    pub fn places(&self) -> [&str; 2] {
        [0, 1].map(|server| {
            let url = self.url(server);
            let (_, place) = url.rsplit_once('@').expect("a password");
            place.split('/').next().unwrap_or_default()
        })
    }

    /// Kills the one that writes, as a power cut would, and lets it come back as it was after `away`.
    pub async fn restart(&mut self, away: Duration) {
        self.kill(self.leader).await;
        tokio::time::sleep(away).await;
        self.own.resume().await;
        self.lead().await;
    }

    /// Kills the other one, without which nothing is acknowledged, and lets it come back after `away`.
    pub async fn restart_follower(&mut self, away: Duration) {
        let follower = 1 - self.leader;
        self.kill(follower).await;
        tokio::time::sleep(away).await;
        self.own.resume().await;
        self.resume_following(follower).await;
        self.lead().await;
    }

    /// Kills the one that writes; after `noticed` the other takes over. Who was killed comes back with nothing, for nobody knows
    /// what it has that was never acknowledged, and copies the other.
    pub async fn fail_over(&mut self, noticed: Duration) {
        let former = self.leader;
        self.kill(former).await;
        tokio::time::sleep(noticed).await;
        self.take_over().await;
        self.return_anew(former).await;
    }

    /// The same while the one that writes is in a `place` that nobody reaches: it lives on, and is killed before it has its cable
    /// again.
    pub async fn fail_over_from(&mut self, place: &Place, noticed: Duration) {
        let former = self.leader;
        place.cut_off();
        tokio::time::sleep(noticed).await;
        self.take_over().await;
        self.kill(former).await;
        place.join();
        self.return_anew(former).await;
    }

    /// Which of both writes.
    #[must_use]
    pub const fn leads(&self) -> usize {
        self.leader
    }

    async fn take_over(&mut self) {
        self.leader = 1 - self.leader;
        self.promote().await;
    }

    async fn return_anew(&self, former: usize) {
        let name = self.engine.servers()[former];
        self.own.forget(name);
        self.own.resume().await;
        self.follow(former).await;
        self.lead().await;
    }

    async fn kill(&self, server: usize) {
        self.own.kill_one(self.engine.servers()[server]).await;
    }

    /// Has the leader's data, and goes on following it.
    async fn follow(&self, server: usize) {
        if self.engine == Engine::Postgres {
            // It was made from the other.
            return;
        }
        let (login, place) = self.leader().trim_start_matches("mysql://shop:").split_once('@').expect("a password");
        let (host, port) = place.split('/').next().and_then(|place| place.split_once(':')).expect("a port");
        let leader = format!(
            "CHANGE MASTER TO master_host = '{host}', master_port = {port}, master_user = 'shop', master_password = '{login}', \
             master_connect_retry = 1, master_use_gtid = slave_pos"
        );
        self.execute(server, &[&leader]).await;
        self.resume_following(server).await;
    }

    async fn resume_following(&self, server: usize) {
        if self.engine == Engine::MariaDb {
            self.execute(server, &["SET GLOBAL rpl_semi_sync_slave_enabled = ON", "START SLAVE"]).await;
        }
    }

    /// The leader acknowledges only what the other one has, too.
    async fn lead(&self) {
        match self.engine {
            Engine::Postgres => {
                self.execute(
                    self.leader,
                    &["ALTER SYSTEM SET synchronous_standby_names = '*'", "SELECT pg_reload_conf()"],
                )
                .await;
                let mut leader = PgConnection::connect(self.leader()).await.expect("connects");
                let state = "SELECT COUNT(*) FROM pg_stat_replication WHERE sync_state = 'sync'";
                eventually!(within LONG, sqlx::query_scalar::<_, i64>(state).fetch_one(&mut leader).await.expect("asks") == 1);
            }
            Engine::MariaDb => {
                let mut leader = MySqlConnection::connect(self.leader()).await.expect("connects");
                let state = "SELECT variable_value FROM information_schema.global_status WHERE variable_name IN \
                    ('RPL_SEMI_SYNC_MASTER_CLIENTS', 'RPL_SEMI_SYNC_MASTER_STATUS') ORDER BY variable_name";
                eventually!(within LONG, {
                    let state: Vec<String> = sqlx::query_scalar(state).fetch_all(&mut leader).await.expect("asks");
                    if state == ["1", "ON"] { Ok(()) } else { Err(state) }
                });
                // One that began anew has all, or it could not take over.
                let at = "SELECT @@gtid_binlog_pos";
                let at: String = sqlx::query_scalar(at).fetch_one(&mut leader).await.expect("says where it is");
                let mut follower = MySqlConnection::connect(self.url(1 - self.leader)).await.expect("connects");
                let reached = "SELECT MASTER_GTID_WAIT(?, 1)";
                eventually!(within LONG, {
                    self.applies(1 - self.leader).await;
                    let late: i64 = sqlx::query_scalar(reached).bind(&at).fetch_one(&mut follower).await.expect("waits");
                    late == 0
                });
                self.execute(self.leader, &["SET GLOBAL rpl_semi_sync_master_wait_no_slave = ON"]).await;
                self.execute(self.leader, &["SET GLOBAL read_only = OFF"]).await;
            }
        }
    }

    /// The leader, which followed until now, writes, and waits for nobody for the moment.
    async fn promote(&self) {
        match self.engine {
            Engine::Postgres => {
                let promote = [
                    "ALTER SYSTEM SET synchronous_standby_names = ''",
                    "SELECT pg_reload_conf()",
                    "SELECT pg_promote()",
                ];
                self.execute(self.leader, &promote).await;
            }
            Engine::MariaDb => {
                // What it was given only in part nobody was told of.
                eventually!(within LONG, {
                    let does = self.applies(self.leader).await;
                    if does.starts_with("Slave has read all relay log") { Ok(()) } else { Err(does) }
                });
                let promote = [
                    "STOP SLAVE",
                    "RESET SLAVE ALL",
                    "SET GLOBAL rpl_semi_sync_slave_enabled = OFF",
                    "SET GLOBAL read_only = OFF",
                ];
                self.execute(self.leader, &promote).await;
            }
        }
    }

    /// What a `MariaDB` that follows does with what it was given.
    ///
    /// # Panics
    ///
    /// When it does nothing: it has something that the other one has not.
    async fn applies(&self, server: usize) -> String {
        let mut server = MySqlConnection::connect(self.url(server)).await.expect("connects");
        let state = server.fetch_one("SHOW SLAVE STATUS").await.expect("says how far it is");
        // What it does is not there yet when it has just begun.
        let said = |name| state.try_get::<Option<String>, _>(name).expect("is in it").unwrap_or_default();
        assert_eq!(said("Slave_SQL_Running"), "Yes", "{}", said("Last_SQL_Error"));
        said("Slave_SQL_Running_State")
    }

    async fn execute(&self, server: usize, statements: &[&str]) {
        for sql in statements {
            let statement = sqlx::raw_sql(AssertSqlSafe((*sql).to_owned()));
            let done = match self.engine {
                Engine::Postgres => {
                    let mut server = PgConnection::connect(self.url(server)).await.expect("connects");
                    server.execute(statement).await.map(drop)
                }
                Engine::MariaDb => {
                    let mut server = MySqlConnection::connect(self.url(server)).await.expect("connects");
                    server.execute(statement).await.map(drop)
                }
            };
            done.unwrap_or_else(|error| panic!("{sql}: {error}"));
        }
    }
}
