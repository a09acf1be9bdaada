#!/usr/bin/env bash
# Several Redis servers as one process: redis-many.sh PROGRAM FOLDER... They end with it; one that ends by itself is not missed until SIGUSR1
# asks for all of them. Folders with a sentinel.conf come last, and their sentinels start once every replica has what its master
# has: a sentinel that looks before looks again after ten seconds only. REDISCLI_AUTH is the servers' password.
set -uo pipefail

PROGRAM=$1
shift

declare -A pids
ends=
# shellcheck disable=SC2317,SC2329 # the trap calls it
stop() {
  ends=yes
  # Not all that were started: the number of one that ended may be somebody else's by now.
  # shellcheck disable=SC2046 # numbers
  kill $(jobs -pr) 2>/dev/null
}
trap stop TERM INT HUP
# Until there is something to ask for; without a trap it would end this and leave the servers.
trap '' USR1

value_of() { sed -n "s/^$1 //p" "$2"; }

in_step() {
  local told
  told=$(redis-cli -h "$(value_of bind "$1")" -p "$(value_of port "$1")" info replication 2>/dev/null) || return 1
  [[ $told == *role:master* || $told == *master_link_status:up* ]]
}

runs() { jobs -pr | grep -qx -- "$1"; }

# Those that do not run, of the folders.
start() {
  local folder server servers=()
  for folder; do
    [[ -z $ends ]] || return
    [[ -e $folder/sentinel.conf ]] || servers+=("$folder/redis.conf")
    ! runs "${pids[$folder]:-none}" || continue
    if [[ -e $folder/sentinel.conf ]]; then
      for server in "${servers[@]}"; do
        until [[ -n $ends ]] || in_step "$server"; do sleep 0.05; done
      done
      "$PROGRAM" "$folder/sentinel.conf" --sentinel &
    else
      "$PROGRAM" "$folder/redis.conf" &
    fi
    pids[$folder]=$!
  done
}

folders=("$@")
trap 'start "${folders[@]}"' USR1
start "${folders[@]}"

# A signal ends `wait`, and not what is waited for.
while [[ -n $(jobs -pr) ]]; do wait -n; done
