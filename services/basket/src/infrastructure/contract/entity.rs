//! Every field of a basket is kept by every store. No field is left to `..`: a new one has to be decided upon here.

use std::time::Duration;

use shop_money::Money;
use time::OffsetDateTime;
use uuid::Uuid;

use super::{Stage, on_each, user};
use crate::domain::{Basket, Error, Line, Merged, Quantity, UserId};

on_each! {
    every_field_of_a_basket_is_kept
    every_field_that_changes_is_written
}

fn money(minor: i64, currency: &str) -> Money {
    Money::new(minor, currency.parse().expect("a currency"))
}

fn line(n: i64, now: OffsetDateTime) -> Line {
    Line {
        id: Uuid::from_u128(n.unsigned_abs().into()),
        product: n,
        name: format!("tea no. {n}"),
        quantity: Quantity::new(7).expect("a quantity"),
        price: money(900 + n, "JPY"),
        category: "food & drink".to_owned(),
        created_at: now - Duration::from_secs(30),
    }
}

fn came(basket: u128, cleared_by: Option<Uuid>) -> Merged {
    Merged { basket: Uuid::from_u128(basket), cleared_by, units: vec![(1, 2), (2, 999)] }
}

/// A basket with nothing as in a new one.
fn full(user: &UserId, now: OffsetDateTime) -> Basket {
    let full = Basket {
        id: Uuid::from_u128(77),
        user: user.clone(),
        lines: vec![line(1, now), line(2, now)],
        created_at: now - Duration::from_mins(1),
        updated_at: now - Duration::from_secs(20),
        expires_at: now + Duration::from_hours(1),
        version: 5,
        merging_into: Some(super::user("grace")),
        cleared_by: Some(Uuid::from_u128(78)),
        merged: vec![came(80, None), came(81, Some(Uuid::from_u128(82)))],
    };
    let Basket { id, user, lines, created_at, updated_at, expires_at, version, merging_into, cleared_by, merged } =
        &full;
    let new = Basket::new(Uuid::nil(), super::user("nobody"), now, super::TTL);
    assert!(*id != new.id && *user != new.user && *lines != new.lines && full.currency() != new.currency());
    assert!(*created_at != new.created_at && *updated_at != new.updated_at && *expires_at != new.expires_at);
    assert!(*version != new.version && *merging_into != new.merging_into);
    assert!(*cleared_by != new.cleared_by && *merged != new.merged);
    full
}

/// Changes whatever may change.
fn alter(basket: &mut Basket) {
    let Basket {
        id: _,
        user: _,
        lines,
        created_at: _,
        updated_at,
        expires_at,
        version,
        merging_into,
        cleared_by,
        merged,
    } = basket;
    for one in lines {
        let Line { id: _, product: _, name, quantity, price, category, created_at: _ } = one;
        name.push_str(", green");
        *quantity = Quantity::new(quantity.get() + 1).expect("a quantity");
        *price = money(price.minor + 1, "EUR");
        category.push_str(" & more");
    }
    *updated_at += Duration::from_secs(1);
    *expires_at += Duration::from_secs(2);
    *version += 3;
    *merging_into = None;
    *cleared_by = Some(Uuid::from_u128(79));
    let Merged { basket: _, cleared_by, units } = &mut merged[0];
    *cleared_by = Some(Uuid::from_u128(83));
    units.push((3, 4));
}

async fn put(stage: &Stage, basket: &Basket) {
    let change = |slot: &mut Option<Basket>| {
        *slot = Some(basket.clone());
        Ok(())
    };
    let put = stage.opened.store.change(&basket.user, None, &change).await.expect("is stored").into_basket();
    assert_eq!(put.as_ref(), Some(basket));
}

async fn every_field_of_a_basket_is_kept(stage: &Stage) {
    use shop_clock::Clock;
    let (ann, store) = (user("ann"), &stage.opened.store);
    let kept = full(&ann, stage.clock.now());
    put(stage, &kept).await;
    assert_eq!(stage.get(&ann).await.as_ref(), Some(&kept), "stored");

    store.change(&ann, None, &|_| Ok(())).await.expect("nothing to do");
    assert_eq!(stage.get(&ann).await.as_ref(), Some(&kept), "a change of nothing");
    store.change(&ann, Some(Uuid::now_v7()), &|_| Ok(())).await.expect("is marked");
    assert_eq!(stage.get(&ann).await.as_ref(), Some(&kept), "the mark of an operation");
    store.change(&ann, None, &|_| Err(Error::Full)).await.expect_err("is refused");
    assert_eq!(stage.get(&ann).await.as_ref(), Some(&kept), "a refused change");
    stage.add(&user("bob"), 1, None).await.expect("is added");
    stage.remove(&user("bob")).await;
    assert_eq!(stage.get(&ann).await.as_ref(), Some(&kept), "another user's basket");
    store.sweep().await.expect("sweeps");
    store.check().await.expect("is up");
    assert_eq!(stage.get(&ann).await.as_ref(), Some(&kept), "a sweep");
}

async fn every_field_that_changes_is_written(stage: &Stage) {
    use shop_clock::Clock;
    let ann = user("ann");
    let mut kept = full(&ann, stage.clock.now());
    put(stage, &kept).await;
    alter(&mut kept);
    put(stage, &kept).await;
    assert_eq!(stage.get(&ann).await.as_ref(), Some(&kept), "altered");
    kept.lines.remove(0);
    put(stage, &kept).await;
    assert_eq!(stage.get(&ann).await.as_ref(), Some(&kept), "a line less");
    kept.merged.clear();
    put(stage, &kept).await;
    assert_eq!(stage.get(&ann).await.as_ref(), Some(&kept), "nothing merged any more");
}
