//! A server that vanishes without a word, and its name that leads to a healthy one afterwards.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use shop_clock::SystemClock;
use shop_config::Database;
use shop_fault::Kind;
use shop_sql::{Engine, Relay, Store, Tables, check, commit, fault, outbox, retry_transient};
use shop_telemetry::Metrics;
use shop_testing::{Cable, eventually};
use tokio_util::sync::CancellationToken;

use crate::bus::{Notebook, event};
use crate::open::{Place, servers};

/// Until everything works again, once there is a server. Half a minute would be too long for those who wait.
const WELL: Duration = Duration::from_secs(25);

/// Writers, more than there are connections.
pub(crate) const WRITERS: u32 = 6;

/// The same store at the end of a cable.
async fn through_a_cable(place: &Place) -> (Cable, Store) {
    let mut url = url::Url::parse(&place.url()).expect("a URL");
    let server = format!("{}:{}", url.host_str().expect("a host"), url.port().expect("a port"));
    let cable = Cable::to(&server).await;
    url.set_ip_host(cable.at().ip()).expect("has a host");
    url.set_port(Some(cable.at().port())).expect("has a port");
    let mut settings = Database::at(url.as_str());
    settings.pool.max = 4;
    let store = match &place.store {
        Store::Postgres(_) => shop_sql::postgres(&settings).await.expect("connects").into(),
        Store::MariaDb(_) => shop_sql::mariadb(&settings).await.expect("connects").into(),
        Store::Sqlite(_) => unreachable!("a server"),
    };
    (cable, store)
}

/// What the writers were told.
#[derive(Default)]
pub(crate) struct Told {
    pub(crate) acknowledged: Mutex<Vec<(u32, u32)>>,
    pub(crate) failures: AtomicUsize,
    pub(crate) stop: AtomicBool,
}

impl Told {
    pub(crate) fn of(&self, writer: u32) -> usize {
        self.acknowledged.lock().iter().filter(|(one, _)| *one == writer).count()
    }
}

/// Writes one event after the other, each in a transaction of its own.
pub(crate) async fn write<E: Engine<Db: sqlx::Database<Connection: Tables>>>(engine: &E, writer: u32, told: &Told) {
    for n in 1.. {
        if told.stop.load(Ordering::SeqCst) {
            return;
        }
        let written = retry_transient(|| async {
            let mut tx = engine.begin().await?;
            outbox::append(&mut *tx, &[event(i64::from(writer), n)]).await?;
            commit(tx).await
        });
        match written.await {
            Ok(()) => told.acknowledged.lock().push((writer, n)),
            Err(error) => {
                let told_as = fault(error);
                assert_eq!(told_as.kind(), Kind::Unavailable, "{told_as:?}");
                told.failures.fetch_add(1, Ordering::SeqCst);
            }
        }
        // Others, too, have a turn.
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn survives<E: Engine<Db: sqlx::Database<Connection: Tables>>>(
    engine: &E,
    cable: &Cable,
    place: &Place,
    store: &Store,
) {
    let (told, bus, stop) = (Told::default(), Notebook::new(), CancellationToken::new());
    let relay = Relay::new("test", store.clone(), bus.clone(), Arc::new(SystemClock), &Metrics::new("test"));
    let writers = futures_util::future::join_all((0..WRITERS).map(|writer| write(engine, writer, &told)));
    let test = async {
        eventually!((0..WRITERS).all(|writer| told.of(writer) > 3) && !bus.taken().is_empty());
        cable.go_silent();
        eventually!(told.failures.load(Ordering::SeqCst) > 3);
        check(store.clone()).await.expect_err("nobody answers");

        let server = url::Url::parse(&place.url()).expect("a URL");
        cable.lead_to(&format!("127.0.0.1:{}", server.port().expect("a port"))).await;
        let before: Vec<_> = (0..WRITERS).map(|writer| told.of(writer)).collect();
        let taken = bus.taken().len();
        eventually!(within WELL, (0..WRITERS).all(|writer| told.of(writer) > before[writer as usize] + 3));
        eventually!(within WELL, bus.taken().len() > taken);
        check(store.clone()).await.expect("is up again");
        told.stop.store(true, Ordering::SeqCst);
    };
    let carried = async {
        tokio::join!(writers, test);
        eventually!(within WELL, outbox::pending(&place.store).await.expect("counts") == 0);
        stop.cancel();
    };
    tokio::join!(relay.run(stop.clone()), carried);
    for writer in 0..WRITERS {
        let taken = bus.quantities(i64::from(writer));
        let acknowledged = told.acknowledged.lock();
        let lost: Vec<_> =
            acknowledged.iter().filter(|(one, n)| *one == writer && !taken.contains(&i64::from(*n))).collect();
        assert!(lost.is_empty(), "{}: acknowledged and lost: {lost:?}", place.engine);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_vanished_under_load_works_again_when_its_name_leads_to_a_healthy_one() {
    let places = servers().await;
    futures_util::future::join_all(places.iter().map(async |place| {
        let (cable, store) = through_a_cable(place).await;
        match &store {
            Store::Postgres(pool) => Box::pin(survives(pool, &cable, place, &store)).await,
            Store::MariaDb(pool) => Box::pin(survives(pool, &cable, place, &store)).await,
            Store::Sqlite(_) => unreachable!("servers"),
        }
    }))
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_has_a_key_for_two_operations_is_answered_though_the_store_vanished_between_them() {
    let places = servers().await;
    futures_util::future::join_all(places.iter().map(async |place| {
        let (cable, store) = through_a_cable(place).await;
        match &store {
            Store::Postgres(pool) => Box::pin(touched(pool, &cable)).await,
            Store::MariaDb(pool) => Box::pin(touched(pool, &cable)).await,
            Store::Sqlite(_) => unreachable!("servers"),
        }
    }))
    .await;
}

async fn touched<E: Engine<Db: sqlx::Database<Connection: Tables>>>(engine: &E, cable: &Cable) {
    let mut conn = engine.writer().await.expect("a connection");
    conn.key_touch("none", 0).await.expect("is there");
    cable.go_silent();
    let touched = tokio::time::timeout(Duration::from_secs(20), conn.key_touch("none", 0)).await;
    touched.expect("in time").expect_err("nobody answers");
}
