//! What clients send, read strictly and answered in words for people.
//!
//! The services and the gateway read ids, entity tags, queries and JSON alike, so it is written here once and knows no
//! server: domains check a [`UserId`] or an [`Expected`] version with it, the doors parse bodies and queries.

mod expected;
mod fields;
mod id;
pub mod json;
mod names;
mod parameter;
pub mod query;
mod tags;
mod uri;
mod user;
pub mod words;

pub use expected::{Expected, Versions};
pub use fields::Fields;
pub use id::{Id, read};
pub use parameter::{invalid_parameter, parameter};
pub use query::{NotUtf8, pairs};
pub use tags::{Malformed, Tags};
pub use uri::is_uri;
pub use user::{NotUserId, UserId};
