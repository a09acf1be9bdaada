//! What every store and the sandbox's books must do, run on each engine.

use std::sync::Arc;
use std::time::Duration;

use shop_clock::ManualClock;
use shop_config::Database;
use shop_events::MemoryBus;
use shop_fault::Fault;
use shop_sql::Store;
use shop_telemetry::Metrics;
use shop_testing::backend::Db;
use time::OffsetDateTime;
use uuid::Uuid;

use super::memory::{Calm, Memory};
use super::{Opened, With, open};
use crate::config::ProviderSettings;
use crate::domain::samples::{NOON, numbered, pending, usd};
use crate::domain::{
    Capture, Charge, Claim, Error, Expected, Filter, Left, Paid, Payback, Payment, Provider, Reference, Refunding,
    Standing, Status, Token, UserId, Verdict, Wait,
};

const MINUTE: Duration = Duration::from_mins(1);

/// An empty store and what keeps it there.
pub(crate) struct Place {
    pub(crate) opened: Opened,
    pub(crate) clock: Arc<ManualClock>,
    /// The payments, where they are not in the database.
    memory: Option<Arc<Memory>>,
    _folder: Option<tempfile::TempDir>,
    _db: Option<Db>,
}

impl Place {
    /// A SQLite file.
    pub(crate) async fn sqlite() -> Option<Self> {
        let folder = tempfile::tempdir().expect("a folder");
        let url = format!("sqlite://{}", folder.path().join("payment.db").display());
        Some(Self::open(&url, Some(folder), None).await)
    }

    /// A database on a real MariaDB, if there is one.
    pub(crate) async fn mariadb() -> Option<Self> {
        let db = shop_testing::backend::mariadb().await?;
        Some(Self::open(&db.url(), None, Some(db)).await)
    }

    /// In memory, with the rest in a SQLite file.
    pub(crate) async fn memory() -> Option<Self> {
        let mut place = Self::sqlite().await?;
        let memory = Arc::new(Memory::new(Calm));
        (place.opened.store, place.opened.inbox) = (memory.clone(), memory.clone());
        Some(Self { memory: Some(memory), ..place })
    }

    async fn open(url: &str, folder: Option<tempfile::TempDir>, db: Option<Db>) -> Self {
        let clock = Arc::new(ManualClock::at(NOON));
        let provider = ProviderSettings {
            slow: shop_config::Duration::millis(1),
            sandbox: Some(true),
            ..ProviderSettings::default()
        };
        let with = With {
            provider: &provider,
            bus: Arc::new(MemoryBus::new(None)),
            clock: clock.clone(),
            metrics: &Metrics::new("payment-service"),
        };
        let opened = open(&Database::at(url), with).await.expect("opens the store");
        Self { opened, clock, memory: None, _folder: folder, _db: db }
    }

    /// The sandbox, as the service has it.
    pub(crate) fn sandbox(&self) -> Arc<dyn Provider> {
        let (_, sandbox) = self.opened.providers.of(&pending()).expect("is configured");
        sandbox.clone()
    }

    /// Takes out of every payment what versions before did not write.
    pub(crate) async fn as_before(&self) {
        let sql = "UPDATE payments SET provider_id = NULL, attempts = 0, captured = NULL";
        match &self.opened.shared {
            Store::MariaDb(pool) => drop(sqlx::query(sql).execute(pool).await.expect("writes")),
            Store::Sqlite(pools) => drop(sqlx::query(sql).execute(&pools.write).await.expect("writes")),
            Store::Postgres(_) => {}
        }
    }

    /// Runs a statement that a version before makes.
    async fn run<const N: usize>(&self, sql: &'static str, ids: [Uuid; N]) {
        let changed = match &self.opened.shared {
            Store::MariaDb(pool) => {
                let query = ids.into_iter().fold(sqlx::query(sql), sqlx::query::Query::bind);
                query.execute(pool).await.expect("runs").rows_affected()
            }
            Store::Sqlite(pools) => {
                let query = ids.into_iter().fold(sqlx::query(sql), sqlx::query::Query::bind);
                query.execute(&pools.write).await.expect("runs").rows_affected()
            }
            Store::Postgres(_) => 1,
        };
        assert_eq!(changed, 1, "{sql}");
    }

    /// How many events wait.
    pub(crate) async fn events(&self) -> i64 {
        if let Some(memory) = &self.memory {
            return memory.events(0).len().try_into().expect("not so many");
        }
        shop_sql::outbox::pending(&self.opened.shared).await.expect("counts")
    }

