//! Redises that are several: masters that die under load, slots that move, replicas that are too few.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::time::Instant;

use ::redis::{Cmd, FromRedisValue, Value, cmd};
use shop_fault::{Fault, Kind};
use shop_idempotency::{Begin, Claim, Fingerprint, Key};
use shop_input::Id;
use shop_testing::Program;
use shop_testing::backend::{self, Own};

use super::*;

/// Changes of each user before something happens to Redis, while it does, and after it.
const CHANGES: usize = 40;

async fn asked<T: FromRedisValue>(node: &str, command: &Cmd) -> T {
    let client = ::redis::Client::open(node).expect("a url");
    let mut connection = client.get_multiplexed_async_connection().await.expect("connected");
    command.query_async(&mut connection).await.unwrap_or_else(|error| panic!("{node}: {error}"))
}

async fn info(node: &str, section: &str) -> String {
    asked(node, cmd("INFO").arg(section)).await
}

fn value(info: &str, name: &str) -> String {
    let line = info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.unwrap_or_else(|| panic!("no {name} in {info}")).trim().to_owned()
}

/// The master with most replicas.
async fn master(nodes: &str) -> String {
    let mut masters = Vec::new();
    for node in nodes.split(',') {
        let told = info(node, "replication").await;
        if value(&told, "role") == "master" {
            masters.push((value(&told, "connected_slaves"), node.to_owned()));
        }
    }
    masters.into_iter().max().expect("a master").1
}

async fn process(node: &str) -> String {
    value(&info(node, "server").await, "process_id")
}

async fn signal(name: &str, process: &str) {
    assert!(Program::new("kill").args([name, process]).output().await.status.success());
}

/// Users who put one unit after the other into their baskets.
struct Load {
    stage: Stage,
    users: Vec<UserId>,
    /// What each may have in the basket by now.
    units: AtomicUsize,
    /// Whether something happened to Redis.
    happened: AtomicBool,
    refused: AtomicUsize,
}

impl Load {
    async fn on(settings: Redis, users: &[&str]) -> Self {
        let (stage, users) = (Stage::open(settings, ()).await, users.iter().map(|name| user(name)).collect());
        Self { stage, users, units: 0.into(), happened: false.into(), refused: 0.into() }
    }

    /// All users change their baskets as often, each change until it is acknowledged. After each acknowledged change the
    /// basket has what it should, if it can be read.
    async fn changes(&self, number: usize) {
        let before = self.units.load(SeqCst);
        join_all(self.users.iter().map(|user| async move {
            for done in before..before + number {
                let operation = Some(Uuid::now_v7());
                let product = i64::try_from(done % 50).expect("small") + 1;
                shop_testing::eventually!(within Duration::from_secs(30), {
                    let added = self.stage.add(user, product, operation).await;
                    added.map_err(|error| self.excuse(error)).is_ok()
                });
                match self.stage.opened.store.get(user).await {
                    Ok(basket) => assert_eq!(units(basket.as_ref()), done + 1, "{user}"),
                    Err(error) => self.excuse(error),
                }
            }
        }))
        .await;
        self.units.store(before + number, SeqCst);
    }

    /// While Redis is well nothing is refused, and else as what passes.
    fn excuse(&self, error: Error) {
        let fault = Fault::from(error);
        assert_eq!((fault.kind(), fault.code()), (Kind::Unavailable, "store_unavailable"), "{fault:?}");
        assert!(self.happened.load(SeqCst), "nothing happened yet: {fault:?}");
        self.refused.fetch_add(1, SeqCst);
    }

