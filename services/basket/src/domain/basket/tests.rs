//! Tables and properties of the rules.

use proptest::prelude::*;
use time::macros::datetime;

use super::super::Finding;
use super::*;

const NOON: OffsetDateTime = datetime!(2026-01-02 12:00 UTC);
const TTL: Duration = Duration::hours(24);

fn basket() -> Basket {
    Basket::new(Uuid::from_u128(1), "ann".parse().expect("a user"), NOON, TTL)
}

fn product(id: i64, cents: i64) -> Product {
    let price = Money::new(cents, Currency::USD);
    Product { id, name: format!("product {id}"), price, category: "things".into(), available: 10 }
}

fn units(units: u32) -> Quantity {
    Quantity::new(units).expect("a quantity")
}

fn add(basket: &mut Basket, product: &Product, quantity: u32) -> Result<(), Error> {
    let line = Uuid::from_u128(u128::from(product.id.unsigned_abs()));
    basket.add(product, units(quantity), line, NOON)
}

fn code(result: Result<(), Error>) -> String {
    result.map_or_else(|error| shop_fault::Fault::from(error).code().to_owned(), |()| "ok".to_owned())
}

fn lines(basket: &Basket) -> Vec<(i64, u32)> {
    basket.lines.iter().map(|line| (line.product, line.quantity.get())).collect()
}

#[test]
fn quantities_are_one_to_999() {
    for (number, ok) in [(0, false), (1, true), (999, true), (1000, false), (u32::MAX, false)] {
        assert_eq!(Quantity::new(number).is_some(), ok, "{number}");
    }
}

#[test]
fn the_same_product_adds_up_and_takes_the_newest_price() {
    let mut basket = basket();
    assert_eq!(code(add(&mut basket, &product(7, 100), 2)), "ok");
    assert_eq!(code(add(&mut basket, &product(8, 50), 1)), "ok");
    assert_eq!(code(add(&mut basket, &product(7, 110), 3)), "ok");
    assert_eq!(lines(&basket), [(7, 5), (8, 1)]);
    assert_eq!((basket.total().minor, basket.item_count()), (600, 6));
}

#[test]
fn stock_is_checked_against_the_total_in_the_basket() {
    let mut basket = basket();
    assert_eq!(code(add(&mut basket, &product(7, 100), 8)), "ok");
    let error = add(&mut basket, &product(7, 100), 3).expect_err("only ten are left");
    assert_eq!(error.to_string(), "product 7 has only 10 left, 11 are asked for");
    assert_eq!(lines(&basket), [(7, 8)]);
}

#[test]
fn whoever_wants_no_more_than_he_has_is_not_asked_for_stock() {
    let mut basket = basket();
    add(&mut basket, &product(7, 100), 8).expect("added");
    // All of it is reserved, by his own payment perhaps.
    let sold_out = Product { available: 0, ..product(7, 110) };
    assert_eq!(code(basket.set_quantity(&sold_out, units(8))), "ok");
    assert_eq!(code(basket.set_quantity(&sold_out, units(3))), "ok");
    assert_eq!((lines(&basket), basket.total().minor), (vec![(7, 3)], 330));
    assert_eq!(code(basket.set_quantity(&sold_out, units(4))), "insufficient_stock", "more is more");
    assert_eq!(code(add(&mut basket, &sold_out, 1)), "insufficient_stock");
    assert_eq!(code(add(&mut basket, &Product { available: 0, ..product(9, 100) }, 1)), "insufficient_stock");
    assert_eq!(lines(&basket), [(7, 3)], "and nothing is left of what was refused");
}

