//! The reference of an HTTP interface: its OpenAPI document, and the page on which people read it and try it out.
//!
//! The page is Swagger UI, out of a crate, with a search of our own. It needs nothing from elsewhere, and nothing else may
//! load into it.

mod document;
mod page;
mod sent;

pub use document::Document;
pub use page::page;
