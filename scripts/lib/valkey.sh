# shellcheck shell=bash
# Valkey for scripts/backends, beside Redis: the machine's, else Debian 13's.
# shellcheck disable=SC2154

valkey_missing() { redis_missing; }

valkey_server() { command -v valkey-server || debian_program valkey-server; }

valkey_install() {
  command -v valkey-server >/dev/null || debian_fetch trixie valkey-server valkey-server ||
    die "Valkey could not be fetched; install valkey-server, so that it is on PATH, or leave it out: SHOP_TEST_VALKEY_URL=off"
}

valkey_start() {
  local program
  program=$(valkey_server)
  redis_launch valkey 3 "$program"
}

valkey_ready() { redis_answers valkey; }

valkey_env() { echo "export SHOP_TEST_VALKEY_URL=redis://:$(password)@127.0.0.1:$(port valkey)/0"; }
