//! The stores, each of more than one server.

use std::time::Duration;

use shop_testing::backend::{Cluster, Engine, Listener, Pair, Redises};
use shop_testing::{Network, Place};
use sqlx::{AssertSqlSafe, Connection as _, Executor as _};

use crate::chance::Chance;

/// Which store, as lines and faults have them.
pub(super) const POSTGRES: usize = 0;
pub(super) const MARIADB: usize = 1;
pub(super) const REDIS: usize = 2;
pub(super) const KAFKA: usize = 3;
pub(super) const NAMES: [&str; 4] = ["PostgreSQL", "MariaDB", "Redis", "Kafka"];

pub(super) struct Stores {
    /// `PostgreSQL` and `MariaDB`.
    databases: [Pair; 2],
    pub(super) redis: Redises,
    kafka: Cluster,
    /// Where the servers of each run, when there is a network.
    spots: Option<[Vec<Place>; 4]>,
}

impl Stores {
    /// All, side by side; `None` where tests do without real servers.
    pub(super) async fn start(network: Option<&Network>) -> Option<Self> {
        let spots = network.map(|network| [2, 2, 1, 3].map(|servers| (0..servers).map(|_| network.place()).collect()));
        let spot = |store: usize, server: usize| spots.as_ref().map(|spots: &[Vec<Place>; 4]| &spots[store][server]);
        let pair = |store| spot(store, 0).zip(spot(store, 1)).map(|(one, other)| [one, other]);
        let brokers = spots.as_ref().map_or(&[][..], |spots| &spots[KAFKA]);
        let redis = async {
            match spot(REDIS, 0) {
                Some(place) => Redises::behind_sentinels_in(place).await,
                None => Redises::behind_sentinels().await,
            }
        };
        let (postgres, mariadb, redis, kafka) = tokio::join!(
            Pair::start(Engine::Postgres, pair(POSTGRES)),
            Pair::start(Engine::MariaDb, pair(MARIADB)),
            redis,
            Cluster::start_in(3, brokers)
        );
        let stores = Self { databases: [postgres?, mariadb?], redis: redis?, kafka: kafka?, spots };
        let mut postgres = sqlx::PgConnection::connect(stores.databases[POSTGRES].leader()).await.expect("connects");
        for name in ["region_product", "region_notification"] {
            let sql = format!("CREATE DATABASE {name} OWNER writer");
            postgres.execute(AssertSqlSafe(sql)).await.expect("makes a database");
        }
        let mut mariadb = sqlx::MySqlConnection::connect(stores.databases[MARIADB].leader()).await.expect("connects");
        mariadb.execute("CREATE DATABASE region_payment").await.expect("makes a database");
        Some(stores)
    }

    /// Kafka's brokers, with commas between.
    pub(super) fn brokers(&self) -> String {
        self.kafka.at(Listener::Plaintext).join(",")
    }

    /// `host:port` of both servers of a database.
    pub(super) fn places(&self, store: usize) -> [String; 2] {
        self.databases[store].places().map(str::to_owned)
    }

    /// Where a server of a store runs.
    pub(super) fn spot(&self, store: usize, server: usize) -> Option<&Place> {
        Some(&self.spots.as_ref()?[store][server])
    }

    /// The books, as the server that writes them now has them.
    pub(super) fn books(&self) -> String {
        let url = self.databases[MARIADB].leader();
        format!("{}/region_payment", url.rsplit_once('/').map_or(url, |(server, _)| server))
    }

    /// One of them loses a server for so long. What that was.
    pub(super) async fn lose(&mut self, chance: &mut Chance, lasts: Duration) -> String {
        let (store, server) = (chance.pick(4), chance.pick(3));
        let name = NAMES[store];
        match store {
            POSTGRES | MARIADB => {
                let place = self.spots.as_ref().map(|spots| &spots[store][self.databases[store].leads()]);
                let pair = &mut self.databases[store];
                match (chance.pick(6), place) {
                    (0, _) => {
                        pair.restart(lasts).await;
                        format!("{name} is killed")
                    }
                    (1, _) => {
                        pair.restart_follower(lasts).await;
                        format!("{name}'s follower is killed")
                    }
                    (2, Some(place)) => {
                        pair.fail_over_from(place, lasts).await;
                        format!("{name} is cut off and fails over")
                    }
                    _ => {
                        pair.fail_over(lasts).await;
                        format!("{name} fails over")
                    }
                }
            }
            REDIS => {
                self.redis.kill_master().await;
                tokio::time::sleep(lasts).await;
                self.redis.resume().await;
                format!("{name}'s master is killed")
            }
            _ => {
                let spot = self.spots.as_ref().map(|spots| &spots[KAFKA][server]);
                let is_cut = chance.pick(2) == 0;
                if let Some(spot) = spot.filter(|_| is_cut) {
                    spot.cut_off();
                    tokio::time::sleep(lasts).await;
                    spot.join();
                    return format!("one {name} is cut off");
                }
                self.kafka.kill(server + 1).await;
                tokio::time::sleep(lasts).await;
                self.kafka.resume(server + 1).await;
                format!("one {name} is killed")
            }
        }
    }
}
