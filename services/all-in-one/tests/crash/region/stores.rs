//! The stores, each of more than one server.

use std::time::Duration;

use shop_testing::backend::{Cluster, Engine, Listener, Pair, Redises};
use shop_testing::{Network, Place};
use sqlx::{AssertSqlSafe, Connection as _, Executor as _};

use super::mariadb::{self, MariaDb};
use crate::chance::Chance;

/// Which store, as lines and faults have them.
pub(super) const POSTGRES: usize = 0;
pub(super) const MARIADB: usize = 1;
pub(super) const REDIS: usize = 2;
pub(super) const KAFKA: usize = 3;

pub(super) struct Stores {
    postgres: Pair,
    mariadb: MariaDb,
    pub(super) redis: Redises,
    kafka: Cluster,
    /// Where the servers of each run, when there is a network.
    spots: Option<[Vec<Place>; 4]>,
}

impl Stores {
    /// All, side by side; `None` where tests do without real servers.
    pub(super) async fn start(network: Option<&Network>, kind: mariadb::Kind) -> Option<Self> {
        let spots = network
            .map(|network| [2, kind.servers(), 1, 3].map(|servers| (0..servers).map(|_| network.place()).collect()));
        let all = |store: usize| spots.as_ref().map_or(&[][..], |spots: &[Vec<Place>; 4]| &spots[store]);
        let redis = async {
            match all(REDIS).first() {
                Some(place) => Redises::behind_sentinels_in(place).await,
                None => Redises::behind_sentinels().await,
            }
        };
        let (postgres, mariadb, redis, kafka) = tokio::join!(
            Pair::start(Engine::Postgres, all(POSTGRES).first_chunk().map(<[Place; 2]>::each_ref)),
            MariaDb::start(kind, all(MARIADB)),
            redis,
            Cluster::start_in(3, all(KAFKA))
        );
        let stores = Self { postgres: postgres?, mariadb: mariadb?, redis: redis?, kafka: kafka?, spots };
        let mut postgres = sqlx::PgConnection::connect(stores.postgres.leader()).await.expect("connects");
        for name in ["region_product", "region_notification"] {
            let sql = format!("CREATE DATABASE {name} OWNER writer");
            postgres.execute(AssertSqlSafe(sql)).await.expect("makes a database");
        }
        let mut mariadb = sqlx::MySqlConnection::connect(stores.mariadb.writer().await).await.expect("connects");
        mariadb.execute("CREATE DATABASE region_payment").await.expect("makes a database");
        Some(stores)
    }

    pub(super) const fn name(&self, store: usize) -> &'static str {
        match store {
            POSTGRES => "PostgreSQL",
            MARIADB => self.mariadb.name(),
            REDIS => "Redis",
            _ => "Kafka",
        }
    }

    /// Kafka's brokers, with commas between.
    pub(super) fn brokers(&self) -> String {
        self.kafka.at(Listener::Plaintext).join(",")
    }

    /// `host:port` of each server of a database.
    pub(super) fn places(&self, store: usize) -> Vec<String> {
        match store {
            POSTGRES => self.postgres.places().map(str::to_owned).to_vec(),
            _ => self.mariadb.places(),
        }
    }

    /// Where a server of a store runs.
    pub(super) fn spot(&self, store: usize, server: usize) -> Option<&Place> {
        Some(&self.spots.as_ref()?[store][server])
    }

    /// The books, at a server that may be written to now.
    pub(super) async fn books(&self) -> String {
        let url = self.mariadb.writer().await;
        format!("{}/region_payment", url.rsplit_once('/').map_or(url, |(server, _)| server))
    }

    /// One of them loses a server for so long. What that was.
    pub(super) async fn lose(&mut self, chance: &mut Chance, lasts: Duration) -> String {
        let (store, server) = (chance.pick(4), chance.pick(3));
        let name = self.name(store);
        let spots = self.spots.as_ref().map(|spots| &spots[store][..]);
        match store {
            POSTGRES => fail(&mut self.postgres, name, chance, spots, lasts).await,
            MARIADB => self.mariadb.lose(chance, spots, lasts).await,
            REDIS => {
                self.redis.kill_master().await;
                tokio::time::sleep(lasts).await;
                self.redis.resume().await;
                format!("{name}'s master is killed")
            }
            _ => {
                let spot = spots.map(|spots| &spots[server]);
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

/// One of a pair is away for so long. What that was.
pub(super) async fn fail(
    pair: &mut Pair,
    name: &str,
    chance: &mut Chance,
    spots: Option<&[Place]>,
    lasts: Duration,
) -> String {
    let place = spots.map(|spots| &spots[pair.leads()]);
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
