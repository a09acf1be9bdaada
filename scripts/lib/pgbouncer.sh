# shellcheck shell=bash
# PgBouncer, for tests of what is kept in a session of PostgreSQL. Sourced by scripts/backends.

pgbouncer_missing() { command -v pgbouncer >/dev/null || printf 'pgbouncer\n'; }

pgbouncer_env() {
  ! command -v pgbouncer >/dev/null || printf 'export SHOP_TEST_PGBOUNCER=%q\n' "$(command -v pgbouncer)"
}
