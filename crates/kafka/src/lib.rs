//! The bus over Apache Kafka: an idempotent producer, and consumers that commit an offset only after its effect.
//!
//! Nothing here needs a broker to start. Topics are made as soon as one answers; until then publishing fails (the
//! outbox keeps the event) and consumers wait.

mod availability;
mod burial;
mod bus;
mod client;
mod consumer;
mod counts;
mod files;
mod keeper;
mod letters;
mod partitions;
mod pause;
mod probe;
mod tokens;
mod topics;
mod trouble;
mod unburied;
mod wire;

pub use bus::KafkaBus;
pub use letters::KafkaLetters;
