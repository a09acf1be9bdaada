# shellcheck shell=bash
# Stripe's own checker of requests (stripe-mock) for scripts/backends: it knows what its API takes, and remembers nothing.
# shellcheck disable=SC2154

stripe_path() { echo "$DIR/tools/bin/stripe-mock"; }

stripe_built() { [[ -x $(stripe_path) && ! $ROOT/scripts/stripe/go.sum -nt $(stripe_path) ]]; }

stripe_missing() { stripe_built || command -v go >/dev/null || echo golang-go; }

# Built from what scripts/stripe/go.sum names.
stripe_install() {
  ! stripe_built || return 0
  say "building stripe-mock (a minute, once)"
  (cd "$ROOT/scripts/stripe" && GOBIN=$DIR/tools/bin GOFLAGS=-mod=readonly go install github.com/stripe/stripe-mock) ||
    die "stripe-mock could not be built; see above, or leave it out: SHOP_TEST_STRIPE_MOCK_URL=off"
  touch "$(stripe_path)"
}

stripe_url() { echo "http://127.0.0.1:$(port stripe)"; }

stripe_start() {
  local user
  user=$(unprivileged nobody)
  make_data "$user" "$DIR/stripe"
  reserve_port stripe 7
  # A request of another version of the API is refused, for what it is checked against is this one.
  launch stripe "$user" "$(stripe_path)" -http-addr "127.0.0.1:$(port stripe)" -strict-version-check
}

# It wants a key of every request, and takes any.
stripe_ready() { curl -fsS -H 'Authorization: Bearer sk_test_ready' "$(stripe_url)/v1/balance"; }

stripe_env() { echo "export SHOP_TEST_STRIPE_MOCK_URL=$(stripe_url)"; }
