//! Lists: every order pages through everything once, every filter selects, no text breaks the search.

use super::{add, at, contract, count_sold, details, hold, line};
use crate::domain::{Details, Filter, Listing, Match, Order, Product, Slice, Sort, Store, place, thousandths};
use shop_money::Money;
use uuid::Uuid;

contract![
    every_order_pages_through_everything_once,
    a_product_added_or_removed_between_pages_moves_no_other,
    every_filter_selects,
    words_are_found_in_all_their_forms,
    what_reads_alike_is_found_however_it_is_written,
    names_with_accents_stand_with_their_base_letters,
    pieces_of_names_are_found_when_no_word_matches,
    the_search_follows_edits_and_removals,
    no_text_breaks_the_search,
];

async fn list(store: &dyn Store, listing: &Listing) -> Slice {
    store.list(listing).await.expect("answers")
}

async fn names(store: &dyn Store, filter: Filter) -> Vec<String> {
    let slice = list(store, &Listing { filter, limit: 100, ..Listing::default() }).await;
    slice.items.into_iter().map(|product| product.details.name).collect()
}

fn looking_for(text: &str) -> Filter {
    Filter { text: Some(text.to_owned()), ..Filter::default() }
}

/// The ids on all pages of `order`, and how many pages there were.
async fn walk(store: &dyn Store, order: Order, filter: &Filter) -> (Vec<i64>, usize) {
    let mut listing = Listing { filter: filter.clone(), order, after: None, limit: 4 };
    let (mut ids, mut pages) = (Vec::new(), 0);
    loop {
        let slice = list(store, &listing).await;
        pages += 1;
        ids.extend(slice.items.iter().map(|product| product.id));
        listing.after = slice.next;
        if listing.after.is_none() {
            return (ids, pages);
        }
    }
}

/// Eighteen products with ties in every order but the id's.
async fn shelf(store: &dyn Store) -> Vec<Product> {
    let mut products = Vec::new();
    for n in 0..18 {
        let currency = if n % 5 == 0 { "JPY" } else { "USD" };
        let details = Details {
            price: Money::new(100 + n % 4, currency.parse().expect("a currency")),
            category: if n % 2 == 0 { "even" } else { "odd" }.to_owned(),
            ..details(["ananas", "Apple", "apple", "Żurawina", "zebra"][usize::try_from(n % 5).expect("small")], n)
        };
        let added = store.add(Uuid::new_v4(), &details, at(n / 3)).await.expect("is added");
        let sold = [line(&added, n % 3)];
        count_sold(store, Uuid::new_v4(), Uuid::new_v4(), &sold, at(9)).await.expect("is counted");
        products.push(store.get(added.id).await.expect("is there"));
    }
    products
}

async fn every_order_pages_through_everything_once(store: &dyn Store) {
    let shelf = shelf(store).await;
    let even = Filter { category: Some("even".to_owned()), ..Filter::default() };
    for (name, order) in Order::ALL {
        for filter in [&Filter::default(), &even] {
            let mut expected: Vec<&Product> =
                shelf.iter().filter(|p| filter.category.as_ref().is_none_or(|c| *c == p.details.category)).collect();
            expected.sort_by(|a, b| {
                let by_key = match order.sort {
                    Sort::Id => std::cmp::Ordering::Equal,
                    Sort::Price => thousandths(a.details.price).cmp(&thousandths(b.details.price)),
                    Sort::Name => place(&a.details.name).cmp(&place(&b.details.name)),
                    Sort::CreatedAt => a.created_at.cmp(&b.created_at),
                    Sort::UnitsSold => a.units_sold.cmp(&b.units_sold),
                };
                by_key.then(a.id.cmp(&b.id))
            });
            if name.starts_with('-') {
                expected.reverse();
            }
            let expected: Vec<i64> = expected.iter().map(|product| product.id).collect();
            assert_eq!(walk(store, order, filter).await, (expected.clone(), expected.len().div_ceil(4)), "{name}");
        }
    }
}

