# shellcheck shell=bash
# PostgreSQL for scripts/backends. The tests' user is a superuser, so it may create databases.
# shellcheck disable=SC2154

# The folder with the newest server: the one on PATH, else Debian's.
postgres_bin() {
  local initdb
  initdb=$(command -v initdb || { printf '%s\n' /usr/lib/postgresql/*/bin/initdb | sort -V | tail -n1; })
  [[ -x $initdb ]] && dirname "$(readlink -f "$initdb")"
}

postgres_missing() {
  [[ -n $(postgres_bin) ]] && command -v psql >/dev/null || echo postgresql
}

postgres_url() { echo "postgres://shop:$(password)@$(host postgres):$(port postgres)/postgres"; }

postgres_start() {
  local bin user dir=$DIR/postgres
  bin=$(postgres_bin)
  user=$(unprivileged postgres)
  mkdir -p "$dir"
  reserve_port postgres 0
  if [[ ! -e $dir/ready ]] && alive standby; then
    postgres_copy standby postgres
  elif [[ ! -e $dir/ready ]]; then
    rm -rf "$dir/data"
    make_data "$user" "$dir/data"
    (umask 077 && password >"$dir/pwfile")
    give "$user" "$dir/pwfile"
    # The locale of letters matters to full-text search, the one of sorting to names.
    local locale=C
    if locale -a 2>/dev/null | grep -qix 'c.utf-\?8'; then locale=C.UTF-8; fi
    (cd "$dir" && as "$user" "$bin/initdb" -D "$dir/data" -U shop -A scram-sha-256 --pwfile="$dir/pwfile" \
      -E UTF8 --locale="$locale" --no-sync) >>"$dir/log" 2>&1 || die "initdb failed; its log is $dir/log"
    rm "$dir/pwfile"
    # Which takes those kept in the older way, too.
    sed -i 's/scram-sha-256$/md5/' "$dir/data/pg_hba.conf"
    # By default only whoever shares this machine's address.
    [[ $(host postgres) == 127.0.0.1 ]] || printf 'host %s all samenet md5\n' all replication >>"$dir/data/pg_hba.conf"
    touch "$dir/ready"
  fi
  postgres_launch postgres
}

# postgres_copy FROM TO: what one of two servers has, so that the other goes on from there as its standby.
postgres_copy() {
  local from=$1 to=$2 user dir=$DIR/$2
  user=$(unprivileged postgres)
  wait_ready "$from" "${from}_ready"
  rm -rf "$dir/data"
  make_data "$user" "$dir/data"
  # By its name the other one waits for it.
  (cd "$dir" && as "$user" "$(postgres_bin)/pg_basebackup" -d "$("${from}_url")?application_name=$to" -D "$dir/data" \
    --write-recovery-conf --wal-method=stream --checkpoint=fast --no-sync) >>"$dir/log" 2>&1 ||
    die "pg_basebackup failed; its log is $dir/log"
  touch "$dir/ready"
}

# postgres_launch NAME: the server whose data is in the folder of that name.
postgres_launch() {
  local name=$1 dir=$DIR/$1 user bin options=(-c fsync=on)
  bin=$(postgres_bin)
  user=$(unprivileged postgres)
  # Left by a killed server. PostgreSQL takes any process with that id for a running server, a dead one nobody
  # has waited for included.
  rm -f "$dir/data/postmaster.pid"
  [[ ${SHOP_BACKENDS_FSYNC:-on} == on ]] || options=(-c fsync=off -c synchronous_commit=off -c full_page_writes=off)
  if [[ -n ${SHOP_BACKENDS_TLS:-} ]]; then
    take_certificate "$name" "$user"
    options+=(-c ssl=on -c ssl_cert_file="$dir/server.crt" -c ssl_key_file="$dir/server.key" -c ssl_ca_file="$dir/ca.crt")
  fi
  launch "$name" "$user" "$bin/postgres" -D "$dir/data" -p "$(port "$name")" \
    -c listen_addresses="$(host "$name")" -c unix_socket_directories= -c max_connections=300 \
    -c logging_collector=off "${options[@]}"
}

postgres_ready() { psql -XAtc 'select 1' "$(postgres_url)?connect_timeout=2"; }

postgres_env() { echo "export SHOP_TEST_POSTGRES_URL=$(postgres_url)"; }
