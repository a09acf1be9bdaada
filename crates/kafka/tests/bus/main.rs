//! The bus against Kafka's protocol: a mock cluster in this process always, a real one when the tests are given it.

mod cluster;
mod endpoint;
mod files;
mod handler;
mod letters;
mod load;
mod mock;
mod outage;
mod place;
mod real;
mod secure;
mod together;
mod tokens;