#[test]
fn of_a_merged_basket_leaves_what_was_paid_and_came_from_there() {
    let (paying, ids) = (Uuid::from_u128(7), [Uuid::from_u128(11), Uuid::from_u128(12)]);
    for (paid, left) in [
        (vec![(1, 2), (2, 3)], vec![(1, 1)]),
        (vec![(1, 1)], vec![(1, 2), (2, 3)]),
        (vec![(1, 9), (3, 1)], vec![(1, 1), (2, 3)]),
        (vec![], vec![(1, 3), (2, 3)]),
    ] {
        let (mut basket, mut guests) = (basket(), Basket { id: Uuid::from_u128(2), ..basket() });
        add(&mut basket, &product(1, 100), 1).expect("added");
        add(&mut guests, &product(1, 100), 2).expect("added");
        add(&mut guests, &product(2, 100), 3).expect("added");
        basket.take(&guests, &[product(1, 100), product(2, 100)], &ids, NOON);
        assert!(!basket.subtract_merged(Uuid::from_u128(3), paying, &paid), "of another one");
        assert!(basket.subtract_merged(guests.id, paying, &paid));
        assert!(!basket.subtract_merged(guests.id, paying, &paid), "once");
        assert_eq!((lines(&basket), basket.cleared_by), (left, None), "{paid:?}");
    }
}

#[test]
fn what_had_left_a_basket_before_it_was_merged_leaves_no_second_time() {
    let (mut basket, mut guests) = (basket(), Basket { id: Uuid::from_u128(2), ..basket() });
    add(&mut guests, &product(1, 100), 5).expect("added");
    guests.subtract(Uuid::from_u128(7), &[(1, 2)]);
    basket.take(&guests, &[product(1, 100)], &[Uuid::from_u128(11)], NOON);
    assert!(!basket.subtract_merged(guests.id, Uuid::from_u128(7), &[(1, 2)]), "told again");
    assert_eq!(lines(&basket), [(1, 3)]);
    assert!(basket.subtract_merged(guests.id, Uuid::from_u128(8), &[(1, 2)]), "another payment");
    assert_eq!(lines(&basket), [(1, 1)]);
}

#[test]
fn the_latest_merged_baskets_are_remembered_and_none_that_brought_nothing() {
    let mut basket = basket();
    for n in 1..=12 {
        let mut guests = Basket { id: Uuid::from_u128(100 + n), ..self::basket() };
        add(&mut guests, &product(1, 100), 1).expect("added");
        let found: &[Product] = if n > 10 { &[] } else { &[product(1, 100)] };
        basket.take(&guests, found, &[Uuid::from_u128(n)], NOON);
    }
    let merged: Vec<_> = basket.merged.iter().map(|merged| merged.basket.as_u128() - 100).collect();
    assert_eq!(merged, (3..=10).collect::<Vec<_>>());
}

#[test]
fn another_currency_is_refused_unless_it_is_the_only_line() {
    let mut basket = basket();
    let yen = |id| Product { price: Money::new(100, "JPY".parse().expect("JPY")), ..product(id, 0) };
    assert_eq!(code(add(&mut basket, &product(7, 100), 1)), "ok");
    assert_eq!(code(add(&mut basket, &yen(8), 1)), "currency_mismatch");
    assert_eq!(code(add(&mut basket, &yen(7), 1)), "ok");
    assert_eq!(basket.currency().as_str(), "JPY");
}

#[test]
fn lines_units_and_totals_are_bounded() {
    let mut full = basket();
    for id in 1..=100 {
        assert_eq!(code(add(&mut full, &product(id, 1), 1)), "ok");
    }
    assert_eq!(code(add(&mut full, &product(101, 1), 1)), "basket_full");
    assert_eq!(code(add(&mut full, &product(100, 1), 1)), "ok");

    let mut many = basket();
    let plenty = Product { available: 10_000, ..product(1, 1) };
    assert_eq!(code(add(&mut many, &plenty, 999)), "ok");
    assert_eq!(code(add(&mut many, &plenty, 1)), "quantity_limit");

    let dear = Product { available: 10_000, ..product(1, i64::MAX / 2) };
    assert_eq!(code(add(&mut basket(), &dear, 3)), "total_out_of_range");
}