    /// Charges asked of the sandbox under `key`, by its own books.
    pub(crate) async fn charges(&self, key: Uuid) -> i64 {
        let sql = "SELECT attempts FROM sandbox_charges WHERE charge_key = ? AND outcome = 'approved'";
        let found = match &self.opened.shared {
            Store::MariaDb(pool) => sqlx::query_scalar(sql).bind(key).fetch_optional(pool).await,
            Store::Sqlite(pools) => sqlx::query_scalar(sql).bind(key).fetch_optional(&pools.read).await,
            Store::Postgres(_) => Ok(None),
        };
        found.expect("reads the books").unwrap_or(0)
    }

    /// What the sandbox paid back of `charge`, by its own books.
    pub(crate) async fn paid_back(&self, charge: Uuid) -> i64 {
        let sql = "SELECT amount FROM sandbox_refunds WHERE charge_key = ?";
        let found: Result<Vec<i64>, _> = match &self.opened.shared {
            Store::MariaDb(pool) => sqlx::query_scalar(sql).bind(charge).fetch_all(pool).await,
            Store::Sqlite(pools) => sqlx::query_scalar(sql).bind(charge).fetch_all(&pools.read).await,
            Store::Postgres(_) => Ok(Vec::new()),
        };
        found.expect("reads the books").iter().sum()
    }
}

/// Runs each test on both engines, and those before the semicolon in memory, too.
macro_rules! on_every_store {
    ($($test:ident)+ $(; $($of_engines:ident)+)?) => {
        on_each_store! { $($test)+ $($($of_engines)+)? }
        mod memory {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $test() {
                let Some(place) = $crate::infrastructure::contract::Place::memory().await else { return };
                super::$test(place).await;
            })+
        }
    };
}

/// Runs each test on both engines.
macro_rules! on_each_store {
    ($($test:ident)+) => {
        mod sqlite {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $test() {
                let Some(place) = $crate::infrastructure::contract::Place::sqlite().await else { return };
                super::$test(place).await;
            })+
        }
        mod mariadb {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $test() {
                let Some(place) = $crate::infrastructure::contract::Place::mariadb().await else { return };
                super::$test(place).await;
            })+
        }
    };
}
pub(crate) use on_each_store;

mod entity;

on_every_store! {
    a_payment_comes_back_as_it_was_kept
    the_longest_user_id_has_room
    an_id_is_taken_once
    a_basket_is_claimed_once
    a_buyer_opens_payments_while_there_is_room
    one_payment_takes_the_place_of_another_or_nothing_is_done
    a_change_its_refunds_and_its_events_are_kept_together
    a_refused_change_leaves_nothing_behind
    a_payment_that_moved_on_is_not_changed_as_it_was_read
    changes_of_one_payment_happen_one_after_the_other
    of_many_payments_it_is_noted_that_their_stock_is_held
    lists_are_newest_first_and_go_on_where_the_page_ended
    what_is_left_behind_is_claimed_and_nothing_else
    a_paid_refund_is_looked_at_when_it_is_due
    of_many_that_claim_each_gets_others
    expired_payments_are_found_page_by_page
    the_provider_has_one_outcome_per_key
    a_voided_key_is_never_charged
    the_provider_pays_back_once_per_key_and_never_too_much;
    what_waits_is_counted_with_how_long_it_has
    a_version_before_works_on_this_schema_and_this_one_on_what_it_wrote
}

fn begin(payment: &mut Payment) -> Result<Vec<shop_events::Event>, Error> {
    payment.begin(Uuid::from_u128(7), NOON)
}

pub(crate) fn approve(payment: &mut Payment) -> Result<Vec<shop_events::Event>, Error> {
    payment.settle(1, &Verdict::Approved { taken: usd(2700) }, NOON)
}

pub(crate) fn asked(id: u128, minor: i64) -> Refunding {
    Refunding {
        id: Uuid::from_u128(id),
        amount: Some(usd(minor)),
        reason: None,
        restock: false,
        expected: Expected::default(),
    }
}

async fn completed(place: &Place) -> Payment {
    let payments = &place.opened.store;
    payments.add(&pending()).await.expect("adds");
    payments.change(pending().id, &begin).await.expect("begins");
    payments.change(pending().id, &approve).await.expect("settles")
}

