# shellcheck shell=bash
# Folders, ports and processes. Sourced by the scripts next door, which set ROOT and DIR.
# shellcheck disable=SC2154

say() { printf 'backends: %s\n' "$*" >&2; }
die() {
  say "$*"
  exit 1
}

# The first of the users given that exists: servers refuse to run as root.
unprivileged() {
  local user
  if ((EUID != 0)); then
    id -un
    return
  fi
  for user in "$@" nobody; do
    if id "$user" >/dev/null 2>&1; then
      echo "$user"
      return
    fi
  done
}

as() {
  local user=$1
  shift
  if ((EUID == 0)); then
    setpriv --reuid "$(id -u "$user")" --regid "$(id -g "$user")" --clear-groups -- "$@"
  else
    "$@"
  fi
}

# make_data USER FOLDER: a folder only the server may read.
make_data() {
  mkdir -p -- "$2"
  chmod 700 "$2"
  give "$1" "$2"
}

give() {
  local user=$1
  shift
  ((EUID != 0)) || chown "$user:" "$@"
}

# take_certificate NAME USER: the server's copy of server.crt, server.key and ca.crt in the folder SHOP_BACKENDS_TLS.
take_certificate() {
  local file to
  for file in server.crt server.key ca.crt; do
    to=$DIR/$1/$file
    [[ -e $to ]] || (umask 077 && cp -- "$SHOP_BACKENDS_TLS/$file" "$to")
    give "$2" "$to"
  done
}

# settle FOLDER: makes it and prints its real path. Servers started by root run as somebody else, who may
# not be able to walk to a checkout in root's home: then the folder lives in /var/tmp and the name is a link.
settle() {
  local folder=$1 place
  # A link whose folder was cleaned away.
  if [[ -L $folder && ! -e $folder ]]; then rm -- "$folder"; fi
  mkdir -p -- "$folder"
  place=$(readlink -f -- "$folder")
  [[ -O $place ]] || die "$folder belongs to somebody else; choose another folder with --dir"
  if [[ -z $(ls -A -- "$place") ]]; then
    chmod 755 "$place"
    if ! reachable "$place"; then
      rmdir -- "$folder"
      place=$(mktemp -d /var/tmp/shop-backends.XXXXXX)
      chmod 755 "$place"
      ln -s -- "$place" "$folder"
    fi
  fi
  reachable "$place" || die "the servers' user cannot enter $folder; choose another folder with --dir"
  echo "$place"
}

reachable() { as "$(unprivileged nobody)" test -x "$1"; }

settle_dir() {
  DIR=$(settle "$DIR")
  mkdir -p -- "$DIR/ports"
  [[ -e $DIR/password ]] || (umask 077 && od -An -N16 -tx1 /dev/urandom | tr -d ' \n' >"$DIR/password")
}

known_dir() {
  if [[ -d $DIR ]]; then settle_dir; fi
}

remove_dir() {
  local link=$ROOT/.backends
  rm -rf -- "$DIR"
  if [[ -L $link && ! -e $link ]]; then rm -- "$link"; fi
}

password() { cat -- "$DIR/password"; }

# One start or stop at a time per folder. The servers must not inherit the lock: see launch.
locked() {
  [[ -d $DIR ]] || return 0
  if command -v flock >/dev/null; then
    exec 9>"$DIR/lock"
    flock -n 9 || { say "waiting for another start or stop in $DIR"; flock 9; }
    "$@"
    exec 9>&-
  else
    "$@"
  fi
}

# What SHOP_BACKENDS_PLACES says of a server, such as "redis=somewhere@198.18.0.2": the network namespace it runs in, and its
# address there. The others have the address 127.0.0.1 that all programs here share.
place() {
  local one
  for one in ${SHOP_BACKENDS_PLACES:-}; do
    [[ $one != "$1="* ]] || { echo "${one#*=}"; return; }
  done
}