#[test]
fn a_quantity_is_set_only_on_a_line_that_is_there() {
    let mut basket = basket();
    for quantity in [2, 999] {
        assert_eq!(code(basket.set_quantity(&product(7, 100), units(quantity))), "item_not_found");
    }
    add(&mut basket, &product(7, 100), 1).expect("added");
    assert_eq!(code(basket.set_quantity(&product(7, 100), units(11))), "insufficient_stock");
    assert_eq!(code(basket.set_quantity(&product(7, 100), units(10))), "ok");
    assert_eq!(lines(&basket), [(7, 10)]);
    assert_eq!(code(basket.remove(8)), "item_not_found");
    assert_eq!(code(basket.remove(7)), "ok");
    assert_eq!(lines(&basket), []);
}

#[test]
fn paid_units_leave_and_what_was_added_since_stays() {
    for (paid, left) in [
        (vec![(1, 2), (2, 3)], vec![(3, 1)]),
        (vec![(1, 1)], vec![(1, 1), (2, 3), (3, 1)]),
        (vec![(1, 9), (9, 1)], vec![(2, 3), (3, 1)]),
        (vec![(2, 2), (2, 1)], vec![(1, 2), (3, 1)]),
        (vec![], vec![(1, 2), (2, 3), (3, 1)]),
    ] {
        let mut basket = basket();
        for (id, quantity) in [(1, 2), (2, 3), (3, 1)] {
            add(&mut basket, &product(id, 100), quantity).expect("added");
        }
        basket.subtract(Uuid::from_u128(7), &paid);
        assert_eq!(lines(&basket), left, "{paid:?}");
        assert_eq!(basket.cleared_by, Some(Uuid::from_u128(7)));
    }
}

#[test]
fn a_change_moves_version_and_expiry_and_time_never_runs_backwards() {
    let mut basket = basket();
    let first = basket.version;
    basket.touch(NOON + Duration::hours(1), TTL);
    assert_eq!((basket.version, basket.expires_at), (first + 1, NOON + Duration::hours(25)));
    basket.touch(NOON, TTL);
    assert_eq!((basket.version, basket.updated_at), (first + 2, NOON + Duration::hours(1)));
    assert!(basket.expect(&None.into()).is_ok() && basket.expect(&Some(first + 2).into()).is_ok());
    assert!(basket.expect(&Some(first).into()).is_err());
}

#[test]
fn a_refresh_takes_over_what_changed_and_lists_it() {
    let mut basket = basket();
    for id in 1..=5 {
        add(&mut basket, &product(id, 100), 2).expect("added");
    }
    let found = [
        product(1, 100),
        product(2, 120),
        Product { name: "renamed".into(), ..product(3, 100) },
        Product { available: 1, ..product(4, 100) },
    ];
    let found = basket.refresh(&[1, 2, 3, 4, 5], &found).expect("refreshed");
    let (old, new) = (Money::new(100, Currency::USD), Money::new(120, Currency::USD));
    let list: Vec<_> = found.iter().map(|d| (d.product, d.quantity, d.available, d.finding)).collect();
    assert_eq!(
        list,
        [
            (2, 2, 10, Finding::Price { old, new }),
            (3, 2, 10, Finding::Name),
            (4, 2, 1, Finding::Availability),
            (5, 2, 0, Finding::Gone),
        ]
    );
    assert_eq!(lines(&basket), [(1, 2), (2, 2), (3, 2), (4, 2)]);
    assert_eq!((basket.total().minor, basket.lines[2].name.as_str()), (840, "renamed"));
}

#[test]
fn a_refresh_leaves_lines_it_did_not_ask_about() {
    let mut basket = basket();
    add(&mut basket, &product(1, 100), 1).expect("added");
    add(&mut basket, &product(2, 100), 1).expect("added");
    assert_eq!(basket.refresh(&[1], &[product(1, 100)]).expect("refreshed"), []);
    assert_eq!(lines(&basket), [(1, 1), (2, 1)]);
}