async fn a_payment_comes_back_as_it_was_kept(place: Place) {
    let payments = &place.opened.store;
    assert_eq!(payments.get(pending().id).await.expect("reads"), None);
    assert!(payments.add(&pending()).await.expect("adds"));
    assert_eq!(payments.get(pending().id).await.expect("reads"), Some(pending()));
    assert_eq!(place.events().await, 0);
}

async fn the_longest_user_id_has_room(place: Place) {
    let user: UserId = "u".repeat(UserId::MAX).parse().expect("is an id");
    let payment = Payment { user_id: user.clone(), ..numbered(1) };
    assert!(place.opened.store.add(&payment).await.expect("is kept"));
    let theirs = Filter { user_id: Some(user), ..Filter::default() };
    assert_eq!(place.opened.store.list(&theirs, None, 10).await.expect("lists"), [payment]);
}

async fn an_id_is_taken_once(place: Place) {
    let payments = &place.opened.store;
    assert!(payments.add(&pending()).await.expect("adds"));
    assert!(!payments.add(&pending()).await.expect("is told"));
    assert_eq!(payments.get(pending().id).await.expect("reads").expect("one").items.len(), 2);
}

async fn a_basket_is_claimed_once(place: Place) {
    let payments = &place.opened.store;
    let (first, second) = (pending(), Payment { basket_id: pending().basket_id, ..numbered(2) });
    assert_eq!(payments.standing(&first.user_id, first.basket_id).await.expect("looks"), Standing::default());
    assert!(payments.add(&first).await.expect("adds"));
    assert!(!payments.add(&second).await.expect("is told"));
    assert!(payments.add(&numbered(3)).await.expect("adds"), "of another basket");
    let standing = payments.standing(&first.user_id, first.basket_id).await.expect("looks");
    assert_eq!(standing, Standing { of_basket: Some(first.clone()), others: 1 });
    let stranger = payments.standing(&UserId::stored("bob".to_owned()), Uuid::from_u128(99)).await.expect("looks");
    assert_eq!(stranger, Standing::default());

    payments.change(first.id, &begin).await.expect("begins");
    payments.change(first.id, &approve).await.expect("is approved");
    let standing = payments.standing(&first.user_id, first.basket_id).await.expect("looks");
    assert_eq!(standing.of_basket.map(|payment| payment.status), Some(Status::Completed), "until it has left");
    assert!(!payments.add(&second).await.expect("is told"));
    let let_go = |payment: &mut Payment| {
        payment.let_go();
        Ok(Vec::new())
    };
    payments.change(first.id, &let_go).await.expect("lets go");
    assert!(payments.add(&second).await.expect("adds"));
}

async fn a_buyer_opens_payments_while_there_is_room(place: Place) {
    let payments = &place.opened.store;
    let open = async |payment: &Payment| payments.add_if_room(payment, 2).await.expect("is told");
    assert!(open(&numbered(1)).await);
    assert!(!open(&numbered(1)).await, "it is there already");
    assert!(!open(&Payment { basket_id: numbered(1).basket_id, ..numbered(2) }).await, "its basket is claimed");
    assert!(open(&numbered(2)).await);
    assert_eq!(payments.get(Uuid::from_u128(2)).await.expect("reads"), Some(numbered(2)));
    assert!(!open(&numbered(3)).await, "two are open");
    assert_eq!(payments.get(Uuid::from_u128(3)).await.expect("reads"), None);
    assert!(open(&Payment { user_id: UserId::stored("bob".to_owned()), ..numbered(4) }).await, "another's are not his");
    payments.change(Uuid::from_u128(1), &begin).await.expect("begins");
    assert!(!open(&numbered(3)).await, "it may still fail");
    payments.change(Uuid::from_u128(1), &approve).await.expect("is approved");
    assert!(open(&numbered(3)).await);
}

