# shellcheck shell=bash
# PgBouncer, for tests of what is kept in a session of PostgreSQL: the machine's, and one that carries prepared statements along, as
# they do since 1.21. Sourced by scripts/backends.

pgbouncer_missing() { command -v pgbouncer >/dev/null || printf 'pgbouncer\n'; }

pgbouncer_carries() {
  local version
  version=$(pgbouncer --version 2>/dev/null | sed -n 's/^PgBouncer //p')
  [[ $(printf '1.21\n%s\n' "$version" | sort -V | head -n 1) == 1.21 ]]
}

# What carries them.
pgbouncer_newer() { if pgbouncer_carries; then command -v pgbouncer; else debian_program pgbouncer; fi; }

pgbouncer_install() {
  [[ ${SHOP_TEST_PGBOUNCER_NEWER:-} == off ]] || pgbouncer_carries || debian_fetch trixie pgbouncer pgbouncer ||
    die "PgBouncer of Debian 13 could not be fetched; install 1.21 or newer, or leave it out: SHOP_TEST_PGBOUNCER_NEWER=off"
}

pgbouncer_env() {
  local newer
  ! command -v pgbouncer >/dev/null || printf 'export SHOP_TEST_PGBOUNCER=%q\n' "$(command -v pgbouncer)"
  newer=$(pgbouncer_newer)
  [[ -z $newer || ${SHOP_TEST_PGBOUNCER_NEWER:-} == off ]] || printf 'export SHOP_TEST_PGBOUNCER_NEWER=%q\n' "$newer"
}
