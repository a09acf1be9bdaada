# shellcheck shell=bash
# A second MariaDB, for tests of what a failover does; they make it a replica. Sourced by scripts/backends.
# shellcheck disable=SC2154

replica_missing() { mariadb_missing; }

replica_url() { echo "mysql://shop:$(password)@$(host replica):$(port replica)/mysql"; }

replica_start() {
  reserve_port replica 21
  mariadb_launch replica 2
}

replica_ready() { mariadb_answers replica; }

replica_env() { echo "export SHOP_TEST_REPLICA_URL=$(replica_url)"; }