async fn one_payment_takes_the_place_of_another_or_nothing_is_done(place: Place) {
    let payments = &place.opened.store;
    let (first, second) = (pending(), Payment { basket_id: pending().basket_id, ..numbered(2) });
    assert!(payments.add(&first).await.expect("adds"));
    assert!(payments.add(&numbered(3)).await.expect("adds"));
    let taken = Payment { basket_id: numbered(3).basket_id, ..second.clone() };
    let supersede = |payment: &mut Payment| payment.supersede(NOON);
    assert!(!payments.replace(first.id, &supersede, &taken).await.expect("is told"));
    assert!(!payments.replace(first.id, &supersede, &numbered(3)).await.expect("is told"));
    assert_eq!((payments.get(first.id).await.expect("reads"), place.events().await), (Some(first.clone()), 0));

    assert!(payments.replace(first.id, &supersede, &second).await.expect("takes its place"));
    let old = payments.get(first.id).await.expect("reads").expect("there");
    assert_eq!((old.status, old.version, place.events().await), (Status::Cancelled, 2, 2));
    let standing = payments.standing(&first.user_id, first.basket_id).await.expect("looks").of_basket;
    assert_eq!(standing.map(|payment| payment.id), Some(second.id));
    let late = payments.replace(first.id, &supersede, &Payment { basket_id: Uuid::from_u128(9), ..numbered(4) }).await;
    assert!(matches!(late, Err(Error::Superseded { .. })), "{late:?}");
    assert_eq!(payments.get(Uuid::from_u128(4)).await.expect("reads"), None);
}

async fn a_change_its_refunds_and_its_events_are_kept_together(place: Place) {
    let payments = &place.opened.store;
    let mut expected = completed(&place).await;
    assert_eq!((expected.status, expected.version, place.events().await), (Status::Completed, 3, 4));
    assert_eq!(payments.get(expected.id).await.expect("reads"), Some(expected.clone()));
    let request = |payment: &mut Payment| payment.request_refund(&asked(1, 500), NOON);
    payments.change(expected.id, &request).await.expect("requested");
    let settle = |payment: &mut Payment| payment.settle_refund(Uuid::from_u128(1), Paid::Back, NOON);
    let settled = payments.change(expected.id, &settle).await.expect("settled");
    request(&mut expected).expect("the same");
    settle(&mut expected).expect("the same");
    expected.version += 2;
    assert_eq!(settled, expected);
    assert_eq!((payments.get(expected.id).await.expect("reads"), place.events().await), (Some(expected), 5));
}

async fn a_refused_change_leaves_nothing_behind(place: Place) {
    let payments = &place.opened.store;
    let before = completed(&place).await;
    let events = place.events().await;
    payments.change(before.id, &begin).await.expect_err("refused");
    let nothing = payments.change(before.id, &|_| Ok(Vec::new())).await.expect("nothing to do");
    assert_eq!((payments.get(before.id).await.expect("reads"), nothing), (Some(before.clone()), before));
    assert_eq!(place.events().await, events);
    let missing = payments.change(Uuid::from_u128(404), &begin).await.expect_err("missing");
    assert_eq!(Fault::from(missing).code(), "payment_not_found");
}

async fn a_payment_that_moved_on_is_not_changed_as_it_was_read(place: Place) {
    let payments = &place.opened.store;
    let (id, read) = (pending().id, pending());
    assert!(payments.add(&read).await.expect("adds"));
    let begun = payments.change_from(id, Some(&read), &begin).await.expect("begins");
    assert_eq!((begun.version, payments.get(id).await.expect("reads")), (2, Some(begun.clone())));
    // As it was read it could begin once more, and be cancelled.
    for change in [begin, |payment: &mut Payment| payment.cancel(Uuid::from_u128(8), NOON)] {
        let late = payments.change_from(id, Some(&read), &change).await;
        assert!(matches!(late, Err(Error::InvalidState { .. })), "{late:?}");
    }
    assert_eq!((payments.get(id).await.expect("reads"), place.events().await), (Some(begun.clone()), 0));

    let paid = payments.change_from(id, Some(&begun), &approve).await.expect("settles");
    assert_eq!((paid.version, payments.get(id).await.expect("reads"), place.events().await), (3, Some(paid), 4));
    // Done already: the provider's word changes nothing the second time.
    payments.change_from(id, Some(&begun), &approve).await.expect("is settled");
    assert_eq!(place.events().await, 4);
    let missing = payments.change_from(Uuid::from_u128(404), Some(&read), &begin).await.expect_err("missing");
    assert_eq!(Fault::from(missing).code(), "payment_not_found");
}

