//! What only Redis can get wrong: lives of keys, cluster slots, round trips, lost connections.

use std::sync::Mutex;
use std::time::Instant;

use futures_util::StreamExt;
use shop_clock::millis;
use shop_fault::{Fault, Kind};
use shop_idempotency::{Begin, Begun, Claim, Lease, Stored};
use shop_testing::Cable;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

use super::*;

async fn asked<T: ::redis::FromRedisValue>(url: &str, command: &::redis::Cmd) -> T {
    let client = ::redis::Client::open(url).expect("a url");
    let mut connection = client.get_multiplexed_async_connection().await.expect("connected");
    command.query_async(&mut connection).await.expect("an answer")
}

async fn stage(keys: &shop_testing::backend::Keys) -> Stage {
    Stage::open(Redis { key_prefix: keys.prefix().to_owned(), ..Redis::at(&keys.url()) }, ()).await
}

#[tokio::test]
async fn a_basket_and_its_marks_live_as_long_as_promised_in_one_slot() {
    let Some(keys) = shop_testing::backend::redis().await else { return };
    let (stage, ann, operation) = (stage(&keys).await, user("ann"), Uuid::now_v7());
    let basket = stage.add(&ann, 1, Some(operation)).await.expect("added").into_basket().expect("a basket");
    let name = |rest: &str| format!("{}{rest}", keys.prefix());
    let (held, mark) = (name("basket:{ann}"), name(&format!("basket-done:{{ann}}:{operation}")));
    let day = 24 * 3600;
    for (key, life) in [(&held, day), (&mark, 45 * day)] {
        let left: i64 = asked(&keys.url(), ::redis::cmd("TTL").arg(key)).await;
        assert!((life - 60..=life).contains(&left), "{key} lives {left} s");
    }
    assert_eq!(millis(basket.expires_at) - millis(stage.clock.now()), day * 1000);

    stage.clock.advance(Duration::from_secs(5));
    asked::<()>(&keys.url(), ::redis::cmd("EXPIRE").arg(&held).arg(100)).await;
    stage.add(&ann, 1, None).await.expect("added");
    let left: i64 = asked(&keys.url(), ::redis::cmd("TTL").arg(&held)).await;
    assert!(left > day - 60, "a change slides the expiry: {left} s");
    asked::<()>(&keys.url(), ::redis::cmd("PEXPIRE").arg(&held).arg(1)).await;
    shop_testing::eventually!(stage.get(&ann).await.is_none());
}

#[tokio::test]
async fn no_key_bears_the_name_of_who_was_forgotten() {
    let Some(keys) = shop_testing::backend::redis().await else { return };
    let stage = stage(&keys).await;
    // Names that others begin or end with.
    let names = ["ann", "anna", "n", "ann.a", "ann:a|b"].map(user);
    for name in &names {
        for _ in 0..3 {
            stage.add(name, 1, Some(Uuid::now_v7())).await.expect("added");
        }
    }
    let left = async || {
        let pattern = format!("{}*", keys.prefix());
        asked::<Vec<String>>(&keys.url(), ::redis::cmd("KEYS").arg(pattern)).await
    };
    let mut expected = left().await.len();
    for name in &names {
        stage.opened.store.forget(name, stage.clock.now()).await.expect("forgotten");
        expected -= 4;
        let left = left().await;
        assert!(!left.iter().any(|key| key.contains(&format!("{{{name}}}"))), "{name}: {left:?}");
        assert_eq!(left.len(), expected, "{name}: {left:?}");
    }
}

#[tokio::test]
async fn a_key_of_an_idempotent_request_goes_by_itself() {
    let Some(keys) = shop_testing::backend::redis().await else { return };
    let stage = stage(&keys).await;
    let held = begun(&stage, &super::keys::claim("", "k", 1)).await;
    let left: i64 = asked(&keys.url(), ::redis::cmd("TTL").arg(&held.name)).await;
    assert!((86_340..=86_400).contains(&left), "{left}");
    assert!(held.name.ends_with("idempotency:k"), "as the version before names it: {}", held.name);
}

