//! Single products: stored whole, changed under the rules, removed when nobody holds them.

use super::{add, at, contract, details, hold, line, stock};
use crate::domain::{Details, Error, Store};
use shop_money::Money;
use uuid::Uuid;

contract![
    a_product_is_read_as_it_was_written,
    the_largest_product_fits_every_index,
    a_repeat_of_the_same_request_makes_one_product,
    an_edit_is_a_new_version,
    an_edit_that_is_refused_changes_nothing,
    of_two_editors_with_the_same_version_one_wins,
    a_removed_product_is_gone,
    a_held_product_cannot_be_removed_or_cut,
];

async fn a_product_is_read_as_it_was_written(store: &dyn Store) {
    assert!(store.is_empty().await.expect("answers"));
    let details = Details {
        name: "Ćwikła 'ś \"x\"; DROP TABLE products --".to_owned(),
        description: "two\nlines ☕".to_owned(),
        price: Money::new(1300, "JPY".parse().expect("yen")),
        stock_quantity: 1_000_000_000,
        category: "kitchen & co".to_owned(),
        image_url: Some("https://img.example/ć.png".to_owned()),
    };
    let made = add(store, &details).await;
    let read = store.get(made.id).await.expect("is there");
    assert_eq!(read, made);
    assert_eq!(read.details, details);
    assert_eq!((read.version, read.created_at, read.updated_at), (1, at(1), at(1)));
    assert!(!store.is_empty().await.expect("answers"));
    assert!(matches!(store.get(made.id + 1).await, Err(Error::NotFound(_))));
    assert!(matches!(store.get(i64::MIN).await, Err(Error::NotFound(_))));
}

async fn the_largest_product_fits_every_index(store: &dyn Store) {
    // A letter that grows when it is folded, and words longer than a search engine takes.
    let details = Details {
        description: "𝔵".repeat(5000),
        category: "🪑".repeat(100),
        image_url: Some(format!("https://a.example/{}", "x".repeat(2000))),
        ..details(&"İ".repeat(200), 1)
    };
    let made = add(store, &details).await;
    assert_eq!(store.get(made.id).await.expect("is there").details, details);
}

async fn a_repeat_of_the_same_request_makes_one_product(store: &dyn Store) {
    let operation = Uuid::new_v4();
    let first = store.add(operation, &details("desk", 1), at(1)).await.expect("is added");
    let again = store.add(operation, &details("desk", 1), at(2)).await.expect("is found");
    assert_eq!(first, again);
}

async fn an_edit_is_a_new_version(store: &dyn Store) {
    let made = add(store, &details("desk", 7)).await;
    let wider = Details { image_url: Some("https://a.example".to_owned()), ..details("wide desk", 9) };
    let edited = store
        .change(made.id, &|product| product.replace(wider.clone(), &Some(1).into(), at(5)))
        .await
        .expect("is changed");
    assert_eq!((edited.version, edited.created_at, edited.updated_at), (2, at(1), at(5)));
    assert_eq!(edited.details, wider);
    assert_eq!(store.get(made.id).await.expect("is there"), edited);
}

async fn an_edit_that_is_refused_changes_nothing(store: &dyn Store) {
    let made = add(store, &details("desk", 7)).await;
    let refused = store.change(made.id, &|product| product.replace(details("x", 1), &Some(9).into(), at(5))).await;
    assert!(matches!(refused, Err(Error::VersionMismatch(_))), "{refused:?}");
    assert_eq!(store.get(made.id).await.expect("is there"), made);
    let missing = store.change(made.id + 1, &|_| Ok(())).await;
    assert!(matches!(missing, Err(Error::NotFound(_))), "{missing:?}");
}

async fn of_two_editors_with_the_same_version_one_wins(store: &dyn Store) {
    let made = add(store, &details("desk", 7)).await;
    let edit = |name: &'static str| async move {
        store.change(made.id, &|product| product.replace(details(name, 7), &Some(1).into(), at(5))).await
    };
    let (left, right) = tokio::join!(edit("left"), edit("right"));
    assert!(left.is_ok() != right.is_ok(), "{left:?} {right:?}");
    assert_eq!(store.get(made.id).await.expect("is there").version, 2);
}

async fn a_removed_product_is_gone(store: &dyn Store) {
    let made = add(store, &details("desk", 7)).await;
    store.remove(made.id, &|product| product.check_removable(&Some(1).into())).await.expect("is removed");
    assert!(matches!(store.get(made.id).await, Err(Error::NotFound(_))));
    assert!(matches!(store.remove(made.id, &|_| Ok(())).await, Err(Error::NotFound(_))));
}

async fn a_held_product_cannot_be_removed_or_cut(store: &dyn Store) {
    let made = add(store, &details("desk", 7)).await;
    let reservation = Uuid::new_v4();
    store.reserve(hold(reservation, [line(&made, 3)]), at(2)).await.expect("is held");
    let removed = store.remove(made.id, &|product| product.check_removable(&None.into())).await;
    assert!(matches!(removed, Err(Error::Reserved { reserved: 3, .. })), "{removed:?}");
    let cut = store.change(made.id, &|product| product.replace(details("desk", 2), &Some(1).into(), at(3))).await;
    assert!(matches!(cut, Err(Error::StockBelowReserved { reserved: 3, wanted: 2, .. })), "{cut:?}");
    // The reservation was no edit: an editor who looked before it may still write.
    store
        .change(made.id, &|product| product.replace(details("desk", 3), &Some(1).into(), at(3)))
        .await
        .expect("is changed");
    assert_eq!(stock(store, made.id).await, (3, 3));
    store.release(reservation, at(4)).await.expect("is released");
    store.remove(made.id, &|product| product.check_removable(&None.into())).await.expect("is removed");
}
