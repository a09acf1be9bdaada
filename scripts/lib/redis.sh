# shellcheck shell=bash
# Redis for scripts/backends: append-only file on, no snapshots.
# shellcheck disable=SC2154

redis_missing() {
  if ! command -v redis-server >/dev/null || ! command -v redis-cli >/dev/null; then echo redis-server; fi
}

redis_url() { echo "redis://:$(password)@$(host redis):$(port redis)/0"; }

redis_start() {
  local user dir=$DIR/redis fsync=everysec
  user=$(unprivileged redis)
  [[ ${SHOP_BACKENDS_FSYNC:-on} == on ]] || fsync=no
  make_data "$user" "$dir/data"
  reserve_port redis 2
  (umask 077 && cat >"$dir/redis.conf") <<CONF
port $(port redis)
bind $(host redis)
dir "$dir/data"
appendonly yes
appendfsync $fsync
save ""
requirepass $(password)
CONF
  give "$user" "$dir/redis.conf"
  launch redis "$user" redis-server "$dir/redis.conf"
}

redis_ready() {
  [[ $(REDISCLI_AUTH=$(password) redis-cli -h "$(host redis)" -p "$(port redis)" ping) == PONG ]]
}

redis_env() { echo "export SHOP_TEST_REDIS_URL=$(redis_url)"; }