async fn changes_of_one_payment_happen_one_after_the_other(place: Place) {
    let payment = completed(&place).await;
    let requests = (0..20).map(|n| {
        let (payments, id) = (place.opened.store.clone(), payment.id);
        tokio::task::spawn(async move {
            let request = |payment: &mut Payment| payment.request_refund(&asked(n, 200), NOON);
            payments.change(id, &request).await.map_err(|error| Fault::from(error).code().to_owned())
        })
    });
    let outcomes = futures_util::future::join_all(requests).await;
    let outcomes: Vec<_> = outcomes.into_iter().map(|joined| joined.expect("runs").map(drop)).collect();
    assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 13, "27.00 is thirteen times 2.00");
    assert!(outcomes.iter().filter_map(|outcome| outcome.as_ref().err()).all(|code| code == "refund_exceeds_payment"));
    let stored = place.opened.store.get(payment.id).await.expect("reads").expect("there");
    assert_eq!((stored.refunds.len(), stored.left()), (13, usd(100)));
}

async fn of_many_payments_it_is_noted_that_their_stock_is_held(place: Place) {
    let payments = &place.opened.store;
    for id in 1..=20 {
        payments.add(&numbered(id)).await.expect("adds");
    }
    payments.change(Uuid::from_u128(2), &begin).await.expect("begins");
    let noted: Vec<_> = (1..=17).chain([404]).map(Uuid::from_u128).collect();
    for _ in 0..2 {
        payments.note_reserved(&noted).await.expect("notes");
    }
    let kept = payments.list(&Filter::default(), None, 50).await.expect("lists");
    let reserved = |payment: &&Payment| payment.reserved;
    assert_eq!(kept.iter().filter(reserved).map(|payment| payment.id.as_u128()).min(), Some(1));
    assert_eq!((kept.len(), kept.iter().filter(reserved).count()), (20, 17));
    assert_eq!(kept.iter().rfind(reserved), Some(&Payment { reserved: true, ..numbered(1) }), "its version stays");
    let begun = payments.get(Uuid::from_u128(2)).await.expect("reads").expect("there");
    payments.change_from(begun.id, Some(&begun), &approve).await.expect("settles");
    assert!(payments.get(begun.id).await.expect("reads").expect("there").reserved, "a change leaves it as it is");
}

async fn lists_are_newest_first_and_go_on_where_the_page_ended(place: Place) {
    let payments = &place.opened.store;
    for id in 1..=5 {
        payments.add(&numbered(id)).await.expect("adds");
    }
    payments.change(Uuid::from_u128(2), &begin).await.expect("begins");
    let ids = |found: Vec<Payment>| found.iter().map(|payment| payment.id.as_u128()).collect::<Vec<_>>();
    let ada = Filter { user_id: Some("ada".parse().expect("valid")), ..Filter::default() };
    let bob = Filter { user_id: Some("ADA".parse().expect("valid")), ..Filter::default() };
    let processing = Filter { status: Some(Status::Processing), ..Filter::default() };
    let of = |user: &str| Some(user.parse().expect("valid"));
    let own = Filter { of: of("ada"), ..Filter::default() };
    let anothers = Filter { of: of("bob"), ..ada.clone() };
    let ada_pending = Filter { status: Some(Status::Pending), ..ada.clone() };
    for (filter, after, limit, expected) in [
        (&Filter::default(), None, 10, vec![5, 4, 3, 2, 1]),
        (&Filter::default(), None, 2, vec![5, 4]),
        (&Filter::default(), Some(4), 2, vec![3, 2]),
        (&ada, Some(2), 10, vec![1]),
        (&bob, None, 10, vec![]),
        (&own, None, 2, vec![5, 4]),
        (&anothers, None, 10, vec![]),
        (&processing, None, 10, vec![2]),
        (&ada_pending, Some(5), 2, vec![4, 3]),
        (&ada_pending, Some(3), 2, vec![1]),
    ] {
        let found = payments.list(filter, after.map(Uuid::from_u128), limit).await.expect("lists");
        assert!(found.iter().all(|payment| payment.items.len() == 2));
        assert_eq!(ids(found), expected, "{filter:?} after {after:?}");
    }
}

