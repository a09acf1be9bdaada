# shellcheck shell=bash
# Redis for scripts/backends: append-only file on, no snapshots; with SHOP_BACKENDS_REDIS=valkey it is Valkey, alone, behind
# sentinels and as a cluster.
# shellcheck disable=SC2154

redis_missing() {
  if ! command -v redis-server >/dev/null || ! command -v redis-cli >/dev/null; then echo redis-server; fi
}

redis_install() { [[ ${SHOP_BACKENDS_REDIS:-redis} != valkey ]] || valkey_install; }

# The program that all of them run.
redis_server() {
  case ${SHOP_BACKENDS_REDIS:-redis} in
    redis) command -v redis-server ;;
    valkey) valkey_server ;;
    *) die "SHOP_BACKENDS_REDIS takes redis or valkey, not $SHOP_BACKENDS_REDIS" ;;
  esac
}

redis_url() { echo "redis://:$(password)@$(host redis):$(port redis)/0"; }

redis_start() {
  local program
  program=$(redis_server)
  redis_launch redis 2 "$program"
}

# redis_launch NAME OFFSET PROGRAM: a server in the folder of that name.
redis_launch() {
  local name=$1 offset=$2 program=$3 user dir=$DIR/$1 fsync=everysec
  user=$(unprivileged redis)
  [[ ${SHOP_BACKENDS_FSYNC:-on} == on ]] || fsync=no
  make_data "$user" "$dir/data"
  reserve_port "$name" "$offset"
  (umask 077 && cat >"$dir/redis.conf") <<CONF
port $(port "$name")
bind $(host "$name")
dir "$dir/data"
appendonly yes
appendfsync $fsync
save ""
requirepass $(password)
CONF
  give "$user" "$dir/redis.conf"
  launch "$name" "$user" "$program" "$dir/redis.conf"
}

redis_ready() { redis_answers redis; }

redis_answers() {
  [[ $(REDISCLI_AUTH=$(password) redis-cli -h "$(host "$1")" -p "$(port "$1")" ping) == PONG ]]
}

redis_env() { echo "export SHOP_TEST_REDIS_URL=$(redis_url)"; }
