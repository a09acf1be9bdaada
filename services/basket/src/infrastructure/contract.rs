//! What every store of baskets must do; the same tests run on SQLite, on real Redises (alone, behind
//! sentinels, as a cluster) and on a real Valkey.

mod entity;
mod keys;
mod redis;
mod several;
mod writes;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use shop_clock::{Clock, ManualClock};
use shop_config::Redis;
use shop_money::{Currency, Money};
use time::macros::datetime;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::Opened;
use crate::domain::{Basket, Changed, Error, Product, Quantity, UserId};

const TTL: time::Duration = time::Duration::hours(24);

/// An empty store with a clock that stands still, and what must outlive it.
struct Stage {
    opened: Opened,
    clock: Arc<ManualClock>,
    _keep: Box<dyn std::any::Any>,
}

impl Stage {
    async fn open(settings: Redis, keep: impl std::any::Any) -> Self {
        let clock = Arc::new(ManualClock::at(datetime!(2026-01-02 12:00 UTC)));
        let opened = super::open(&settings, clock.clone()).await.expect("the store opens");
        Self { opened, clock, _keep: Box::new(keep) }
    }

    async fn sqlite() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let url = format!("sqlite://{}", folder.path().join("basket.db").display());
        Self::open(Redis::at(&url), folder).await
    }

    async fn redis() -> Option<Self> {
        Some(Self::of(shop_testing::backend::redis().await?).await)
    }

    async fn valkey() -> Option<Self> {
        Some(Self::of(shop_testing::backend::valkey()?).await)
    }

    async fn sentinels() -> Option<Self> {
        Some(Self::of(shop_testing::backend::redis_sentinel()?).await)
    }

    async fn cluster() -> Option<Self> {
        Some(Self::of(shop_testing::backend::redis_cluster()?).await)
    }

    async fn of(keys: shop_testing::backend::Keys) -> Self {
        let settings = Redis { key_prefix: keys.prefix().to_owned(), ..Redis::at(&keys.url()) };
        Self::open(settings, keys).await
    }

    fn fresh(&self, user: &UserId) -> Basket {
        Basket::new(self.clock.new_id(), user.clone(), self.clock.now(), TTL)
    }

    async fn get(&self, user: &UserId) -> Option<Basket> {
        self.opened.store.get(user).await.expect("read")
    }

    /// Adds one unit of `product`, as the command does it.
    async fn add(&self, user: &UserId, product: i64, operation: Option<Uuid>) -> Result<Changed, Error> {
        let (fresh, line, now) = (self.fresh(user), self.clock.new_id(), self.clock.now());
        let change = |slot: &mut Option<Basket>| {
            let basket = slot.get_or_insert_with(|| fresh.clone());
            basket.add(&item(product), Quantity::new(1).expect("one"), line, now)?;
            basket.touch(now, TTL);
            Ok(())
        };
        self.opened.store.change(user, operation, &change).await
    }

    async fn remove(&self, user: &UserId) {
        let change = |slot: &mut Option<Basket>| {
            *slot = None;
            Ok(())
        };
        let gone = self.opened.store.change(user, None, &change).await.expect("removed");
        assert_eq!(gone, Changed::Applied(None));
    }
}

fn item(id: i64) -> Product {
    let (name, category) = (format!("tea \"no. {id}\" ☕"), "food & drink".to_owned());
    Product { id, name, price: Money::new(250 + id, Currency::USD), category, available: 1_000_000 }
}

fn user(id: &str) -> UserId {
    id.parse().expect("a user")
}

/// Runs a test on every store; without a real Redis that part says so and passes.
macro_rules! on_each {
    ($($(#[$doc:meta])* $name:ident)*) => {
        mod on_sqlite { $(#[tokio::test(flavor = "multi_thread")] async fn $name() { super::$name(&super::Stage::sqlite().await).await; })* }
        mod on_redis { $(#[tokio::test(flavor = "multi_thread")] async fn $name() {
            if let Some(stage) = super::Stage::redis().await { super::$name(&stage).await; }
        })* }
        mod on_valkey { $(#[tokio::test(flavor = "multi_thread")] async fn $name() {
            if let Some(stage) = super::Stage::valkey().await { super::$name(&stage).await; }
        })* }
        mod behind_sentinels { $(#[tokio::test(flavor = "multi_thread")] async fn $name() {
            if let Some(stage) = super::Stage::sentinels().await { super::$name(&stage).await; }
        })* }
        mod on_a_cluster { $(#[tokio::test(flavor = "multi_thread")] async fn $name() {
            if let Some(stage) = super::Stage::cluster().await { super::$name(&stage).await; }
        })* }
    };
}
use on_each;

