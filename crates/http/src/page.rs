//! Lists: a bounded `limit`, an opaque `cursor`, and the page that carries the next one.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use salvo::oapi::{Array, Components, ComposeSchema, Object, RefOr, Schema, ToSchema};
use serde::de::DeserializeOwned;
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use sha2::{Digest, Sha256};
use shop_fault::{Fault, FieldError, Kind};

use crate::{Problem, describe};

/// How many items a page has at most: 1–100, 20 when not asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit(u32);

impl Limit {
    /// The largest page; larger ones cost memory on both sides without saving round trips.
    pub const MAX: u32 = 100;

    /// A limit of `n` items; `None` outside of 1–100.
    pub fn new(n: u32) -> Option<Self> {
        (1..=Self::MAX).contains(&n).then_some(Self(n))
    }

    /// The number of items.
    pub const fn get(self) -> u32 {
        self.0
    }

    /// The number of items for a store's query, one more than the page: the extra one says that a next page exists.
    pub const fn plus_one(self) -> i64 {
        self.0 as i64 + 1
    }
}

impl Default for Limit {
    fn default() -> Self {
        Self(20)
    }
}

impl<'de> Deserialize<'de> for Limit {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // Out of a query all values are texts.
        let text = String::deserialize(deserializer)?;
        let read = text.parse().ok().filter(|n: &u32| n.to_string() == text).and_then(Self::new);
        read.ok_or_else(|| de::Error::custom(format!("must be a whole number from 1 to {}", Self::MAX)))
    }
}

impl ToSchema for Limit {
    fn to_schema(_components: &mut Components) -> RefOr<Schema> {
        let limit = describe::integer(1..=Self::MAX.into()).default_value(Self::default().get().into());
        RefOr::Type(limit.into())
    }
}

impl ComposeSchema for Limit {
    fn compose(components: &mut Components, _generics: Vec<RefOr<Schema>>) -> RefOr<Schema> {
        Self::to_schema(components)
    }
}

/// Opaque cursors: the sort key of the last item, bound to the list it came from.
#[derive(Debug)]
pub struct Cursor;

/// Length of the tag before the key: enough that a cursor of another list never passes by chance.
const TAG: usize = 8;

/// Longest cursor taken: a sort key of 200 characters, escaped, stays under it.
const MAX: usize = 4096;

/// The letters of a cursor.
const PATTERN: &str = "^[A-Za-z0-9_-]+$";

crate::describe! {
    /// A cursor as a list takes it.
    pub CursorText = describe::string(1..=MAX).pattern(PATTERN);
}

impl Cursor {
    /// The cursor after the item with sort key `key`, in the list named by `scope`.
    ///
    /// `scope` is everything that decides which items the list has and in which order: endpoint, filters, sort.
    pub fn encode(scope: &str, key: &impl Serialize) -> String {
        let key = serde_json::to_vec(key).unwrap_or_default();
        let mut cursor = tag(scope, &key).to_vec();
        cursor.extend_from_slice(&key);
        URL_SAFE_NO_PAD.encode(cursor)
    }

    /// The sort key in `cursor`; 400 `invalid_cursor` when it is not one of the list named by `scope`.
    pub fn decode<T: DeserializeOwned>(scope: &str, cursor: &str) -> Result<T, Problem> {
        Self::read(scope, cursor).ok_or_else(|| {
            let message = "is not a cursor of this list; start again without it";
            Fault::new(Kind::Malformed, "invalid_cursor", format!("parameter cursor: {message}"))
                .with_field(FieldError::new("cursor", "invalid_cursor", message))
                .into()
        })
    }

    fn read<T: DeserializeOwned>(scope: &str, cursor: &str) -> Option<T> {
        let bytes = URL_SAFE_NO_PAD.decode(Some(cursor).filter(|cursor| cursor.len() <= MAX)?).ok()?;
        let (sent, key) = bytes.split_at_checked(TAG)?;
        if sent != tag(scope, key) {
            return None;
        }
        serde_json::from_slice(key).ok()
    }
}

/// Binds `key` to `scope`. No secret is in it: a made-up cursor is only another place to start in the same list.
fn tag(scope: &str, key: &[u8]) -> [u8; TAG] {
    let digest = Sha256::new().chain_update(scope).chain_update([0]).chain_update(key).finalize();
    let mut tag = [0; TAG];
    tag.copy_from_slice(&digest[..TAG]);
    tag
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
        let cursor = describe::nullable(describe::string(1..=MAX).pattern(PATTERN));
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
    fn a_cursor_comes_back_in_its_own_list() {
        let cursor = Cursor::encode("GET /products?sort=price", &(1299, 7));
        let (price, id): (i64, i64) = Cursor::decode("GET /products?sort=price", &cursor).expect("own cursor");
        assert_eq!((price, id), (1299, 7));
    }

    #[test]
    fn a_foreign_bent_or_made_up_cursor_is_refused() {
        let cursor = Cursor::encode("a", &(1299, 7));
        let bent = format!("{}A", &cursor[..cursor.len() - 1]);
        for (scope, cursor) in [("b", cursor.as_str()), ("a", &bent), ("a", ""), ("a", "%%%"), ("a", &"A".repeat(5000))]
        {
            let fault = Fault::from(Cursor::decode::<(i64, i64)>(scope, cursor).expect_err(cursor));
            assert_eq!((fault.kind().status(), fault.code()), (400, "invalid_cursor"));
        }
        let other_key = Cursor::encode("a", &"text");
        assert!(Cursor::decode::<(i64, i64)>("a", &other_key).is_err());
    }

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