async fn a_product_added_or_removed_between_pages_moves_no_other(store: &dyn Store) {
    let mut ids = Vec::new();
    for n in 0..6 {
        ids.push(add(store, &details(&format!("b{n}"), 1)).await.id);
    }
    let order = Order::named("name").expect("an order");
    let first = list(store, &Listing { order, limit: 3, ..Listing::default() }).await;
    add(store, &details("a", 1)).await;
    store.remove(ids[2], &|_| Ok(())).await.expect("is removed");
    let second = list(store, &Listing { order, limit: 3, after: first.next, ..Listing::default() }).await;
    let found: Vec<i64> = second.items.iter().map(|product| product.id).collect();
    assert_eq!((found, second.next), (ids[3..].to_vec(), None));
}

async fn every_filter_selects(store: &dyn Store) {
    let priced = |name: &str, minor, currency: &str| Details {
        price: Money::new(minor, currency.parse().expect("a currency")),
        ..details(name, 2)
    };
    let cheap = add(store, &priced("cheap", 999, "USD")).await;
    add(store, &priced("dear", 100_000, "USD")).await;
    add(store, &priced("yen", 1000, "JPY")).await;
    add(store, &Details { category: "Other".to_owned(), ..priced("other", 5000, "EUR") }).await;
    store.reserve(hold(Uuid::new_v4(), [line(&cheap, 2)]), at(2)).await.expect("is held");

    let cases = [
        (Filter { category: Some("Other".to_owned()), ..Filter::default() }, vec!["other"]),
        (Filter { category: Some("other".to_owned()), ..Filter::default() }, vec![]),
        (Filter { min_price: Some(10_000), ..Filter::default() }, vec!["dear", "yen", "other"]),
        (Filter { max_price: Some(9_990), ..Filter::default() }, vec!["cheap"]),
        (
            Filter { min_price: Some(50_000), max_price: Some(1_000_000), ..Filter::default() },
            vec!["dear", "yen", "other"],
        ),
        (Filter { currency: Some("JPY".parse().expect("yen")), ..Filter::default() }, vec!["yen"]),
        (Filter { in_stock: Some(false), ..Filter::default() }, vec!["cheap"]),
        (Filter { in_stock: Some(true), ..Filter::default() }, vec!["dear", "yen", "other"]),
        (Filter { ids: vec![cheap.id, 999_999, -1, i64::MAX, cheap.id], ..Filter::default() }, vec!["cheap"]),
        (Filter { in_stock: Some(true), max_price: Some(60_000), ..looking_for("other") }, vec!["other"]),
        (Filter { in_stock: Some(false), ..looking_for("other") }, vec![]),
    ];
    for (filter, expected) in cases {
        assert_eq!(names(store, filter.clone()).await, expected, "{filter:?}");
    }
}

async fn words_are_found_in_all_their_forms(store: &dyn Store) {
    let described = |name: &str, text: &str| Details { description: text.to_owned(), ..details(name, 1) };
    add(store, &described("Walnut standing desk", "Four stored heights, oiled")).await;
    add(store, &described("Desk lamp", "Warm light for late evenings")).await;
    for (text, expected) in [
        ("desk", vec!["Walnut standing desk", "Desk lamp"]),
        ("DESKS", vec!["Walnut standing desk", "Desk lamp"]),
        ("lamps", vec!["Desk lamp"]),
        ("warm desk", vec!["Desk lamp"]),
        ("evening", vec!["Desk lamp"]),
        ("desk nothing", vec![]),
    ] {
        assert_eq!(names(store, looking_for(text)).await, expected, "{text}");
    }
}

async fn what_reads_alike_is_found_however_it_is_written(store: &dyn Store) {
    for (name, texts) in [
        ("Co\u{302}tes du Rhône", &["Co\u{302}tes", "Côtes", "Cotes", "CÔTES", "rho\u{302}ne", "ｃｏｔｅｓ"][..]),
        ("Mañana", &["Man\u{303}ana", "manana", "MAÑANA"]),
        ("naïve art", &["nai\u{308}ve", "naive"]),
        ("Åse", &["A\u{30a}se", "\u{212b}se", "ase"]),
        ("Łódź", &["Ło\u{301}dz\u{301}", "Lodz", "łódź"]),
        ("Ｗeiß", &["Weiss", "WEISS", "weiß", "WEIẞ"]),
        ("Ωμέγα", &["Ωμε\u{301}γα", "ωμεγα", "ΩΜΕΓΑ"]),
        ("ΟΔΟΣ", &["οδος", "οδός"]),
        ("がぎぐ", &["か\u{3099}き\u{3099}く\u{3099}"]),
        ("İzmir ﬁg", &["izmir", "İZMİR", "ızmır", "fig", "FIG"]),
        ("हिन्दी किताब", &["हिन्दी", "किताब"]),
        ("co\u{ad}operative", &["cooperative"]),
    ] {
        add(store, &details(name, 1)).await;
        for text in texts {
            let listing = Listing { filter: looking_for(text), limit: 100, ..Listing::default() };
            let found = list(store, &listing).await.items;
            let found: Vec<_> = found.iter().map(|product| product.details.name.as_str()).collect();
            assert_eq!(found, [name], "{text}");
        }
    }
    assert_eq!(names(store, looking_for("かきく")).await, Vec::<String>::new(), "other letters");
    assert_eq!(names(store, looking_for("\u{301}\u{200b}")).await, Vec::<String>::new(), "nothing to look for");
}

