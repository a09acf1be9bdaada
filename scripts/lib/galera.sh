# shellcheck shell=bash
# A Galera cluster of MariaDB for scripts/backends: up to three nodes, each a server of its own that may be stopped alone.
# Nothing starts them but their names: `scripts/backends start --only galera1,galera2,galera3`.
# shellcheck disable=SC2154

GALERA=(galera1 galera2 galera3)

for node in "${GALERA[@]}"; do
  eval "${node}_missing() { galera_missing; }
    ${node}_install() { galera_install; }
    ${node}_start() { galera_start $node; }
    ${node}_ready() { galera_ready $node; }
    ${node}_env() { echo \"export SHOP_TEST_${node^^}_URL=\$(galera_url $node)\"; }"
done
unset node

# What makes a cluster of a MariaDB: that of the machine, else in a folder of ours, shared by all.
galera_library() {
  local library
  for library in /usr/lib/galera/libgalera_smm.so /usr/lib64/galera-4/libgalera_smm.so "$ROOT/.backends/galera/libgalera_smm.so"; do
    if [[ -e $library ]]; then readlink -f "$library" && return; fi
  done
}

# Where what copies a node's data to another is.
galera_scripts() {
  local script
  if script=$(command -v wsrep_sst_rsync); then dirname "$script"; else readlink -f "$ROOT/.backends/galera"; fi
}

galera_there() { [[ -n $(galera_library) && -e $(galera_scripts)/wsrep_sst_rsync ]]; }

galera_missing() {
  mariadb_missing
  command -v rsync >/dev/null || echo rsync
  command -v ss >/dev/null || command -v lsof >/dev/null || echo lsof
}

# Taken out of Debian's packages, of which one also holds the service of the machine, which nobody wants here.
galera_install() {
  local part folder=$ROOT/.backends/galera
  ! galera_there || return 0
  say "fetching Galera (some seconds, once)"
  settle "$ROOT/.backends" >/dev/null
  part=$(mktemp -d)
  # Before `||` no failure ends anything by itself.
  (
    cd "$part" && apt-get download galera-4 mariadb-server || exit
    for package in *.deb; do dpkg-deb -x "$package" unpacked || exit; done
    mkdir -p "$folder" && cp -- unpacked/usr/lib/libgalera_smm.so unpacked/usr/bin/wsrep_sst_* "$folder" &&
      chmod -R a+rX "$folder"
  ) >"$DIR/install.log" 2>&1 || {
    rm -rf -- "$part"
    tail -n 20 "$DIR/install.log" >&2
    die "Galera could not be fetched; install it with its wsrep_sst_rsync, or leave it out: SHOP_TEST_GALERA=off"
  }
  rm -rf -- "$part"
}

galera_env() {
  ! galera_there || printf 'export SHOP_TEST_GALERA=%q\n' "$(galera_library)"
}

galera_url() { echo "mysql://shop:$(password)@$(host "$1"):$(port "$1")/mysql"; }

# The ports of all, which each has to know of the others: for clients, the group, and the two ways to catch up.
galera_ports() {
  local node kind offset=70
  for node in "${GALERA[@]}"; do
    for kind in "" -group -writes -copy; do
      # They stay: the others were told.
      [[ $(port "$node$kind") != '?' ]] || reserve_port "$node$kind" "$offset"
      offset=$((offset + 1))
    done
  done
}

# Where a node that was killed had got to, as an option, so that it is sent what it missed rather than all there is. To be asked
# while it does not run.
galera_position() {
  local data=$DIR/$1/data server
  server=$(mariadb_server)
  [[ -e $data/ibdata1 ]] && grep -qs '^seqno: *-1$' "$data/grastate.dat" || return 0
  as "$(unprivileged mysql)" "$server" --no-defaults --datadir="$data" --tmpdir="$(mariadb_tmp "$1")" \
    --skip-networking --socket=mariadb.sock --pid-file=mariadb.pid --binlog-format=ROW --innodb-log-file-size=16M \
    --wsrep-on=ON --wsrep-provider="$(galera_library)" --wsrep-cluster-address=gcomm:// --wsrep-recover 2>&1 |
    sed -n 's/.*Recovered position: */--wsrep-start-position=/p'
}

galera_start() {
  local name=$1 node dir=$DIR/$1 host first=yes group=() members="" position=()
  host=$(host "$name")
  galera_ports
  for node in "${GALERA[@]}"; do
    group+=("$(host "$node"):$(port "$node-group")")
    ! alive "$node" || first=
  done
  mkdir -p "$dir"
  if [[ -n $first ]]; then
    # Whoever starts while none lives begins the cluster, with what it has.
    [[ ! -e $dir/data/grastate.dat ]] || sed -i 's/^safe_to_bootstrap: 0/safe_to_bootstrap: 1/' "$dir/data/grastate.dat"
  else
    members=$(IFS=,; echo "${group[*]}")
    # The others come with empty hands, and get a copy.
    [[ -e $dir/ready ]] || { make_data "$(unprivileged mysql)" "$dir/data" && touch "$dir/ready"; }
  fi
  mapfile -t position < <(galera_position "$name")
  PATH=$(galera_scripts):$PATH mariadb_launch "$name" 0 \
    --binlog-format=ROW --innodb-autoinc-lock-mode=2 --innodb-log-file-size=16M \
    --wsrep-on=ON --wsrep-provider="$(galera_library)" --wsrep-cluster-name=shop --wsrep-cluster-address="gcomm://$members" \
    --wsrep-node-name="$name" --wsrep-node-address="$host:$(port "$name-group")" \
    --wsrep-node-incoming-address="$host:$(port "$name")" \
    --wsrep-sst-method=rsync --wsrep-sst-receive-address="$host:$(port "$name-copy")" \
    --wsrep-provider-options="gmcast.listen_addr=tcp://$host:$(port "$name-group");ist.recv_addr=$host:$(port "$name-writes");gcache.size=16M" \
    "${position[@]}"
}

# Ready when it is one of all that live.
galera_ready() {
  local node living=0 told
  for node in "${GALERA[@]}"; do ! alive "$node" || living=$((living + 1)); done
  told=$(mariadb_ask "$1" "show status where variable_name in ('wsrep_ready', 'wsrep_local_state_comment', 'wsrep_cluster_size')")
  [[ $told == *wsrep_cluster_size$'\t'"$living"* && $told == *Synced* && $told == *wsrep_ready$'\t'ON* ]]
}