on_each! {
    what_is_stored_comes_back_to_the_letter
    a_refused_change_and_one_that_changes_nothing_leave_what_was_there
    a_removed_basket_is_gone_and_the_next_one_is_another
    fifty_who_add_to_one_basket_at_once_lose_nothing
    fifty_who_make_a_basket_at_once_make_one
    an_operation_takes_effect_once_however_often_it_comes
    an_operation_on_a_basket_that_is_gone_counts_as_done
    an_operation_that_was_refused_may_come_again
    what_was_paid_for_leaves_no_basket_again_as_long_as_a_replay_may_come
    a_basket_that_nobody_changed_for_a_day_is_gone
    users_do_not_meet
    it_is_known_whose_the_lines_of_a_basket_became
    who_is_forgotten_has_no_basket_and_others_have_theirs
}

async fn what_is_stored_comes_back_to_the_letter(stage: &Stage) {
    let ann = user("ann@example.com");
    assert_eq!(stage.get(&ann).await, None);
    for product in (1..=Basket::MAX_LINES).rev() {
        stage.add(&ann, i64::try_from(product).expect("small"), None).await.expect("added");
    }
    stage.clock.advance(Duration::from_millis(1));
    let stored = stage.add(&ann, 7, None).await.expect("added").into_basket().expect("a basket");
    assert_eq!(stored.lines.len(), Basket::MAX_LINES);
    assert_eq!(stored.version, stage.get(&ann).await.expect("a basket").version);
    assert_eq!(stage.get(&ann).await.as_ref(), Some(&stored));
    assert_eq!(stored.expires_at, stage.clock.now() + TTL);

    let prices = |slot: &mut Option<Basket>| {
        let basket = slot.as_mut().expect("a basket");
        let yen = Money::new(9, "JPY".parse().expect("JPY"));
        basket.lines.retain(|line| line.product % 2 == 0);
        basket.lines.iter_mut().for_each(|line| line.price = yen);
        Ok(())
    };
    let changed = stage.opened.store.change(&ann, None, &prices).await.expect("changed").into_basket();
    assert_eq!(
        changed.as_ref().map(|basket| (basket.currency().to_string(), basket.lines.len())),
        Some(("JPY".into(), 50))
    );
    assert_eq!(stage.get(&ann).await, changed);
}

async fn a_refused_change_and_one_that_changes_nothing_leave_what_was_there(stage: &Stage) {
    let ann = user("ann");
    let before = stage.add(&ann, 1, None).await.expect("added").into_basket();
    let refuse = |slot: &mut Option<Basket>| {
        *slot = None;
        Err(Error::Full)
    };
    assert!(matches!(stage.opened.store.change(&ann, None, &refuse).await, Err(Error::Full)));
    stage.clock.advance(Duration::from_mins(1));
    let same = stage.opened.store.change(&ann, None, &|_| Ok(())).await.expect("the same");
    assert_eq!(same, Changed::Applied(before.clone()));
    assert_eq!(stage.get(&ann).await, before);
}

async fn a_removed_basket_is_gone_and_the_next_one_is_another(stage: &Stage) {
    let ann = user("ann");
    let first = stage.add(&ann, 1, None).await.expect("added").into_basket().expect("a basket");
    stage.remove(&ann).await;
    assert_eq!(stage.get(&ann).await, None);
    stage.remove(&ann).await;
    let second = stage.add(&ann, 2, None).await.expect("added").into_basket().expect("a basket");
    assert_ne!(first.id, second.id);
    assert_eq!(second.lines.iter().map(|line| line.product).collect::<Vec<_>>(), [2]);
    assert_eq!(stage.get(&ann).await, Some(second));
}