async fn what_is_left_behind_is_claimed_and_nothing_else(place: Place) {
    let payments = &place.opened.store;
    let paid = completed(&place).await;
    for id in 2..=3 {
        payments.add(&numbered(id)).await.expect("adds");
    }
    payments.change(Uuid::from_u128(3), &begin).await.expect("begins");
    let request = |payment: &mut Payment| payment.request_refund(&asked(9, 100), NOON);
    payments.change(paid.id, &request).await.expect("requested");
    assert_eq!(payments.processing(10).await.expect("looks"), [Uuid::from_u128(3)]);
    let claim = |left_behind, now: OffsetDateTime| Claim { left_behind, now, until: now + MINUTE, limit: 10 };
    let early = payments.claim(&claim(NOON - Duration::from_millis(1), NOON)).await.expect("looks");
    assert_eq!(early, [], "they may be in the hands of a request");
    let charge = |attempts| Left { payment: Uuid::from_u128(3), refund: None, is_paid: false, attempts };
    let refund = |attempts| Left { payment: paid.id, refund: Some(Uuid::from_u128(9)), is_paid: false, attempts };
    let mut first = payments.claim(&claim(NOON, NOON)).await.expect("claims");
    first.sort_by_key(|left| left.payment);
    assert_eq!(first, [refund(1), charge(1)]);
    assert_eq!(payments.claim(&claim(NOON, NOON)).await.expect("looks"), [], "another has them");
    // The claim of who died ends, and so does the pause of who failed.
    payments.put_off(&charge(1), NOON + 5 * MINUTE).await.expect("puts off");
    for (at, expected) in [(1, vec![refund(2)]), (5, vec![charge(2), refund(3)]), (6, vec![charge(3), refund(4)])] {
        let claimed = payments.claim(&claim(NOON, NOON + at * MINUTE)).await.expect("claims");
        assert_eq!(claimed, expected, "after {at} minutes, who was tried least comes first");
    }
    payments.put_off(&charge(1), NOON).await.expect("does nothing: it is not his any more");
    assert_eq!(payments.claim(&claim(NOON, NOON + 6 * MINUTE)).await.expect("looks"), []);
    payments.change(Uuid::from_u128(3), &approve).await.expect("settles");
    let claimed = payments.claim(&claim(NOON, NOON + 9 * MINUTE)).await.expect("claims");
    assert_eq!(claimed, [refund(5)], "what is settled is not left behind");
}

async fn a_paid_refund_is_looked_at_when_it_is_due(place: Place) {
    let payments = &place.opened.store;
    let paid = completed(&place).await;
    let id = Uuid::from_u128(9);
    payments
        .change(paid.id, &|payment: &mut Payment| payment.request_refund(&asked(9, 100), NOON))
        .await
        .expect("requested");
    let settle = |payment: &mut Payment| payment.settle_refund(id, Paid::Back, NOON);
    payments.change(paid.id, &settle).await.expect("paid");
    let claim = async |now: OffsetDateTime| {
        let claim = Claim { left_behind: NOON, now, until: now + MINUTE, limit: 10 };
        payments.claim(&claim).await.expect("looks")
    };
    let look = |attempts| Left { payment: paid.id, refund: Some(id), is_paid: true, attempts };
    let due = NOON + time::Duration::DAY;
    assert_eq!(claim(due - Duration::from_millis(1)).await, []);
    assert_eq!(claim(due).await, [look(1)]);
    assert_eq!(claim(due).await, [], "another has it");
    payments.looked(&look(1), Some(due + 2 * MINUTE)).await.expect("noted");
    assert_eq!(claim(due + MINUTE).await, []);
    assert_eq!(claim(due + 2 * MINUTE).await, [look(2)]);
    payments.put_off(&look(2), due + 5 * MINUTE).await.expect("put off");
    assert_eq!(claim(due + 5 * MINUTE).await, [look(3)]);
    payments.looked(&look(2), None).await.expect("does nothing: it is not his any more");
    assert_eq!(claim(due + 6 * MINUTE).await, [look(4)]);
    payments.looked(&look(4), None).await.expect("noted");
    assert_eq!(claim(due + 99 * MINUTE).await, [], "for good");
    let come_back = |payment: &mut Payment| payment.settle_refund(id, Paid::Refused, NOON);
    payments.change(paid.id, &come_back).await.expect("came back");
    assert_eq!(claim(due + 99 * MINUTE).await, [], "nor what came back");
}