async fn begun(stage: &Stage, claim: &Claim) -> Lease {
    match stage.opened.keys.begin(claim).await.expect("begun") {
        Begin::Run { lease, .. } => lease,
        other => panic!("no run but {other:?}"),
    }
}

#[tokio::test]
async fn what_redis_keeps_of_a_key_is_small_whatever_is_in_the_basket() {
    let Some(keys) = shop_testing::backend::redis().await else { return };
    let stage = stage(&keys).await;
    for (key, length, is_kept) in [("small", 1024, true), ("large", 60_000, false)] {
        let claim = super::keys::claim("ada", key, 1);
        let held = begun(&stage, &claim).await;
        let headers = ["content-type", "etag"].map(|name| (name.to_owned(), "application/json; v=\"1\"".to_owned()));
        let answer = Stored { status: 200, headers: headers.to_vec(), body: vec![b'x'; length] };
        stage.opened.keys.finish(&[(held.clone(), answer.clone())]).await.expect("kept");
        let bytes: usize = asked(&keys.url(), ::redis::cmd("MEMORY").arg("USAGE").arg(&held.name)).await;
        println!("{key}: {bytes} bytes");
        assert!(bytes < 3072, "{key}: {bytes} bytes");
        let again = stage.opened.keys.begin(&claim).await.expect("begun");
        assert_eq!(again == Begin::Replay(answer), is_kept, "{key}: {again:?}");
        // A repeat runs at once, under the operation by which the basket knows what was done.
        assert!(is_kept || matches!(again, Begin::Run { fresh: false, .. }), "{again:?}");
    }
}

#[tokio::test]
async fn what_was_put_in_under_a_key_is_remembered_as_long_as_the_key() {
    let Some(keys) = shop_testing::backend::redis().await else { return };
    let (stage, ann) = (stage(&keys).await, user("ann"));
    let claim = super::keys::claim("ada", "k", 1);
    let (key, fingerprint) = (claim.key, claim.fingerprint);
    let taken = shop_idempotency::Keys::new(stage.opened.keys.clone()).begin("AddItem", key, fingerprint).await;
    let Ok(Begun::Run(run)) = taken else { panic!("should run") };
    let operation = run.operation();
    run.scope(stage.add(&ann, 1, Some(operation))).await.expect("added");
    let mark = format!("{}basket-done:{{ann}}:{operation}", keys.prefix());
    let left: i64 = asked(&keys.url(), ::redis::cmd("TTL").arg(mark)).await;
    assert!((24 * 3600..=25 * 3600).contains(&left), "{left} s");
}

#[tokio::test]
async fn who_takes_keys_without_end_fills_no_memory_for_a_day() {
    let Some(keys) = shop_testing::backend::redis().await else { return };
    let stage = stage(&keys).await;
    let life = async |who: &str, key: &str| {
        let held = begun(&stage, &super::keys::claim(who, key, 1)).await;
        asked::<i64>(&keys.url(), ::redis::cmd("TTL").arg(&held.name)).await
    };
    for number in 0..500 {
        begun(&stage, &super::keys::claim("mallory", &number.to_string(), 1)).await;
    }
    assert!(life("mallory", "one more").await <= 600);
    assert!(life("ada", "hers").await > 86_000, "others are not touched");
    stage.clock.advance(Duration::from_hours(1));
    assert!(life("mallory", "an hour later").await > 86_000);
}

/// A way to Redis that can be cut.
struct Wire {
    url: String,
    address: String,
    server: String,
    /// Ends the connections of this moment.
    now: Arc<Mutex<CancellationToken>>,
    /// Ends them and refuses new ones.
    shut: CancellationToken,
}

impl Wire {
    async fn to(server: &str) -> Self {
        Self::on("127.0.0.1:0", server).await
    }

