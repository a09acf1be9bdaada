//! The page of a list, and what its parameters are described as.

use salvo::oapi::{Array, Components, Object, RefOr, Schema, ToSchema};
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use shop_page::{Cursor, Limit};

use crate::describe;

crate::describe! {
    /// A [`Cursor`] as a list takes it.
    pub CursorText = cursor();
    /// A [`Limit`] as a list takes it.
    pub PageSize = describe::integer(1..=Limit::MAX.into()).default_value(Limit::default().get().into());
}

fn cursor() -> Object {
    describe::string(1..=Cursor::MAX).pattern(Cursor::PATTERN)
}

/// What a list is a list of.
pub trait Listed {
    /// The member that holds the items: the plural, such as `products`.
    const PLURAL: &'static str;

    /// What a page of them is called in the document, such as `ProductPage`.
    const PAGE: &'static str;
}

/// One page: `{"<plural>": […], "count": n, "next_cursor": "…"|null}`.
#[derive(Debug, Clone)]
pub struct Page<T> {
    /// The items in order.
    pub items: Vec<T>,
    /// Where the next page starts; none on the last page.
    pub next_cursor: Option<String>,
}

impl<T> Page<T> {
    /// Cuts `items`, read with [`Limit::plus_one`], to `limit`, and makes the next cursor from the last one kept.
    pub fn cut<R>(
        mut items: Vec<R>,
        limit: Limit,
        scope: &str,
        key: impl Fn(&R) -> serde_json::Value,
        view: impl Fn(R) -> T,
    ) -> Self {
        let size = limit.get() as usize;
        let more = items.len() > size;
        items.truncate(size);
        let next_cursor = items.last().filter(|_| more).map(|last| Cursor::encode(scope, &key(last)));
        Self { items: items.into_iter().map(view).collect(), next_cursor }
    }
}

impl<T: Serialize + Listed> Serialize for Page<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(3))?;
        map.serialize_entry(T::PLURAL, &self.items)?;
        map.serialize_entry("count", &self.items.len())?;
        map.serialize_entry("next_cursor", &self.next_cursor)?;
        map.end()
    }
}

impl<T: ToSchema + Listed> ToSchema for Page<T> {
    fn to_schema(components: &mut Components) -> RefOr<Schema> {
        let most = Limit::MAX as usize;
        let items = Array::new().items(T::to_schema(components)).max_items(most);
        let count = describe::integer(0..=Limit::MAX.into()).description("How many are on this page");
        let cursor = describe::nullable(cursor());
        let cursor = cursor.description("Where the next page starts; null on the last one");
        let page = Object::new()
            .description("A page of a list")
            .property(T::PLURAL, items.description("In order"))
            .property("count", count)
            .property("next_cursor", cursor)
            .required(T::PLURAL)
            .required("count")
            .required("next_cursor");
        describe::component(components, T::PAGE, RefOr::Type(page.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_full_page_with_more_behind_it_has_a_next_cursor() {
        let page = |n: i64| {
            let limit = Limit::new(2).expect("within bounds");
            Page::cut((1..=n).collect(), limit, "s", |id: &i64| (*id).into(), |id| id)
        };
        assert_eq!((page(2).items, page(2).next_cursor), (vec![1, 2], None));
        let full = page(3);
        assert_eq!(full.items, [1, 2]);
        let after: i64 = Cursor::decode("s", &full.next_cursor.expect("a third item")).expect("own cursor");
        assert_eq!(after, 2);
    }
}
