//! The page of a list, and what its parameters are described as.

use salvo::oapi::{Array, Components, Object, RefOr, Schema, ToParameters, ToSchema};
use serde::ser::SerializeMap;
use serde::{Deserialize, Serialize, Serializer};
use shop_page::{Cursor, Limit, Slice};

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

/// Which page to list.
#[derive(Debug, Deserialize, ToParameters)]
#[serde(deny_unknown_fields)]
#[salvo(parameters(default_parameter_in = Query))]
pub struct PageQuery {
    /// Size of the page.
    #[serde(default)]
    #[salvo(parameter(value_type = PageSize))]
    pub limit: Limit,
    /// `next_cursor` of the page before.
    #[salvo(parameter(value_type = Option<CursorText>))]
    pub cursor: Option<String>,
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
    /// Of a part of the list named by `scope`.
    pub fn of<R: Into<T>, K: Serialize>(slice: Slice<R, K>, scope: &str) -> Self {
        let next_cursor = slice.cursor(scope);
        Self { items: slice.items.into_iter().map(Into::into).collect(), next_cursor }
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