async fn what_waits_is_counted_with_how_long_it_has(place: Place) {
    let (payments, waits) = (&place.opened.store, &place.opened.waits);
    let nothing = [Wait { what: "refund".to_owned(), count: 0, since: None, lapsing: 0 }];
    assert_eq!(waits.waiting(NOON).await.expect("looks"), nothing);
    let paid = completed(&place).await;
    payments
        .change(paid.id, &|payment: &mut Payment| payment.request_refund(&asked(9, 100), NOON))
        .await
        .expect("requested");
    for id in 2..=4 {
        payments.add(&numbered(id)).await.expect("adds");
        payments.change(Uuid::from_u128(id), &begin).await.expect("begins");
    }
    let hours = |hours| NOON + Duration::from_hours(hours);
    for (id, until) in [(3, 20), (4, 30)] {
        let authorised = Verdict::Authorised { until: hours(until) };
        let settle = |payment: &mut Payment| payment.settle(1, &authorised, hours(id));
        payments.change(Uuid::from_u128(id.into()), &settle).await.expect("settles");
    }
    let mut found = waits.waiting(hours(24)).await.expect("looks");
    found.sort_by(|one, other| one.what.cmp(&other.what));
    let wait = |what: &str, count, since, lapsing| Wait { what: what.to_owned(), count, since: Some(since), lapsing };
    let expected = [wait("authorised", 2, hours(3), 1), wait("processing", 1, NOON, 0), wait("refund", 1, NOON, 0)];
    assert_eq!(found, expected);
}

/// What a version before migration 0015 writes.
const OLD_INSERT: &str = "INSERT INTO payments (id, user_id, basket_id, amount, currency, status, method, provider, \
    provider_id, description, metadata, failure_code, failure_message, operation, created_at, updated_at, processed_at, \
    expires_at, version, open_basket, replaces, reserved) SELECT ?, user_id, ?, amount, currency, 'processing', method, \
    'sandbox', NULL, description, metadata, NULL, NULL, operation, created_at, updated_at, NULL, expires_at, 1, NULL, NULL, \
    TRUE FROM payments WHERE id = ?";
const OLD_UPDATE: &str = "UPDATE payments SET status = 'completed', provider_id = 'sandbox_1', failure_code = NULL, \
    failure_message = NULL, processed_at = updated_at, version = version + 1, open_basket = NULL WHERE id = ? AND version = 1";
const OLD_ITEMS: &str = "INSERT INTO payment_items (payment_id, position, id, product_id, name, quantity, price, subtotal, \
    category, created_at) SELECT ?, position, ?, product_id, name, quantity, price, subtotal, category, created_at \
    FROM payment_items WHERE payment_id = ? AND position = 0";
const OLD_REFUND: &str = "INSERT INTO refunds (id, payment_id, amount, reason, restock, status, created_at) \
    SELECT ?, ?, 100, NULL, FALSE, 'requested', created_at FROM payments WHERE id = ?";
const OLD_SETTLE: &str = "UPDATE refunds SET status = 'settled' WHERE id = ? AND payment_id = ? AND payment_id = ?";

async fn a_version_before_works_on_this_schema_and_this_one_on_what_it_wrote(place: Place) {
    let (payments, id, refund) = (&place.opened.store, Uuid::from_u128(2), Uuid::from_u128(12));
    payments.add(&numbered(1)).await.expect("adds");
    let (known, basket) = (Uuid::from_u128(1), Uuid::from_u128(11));
    place.run(OLD_INSERT, [id, basket, known]).await;
    place.run(OLD_ITEMS, [id, Uuid::from_u128(13), known]).await;
    let read = payments.get(id).await.expect("reads").expect("is there");
    assert_eq!(
        (read.status, read.attempt(), read.capture, read.restocked),
        (Status::Processing, 1, Capture::Automatic, false)
    );
    place.run(OLD_UPDATE, [id]).await;
    let read = payments.get(id).await.expect("reads").expect("is there");
    assert_eq!((read.status, read.captured_amount()), (Status::Completed, usd(2700)));
    place.run(OLD_REFUND, [refund, id, id]).await;
    let left = |payment: &Payment| payment.left();
    assert_eq!(left(&payments.get(id).await.expect("reads").expect("is there")), usd(2600));
    place.run(OLD_SETTLE, [refund, id, id]).await;
    let come_back = |payment: &mut Payment| payment.settle_refund(refund, Paid::Refused, NOON);
    let payment = payments.change(id, &come_back).await.expect("came back");
    assert_eq!((payment.status, payment.left()), (Status::Completed, usd(2700)));
}

async fn of_many_that_claim_each_gets_others(place: Place) {
    for id in 1..=20 {
        place.opened.store.add(&numbered(id)).await.expect("adds");
        place.opened.store.change(Uuid::from_u128(id), &begin).await.expect("begins");
    }
    let claim = Claim { left_behind: NOON, now: NOON, until: NOON + MINUTE, limit: 10 };
    let claims = (0..4).map(|_| place.opened.store.claim(&claim));
    let mut claimed: Vec<_> = futures_util::future::try_join_all(claims).await.expect("claim").concat();
    claimed.extend(place.opened.store.claim(&Claim { limit: 20, ..claim }).await.expect("claims"));
    let ids: std::collections::BTreeSet<_> = claimed.iter().map(|left| left.payment).collect();
    assert_eq!((claimed.len(), ids.len()), (20, 20));
}

