//! What the ids of [`shop_input`] look like in the description of an interface.

use salvo::oapi::{BasicType, KnownFormat, Object, SchemaFormat};
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

crate::describe! {
    /// A [`shop_input::UserId`].
    pub UserId(String) = shop_input::UserId::schema();
}
