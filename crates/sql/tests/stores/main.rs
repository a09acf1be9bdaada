//! What every engine must do alike. SQLite always; PostgreSQL and MariaDB when the tests are given servers.

mod bus;
mod check;
mod ddl;
mod failover;
mod galera;
mod idempotency;
mod inbox;
mod migrations;
mod open;
mod pooler;
mod pools;
mod relay;
mod released;
mod tls;
mod transactions;
mod turns;
mod vanished;
