# shellcheck shell=bash
# A standby of the PostgreSQL next door, for tests of what a failover does. Sourced by scripts/backends.
# shellcheck disable=SC2154

standby_missing() { postgres_missing; }

standby_url() { echo "postgres://shop:$(password)@$(host standby):$(port standby)/postgres"; }

standby_start() {
  mkdir -p "$DIR/standby"
  reserve_port standby 20
  [[ -e $DIR/standby/ready ]] || postgres_copy postgres standby
  postgres_launch standby
}

standby_ready() { psql -XAtc 'select 1' "$(standby_url)?connect_timeout=2"; }

standby_env() { echo "export SHOP_TEST_STANDBY_URL=$(standby_url)"; }
