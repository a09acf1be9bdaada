//! Ten products to look at in an empty shop.

use uuid::Uuid;

use super::Commands;
use crate::domain::{Draft, Price, Result, Store};

/// Name, description, category, price in cents, stock.
type Row = (&'static str, &'static str, &'static str, i64, i64);

const DEMO: [Row; 10] = [
    (
        "Aurora 14 laptop",
        "14 inch laptop with 32 GB of memory, a 1 TB drive and a battery for a long day.",
        "computers",
        129_999,
        25,
    ),
    (
        "Tern mechanical keyboard",
        "Tenkeyless keyboard with quiet switches and a detachable cable.",
        "computers",
        8_950,
        80,
    ),
    (
        "Halo 27 monitor",
        "27 inch 4K monitor with one cable for picture, data and 90 W of power.",
        "computers",
        44_900,
        30,
    ),
    (
        "Drift wireless headphones",
        "Over-ear headphones with noise cancelling and 40 hours of play.",
        "audio",
        19_900,
        60,
    ),
    ("Pebble speaker", "Small waterproof speaker that two of make a stereo pair.", "audio", 5_995, 120),
    ("Fjord desk lamp", "Dimmable lamp of brushed steel with warm and cool light.", "home", 7_450, 45),
    (
        "Walnut standing desk",
        "Electric desk, 160 by 80 cm, oiled walnut top, four stored heights.",
        "furniture",
        68_900,
        12,
    ),
    ("Kettle No. 3", "Gooseneck kettle with a thermometer, 0.9 litres.", "kitchen", 6_490, 70),
    ("Harbour espresso cups", "Set of four stoneware cups, 80 ml, dishwasher safe.", "kitchen", 3_200, 150),
    ("Ridge 28 backpack", "Rain-proof backpack of 28 litres with a padded laptop sleeve.", "outdoor", 11_900, 40),
];

/// Adds the demo products when there is no product at all; how many were added. Their ids of making are fixed, so two
/// processes that start at once add each product once.
pub(crate) async fn seed(store: &dyn Store, commands: &Commands) -> Result<usize> {
    if !store.is_empty().await? {
        return Ok(0);
    }
    for (number, row) in (1_u128..).zip(DEMO) {
        commands.create(Uuid::from_u128(number), draft(row)).await?;
    }
    Ok(DEMO.len())
}

fn draft((name, description, category, cents, stock): Row) -> Draft {
    let slug = name.to_lowercase().replace(|c: char| !c.is_ascii_alphanumeric(), "-");
    Draft {
        name: name.to_owned(),
        description: description.to_owned(),
        price: Some(Price::Minor(cents)),
        currency: None,
        stock_quantity: Some(stock),
        category: category.to_owned(),
        image_url: Some(format!("https://images.example.com/{slug}.jpg")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Details;

    #[test]
    fn every_demo_product_is_one_that_a_client_could_add() {
        for row in DEMO {
            let details = Details::parse(draft(row)).expect(row.0);
            assert_eq!(details.price, shop_money::Money::new(row.3, shop_money::Currency::USD));
        }
    }
}
