//! What every engine must do alike. SQLite always; PostgreSQL and MariaDB when the tests are given servers.

mod bus;
mod check;
mod ddl;
mod idempotency;
mod inbox;
mod open;
mod pools;
mod relay;
mod transactions;