#[test]
fn a_refresh_keeps_one_currency() {
    let mut basket = basket();
    add(&mut basket, &product(1, 100), 1).expect("added");
    add(&mut basket, &product(2, 100), 1).expect("added");
    let euro = |id| Product { price: Money::new(90, "EUR".parse().expect("EUR")), ..product(id, 0) };
    let gone = basket.clone().refresh(&[1, 2], &[product(1, 100), euro(2)]).expect("refreshed");
    assert_eq!(gone.iter().map(|d| (d.product, d.finding)).collect::<Vec<_>>(), [(2, Finding::Gone)]);
    basket.refresh(&[1, 2], &[euro(1), euro(2)]).expect("refreshed");
    assert_eq!((basket.currency().as_str(), basket.total().minor), ("EUR", 180));
}

#[derive(Debug, Clone)]
enum Step {
    Add(Product, Quantity),
    Set(Product, Quantity),
    Remove(i64),
    Subtract(Vec<(i64, u32)>),
    Refresh(Vec<Product>),
    Clear,
}

fn any_product() -> impl Strategy<Value = Product> {
    let cents = prop_oneof![9 => 1..1_000_000_i64, 1 => any::<i64>().prop_map(|n| n.saturating_abs().max(1))];
    (1..6_i64, cents, prop::bool::weighted(0.1), -5..2_000_i64).prop_map(|(id, cents, euro, available)| {
        let currency = if euro { "EUR".parse().expect("EUR") } else { Currency::USD };
        Product { price: Money::new(cents, currency), available, ..product(id, 0) }
    })
}

fn any_step() -> impl Strategy<Value = Step> {
    let quantity = || (1..=Quantity::MAX).prop_map(units);
    prop_oneof![
        6 => (any_product(), quantity()).prop_map(|(product, quantity)| Step::Add(product, quantity)),
        3 => (any_product(), quantity()).prop_map(|(product, quantity)| Step::Set(product, quantity)),
        1 => (1..6_i64).prop_map(Step::Remove),
        2 => prop::collection::vec((1..6_i64, any::<u32>()), 0..4).prop_map(Step::Subtract),
        2 => prop::collection::vec(any_product(), 0..6).prop_map(Step::Refresh),
        1 => Just(Step::Clear),
    ]
}

proptest! {
    #[test]
    fn whatever_happens_the_total_is_the_sum_and_nothing_is_negative(
        steps in prop::collection::vec(any_step(), 1..40),
    ) {
        let mut basket = basket();
        for step in steps {
            // As a store does it: a refused change leaves what was there.
            let mut next = basket.clone();
            let taken = match step {
                Step::Add(product, quantity) => add(&mut next, &product, quantity.get()),
                Step::Set(product, quantity) => next.set_quantity(&product, quantity),
                Step::Remove(product) => next.remove(product),
                Step::Subtract(paid) => { next.subtract(Uuid::nil(), &paid); Ok(()) }
                Step::Refresh(found) => {
                    let asked: Vec<i64> = next.lines.iter().map(|line| line.product).collect();
                    next.refresh(&asked, &found).map(drop)
                }
                Step::Clear => { next.clear(); Ok(()) }
            };
            if taken.is_ok() {
                basket = next;
            }
            let exact: i128 = basket
                .lines
                .iter()
                .map(|line| i128::from(line.price.minor) * i128::from(line.quantity.get()))
                .sum();
            prop_assert_eq!(i128::from(basket.total().minor), exact);
            prop_assert!(basket.total().minor >= 0);
            prop_assert!(basket.lines.iter().all(|line| (1..=Quantity::MAX).contains(&line.quantity.get())));
            prop_assert!(basket.lines.iter().all(|line| line.price.currency == basket.currency()));
            let mut products: Vec<i64> = basket.lines.iter().map(|line| line.product).collect();
            products.sort_unstable();
            products.dedup();
            prop_assert_eq!(products.len(), basket.lines.len());
        }
    }
}
