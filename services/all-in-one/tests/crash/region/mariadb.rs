//! Where the payment service keeps its books: two servers of which one writes, or three that all do.

use std::time::Duration;

use shop_testing::Place;
use shop_testing::backend::{Engine, Galera, Pair, galera};
use sqlx::{Connection as _, Executor as _, MySqlConnection};

use super::stores::fail;
use crate::chance::Chance;

/// Which it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Pair,
    Galera,
}

impl Kind {
    /// By chance, or as `SHOP_TEST_REGION_MARIADB` says; a pair where Galera is not wanted.
    #[expect(clippy::print_stderr, reason = "needed to repeat a failed run")]
    pub(super) fn choose(chance: &mut Chance) -> Self {
        let by_chance = ["pair", "galera"][chance.pick(2)];
        let chosen = shop_testing::variable("SHOP_TEST_REGION_MARIADB");
        let kind = match chosen.as_deref().unwrap_or(by_chance) {
            "pair" => Self::Pair,
            "galera" => galera().map_or(Self::Pair, |_| Self::Galera),
            other => panic!("SHOP_TEST_REGION_MARIADB is galera or pair, not {other}"),
        };
        eprintln!("region: SHOP_TEST_REGION_MARIADB={}", if kind == Self::Pair { "pair" } else { "galera" });
        kind
    }

    pub(super) const fn servers(self) -> usize {
        match self {
            Self::Pair => 2,
            Self::Galera => 3,
        }
    }
}

pub(super) enum MariaDb {
    Pair(Pair),
    Galera(Galera),
}

impl MariaDb {
    /// In places of a network, of as many as it has servers, or of none.
    pub(super) async fn start(kind: Kind, places: &[Place]) -> Option<Self> {
        Some(match kind {
            Kind::Pair => {
                let places = if let [one, other] = places { Some([one, other]) } else { None };
                Self::Pair(Pair::start(Engine::MariaDb, places).await?)
            }
            Kind::Galera => {
                let cluster = Galera::start_in(places).await?;
                let mut node = MySqlConnection::connect(cluster.url(0)).await.expect("connects");
                let (user, password) = Pair::WRITER.split_once(':').expect("a password");
                let user = format!(
                    "CREATE USER {user}@'%' IDENTIFIED BY '{password}'; GRANT ALL ON `region%`.* TO {user}@'%'"
                );
                node.execute(sqlx::raw_sql(sqlx::AssertSqlSafe(user))).await.expect("makes a user");
                Self::Galera(cluster)
            }
        })
    }

    pub(super) const fn name(&self) -> &'static str {
        match self {
            Self::Pair(_) => "MariaDB",
            Self::Galera(_) => "Galera",
        }
    }

    /// `host:port` of each server.
    pub(super) fn places(&self) -> Vec<String> {
        match self {
            Self::Pair(pair) => pair.places().map(str::to_owned).to_vec(),
            Self::Galera(cluster) => cluster.places().map(str::to_owned).to_vec(),
        }
    }

    /// The URL of a server that may be written to now, of a user who may do anything.
    pub(super) async fn writer(&self) -> &str {
        match self {
            Self::Pair(pair) => pair.leader(),
            Self::Galera(cluster) => cluster.member().await,
        }
    }

    /// It loses a server for so long. What that was.
    pub(super) async fn lose(&mut self, chance: &mut Chance, places: Option<&[Place]>, lasts: Duration) -> String {
        match self {
            Self::Pair(pair) => fail(pair, "MariaDB", chance, places, lasts).await,
            Self::Galera(cluster) => lose_a_node(cluster, chance, places, lasts).await,
        }
    }
}

/// In `evs.suspect_timeout` the others give up a node that they do not hear; until then nobody commits.
const SUSPECTED: Duration = Duration::from_secs(5);

/// One node is away at a time, and the next fault waits until all are one cluster again, as whoever runs one has to.
async fn lose_a_node(cluster: &Galera, chance: &mut Chance, places: Option<&[Place]>, lasts: Duration) -> String {
    let (kind, node, is_long) = (chance.pick(5), chance.pick(3), chance.pick(2) == 1);
    let lasts = if is_long { lasts + SUSPECTED } else { lasts };
    match (kind, places) {
        (0, Some(places)) => {
            places[node].cut_off();
            tokio::time::sleep(lasts).await;
            places[node].join();
            cluster.whole().await;
            format!("one Galera is cut off{}", if is_long { " for long" } else { "" })
        }
        // The services reach it all the while.
        (1, Some(places)) => {
            let others = || places.iter().enumerate().filter(|(other, _)| *other != node).map(|(_, place)| place);
            for other in others() {
                places[node].lose_to(other);
                other.lose_to(&places[node]);
            }
            tokio::time::sleep(lasts).await;
            for other in others() {
                places[node].reach(other);
                other.reach(&places[node]);
            }
            cluster.whole().await;
            format!("one Galera hears no other{}", if is_long { " for long" } else { "" })
        }
        (2, _) => {
            cluster.kill(node).await;
            tokio::time::sleep(lasts).await;
            cluster.resume_anew(node).await;
            "one Galera is killed and loses its data".to_owned()
        }
        _ => {
            cluster.kill(node).await;
            tokio::time::sleep(lasts).await;
            cluster.resume(node).await;
            "one Galera is killed".to_owned()
        }
    }
}
