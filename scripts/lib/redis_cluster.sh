# shellcheck shell=bash
# A Redis Cluster for scripts/backends: three masters, each with a replica, and one with two.
# shellcheck disable=SC2154

redis_cluster_missing() { redis_missing; }

redis_cluster_install() { redis_install; }

redis_cluster_nodes=(redis_cluster redis_cluster-{b..g})

redis_cluster_start() {
  local user program dir=$DIR/redis_cluster name layout="" offset=20 folders=()
  user=$(unprivileged redis)
  program=$(redis_server)
  make_data "$user" "$dir"
  for name in "${redis_cluster_nodes[@]}"; do
    reserve_port "$name" "$offset"
    # The nodes talk to each other on a port that would else be this one and ten thousand.
    reserve_port "$name-bus" "$((offset + 10))"
    offset=$((offset + 1))
    layout+="$(port "$name") $(port "$name-bus") "
    folders+=("$dir/$name")
  done
  # Who has which slots stands in their own files since then, as long as the ports are the same.
  if [[ $(cat "$dir/layout" 2>/dev/null) != "$layout" ]]; then
    rm -rf -- "${folders[@]}"
    for name in "${redis_cluster_nodes[@]}"; do redis_cluster_node "$user" "$dir/$name" "$(port "$name")" "$(port "$name-bus")"; done
    echo "$layout" >"$dir/layout"
  fi
  # Who runs them may not be able to read a checkout. Of each start, for one of an earlier checkout knows other signals.
  install -m 755 -- "$ROOT/scripts/lib/redis-many.sh" "$dir/many.sh"
  REDISCLI_AUTH=$(password) launch redis_cluster "$user" bash "$dir/many.sh" "$program" "${folders[@]}"
}

# Servers that were killed alone are started again.
redis_cluster_settle() { signal redis_cluster USR1; }

redis_cluster_node() {
  local user=$1 dir=$2 port=$3 bus=$4
  make_data "$user" "$dir"
  (umask 077 && cat >"$dir/redis.conf") <<CONF
port $port
bind 127.0.0.1
dir "$dir"
appendonly yes
appendfsync no
save ""
requirepass $(password)
masterauth $(password)
repl-diskless-sync-delay 0
repl-ping-replica-period 1
cluster-enabled yes
cluster-port $bus
cluster-announce-ip 127.0.0.1
cluster-node-timeout 1000
CONF
  give "$user" "$dir/redis.conf"
}

redis_cluster_ask() {
  local name=$1
  shift
  REDISCLI_AUTH=$(password) redis-cli -h 127.0.0.1 -p "$(port "$name")" "$@"
}

redis_cluster_ready() {
  local name told alone=0 places=()
  for name in "${redis_cluster_nodes[@]}"; do
    told=$(redis_cluster_ask "$name" cluster info) || return 1
    [[ $told != *cluster_known_nodes:1$'\r'* ]] || alone=$((alone + 1))
    places+=("127.0.0.1:$(port "$name")")
  done
  if ((alone == ${#places[@]})); then
    redis_cluster_ask redis_cluster --cluster create "${places[@]}" --cluster-replicas 1 --cluster-yes
    return 1
  fi
  for name in "${redis_cluster_nodes[@]}"; do
    told=$(redis_cluster_ask "$name" cluster info && redis_cluster_ask "$name" info replication) || return 1
    [[ $told == *cluster_state:ok*cluster_known_nodes:7* ]] || return 1
    [[ $told == *role:master*connected_slaves:[12]* || $told == *master_link_status:up* ]] || return 1
  done
}

redis_cluster_env() {
  local name places=() nodes=()
  for name in "${redis_cluster_nodes[@]}"; do
    places+=("127.0.0.1:$(port "$name")")
    nodes+=("redis://:$(password)@127.0.0.1:$(port "$name")/0")
  done
  local IFS=,
  echo "export SHOP_TEST_REDIS_CLUSTER_URL=redis-cluster://:$(password)@${places[*]}"
  echo "export SHOP_TEST_REDIS_CLUSTER_NODES=${nodes[*]}"
}
