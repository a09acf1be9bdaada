# shellcheck shell=bash
# Redis behind sentinels for scripts/backends: a master, two replicas, three sentinels, on the ports that say so.
# shellcheck disable=SC2154

redis_sentinel_missing() { redis_missing; }

redis_sentinel_install() { redis_install; }

redis_sentinel_servers=(redis_sentinel redis_sentinel-b redis_sentinel-c)
redis_sentinel_watchers=(redis_sentinel-1 redis_sentinel-2 redis_sentinel-3)

# One that nobody mistakes for the servers'.
redis_sentinel_password() { echo "s$(password)"; }

redis_sentinel_start() {
  local user program dir=$DIR/redis_sentinel name layout="" offset=10 folders=()
  user=$(unprivileged redis)
  program=$(redis_server)
  make_data "$user" "$dir"
  for name in "${redis_sentinel_servers[@]}" "${redis_sentinel_watchers[@]}"; do
    reserve_port "$name" "$offset"
    offset=$((offset + 1))
    layout+="$(port "$name") "
    folders+=("$dir/$name")
  done
  # Which of them is the master stands in their own files since then, as long as the ports are the same.
  if [[ $(cat "$dir/layout" 2>/dev/null) != "$layout" ]]; then
    rm -rf -- "${folders[@]}"
    for name in "${redis_sentinel_servers[@]}"; do redis_sentinel_server "$user" "$dir/$name" "$(port "$name")"; done
    for name in "${redis_sentinel_watchers[@]}"; do redis_sentinel_watcher "$user" "$dir/$name" "$(port "$name")"; done
    echo "$layout" >"$dir/layout"
  fi
  # Who runs them may not be able to read a checkout. Of each start, for one of an earlier checkout knows other signals.
  install -m 755 -- "$ROOT/scripts/lib/redis-many.sh" "$dir/many.sh"
  REDISCLI_AUTH=$(password) launch redis_sentinel "$user" bash "$dir/many.sh" "$program" "${folders[@]}"
}

# Servers that were killed alone are started again.
redis_sentinel_settle() { signal redis_sentinel USR1; }

redis_sentinel_server() {
  local user=$1 dir=$2 port=$3
  make_data "$user" "$dir"
  (umask 077 && cat >"$dir/redis.conf") <<CONF
port $port
bind $(host redis_sentinel)
dir "$dir"
appendonly yes
appendfsync no
save ""
requirepass $(password)
masterauth $(password)
repl-diskless-sync-delay 0
repl-ping-replica-period 1
CONF
  [[ $port == "$(port redis_sentinel)" ]] || echo "replicaof $(host redis_sentinel) $(port redis_sentinel)" >>"$dir/redis.conf"
  give "$user" "$dir/redis.conf"
}

redis_sentinel_watcher() {
  local user=$1 dir=$2 port=$3
  make_data "$user" "$dir"
  (umask 077 && cat >"$dir/sentinel.conf") <<CONF
port $port
bind $(host redis_sentinel)
dir "$dir"
requirepass $(redis_sentinel_password)
sentinel sentinel-pass $(redis_sentinel_password)
sentinel monitor shop $(host redis_sentinel) $(port redis_sentinel) 2
sentinel auth-pass shop $(password)
sentinel down-after-milliseconds shop 1000
sentinel failover-timeout shop 5000
CONF
  give "$user" "$dir/sentinel.conf"
}

redis_sentinel_ready() {
  local name told
  for name in "${redis_sentinel_watchers[@]}"; do
    told=$(REDISCLI_AUTH=$(redis_sentinel_password) redis-cli -h "$(host redis_sentinel)" -p "$(port "$name")" info sentinel)
    [[ $told == *"status=ok"*"slaves=2,sentinels=3"* ]] || return 1
  done
}

redis_sentinel_env() {
  local name places=() nodes=()
  for name in "${redis_sentinel_watchers[@]}"; do places+=("$(host redis_sentinel):$(port "$name")"); done
  for name in "${redis_sentinel_servers[@]}"; do nodes+=("redis://:$(password)@$(host redis_sentinel):$(port "$name")/0"); done
  local IFS=,
  echo "export SHOP_TEST_REDIS_SENTINEL_URL=redis-sentinel://:$(password)@${places[*]}/shop?sentinel_password=$(redis_sentinel_password)"
  echo "export SHOP_TEST_REDIS_SENTINEL_NODES=${nodes[*]}"
}
