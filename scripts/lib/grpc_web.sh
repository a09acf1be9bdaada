# shellcheck shell=bash
# The clients of gRPC-Web that web pages have (npm's connect-web and grpc-web). Sourced by scripts/backends, behind oidc.sh, which
# knows how to get Node.js.
# shellcheck disable=SC2154

grpc_web_folder() { echo "$DIR/tools/grpc-web"; }

grpc_web_there() {
  local made wanted
  made=$(grpc_web_folder)/done
  [[ -e $made ]] || return 1
  for wanted in "$ROOT"/scripts/grpc-web/*; do
    [[ ! $wanted -nt $made ]] || return 1
  done
}

grpc_web_missing() { grpc_web_there || oidc_missing_node; }

grpc_web_install() {
  local folder
  ! grpc_web_there || return 0
  folder=$(grpc_web_folder)
  say "installing clients of gRPC-Web (some seconds, once)"
  rm -rf -- "$folder"
  mkdir -p "$folder"
  oidc_npm "$folder" grpc-web >"$DIR/install.log" 2>&1 || {
    tail -n 20 "$DIR/install.log" >&2
    die "clients of gRPC-Web could not be installed; see above"
  }
  cp "$ROOT/scripts/grpc-web/client.mjs" "$folder"
  touch "$folder/done"
}

grpc_web_env() { ! grpc_web_there || printf 'export SHOP_TEST_GRPC_WEB=%q\n' "$(grpc_web_folder)"; }