async fn fifty_who_add_to_one_basket_at_once_lose_nothing(stage: &Stage) {
    let ann = user("ann");
    let adding = (0..50).map(|n| {
        let ann = ann.clone();
        async move { stage.add(&ann, n % 5 + 1, None).await }
    });
    for added in join_all(adding).await {
        added.expect("added");
    }
    let basket = stage.get(&ann).await.expect("a basket");
    assert_eq!((basket.lines.len(), basket.item_count()), (5, 50));
    assert_eq!(basket.total().minor, (1..=5).map(|id| 10 * (250 + id)).sum::<i64>());
}

async fn fifty_who_make_a_basket_at_once_make_one(stage: &Stage) {
    let ann = user("ann");
    let making = (0..50).map(|_| {
        let (ann, fresh) = (ann.clone(), stage.fresh(&ann));
        async move {
            let change = |slot: &mut Option<Basket>| {
                slot.get_or_insert_with(|| fresh.clone());
                Ok(())
            };
            let made = stage.opened.store.change(&ann, None, &change).await.expect("made");
            made.into_basket().expect("a basket").id
        }
    });
    let ids: BTreeSet<Uuid> = join_all(making).await.into_iter().collect();
    assert_eq!(ids.len(), 1);
}

async fn an_operation_takes_effect_once_however_often_it_comes(stage: &Stage) {
    let (ann, operation) = (user("ann"), Uuid::now_v7());
    let coming = (0..20).map(|_| async { stage.add(&user("ann"), 1, Some(operation)).await.expect("taken") });
    let outcomes = join_all(coming).await;
    assert_eq!(outcomes.iter().filter(|outcome| matches!(outcome, Changed::Applied(_))).count(), 1);
    assert_eq!(stage.get(&ann).await.expect("a basket").item_count(), 1);
    let other = stage.add(&ann, 1, Some(Uuid::now_v7())).await.expect("taken");
    assert_eq!(other.into_basket().expect("a basket").item_count(), 2);
}

async fn an_operation_on_a_basket_that_is_gone_counts_as_done(stage: &Stage) {
    let (ann, operation) = (user("ann"), Uuid::now_v7());
    let nothing = stage.opened.store.change(&ann, Some(operation), &|_| Ok(())).await.expect("taken");
    assert_eq!(nothing, Changed::Applied(None));
    let again = stage.add(&ann, 1, Some(operation)).await.expect("taken");
    assert_eq!(again, Changed::Repeated(None));
    assert_eq!(stage.get(&ann).await, None);
}

async fn an_operation_that_was_refused_may_come_again(stage: &Stage) {
    let (ann, operation) = (user("ann"), Uuid::now_v7());
    let refused = stage.opened.store.change(&ann, Some(operation), &|_| Err(Error::Full)).await;
    assert!(matches!(refused, Err(Error::Full)));
    let taken = stage.add(&ann, 1, Some(operation)).await.expect("taken");
    assert!(matches!(taken, Changed::Applied(Some(_))));
}

async fn what_was_paid_for_leaves_no_basket_again_as_long_as_a_replay_may_come(stage: &Stage) {
    let (ann, event) = (user("ann"), Uuid::now_v7());
    let take_out = |slot: &mut Option<Basket>| {
        *slot = None;
        Ok(())
    };
    stage.add(&ann, 1, None).await.expect("added");
    let paid = stage.opened.store.change(&ann, Some(event), &take_out).await.expect("taken out");
    assert_eq!(paid, Changed::Applied(None));
    let day = Duration::from_hours(24);
    let last = u32::try_from(shop_events::REPLAY_WITHIN.as_secs() / day.as_secs()).expect("some weeks") + 7;
    // On Redis marks go by its own clock; how long they are kept there is asked in `redis.rs`.
    for days in [9, last - 9] {
        stage.clock.advance(days * day);
        stage.opened.store.sweep().await.expect("swept");
        if let Some(shared) = &stage.opened.shared {
            let stop = CancellationToken::new();
            stop.cancel();
            shop_sql::housekeeping(shared.clone(), stage.clock.clone(), stop).await;
        }
        stage.add(&ann, 2, None).await.expect("filled again");
        let again = stage.opened.store.change(&ann, Some(event), &take_out).await.expect("comes again");
        assert!(matches!(again, Changed::Repeated(Some(_))), "{again:?}");
        assert!(stage.get(&ann).await.is_some(), "what she chose since is hers to buy");
    }
}