    /// Changes while a master dies, or falls silent, by a signal, and after it: those are refused no more.
    async fn while_it_dies(&self, node: &str, how: &str) {
        let process = process(node).await;
        self.changes(CHANGES).await;
        self.happened.store(true, SeqCst);
        let dying = async {
            signal(how, &process).await;
            let died = Instant::now();
            shop_testing::eventually!(within Duration::from_secs(30), {
                let mut all = true;
                for user in &self.users {
                    all &= self.stage.opened.store.change(user, Some(Uuid::now_v7()), &|_| Ok(())).await.is_ok();
                }
                all
            });
            println!("all baskets could be changed {:?} after their master died", died.elapsed());
        };
        tokio::join!(dying, self.changes(CHANGES));
        println!("{} calls were refused meanwhile", self.refused.load(SeqCst));
        self.happened.store(false, SeqCst);
        self.changes(CHANGES).await;
        if how == "-STOP" {
            signal("-CONT", &process).await;
        }
        self.stage.opened.store.check().await.expect("takes writes");
    }
}

fn units(basket: Option<&Basket>) -> usize {
    basket.map_or(0, |basket| basket.item_count().try_into().expect("small"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_master_behind_sentinels_dies_under_load_and_nothing_acknowledged_is_lost_or_doubled() {
    let Some(own) = Own::start("redis_sentinel").await else { return };
    let settings = Redis { wait_replicas: 1, ..Redis::at(own.variable("SHOP_TEST_REDIS_SENTINEL_URL")) };
    let load = Load::on(settings, &["ann", "ben", "cleo", "dan"]).await;
    load.while_it_dies(&master(own.variable("SHOP_TEST_REDIS_SENTINEL_NODES")).await, "-KILL").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn slots_of_a_cluster_move_and_a_master_falls_silent_under_load_and_nothing_is_lost_or_doubled() {
    let Some(own) = Own::start("redis_cluster").await else { return };
    let settings = Redis { wait_replicas: 1, ..Redis::at(own.variable("SHOP_TEST_REDIS_CLUSTER_URL")) };
    let load = Load::on(settings, &["ann", "ben", "cleo", "dan", "eve", "fay", "gus", "hal"]).await;
    let nodes = own.variable("SHOP_TEST_REDIS_CLUSTER_NODES");
    let moving = async {
        for user in &load.users {
            move_slot(nodes, &format!("basket:{{{user}}}")).await;
        }
    };
    // Whoever waits for replicas while the slot leaves their master does not know what those of the other have.
    load.happened.store(true, SeqCst);
    tokio::join!(moving, load.changes(CHANGES));
    println!("{} calls were refused while slots moved", load.refused.swap(0, SeqCst));
    load.happened.store(false, SeqCst);
    load.while_it_dies(&master(nodes).await, "-STOP").await;
}

/// Moves the slot of a key to another master, as `redis-cli --cluster reshard` does.
async fn move_slot(nodes: &str, key: &str) {
    let any = nodes.split(',').next().expect("a node");
    let slot: u16 = asked(any, cmd("CLUSTER").arg("KEYSLOT").arg(key)).await;
    let mut masters = Vec::new();
    for node in nodes.split(',') {
        if value(&info(node, "replication").await, "role") == "master" {
            let id: String = asked(node, cmd("CLUSTER").arg("MYID")).await;
            let all: String = asked(node, cmd("CLUSTER").arg("NODES")).await;
            let mine = all.lines().find(|line| line.starts_with(&id)).expect("itself");
            let has = |range: &str| {
                let (first, last) = range.split_once('-').unwrap_or((range, range));
                let bounds = first.parse::<u16>().ok().zip(last.parse::<u16>().ok());
                bounds.is_some_and(|(first, last)| (first..=last).contains(&slot))
            };
            masters.push((mine.split(' ').skip(8).any(has), node, id));
        }
    }
    let (_, from, from_id) = masters.iter().find(|(has, ..)| *has).expect("somebody has it");
    let (_, to, to_id) = masters.iter().find(|(has, ..)| !*has).expect("somebody else");
    let set = |state: &'static str, id: &str| {
        let mut set = cmd("CLUSTER");
        set.arg("SETSLOT").arg(slot).arg(state).arg(id);
        set
    };
    asked::<()>(to, &set("IMPORTING", from_id)).await;
    asked::<()>(from, &set("MIGRATING", to_id)).await;
    let (login, place) = to.strip_prefix("redis://:").and_then(|to| to.split_once('@')).expect("a password");
    let (host, port) = place.trim_end_matches("/0").split_once(':').expect("a port");
    loop {
        let keys: Vec<String> = asked(from, cmd("CLUSTER").arg("GETKEYSINSLOT").arg(slot).arg(10)).await;
        if keys.is_empty() {
            break;
        }
        let mut migrate = cmd("MIGRATE");
        migrate.arg(host).arg(port).arg("").arg(0).arg(5000).arg("AUTH").arg(login).arg("KEYS").arg(keys);
        // NOKEY when what was there has expired.
        asked::<Value>(from, &migrate).await;
    }
    for node in [to, from] {
        asked::<()>(node, &set("NODE", to_id)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_that_too_few_replicas_have_stands_and_is_acknowledged_when_they_have_it() {
    let Some(keys) = backend::redis_sentinel() else { return };
    let ann = user("ann");
    let settings = |wait_replicas| Redis {
        wait_replicas,
        response_timeout: shop_config::Duration::secs(1),
        key_prefix: keys.prefix().to_owned(),
        ..Redis::at(&keys.url())
    };
    let (stage, lenient) = (Stage::open(settings(3), ()).await, Stage::open(settings(0), ()).await);
    let operation = Some(Uuid::now_v7());
    for _ in 0..2 {
        let fault = Fault::from(stage.add(&ann, 1, operation).await.expect_err("there are two"));
        assert_eq!((fault.kind(), fault.code()), (Kind::Unavailable, "store_unavailable"));
        assert!(fault.to_string().contains("too few copies") && fault.retry_after().is_some(), "{fault}");
    }
    let nothing = stage.opened.store.change(&ann, None, &|_| Ok(())).await;
    nothing.expect_err("what is there is not acknowledged either");
    stage.opened.store.get(&ann).await.expect_err("nor is it shown");
    assert_eq!(units(lenient.get(&ann).await.as_ref()), 1, "it stands");

    // Nobody waits behind those who wait for replicas, and they wait together.
    let started = Instant::now();
    let waiting = join_all((0..20).map(|_| stage.add(&ann, 1, None)));
    let reading = async {
        while units(lenient.get(&ann).await.as_ref()) < 21 {
            tokio::task::yield_now().await;
        }
        started.elapsed()
    };
    let (refused, read) = tokio::join!(waiting, reading);
    assert!(refused.iter().all(Result::is_err));
    let waited = started.elapsed();
    assert!(
        read < waited && waited < Duration::from_secs(5),
        "{read:?} and {waited:?}, and not 20 times half a second"
    );

    let stage = Stage::open(settings(2), ()).await;
    let again = stage.add(&ann, 1, operation).await.expect("both have it");
    assert!(matches!(again, Changed::Repeated(Some(_))), "{again:?}");
    assert_eq!(units(again.into_basket().as_ref()), 21);
}

/// As the one that was the master, before it hears so.
#[tokio::test]
async fn a_master_without_its_replicas_is_not_believed() {
    let Some(keys) = backend::redis().await else { return };
    let settings = |wait_replicas| Redis {
        wait_replicas,
        response_timeout: shop_config::Duration::secs(1),
        key_prefix: keys.prefix().to_owned(),
        ..Redis::at(&keys.url())
    };
    let (ann, basket) = (user("ann"), Uuid::now_v7());
    let (lenient, strict) = (Stage::open(settings(0), ()).await, Stage::open(settings(1), ()).await);
    assert_eq!(lenient.get(&ann).await, None);
    assert_eq!(lenient.opened.store.forwarded(basket).await.expect("is read"), None);
    let store = &strict.opened.store;
    for refused in [
        store.get(&ann).await.expect_err("others may know of a basket"),
        store.forwarded(basket).await.expect_err("others may know whose it became"),
        store.forward(basket, &ann).await.expect_err("nobody else knows it"),
        store.change(&ann, None, &|_| Err(Error::NoBasket(ann.clone()))).await.expect_err("others may know of one"),
        store.forget(&ann, strict.clock.now()).await.expect_err("others may remember"),
    ] {
        let fault = Fault::from(refused);
        assert_eq!((fault.kind(), fault.code()), (Kind::Unavailable, "store_unavailable"), "{fault:?}");
    }
}

/// It has the name of its master's history, and perhaps not all of that.
#[tokio::test]
async fn what_a_replica_knows_is_said_to_be_of_no_history() {
    let Some(keys) = backend::redis_sentinel() else { return };
    let (change, forward) = (include_str!("../redis/change.lua"), include_str!("../redis/forward.lua"));
    let mut replicas = 0;
    for node in keys.nodes() {
        let is_replica = value(&info(node, "replication").await, "role") != "master";
        replicas += usize::from(is_replica);
        for (script, arguments) in [(change, &["", "r", "look", "", "1", "1", "1"][..]), (forward, &["1", "", "1"])] {
            let mut look = cmd("EVAL");
            let said: Vec<String> = asked(node, look.arg(script).arg(1).arg(keys.prefix()).arg(arguments)).await;
            let history = said.last().expect("says something");
            assert_eq!(history.is_empty(), is_replica, "{node}: {said:?}");
        }
    }
    assert!(replicas > 0);
}

#[tokio::test]
async fn a_key_is_taken_only_when_replicas_know_it() {
    let Some(keys) = backend::redis_sentinel() else { return };
    let settings = |wait_replicas| Redis {
        wait_replicas,
        response_timeout: shop_config::Duration::secs(1),
        key_prefix: keys.prefix().to_owned(),
        ..Redis::at(&keys.url())
    };
    let claim = super::keys::claim("ada", "k", 1);
    let stage = Stage::open(settings(3), ()).await;
    let refused = stage.opened.keys.begin(&claim).await.expect_err("there are two");
    assert!(refused.to_string().contains("too few copies"), "{refused}");
    let stage = Stage::open(settings(2), ()).await;
    let begun = stage.opened.keys.begin(&claim).await.expect("begun");
    assert!(matches!(begun, Begin::Run { fresh: false, .. }), "at once, and as what it was: {begun:?}");
}

#[tokio::test]
async fn a_key_with_braces_is_kept_in_a_cluster_too() {
    let Some(keys) = backend::redis_cluster() else { return };
    let stage = Stage::of(keys).await;
    for text in ["{a}", "a}b", "{}", "a{b"] {
        let claim = |method| {
            let fingerprint = Fingerprint { asked: [1; 32], bytes: [0; 32] };
            Claim::new(String::new(), Key::read(text).expect("a key"), method, fingerprint)
        };
        for method in ["AddItem", "Clear"] {
            let begun = stage.opened.keys.begin(&claim(method)).await.expect("begun");
            assert!(matches!(begun, Begin::Run { fresh: true, .. }), "{text}: {begun:?}");
            let again = stage.opened.keys.begin(&claim(method)).await.expect("begun");
            assert_eq!(again, Begin::InFlight, "{text}");
        }
    }
}

#[tokio::test]
async fn who_is_forgotten_in_a_cluster_leaves_no_key_in_any_of_its_servers() {
    let Some(keys) = backend::redis_cluster() else { return };
    let nodes = keys.nodes().to_vec();
    let prefix = keys.prefix().to_owned();
    let stage = Stage::of(keys).await;
    let people = ["ann", "ben", "cleo", "dan"].map(user);
    for person in &people {
        stage.add(person, 1, Some(Uuid::now_v7())).await.expect("added");
        for _ in 0..4 {
            stage.opened.store.forward(Uuid::now_v7(), person).await.expect("noted");
        }
    }
    let left = async || {
        let mut left = 0;
        for node in &nodes {
            if value(&info(node, "replication").await, "role") == "master" {
                left += asked::<Vec<String>>(node, cmd("KEYS").arg(format!("{prefix}*"))).await.len();
            }
        }
        left
    };
    assert_eq!(left().await, 24);
    for (number, person) in (1..).zip(&people) {
        stage.opened.store.forget(person, stage.clock.now()).await.expect("forgotten");
        assert_eq!(left().await, 24 - 6 * number, "{person}");
    }
}
