//! What the ids of [`shop_input`] look like in the description of an interface.

use salvo::oapi::{BasicType, Components, ComposeSchema, KnownFormat, Object, RefOr, Schema, SchemaFormat, ToSchema};
use shop_input::Id;
use uuid::Uuid;

/// An id that can be described.
pub trait Described: Id {
    /// The texts that are one.
    fn schema() -> Object;
}

impl Described for i64 {
    fn schema() -> Object {
        let format = SchemaFormat::KnownFormat(KnownFormat::Int64);
        Object::with_type(BasicType::Integer).format(format).minimum(1.0)
    }
}

impl Described for Uuid {
    fn schema() -> Object {
        Object::with_type(BasicType::String).format(SchemaFormat::KnownFormat(KnownFormat::Uuid))
    }
}

impl Described for shop_input::UserId {
    fn schema() -> Object {
        Object::with_type(BasicType::String).pattern(Self::PATTERN).min_length(1).max_length(Self::MAX)
    }
}

/// Stands for a [`shop_input::UserId`] where a schema is asked for: `#[salvo(schema(value_type = UserId))]`.
#[derive(Debug)]
pub struct UserId;

impl ToSchema for UserId {
    fn to_schema(_components: &mut Components) -> RefOr<Schema> {
        RefOr::Type(shop_input::UserId::schema().into())
    }
}

impl ComposeSchema for UserId {
    fn compose(components: &mut Components, _generics: Vec<RefOr<Schema>>) -> RefOr<Schema> {
        Self::to_schema(components)
    }
}
