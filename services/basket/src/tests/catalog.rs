//! A catalogue that tests set.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use shop_fault::{Fault, Kind};
use shop_money::{Currency, Money};

use crate::domain::{Catalog, Error, Product};

/// What is sold; seven teas of different prices, ten of each, until a test says otherwise.
pub(super) struct Shelf {
    products: Mutex<Option<BTreeMap<i64, Product>>>,
    calls: AtomicUsize,
}

impl Default for Shelf {
    fn default() -> Self {
        let tea = |id: i64| Product {
            id,
            name: format!("tea no. {id}"),
            price: Money::new(1000 + id, Currency::USD),
            category: "tea".to_owned(),
            available: 10,
        };
        let products = (1..=7).map(|id| (id, tea(id))).collect();
        Self { products: Mutex::new(Some(products)), calls: AtomicUsize::new(0) }
    }
}

impl Shelf {
    /// Changes a product.
    pub(super) fn set(&self, id: i64, change: impl FnOnce(&mut Product)) {
        let mut products = self.products.lock().expect("no panic");
        change(products.as_mut().and_then(|products| products.get_mut(&id)).expect("is sold"));
    }

    /// Stops selling a product.
    pub(super) fn take_out(&self, id: i64) {
        self.products.lock().expect("no panic").as_mut().expect("is up").remove(&id);
    }

    /// The product service goes away.
    pub(super) fn close(&self) {
        *self.products.lock().expect("no panic") = None;
    }

    /// How often it was asked.
    pub(super) fn calls(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }

    fn read<T>(&self, read: impl FnOnce(&BTreeMap<i64, Product>) -> T) -> Result<T, Error> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        let products = self.products.lock().expect("no panic");
        let away = || Fault::new(Kind::Unavailable, "product_service_unavailable", "away").into();
        products.as_ref().map(read).ok_or_else(away)
    }
}

#[async_trait]
impl Catalog for Shelf {
    async fn product(&self, id: i64) -> Result<Option<Product>, Error> {
        self.read(|products| products.get(&id).cloned())
    }

    async fn products(&self, ids: &[i64]) -> Result<Vec<Product>, Error> {
        self.read(|products| ids.iter().filter_map(|id| products.get(id)).cloned().collect())
    }
}