    async fn on(address: &str, server: &str) -> Self {
        let listener = TcpListener::bind(address).await.expect("a port");
        let address = listener.local_addr().expect("an address").to_string();
        let (scheme, rest) = server.split_once("://").expect("a url");
        let (login, place) = rest.rsplit_once('@').map_or(("", rest), |(login, place)| (login, place));
        let (far, db) = place.split_once('/').unwrap_or((place, "0"));
        let at = if login.is_empty() { "" } else { "@" };
        let url = format!("{scheme}://{login}{at}{address}/{db}");
        let (now, shut) = (Arc::new(Mutex::new(CancellationToken::new())), CancellationToken::new());
        tokio::spawn(shut.clone().run_until_cancelled_owned(accept(listener, far.to_owned(), now.clone())));
        Self { url, address, server: server.to_owned(), now, shut }
    }

    fn hiccup(&self) {
        let mut now = self.now.lock().expect("no panic");
        std::mem::take(&mut *now).cancel();
    }

    fn cut(&self) {
        self.shut.cancel();
        self.hiccup();
    }

    async fn mend(&self) -> Self {
        shop_testing::eventually!(TcpListener::bind(&self.address).await.is_ok());
        Self::on(&self.address, &self.server).await
    }
}

async fn accept(listener: TcpListener, far: String, now: Arc<Mutex<CancellationToken>>) {
    loop {
        let (mut near, _) = listener.accept().await.expect("accepted");
        let (far, stop) = (far.clone(), now.lock().expect("no panic").clone());
        tokio::spawn(stop.run_until_cancelled_owned(async move {
            let mut far = TcpStream::connect(far).await.expect("connected");
            copy_bidirectional(&mut near, &mut far).await.ok();
        }));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_redis_a_call_fails_fast_and_with_it_back_goes_on() {
    let Some(keys) = shop_testing::backend::redis().await else { return };
    let wire = Wire::to(&keys.url()).await;
    let settings = Redis { key_prefix: keys.prefix().to_owned(), ..Redis::at(&wire.url) };
    let (stage, ann) = (Stage::open(settings, ()).await, user("ann"));
    stage.add(&ann, 1, None).await.expect("added");

    wire.cut();
    shop_testing::eventually!(stage.opened.store.check().await.is_err());
    let started = Instant::now();
    let fault = Fault::from(stage.add(&ann, 1, None).await.expect_err("redis is away"));
    assert_eq!((fault.kind(), fault.code()), (Kind::Unavailable, "store_unavailable"));
    assert!(fault.retry_after().is_some() && started.elapsed() < Duration::from_secs(1));

    let _wire = wire.mend().await;
    shop_testing::eventually!(stage.opened.store.check().await.is_ok());
    let basket = stage.add(&ann, 1, None).await.expect("added").into_basket().expect("a basket");
    assert_eq!(basket.item_count(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_break_under_load_lose_and_double_nothing() {
    let Some(keys) = shop_testing::backend::redis().await else { return };
    let wire = Wire::to(&keys.url()).await;
    let settings = Redis { key_prefix: keys.prefix().to_owned(), ..Redis::at(&wire.url) };
    let (stage, ann) = (Stage::open(settings, ()).await, user("ann"));
    let adding = (0..200).map(|n| {
        let (stage, wire, ann, operation) = (&stage, &wire, &ann, Uuid::now_v7());
        async move {
            if n % 20 == 10 {
                wire.hiccup();
            }
            // A client with an idempotency key repeats until it has an answer.
            shop_testing::eventually!(stage.add(ann, 1, Some(operation)).await);
        }
    });
    futures_util::stream::iter(adding).buffer_unordered(4).collect::<Vec<()>>().await;
    assert_eq!(stage.get(&ann).await.expect("a basket").item_count(), 200);
}

/// The same server at the end of a cable.
async fn through_a_cable(url: &str) -> (Cable, String) {
    let (login, place) = url.rsplit_once('@').expect("has a password");
    let (server, database) = place.split_once('/').unwrap_or((place, "0"));
    let cable = Cable::to(server).await;
    let url = format!("{login}@{}/{database}", cable.at());
    (cable, url)
}

fn server(url: &str) -> &str {
    let place = url.rsplit_once('@').map_or(url, |(_, place)| place);
    place.split('/').next().unwrap_or(place)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_vanished_without_a_word_is_left_when_its_name_leads_elsewhere() {
    let Some(keys) = shop_testing::backend::redis().await else { return };
    let (cable, url) = through_a_cable(&keys.url()).await;
    let settings = Redis { key_prefix: keys.prefix().to_owned(), ..Redis::at(&url) };
    let (stage, ann) = (Stage::open(settings, ()).await, user("ann"));
    stage.add(&ann, 1, None).await.expect("added");

    cable.go_silent();
    let started = Instant::now();
    let fault = Fault::from(stage.add(&ann, 1, Some(Uuid::now_v7())).await.expect_err("nobody answers"));
    assert_eq!(fault.code(), "store_unavailable");
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
    stage.opened.store.check().await.expect_err("nobody answers");

    cable.lead_to(server(&keys.url())).await;
    let operation = Some(Uuid::now_v7());
    shop_testing::eventually!(within Duration::from_secs(5), stage.add(&ann, 1, operation).await);
    assert!(stage.get(&ann).await.expect("what was acknowledged is there").item_count() >= 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_became_a_replica_under_a_standing_connection_is_left_at_once() {
    let Some(keys) = shop_testing::backend::redis().await else { return };
    let Some(old) = shop_testing::backend::Own::start("redis").await else { return };
    let old = old.variable("SHOP_TEST_REDIS_URL").to_owned();
    let (cable, _) = through_a_cable(&old).await;
    // The password is that of whichever server the cable leads to, so both get the same.
    let (login, place) =
        keys.url().rsplit_once('@').map(|(l, p)| (l.to_owned(), p.to_owned())).expect("has a password");
    let password = login.rsplit_once(':').expect("has a password").1;
    asked::<()>(&old, ::redis::cmd("CONFIG").arg("SET").arg("requirepass").arg(password)).await;
    let database = place.split_once('/').map_or("0", |(_, database)| database);
    let settings =
        Redis { key_prefix: keys.prefix().to_owned(), ..Redis::at(&format!("{login}@{}/{database}", cable.at())) };
    let (stage, ann) = (Stage::open(settings, ()).await, user("ann"));
    stage.add(&ann, 1, None).await.expect("added");

    let demoted = format!("{login}@{}/0", server(&old));
    asked::<()>(&demoted, ::redis::cmd("REPLICAOF").arg("127.0.0.1").arg(1)).await;
    cable.lead_to(server(&keys.url())).await;
    stage.add(&ann, 1, None).await.expect("the call that heard READONLY went on elsewhere");
    stage.opened.store.check().await.expect("takes writes");
}

#[tokio::test]
async fn a_change_is_two_round_trips() {
    let Some(keys) = shop_testing::backend::redis().await else { return };
    let (stage, ann) = (stage(&keys).await, user("ann"));
    stage.add(&ann, 1, None).await.expect("added");
    let Some(monitor) = Monitor::start(&keys).await else { return };
    stage.add(&ann, 1, None).await.expect("added");
    let end = format!("{}end", keys.prefix());
    asked::<Option<String>>(&keys.url(), ::redis::cmd("GET").arg(&end)).await;
    assert_eq!(monitor.until(&end).await, ["HMGET", "EVALSHA", "GET"], "no more than these go over the wire");
}

/// What `MONITOR` tells about one key prefix.
struct Monitor {
    stream: ::redis::aio::Monitor,
    prefix: String,
}

impl Monitor {
    async fn start(keys: &shop_testing::backend::Keys) -> Option<Self> {
        let client = ::redis::Client::open(keys.url()).expect("a url");
        let stream = client.get_async_monitor().await.ok()?;
        Some(Self { stream, prefix: keys.prefix().to_owned() })
    }

    async fn until(self, last: &str) -> Vec<String> {
        let mut lines = self.stream.into_on_message::<String>();
        let mut found = Vec::new();
        while let Some(line) = lines.next().await {
            // Commands that a script runs say `lua`: they never were on the wire.
            if line.contains(&self.prefix) && !line.contains(" lua]") {
                found.push(line.split('"').nth(1).unwrap_or_default().to_owned());
            }
            if line.contains(last) {
                break;
            }
        }
        found
    }
}
