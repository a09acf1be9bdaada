#!/usr/bin/env bash
# Several Redis servers as one process: redis-many.sh FOLDER... They end with it; one that ends by itself is not missed.
# Folders with a sentinel.conf come last, and their sentinels start once every replica has what its master has: a sentinel
# that looks before looks again after ten seconds only. REDISCLI_AUTH is the servers' password.
set -uo pipefail

pids=()
# shellcheck disable=SC2317,SC2329 # the trap calls it
stop() { kill "${pids[@]}" 2>/dev/null; }
trap stop TERM INT HUP

port_of() { sed -n 's/^port //p' "$1"; }

in_step() {
  local told
  told=$(redis-cli -h 127.0.0.1 -p "$(port_of "$1")" info replication 2>/dev/null) || return 1
  [[ $told == *role:master* || $told == *master_link_status:up* ]]
}

servers=()
for folder; do
  if [[ -e $folder/sentinel.conf ]]; then
    for server in "${servers[@]}"; do
      until in_step "$server"; do sleep 0.05; done
    done
    redis-server "$folder/sentinel.conf" --sentinel &
  else
    redis-server "$folder/redis.conf" &
    servers+=("$folder/redis.conf")
  fi
  pids+=($!)
done

# A signal ends `wait`, and not what is waited for.
for pid in "${pids[@]}"; do
  while kill -0 "$pid" 2>/dev/null; do wait "$pid"; done
done
