//! Every field of a product is kept by every store. No field is left to `..`: a new one has to be decided upon here.

use shop_money::Money;
use uuid::Uuid;

use super::{add, at, contract, count_sold, details, hold, line, settle};
use crate::domain::{Details, Error, Movement, Product, Settlement, Store};

contract![every_field_of_a_product_is_kept, every_field_that_changes_is_written];

fn money(minor: i64, currency: &str) -> Money {
    Money::new(minor, currency.parse().expect("a currency"))
}

/// A product with nothing as in a new one, kept by every operation that fills it.
async fn full(store: &dyn Store) -> Product {
    let written = Details {
        name: "Ćwikła".to_owned(),
        description: "two\nlines ☕".to_owned(),
        price: money(1300, "JPY"),
        stock_quantity: 9,
        category: "kitchen & co".to_owned(),
        image_url: Some("https://img.example/1.png".to_owned()),
    };
    let made = add(store, &written).await;
    let mut kept = Product {
        id: made.id,
        details: written.clone(),
        reserved_quantity: 0,
        units_sold: 0,
        version: 1,
        created_at: at(1),
        updated_at: at(1),
    };
    assert_eq!(made, kept, "added");
    let edit = |product: &mut Product| product.replace(written.clone(), &Some(1).into(), at(2));
    store.change(made.id, &edit).await.expect("is changed");
    (kept.version, kept.updated_at) = (2, at(2));
    is_kept(store, &kept, "an edit that says the same").await;
    store.reserve(hold(Uuid::new_v4(), [line(&made, 3)]), at(3)).await.expect("is held");
    kept.reserved_quantity = 3;
    is_kept(store, &kept, "a reservation").await;
    count_sold(store, Uuid::new_v4(), Uuid::new_v4(), &[line(&made, 2)], at(4)).await.expect("is counted");
    kept.units_sold = 2;
    is_kept(store, &kept, "a sale").await;
    differs_from_a_new_one(&kept);
    kept
}

fn differs_from_a_new_one(full: &Product) {
    let Product { id: _, details: full, reserved_quantity, units_sold, version, created_at, updated_at } = full;
    let Details { name, description, price, stock_quantity, category, image_url } = full;
    assert!(*reserved_quantity != 0 && *units_sold != 0 && *version != 1 && created_at != updated_at);
    let new = details("desk", 7);
    assert!(*name != new.name && *description != new.description && *price != new.price);
    assert!(price.currency != new.price.currency && *stock_quantity != new.stock_quantity);
    assert!(*category != new.category && *image_url != new.image_url);
}

async fn is_kept(store: &dyn Store, kept: &Product, after: &str) {
    assert_eq!(&store.get(kept.id).await.expect("is there"), kept, "{after}");
}

async fn every_field_of_a_product_is_kept(store: &dyn Store) {
    let kept = full(store).await;
    let refused = store.change(kept.id, &|_| Err(Error::NotFound(0))).await;
    assert!(refused.is_err());
    is_kept(store, &kept, "a refused change").await;
    let other = add(store, &details("desk", 7)).await;
    store
        .change(other.id, &|product| product.replace(details("x", 1), &Some(1).into(), at(9)))
        .await
        .expect("is changed");
    store.reserve(hold(Uuid::new_v4(), [line(&other, 1)]), at(9)).await.expect("is held");
    count_sold(store, Uuid::new_v4(), Uuid::new_v4(), &[line(&other, 1)], at(9)).await.expect("is counted");
    is_kept(store, &kept, "another product").await;
    let short = store.reserve(hold(Uuid::new_v4(), [line(&kept, 7)]), at(9)).await;
    assert!(matches!(short, Err(Error::Insufficient(_))));
    is_kept(store, &kept, "a reservation that finds too few").await;
    let brief = Uuid::new_v4();
    store.reserve(hold(brief, [line(&kept, 1)]), at(9)).await.expect("is held");
    assert!(store.release(brief, at(9)).await.expect("is released"));
    is_kept(store, &kept, "a reservation that was released").await;
    store.refold().await.expect("folds");
    is_kept(store, &kept, "another folding").await;
}

async fn every_field_that_changes_is_written(store: &dyn Store) {
    let mut kept = full(store).await;
    let written = Details {
        name: "Żurek".to_owned(),
        description: "soup".to_owned(),
        price: money(199, "EUR"),
        stock_quantity: 11,
        category: "soups".to_owned(),
        image_url: Some("https://img.example/2.png".to_owned()),
    };
    let expected = Some(kept.version).into();
    store.change(kept.id, &|product| product.replace(written.clone(), &expected, at(7))).await.expect("is changed");
    kept.details = written;
    kept.version += 1;
    kept.updated_at = at(7);
    is_kept(store, &kept, "edited").await;

    let reservation = Uuid::new_v4();
    store.reserve(hold(reservation, [line(&kept, 2)]), at(8)).await.expect("is held");
    let sold = Settlement { event: Uuid::new_v4(), reservation, line: line(&kept, 2), movement: Movement::Sell };
    settle(store, &sold, at(9)).await.expect("is settled");
    kept.details.stock_quantity -= 2;
    kept.units_sold += 2;
    kept.version += 1;
    kept.updated_at = at(9);
    is_kept(store, &kept, "sold").await;
}
