//! A guest's basket goes into a shopper's: what is summed up, cut and refused, and what is left when the service dies over it.

use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use shop_clock::SystemClock;
use shop_fault::{Fault, Kind};
use uuid::Uuid;

use super::*;
use crate::application::Merge;
use crate::domain::{Basket, Change, Changed, Error, Expected, UserId};

const MERGE: &str = "/baskets/ann/merge";

async fn put(stage: &Stage, user: &str, lines: &[(i64, u32)]) {
    for (product, quantity) in lines {
        let body = format!(r#"{{"product_id":{product},"quantity":{quantity}}}"#);
        assert_eq!(stage.post(&format!("/baskets/{user}/items"), &body).await.status, 200);
    }
}

async fn guest(stage: &Stage) -> String {
    let made = stage.post("/guests", "").await;
    assert_eq!(made.status, 201, "{made:?}");
    let made = made.json();
    // Where nobody asks who calls, the name is the token.
    assert_eq!(made["user_id"], made["access_token"]);
    made["user_id"].as_str().expect("a name").to_owned()
}

fn by(guest: &str) -> String {
    format!(r#"{{"guest_token":"{guest}"}}"#)
}

fn lines(answer: &Answer) -> Vec<(i64, u64)> {
    Answer { text: answer.json()["basket"].to_string(), ..answer.clone() }.lines()
}

fn changes(answer: &Answer) -> Vec<(i64, String)> {
    let changes = answer.json()["changes"].as_array().cloned().expect("changes");
    changes.iter().map(|one| (one["product_id"].as_i64().expect("an id"), one["change"].to_string())).collect()
}

#[tokio::test]
async fn lines_add_up_to_what_is_available_and_the_guests_basket_is_gone() {
    let stage = Stage::new().await;
    let guest = guest(&stage).await;
    put(&stage, "ann", &[(1, 2), (2, 8), (3, 1)]).await;
    put(&stage, &guest, &[(2, 5), (4, 2), (1, 1), (5, 1), (6, 1)]).await;
    stage.shelf.take_out(5);
    stage.shelf.set(6, |product| product.available = 0);
    stage.shelf.set(4, |product| product.price.minor = 900);
    let merged = stage.post(MERGE, &by(&guest)).await;
    assert_eq!((merged.status, lines(&merged)), (200, vec![(1, 3), (2, 10), (3, 1), (4, 2)]));
    insta::assert_json_snapshot!(merged.json()["changes"], @r#"
    [
      {
        "available_quantity": 10,
        "change": "availability",
        "name": "tea no. 2",
        "new_price": null,
        "old_price": null,
        "product_id": 2,
        "quantity": 13
      },
      {
        "available_quantity": 10,
        "change": "price",
        "name": "tea no. 4",
        "new_price": 9.0,
        "old_price": 10.04,
        "product_id": 4,
        "quantity": 2
      },
      {
        "available_quantity": 0,
        "change": "gone",
        "name": "tea no. 5",
        "new_price": null,
        "old_price": null,
        "product_id": 5,
        "quantity": 1
      },
      {
        "available_quantity": 0,
        "change": "availability",
        "name": "tea no. 6",
        "new_price": null,
        "old_price": null,
        "product_id": 6,
        "quantity": 1
      }
    ]
    "#);
    assert_eq!(stage.get(&format!("/baskets/{guest}")).await.code(), (404, "basket_not_found".to_owned()));
    let kept = stage.get("/baskets/ann").await;
    assert_eq!((&kept.etag, kept.lines()), (&merged.etag, lines(&merged)));

    let again = stage.post(MERGE, &by(&guest)).await;
    assert_eq!((lines(&again), changes(&again), again.etag), (lines(&merged), vec![], merged.etag));
    put(&stage, &guest, &[(7, 1)]).await;
    assert_eq!(lines(&stage.post(MERGE, &by(&guest)).await).last(), Some(&(7, 1)), "another basket is merged, too");
}

#[tokio::test]
async fn a_shopper_without_a_basket_gets_one() {
    let stage = Stage::new().await;
    let guest = guest(&stage).await;
    let empty = stage.post(MERGE, &by(&guest)).await;
    assert_eq!((empty.status, lines(&empty), changes(&empty)), (200, vec![], vec![]));
    put(&stage, &guest, &[(1, 2)]).await;
    let merged = stage.post("/baskets/bob/merge", &by(&guest)).await;
    assert_eq!((lines(&merged), changes(&merged)), (vec![(1, 2)], vec![]));
}

#[tokio::test]
async fn a_line_holds_no_more_than_it_may_and_what_was_there_stays() {
    let stage = Stage::new().await;
    let guest = guest(&stage).await;
    stage.shelf.set(1, |product| product.available = 5000);
    put(&stage, "ann", &[(1, 900), (2, 6)]).await;
    put(&stage, &guest, &[(1, 900), (2, 2)]).await;
    stage.shelf.set(2, |product| product.available = 3);
    let merged = stage.post(MERGE, &by(&guest)).await;
    assert_eq!(lines(&merged), [(1, 999), (2, 6)]);
    let told = merged.json();
    let figures = |n: usize| (&told["changes"][n]["quantity"], &told["changes"][n]["available_quantity"]);
    assert_eq!((figures(0), figures(1)), ((&1800.into(), &999.into()), (&8.into(), &3.into())));
}

#[tokio::test]
async fn what_the_basket_cannot_hold_is_refused_and_both_stay() {
    let stage = Stage::new().await;
    let guest = guest(&stage).await;
    put(&stage, "ann", &[(1, 1)]).await;
    stage.shelf.set(2, |product| product.price.currency = "JPY".parse().expect("JPY"));
    put(&stage, &guest, &[(2, 1)]).await;
    assert_eq!(stage.post(MERGE, &by(&guest)).await.code(), (409, "currency_mismatch".to_owned()));
    put(&stage, &guest, &[(2, 1)]).await;

    let full = |slot: &mut Option<Basket>| {
        let basket = slot.as_mut().expect("a basket");
        let one = basket.lines[0].clone();
        basket.lines.extend((100..199).map(|id| crate::domain::Line {
            id: Uuid::now_v7(),
            product: id,
            ..one.clone()
        }));
        Ok(())
    };
    stage.baskets.change(&"ann".parse().expect("a user"), None, &full).await.expect("full");
    stage.shelf.set(2, |product| product.price.currency = shop_money::Currency::USD);
    assert_eq!(stage.post(MERGE, &by(&guest)).await.code(), (409, "basket_full".to_owned()));
    stage.shelf.close();
    assert_eq!(stage.post(MERGE, &by(&guest)).await.code(), (503, "product_service_unavailable".to_owned()));
    assert_eq!(stage.get(&format!("/baskets/{guest}")).await.lines(), [(2, 2)]);
    assert_eq!(stage.get("/baskets/ann").await.lines().len(), 100);
    let changed = stage.put(&format!("/baskets/{guest}/items/2"), r#"{"quantity":0}"#).await;
    assert_eq!(changed.status, 200, "it is not on its way: {changed:?}");
}

#[tokio::test]
async fn only_a_guests_token_merges_and_never_into_a_guests_basket() {
    let stage = Stage::new().await;
    let guest = guest(&stage).await;
    for (body, status, code) in [
        (by("bob"), 422, "validation_failed"),
        (by(""), 422, "validation_failed"),
        (by("guest-a b"), 422, "validation_failed"),
        ("{}".to_owned(), 422, "validation_failed"),
        (r#"{"guest_token":"guest-1","x":1}"#.to_owned(), 422, "validation_failed"),
    ] {
        assert_eq!(stage.post(MERGE, &body).await.code(), (status, code.to_owned()), "{body}");
    }
    let into_own = stage.post(&format!("/baskets/{guest}/merge"), &by(&guest)).await;
    assert_eq!(into_own.code(), (403, "forbidden".to_owned()));
    put(&stage, "ann", &[(1, 1)]).await;
    let late = stage.call(Method::POST, MERGE, &[("if-match", "\"v1\"")], Some(&by(&guest))).await;
    assert_eq!(late.code(), (412, "precondition_failed".to_owned()));
}

#[tokio::test]
async fn a_merge_under_a_key_is_answered_alike_the_second_time() {
    let stage = Stage::new().await;
    let guest = guest(&stage).await;
    put(&stage, &guest, &[(1, 1)]).await;
    stage.shelf.set(1, |product| product.price.minor = 900);
    let send = async |body: &str| stage.call(Method::POST, MERGE, &[("idempotency-key", "k")], Some(body)).await;
    let (first, second) = (send(&by(&guest)).await, send(&by(&guest)).await);
    assert_eq!((first.status, second.replayed.as_deref(), &first.text), (200, Some("true"), &second.text));
    assert_eq!(changes(&second).len(), 1);
    assert_eq!(send(&by("guest-2")).await.code(), (422, "idempotency_key_reused".to_owned()));
}

/// A store whose process dies at one of its writes: just before it, or when it is done and not yet answered.
struct Dying {
    store: Arc<dyn Baskets>,
    /// Two for each write that is lived through.
    left: AtomicUsize,
}

impl Dying {
    fn die(&self) -> Result<(), Error> {
        let left = self.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| Some(left.saturating_sub(1)));
        if left == Ok(1) || left == Ok(0) {
            return Err(Fault::new(Kind::Unavailable, "store_unavailable", "dead").into());
        }
        Ok(())
    }
}

#[async_trait]
impl Baskets for Dying {
    async fn get(&self, user: &UserId) -> Result<Option<Basket>, Error> {
        self.store.get(user).await
    }

    async fn change(&self, user: &UserId, operation: Option<Uuid>, change: Change<'_>) -> Result<Changed, Error> {
        self.die()?;
        let changed = self.store.change(user, operation, change).await?;
        self.die()?;
        Ok(changed)
    }

    async fn forward(&self, basket: Uuid, to: &UserId) -> Result<(), Error> {
        self.die()?;
        self.store.forward(basket, to).await?;
        self.die()
    }

    async fn forwarded(&self, basket: Uuid) -> Result<Option<UserId>, Error> {
        self.store.forwarded(basket).await
    }

    async fn forget(&self, user: &UserId, at: time::OffsetDateTime) -> Result<(), Error> {
        self.store.forget(user, at).await
    }

    async fn sweep(&self) -> Result<u64, Error> {
        self.store.sweep().await
    }

    async fn check(&self) -> Result<(), String> {
        self.store.check().await
    }
}

fn user(name: &str) -> UserId {
    name.parse().expect("a user")
}

fn merging(user_id: &str) -> Merge {
    Merge { user: user(user_id), guest: user("guest-1"), expected: Expected::default() }
}

/// Kills a merge at each of its writes, on a store that is empty each time.
async fn dies_everywhere(settings: &Redis) {
    let opened = crate::infrastructure::open(settings, Arc::new(SystemClock)).await.expect("a store");
    let shelf = Arc::new(Shelf::default());
    let commands =
        |store: Arc<dyn Baskets>| Commands::new(store, shelf.clone(), Arc::new(SystemClock), Duration::from_hours(24));
    let good = commands(opened.store.clone());
    let add = |owner: &str, product, quantity| {
        let quantity = crate::domain::Quantity::new(quantity).expect("a quantity");
        let (user, expected) = (user(owner), Expected::default());
        good.add(crate::application::AddItem { user, product, quantity, operation: None, expected })
    };
    let held = |owner: &'static str| {
        let store = opened.store.clone();
        async move {
            let basket = store.get(&user(owner)).await.expect("read");
            basket.map(|basket| basket.lines.iter().map(|line| (line.product, line.quantity.get())).collect::<Vec<_>>())
        }
    };
    let mut deaths = 0;
    loop {
        add("ann", 1, 1).await.expect("added");
        add("guest-1", 1, 2).await.expect("added");
        add("guest-1", 2, 3).await.expect("added");
        let dying = Dying { store: opened.store.clone(), left: AtomicUsize::new(deaths + 1) };
        let died = commands(Arc::new(dying)).merge(merging("ann")).await;
        if died.is_ok() {
            break;
        }
        // What is on its way stays as it is, and goes to whom it was for.
        let is_under_way = held("guest-1").await.is_some() && deaths > 0;
        if is_under_way {
            let refused = add("guest-1", 3, 1).await.expect_err("is on its way");
            assert_eq!(Fault::from(refused).code(), "basket_merging", "death {deaths}");
            let other = good.merge(merging("bob")).await.expect("merged").basket;
            assert_eq!(other.lines, [], "death {deaths}");
        }
        for _ in 0..2 {
            good.merge(merging("ann")).await.expect("merged");
            assert_eq!(
                (held("ann").await, held("guest-1").await),
                (Some(vec![(1, 3), (2, 3)]), None),
                "death {deaths}"
            );
        }
        good.delete(&user("ann"), &Expected::default()).await.expect("deleted");
        deaths += 1;
    }
    assert_eq!(deaths, 8, "four writes, before and after each");
    assert_eq!((held("ann").await, held("guest-1").await), (Some(vec![(1, 3), (2, 3)]), None));
}

/// A guest pays, and signs in before his basket has heard of it. The merge dies at each of its writes, and so does whoever brings
/// the news, before and after the merge is asked for again: what was paid is gone, and nothing else.
async fn what_was_paid_leaves_wherever_it_went(settings: &Redis) {
    let opened = crate::infrastructure::open(settings, Arc::new(SystemClock)).await.expect("a store");
    let shelf = Arc::new(Shelf::default());
    let commands =
        |store: Arc<dyn Baskets>| Commands::new(store, shelf.clone(), Arc::new(SystemClock), Duration::from_hours(24));
    let dying = |deaths| commands(Arc::new(Dying { store: opened.store.clone(), left: AtomicUsize::new(deaths) }));
    let good = commands(opened.store.clone());
    let add = async |owner: &str, product, quantity| {
        let quantity = crate::domain::Quantity::new(quantity).expect("a quantity");
        let (user, expected) = (user(owner), Expected::default());
        let add = crate::application::AddItem { user, product, quantity, operation: None, expected };
        good.add(add).await.expect("added")
    };
    for (deaths, is_bad_news) in (1..=9).flat_map(|deaths| (1..=9).map(move |bad| (deaths, bad))) {
        add("ann", 1, 1).await;
        add("guest-1", 1, 2).await;
        let guests = add("guest-1", 2, 3).await;
        let event = Uuid::now_v7();
        let news = || {
            let (user, payment, paid) = (user("guest-1"), Uuid::from_u128(9), vec![(1, 2), (2, 2)]);
            crate::application::Subtract { event, user, basket: guests.id, payment, paid }
        };
        let place = format!("the merge dies at {deaths}, the news at {is_bad_news}");
        dying(deaths).merge(merging("ann")).await.ok();
        dying(is_bad_news).subtract(news()).await.ok();
        if deaths % 2 == 0 {
            good.merge(merging("ann")).await.expect("merged");
        }
        for _ in 0..2 {
            good.subtract(news()).await.expect("is heard");
        }
        let merged = good.merge(merging("ann")).await.expect("merged").basket;
        good.subtract(news()).await.expect("is heard again");
        let ann = opened.store.get(&user("ann")).await.expect("read").expect("a basket");
        assert_eq!(ann, merged, "{place}");
        let lines: Vec<_> = ann.lines.iter().map(|line| (line.product, line.quantity.get())).collect();
        assert_eq!(lines, [(1, 1), (2, 1)], "{place}");
        assert_eq!(opened.store.get(&user("guest-1")).await.expect("read"), None, "{place}");
        good.delete(&user("ann"), &Expected::default()).await.expect("deleted");
    }
}

/// Many merge at once, and the guest goes on filling his basket: nothing is lost or doubled.
async fn many_at_once(settings: &Redis) {
    let opened = crate::infrastructure::open(settings, Arc::new(SystemClock)).await.expect("a store");
    let shelf = Arc::new(Shelf::default());
    shelf.set(1, |product| product.available = 1000);
    let commands = Commands::new(opened.store.clone(), shelf, Arc::new(SystemClock), Duration::from_hours(24));
    let one = crate::domain::Quantity::new(1).expect("one");
    let adding = (0..60).map(|_| {
        let (user, expected) = (user("guest-1"), Expected::default());
        let add = crate::application::AddItem { user, product: 1, quantity: one, operation: None, expected };
        async { u32::from(commands.add(add).await.is_ok()) }
    });
    let merges = (0..20).map(|_| async { commands.merge(merging("ann")).await.map(drop) });
    let (added, outcomes) =
        tokio::join!(futures_util::future::join_all(adding), futures_util::future::join_all(merges));
    assert!(outcomes.iter().any(Result::is_ok), "{outcomes:?}");
    let basket = commands.merge(merging("ann")).await.expect("merged").basket;
    assert_eq!(basket.item_count(), added.iter().sum::<u32>());
}

#[tokio::test(flavor = "multi_thread")]
async fn merges_lose_and_double_nothing_on_sqlite() {
    let [first, second, third] = [(); 3].map(|()| tempfile::tempdir().expect("a folder"));
    let at = |folder: &TempDir| Redis::at(&format!("sqlite://{}", folder.path().join("basket.db").display()));
    dies_everywhere(&at(&first)).await;
    many_at_once(&at(&second)).await;
    what_was_paid_leaves_wherever_it_went(&at(&third)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn merges_lose_and_double_nothing_on_redis() {
    let Some(keys) = shop_testing::backend::redis().await else { return };
    let at = |part: &str| Redis { key_prefix: format!("{}{part}:", keys.prefix()), ..Redis::at(&keys.url()) };
    dies_everywhere(&at("dies")).await;
    many_at_once(&at("many")).await;
    what_was_paid_leaves_wherever_it_went(&at("paid")).await;
}
