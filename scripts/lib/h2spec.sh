# shellcheck shell=bash
# h2spec, which asks an HTTP/2 server everything the RFC says. Sourced by scripts/backends.
# shellcheck disable=SC2154

h2spec_path() { echo "$DIR/tools/bin/h2spec"; }

h2spec_built() { [[ -x $(h2spec_path) && ! $ROOT/scripts/h2spec/go.sum -nt $(h2spec_path) ]]; }

h2spec_missing() { h2spec_built || command -v go >/dev/null || echo golang-go; }

# Built from what scripts/h2spec/go.sum names, which any Go since 1.18 can.
h2spec_install() {
  ! h2spec_built || return 0
  say "building h2spec (some seconds, once)"
  (cd "$ROOT/scripts/h2spec" && GOBIN=$DIR/tools/bin GOFLAGS=-mod=readonly go install github.com/summerwind/h2spec/cmd/h2spec) ||
    die "h2spec could not be built; see above"
  touch "$(h2spec_path)"
}

h2spec_env() {
  [[ ! -x $(h2spec_path) ]] || printf 'export SHOP_TEST_H2SPEC=%q\n' "$(h2spec_path)"
}