async fn expired_payments_are_found_page_by_page(place: Place) {
    let payments = &place.opened.store;
    for id in 1..=5 {
        payments.add(&numbered(id)).await.expect("adds");
    }
    payments.change(Uuid::from_u128(2), &begin).await.expect("begins");
    let end = NOON + Duration::from_mins(30);
    assert_eq!(payments.expired(end - Duration::from_millis(1), None, 10).await.expect("looks"), []);
    let (mut after, mut found) = (None, Vec::new());
    loop {
        let page = payments.expired(end, after, 2).await.expect("looks");
        let Some(last) = page.last() else { break };
        after = Some(*last);
        found.extend(page.iter().map(|(at, id)| (*at, id.as_u128())));
    }
    assert_eq!(found, [1, 3, 4, 5].map(|id| (end, id)));
}

fn charge(token: &str) -> Charge {
    charge_of(1, token)
}

/// The first attempt to charge a payment of 27.00.
pub(crate) fn charge_of(payment: u128, token: &str) -> Charge {
    let payment = Payment { id: Uuid::from_u128(payment), ..pending() };
    let token = Token::parse(token).expect("a token");
    Charge { reference: payment.reference(), intent: payment.intent(), attempt: 1, token }
}

fn reference(payment: u128) -> Reference {
    charge_of(payment, "tok_approve").reference
}

async fn the_provider_has_one_outcome_per_key(place: Place) {
    let provider = place.sandbox();
    let opened = provider.open(&charge("tok_approve").intent).await.expect("answers");
    assert_eq!(opened, provider.open(&charge("tok_approve").intent).await.expect("answers"));
    assert_eq!(opened, reference(1), "where versions before kept it");
    assert_eq!(provider.find(&opened, 1).await.expect("answers"), None);
    provider.charge(&charge("tok_lost_reply")).await.expect_err("the reply is lost");
    let first = provider.find(&opened, 1).await.expect("answers").expect("charged");
    assert!(matches!(first, Verdict::Approved { .. }));
    for token in ["tok_approve", "tok_decline", "tok_slow"] {
        assert_eq!(provider.charge(&charge(token)).await.expect("answers"), first, "{token}");
    }
    assert_eq!(provider.void(&opened).await.expect("answers"), first);
    for (key, token, code) in [
        (2, "tok_decline", "payment_declined"),
        (3, "tok_insufficient_funds", "insufficient_funds"),
        (4, "tok_made_up", "unknown_token"),
    ] {
        let declined = provider.charge(&charge_of(key, token)).await.expect("answers");
        let Verdict::Declined { failure, may_retry: false } = declined else { panic!("{token}") };
        assert_eq!(failure.code, code);
    }
}

async fn a_voided_key_is_never_charged(place: Place) {
    let provider = place.sandbox();
    assert_eq!(provider.void(&reference(1)).await.expect("answers"), Verdict::Voided);
    assert_eq!(provider.charge(&charge("tok_approve")).await.expect("answers"), Verdict::Voided, "it came too late");
    assert_eq!(place.charges(Uuid::from_u128(1)).await, 0);
}

async fn the_provider_pays_back_once_per_key_and_never_too_much(place: Place) {
    let provider = place.sandbox();
    provider.charge(&charge("tok_approve")).await.expect("answers");
    let back = |key: u128, minor| Payback {
        key: Uuid::from_u128(key),
        payment: Uuid::from_u128(1),
        reference: reference(1),
        amount: usd(minor),
    };
    for (payback, expected) in [
        (back(10, 2000), Paid::Back),
        (back(10, 2000), Paid::Back),
        (back(10, 1), Paid::Refused),
        (back(11, 701), Paid::Refused),
        (back(12, 700), Paid::Back),
        (Payback { reference: reference(2), ..back(13, 1) }, Paid::Refused),
    ] {
        assert_eq!(provider.refund(&payback).await.expect("answers"), expected, "{payback:?}");
    }
    assert_eq!(place.paid_back(Uuid::from_u128(1)).await, 2700);
}