async fn a_basket_that_nobody_changed_for_a_day_is_gone(stage: &Stage) {
    let (ann, bob) = (user("ann"), user("bob"));
    let first = stage.add(&ann, 1, None).await.expect("added").into_basket().expect("a basket");
    stage.clock.advance(Duration::from_hours(23));
    stage.add(&bob, 1, None).await.expect("added");
    stage.clock.advance(Duration::from_hours(1));
    assert_eq!(stage.get(&ann).await, None);
    let second = stage.add(&ann, 2, None).await.expect("added").into_basket().expect("a basket");
    assert_ne!(first.id, second.id);
    assert_eq!(second.item_count(), 1);
    assert_eq!(stage.get(&ann).await, Some(second));

    stage.clock.advance(Duration::from_hours(23));
    stage.opened.store.sweep().await.expect("swept");
    assert_eq!(stage.get(&bob).await, None);
    assert!(stage.get(&ann).await.is_some());
}

async fn it_is_known_whose_the_lines_of_a_basket_became(stage: &Stage) {
    let (store, basket, other) = (&stage.opened.store, Uuid::now_v7(), Uuid::now_v7());
    assert_eq!(store.forwarded(basket).await.expect("read"), None);
    for to in ["ann", "ann", "bob"] {
        store.forward(basket, &user(to)).await.expect("noted");
        assert_eq!(store.forwarded(basket).await.expect("read"), Some(user(to)));
    }
    stage.clock.advance(shop_sql::INBOX_KEPT.saturating_sub(Duration::from_secs(1)));
    store.forward(other, &user("ann")).await.expect("noted");
    store.sweep().await.expect("swept");
    assert_eq!(store.forwarded(basket).await.expect("read"), Some(user("bob")), "as long as an event may come");
    stage.clock.advance(Duration::from_secs(1));
    store.sweep().await.expect("swept");
    assert_eq!(store.forwarded(other).await.expect("read"), Some(user("ann")));
}

async fn users_do_not_meet(stage: &Stage) {
    for (product, name) in [(1, "a"), (2, "a.b"), (3, "A"), (4, "a-b")] {
        stage.add(&user(name), product, None).await.expect("added");
    }
    for (product, name) in [(1, "a"), (2, "a.b"), (3, "A"), (4, "a-b")] {
        let basket = stage.get(&user(name)).await.expect("a basket");
        assert_eq!(basket.lines.iter().map(|line| line.product).collect::<Vec<_>>(), [product], "{name}");
    }
    stage.opened.store.check().await.expect("the store answers");
}

async fn who_is_forgotten_has_no_basket_and_others_have_theirs(stage: &Stage) {
    let (ann, anna) = (user("ann"), user("anna"));
    for user in [&ann, &anna] {
        stage.add(user, 1, Some(stage.clock.new_id())).await.expect("added");
    }
    let store = &stage.opened.store;
    let before = stage.clock.now() - time::Duration::SECOND;
    store.forget(&ann, before).await.expect("heard late");
    assert!(stage.get(&ann).await.is_some(), "the basket is newer than the wish");
    let [hers, others] = [(); 2].map(|()| stage.clock.new_id());
    store.forward(hers, &ann).await.expect("noted");
    store.forward(others, &anna).await.expect("noted");
    for _ in 0..2 {
        store.forget(&ann, stage.clock.now()).await.expect("forgotten");
        assert_eq!(store.forwarded(hers).await.expect("read"), None);
        assert_eq!(store.forwarded(others).await.expect("read"), Some(anna.clone()));
        assert_eq!((stage.get(&ann).await, stage.get(&anna).await.is_some()), (None, true));
    }
}
