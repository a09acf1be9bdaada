//! The shared tables as each engine spells them, to be copied into a service's migrations (one file each).

/// PostgreSQL: `outbox` with the relay's lock row, `inbox`, `idempotency_keys`.
pub const POSTGRES: [&str; 4] = [
    include_str!("../ddl/postgres/outbox.sql"),
    include_str!("../ddl/postgres/inbox.sql"),
    include_str!("../ddl/postgres/idempotency_keys.sql"),
    include_str!("../ddl/postgres/key_owners.sql"),
];

/// `MariaDB`: the same. Bytewise collation, since the server's own may fold case in a unique key.
pub const MARIADB: [&str; 4] = [
    include_str!("../ddl/mariadb/outbox.sql"),
    include_str!("../ddl/mariadb/inbox.sql"),
    include_str!("../ddl/mariadb/idempotency_keys.sql"),
    include_str!("../ddl/mariadb/key_owners.sql"),
];

/// SQLite: the same without the lock row, for there the relay is the only one by living in the process.
pub const SQLITE: [&str; 4] = [
    include_str!("../ddl/sqlite/outbox.sql"),
    include_str!("../ddl/sqlite/inbox.sql"),
    include_str!("../ddl/sqlite/idempotency_keys.sql"),
    include_str!("../ddl/sqlite/key_owners.sql"),
];