async fn names_with_accents_stand_with_their_base_letters(store: &dyn Store) {
    let sorted = ["abc", "Äbc", "ábd", "cote", "coté", "côte", "cotes", "Zebra", "Żubr"];
    for name in sorted.iter().rev() {
        add(store, &details(name, 1)).await;
    }
    let (up, down) = (Order::named("name").expect("an order"), Order::named("-name").expect("an order"));
    for (order, expected) in [(up, sorted.to_vec()), (down, sorted.iter().rev().copied().collect())] {
        let mut listing = Listing { order, limit: 2, ..Listing::default() };
        let mut found = Vec::new();
        loop {
            let slice = list(store, &listing).await;
            found.extend(slice.items.into_iter().map(|product| product.details.name));
            listing.after = slice.next;
            if listing.after.is_none() {
                break;
            }
        }
        assert_eq!(found, expected);
    }
}

async fn pieces_of_names_are_found_when_no_word_matches(store: &dyn Store) {
    for n in 0..6 {
        add(store, &details(&format!("Żółw keyboard {n}"), 1)).await;
    }
    add(store, &details("100% wool", 1)).await;
    let listing = Listing { filter: looking_for("ŻÓŁ"), limit: 4, ..Listing::default() };
    let first = list(store, &listing).await;
    assert_eq!(first.items.len(), 4);
    let after = first.next.expect("a second page");
    assert_eq!(after.matching, Match::Pieces);
    let second = list(store, &Listing { after: Some(after), ..listing }).await;
    assert_eq!((second.items.len(), second.next), (2, None));
    // Nothing in the text is a wildcard.
    assert_eq!(names(store, looking_for("0% w")).await, ["100% wool"]);
    assert_eq!(names(store, looking_for("1_0%")).await, Vec::<String>::new());
}

async fn the_search_follows_edits_and_removals(store: &dyn Store) {
    let made = add(store, &details("harbour cups", 1)).await;
    store
        .change(made.id, &|product| product.replace(details("kettle", 1), &None.into(), at(2)))
        .await
        .expect("is changed");
    assert_eq!(names(store, looking_for("cups")).await, Vec::<String>::new());
    assert_eq!(names(store, looking_for("kettles")).await, ["kettle"]);
    store.remove(made.id, &|_| Ok(())).await.expect("is removed");
    assert_eq!(names(store, looking_for("kettle")).await, Vec::<String>::new());
}

async fn no_text_breaks_the_search(store: &dyn Store) {
    add(store, &details("desk", 1)).await;
    for text in [
        "\"",
        "'",
        "''",
        "\\",
        "%",
        "_",
        "*",
        "desk*",
        "(",
        ")",
        "desk AND",
        "NOT",
        "NEAR(desk",
        "a:b",
        "-",
        "--",
        "^desk",
        "{desk}",
        "desk | ",
        "&",
        "!",
        "!desk",
        "<->",
        ":*",
        "\u{202e}",
        "🪑",
        "'; DROP TABLE products; --",
        "$1",
        "?1",
        "OR",
        "\"desk",
        "name:desk",
        "+",
        "~",
        "@",
        "ſ",
        "İ",
        &"x".repeat(200),
        &"🪑".repeat(200),
        &"\" OR \"".repeat(30),
    ] {
        list(store, &Listing { filter: looking_for(text), limit: 5, ..Listing::default() }).await;
    }
}
