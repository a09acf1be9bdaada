//! How lists are asked for, over whichever wire: a bounded [`Limit`] and an opaque [`Cursor`].

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, de};
use sha2::{Digest, Sha256};
use shop_fault::{Fault, FieldError, Kind};

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

/// Opaque cursors: the sort key of the last item, bound to the list it came from.
#[derive(Debug)]
pub struct Cursor;

/// Length of the tag before the key: enough that a cursor of another list never passes by chance.
const TAG: usize = 8;

impl Cursor {
    /// Longest cursor taken: a sort key of 200 characters, escaped, stays under it.
    pub const MAX: usize = 4096;

    /// The letters of a cursor, as a regular expression.
    pub const PATTERN: &str = "^[A-Za-z0-9_-]+$";

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
    pub fn decode<T: DeserializeOwned>(scope: &str, cursor: &str) -> Result<T, Fault> {
        Self::read(scope, cursor).ok_or_else(Self::foreign)
    }

    /// 400 `invalid_cursor`: it is none of this list.
    pub fn foreign() -> Fault {
        let message = "is not a cursor of this list; start again without it";
        Fault::new(Kind::Malformed, "invalid_cursor", format!("parameter cursor: {message}"))
            .with_field(FieldError::new("cursor", "invalid_cursor", message))
    }

    fn read<T: DeserializeOwned>(scope: &str, cursor: &str) -> Option<T> {
        let bytes = URL_SAFE_NO_PAD.decode(Some(cursor).filter(|cursor| cursor.len() <= Self::MAX)?).ok()?;
        let (sent, key) = bytes.split_at_checked(TAG)?;
        if sent != tag(scope, key) {
            return None;
        }
        serde_json::from_slice(key).ok()
    }
}

/// A part of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slice<T, K> {
    /// The items in order.
    pub items: Vec<T>,
    /// The sort key of the last item, when there are more behind it.
    pub next: Option<K>,
}

impl<T, K> Slice<T, K> {
    /// Cuts `items`, of which one more was read to know whether there are more, to `size`.
    pub fn cut(mut items: Vec<T>, size: usize, key: impl FnOnce(&T) -> K) -> Self {
        let more = items.len() > size;
        items.truncate(size);
        let next = items.last().filter(|_| more).map(key);
        Self { items, next }
    }

    /// Where the next page of the list named by `scope` starts.
    pub fn cursor(&self, scope: &str) -> Option<String>
    where
        K: Serialize,
    {
        self.next.as_ref().map(|key| Cursor::encode(scope, key))
    }
}

/// Binds `key` to `scope`. No secret is in it: a made-up cursor is only another place to start in the same list.
fn tag(scope: &str, key: &[u8]) -> [u8; TAG] {
    let digest = Sha256::new().chain_update(scope).chain_update([0]).chain_update(key).finalize();
    let mut tag = [0; TAG];
    tag.copy_from_slice(&digest[..TAG]);
    tag
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
            let fault = Cursor::decode::<(i64, i64)>(scope, cursor).expect_err(cursor);
            assert_eq!((fault.kind().status(), fault.code()), (400, "invalid_cursor"));
        }
        let other_key = Cursor::encode("a", &"text");
        assert!(Cursor::decode::<(i64, i64)>("a", &other_key).is_err());
    }

    #[test]
    fn only_a_full_part_with_more_behind_it_goes_on() {
        let cut = |n: i64| Slice::cut((1..=n).collect(), 2, |id: &i64| *id);
        assert_eq!(cut(2), Slice { items: vec![1, 2], next: None });
        assert_eq!(cut(3), Slice { items: vec![1, 2], next: Some(2) });
        let cursor = cut(3).cursor("s").expect("a third item");
        assert_eq!(Cursor::decode::<i64>("s", &cursor).expect("own cursor"), 2);
    }
}
