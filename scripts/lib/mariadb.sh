# shellcheck shell=bash
# MariaDB for scripts/backends, with the settings it ships with: no character set chosen for the tests' comfort.
# shellcheck disable=SC2154

# Debian keeps servers out of a user's PATH.
mariadb_server() { PATH=$PATH:/usr/sbin:/usr/local/sbin command -v mariadbd; }

# The core packages hold the programs without the system service.
mariadb_missing() {
  if ! mariadb_server >/dev/null || ! command -v mariadb-install-db >/dev/null; then echo mariadb-server-core; fi
  command -v mariadb >/dev/null || echo mariadb-client-core
}

# mariadb_tmp NAME: where a server puts its temporary tables. Each has its own: one that starts deletes whatever tables lie there,
# also those that another is just filling.
mariadb_tmp() {
  make_data "$(unprivileged mysql)" "$DIR/$1/tmp"
  echo "$DIR/$1/tmp"
}

mariadb_url() { echo "mysql://shop:$(password)@$(host mariadb):$(port mariadb)/mysql"; }

mariadb_start() {
  reserve_port mariadb 1
  mariadb_launch mariadb 1
}

# mariadb_launch NAME NUMBER [OPTION...]: the server whose data is in the folder of that name; its number tells it from a
# replica.
mariadb_launch() {
  local name=$1 number=$2 server base user tmp dir=$DIR/$1 options=("${@:3}")
  server=$(mariadb_server)
  base=$(dirname "$(dirname "$(readlink -f "$server")")")
  user=$(unprivileged mysql)
  mkdir -p "$dir"
  tmp=$(mariadb_tmp "$name")
  if [[ ! -e $dir/ready ]]; then
    rm -rf "$dir/data"
    make_data "$user" "$dir/data"
    (cd "$dir/data" && TMPDIR=$tmp as "$user" mariadb-install-db --no-defaults --basedir="$base" --datadir="$dir/data" \
      --auth-root-authentication-method=normal --skip-test-db) >"$dir/install.log" 2>&1 ||
      { cat "$dir/install.log" >&2; die "mariadb-install-db failed"; }
    # Whoever begins anew is somebody else: a replica passes over what it takes for its own.
    echo "$(((RANDOM << 15 | RANDOM) * 2 + number))" >"$dir/ready"
  fi
  local alone="sql_log_bin = 0"
  [[ $name != galera* ]] || alone="wsrep_on = OFF"
  (umask 077 && cat >"$dir/init.sql") <<SQL
SET SESSION $alone;
DELETE FROM mysql.global_priv WHERE User IN ('root', '');
FLUSH PRIVILEGES;
CREATE OR REPLACE USER shop@'%' IDENTIFIED BY '$(password)';
GRANT ALL PRIVILEGES ON *.* TO shop@'%' WITH GRANT OPTION;
SQL
  give "$user" "$dir/init.sql"
  local durability=1
  [[ ${SHOP_BACKENDS_FSYNC:-on} == on ]] || durability=0
  # Whoever has a replica has a log for it.
  [[ " ${SERVERS[*]} " != *" replica "* ]] || options+=(--server-id="$(cat "$dir/ready")" --log-bin=log --gtid-domain-id=1)
  if [[ -n ${SHOP_BACKENDS_TLS:-} ]]; then
    take_certificate "$name" "$user"
    options+=(--ssl-cert="$dir/server.crt" --ssl-key="$dir/server.key" --ssl-ca="$dir/ca.crt")
  fi
  # What a test wants besides, a word each.
  # shellcheck disable=SC2206
  options+=(${SHOP_BACKENDS_MARIADB_OPTIONS:-})
  # A relative socket is made in the data folder; an absolute path could be longer than sockets allow.
  launch "$name" "$user" "$server" --no-defaults --basedir="$base" --datadir="$dir/data" --tmpdir="$tmp" \
    --port="$(port "$name")" --bind-address="$(host "$name")" --socket=mariadb.sock --pid-file=mariadb.pid \
    --skip-name-resolve --max-connections=500 --init-file="$dir/init.sql" \
    --innodb-flush-log-at-trx-commit="$durability" "${options[@]}"
}

# mariadb_ask NAME STATEMENT
mariadb_ask() {
  MYSQL_PWD=$(password) mariadb --no-defaults --protocol=tcp --connect-timeout=2 \
    -h "$(host "$1")" -P "$(port "$1")" -u shop -BNe "$2"
}

mariadb_answers() { mariadb_ask "$1" 'select 1'; }

mariadb_ready() { mariadb_answers mariadb; }

mariadb_env() { echo "export SHOP_TEST_MARIADB_URL=$(mariadb_url)"; }
