//! What everything that answers over HTTP says alike, whatever server it stands on: the form of a problem, ids of requests,
//! media types, preconditions, methods as they are counted, and the routes that operators ask.

pub mod media;
pub mod method;
pub mod operations;
pub mod precondition;
pub mod problem;
pub mod request_id;