host() {
  local place
  place=$(place "$1")
  place=${place#*@}
  echo "${place:-127.0.0.1}"
}

listening() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

port() { cat -- "$DIR/ports/$1" 2>/dev/null || echo '?'; }

# reserve_port NAME OFFSET: the port of the last start when it is still free, else a fresh one, written down.
# Fresh ones are taken below the range the kernel hands to outgoing connections.
reserve_port() {
  local name=$1 offset=$2 candidate
  candidate=$(port "$name")
  if [[ -n $PORT_BASE ]]; then
    candidate=$((PORT_BASE + offset))
    ! listening "$candidate" || die "port $candidate for $name is taken; choose another --port-base"
  elif [[ $candidate == '?' ]] || listening "$candidate"; then
    candidate=$((20000 + RANDOM % 10000))
    while listening "$candidate" || grep -qsx "$candidate" "$DIR"/ports/*; do
      candidate=$((candidate + 1))
    done
  fi
  echo "$candidate" >"$DIR/ports/$name"
}

# When the process with this id was started: with the id it names a process for good.
born() {
  if [[ -r /proc/$1/stat ]]; then
    sed 's/.*) //' "/proc/$1/stat" 2>/dev/null | cut -d' ' -f20
  else
    ps -o lstart= -p "$1" 2>/dev/null || true
  fi
}

# launch NAME USER COMMAND...: in the background, detached from this terminal, in the server's own folder.
# Every step replaces the one before, so the process id stays the server's.
launch() {
  local name=$1 user=$2 pid place runner=(setsid)
  shift 2
  ((EUID != 0)) || runner=(setpriv --reuid "$(id -u "$user")" --regid "$(id -g "$user")" --clear-groups -- setsid)
  place=$(place "$name")
  [[ -z $place ]] || runner=(nsenter "--net=/run/netns/${place%@*}" "${runner[@]}")
  (
    cd -- "$DIR/$name" || exit
    LC_ALL=C exec "${runner[@]}" "$@"
  ) >>"$DIR/$name/log" 2>&1 </dev/null 9>&- &
  pid=$!
  disown "$pid"
  echo "$pid $(born "$pid")" >"$DIR/$name/pid"
}

# The process ids of a process's children.
children() {
  if [[ -r /proc/$1/task/$1/children ]]; then
    cat -- "/proc/$1"/task/*/children 2>/dev/null || true
  else
    ps -o pid= --ppid "$1" 2>/dev/null || true
  fi
}

# A process, its children, theirs, and so on.
family() {
  local child
  echo "$1"
  for child in $(children "$1"); do family "$child"; done
}

alive() {
  local pid birth
  [[ -s $DIR/$1/pid ]] || return 1
  read -r pid birth <"$DIR/$1/pid"
  kill -0 "$pid" 2>/dev/null && [[ $(born "$pid") == "$birth" ]] && ! grep -qs '^State:.Z' "/proc/$pid/status"
}

signal() {
  local pid children=
  read -r pid _ <"$DIR/$1/pid"
  # A parent that is killed cannot take its children along.
  [[ $2 != KILL ]] || children=$(children "$pid")
  # shellcheck disable=SC2086 # a list of numbers
  kill "-$2" "$pid" $children 2>/dev/null || true
}

wait_gone() {
  local name=$1 deadline=$((SECONDS + 30))
  while alive "$name"; do
    if ((SECONDS >= deadline)); then
      say "$name does not stop, killing it"
      signal "$name" KILL
      deadline=$((SECONDS + 30))
    fi
    sleep 0.05
  done
  rm -f -- "$DIR/$name/pid"
}

# wait_ready NAME CHECK: polls CHECK, which makes a real connection, while the process lives.
wait_ready() {
  local name=$1 check=$2 deadline=$((SECONDS + ${SHOP_BACKENDS_TIMEOUT:-120}))
  until ("$check") >/dev/null 2>&1; do
    if ! alive "$name" || ((SECONDS >= deadline)); then
      tail -n 20 "$DIR/$name/log" >&2 || true
      if alive "$name"; then die "$name does not answer in time; its log is $DIR/$name/log"; fi
      die "$name ended while starting; its log is $DIR/$name/log"
    fi
    sleep 0.1
  done
}
