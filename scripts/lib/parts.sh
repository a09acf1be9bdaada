# shellcheck shell=bash
# The servers that scripts/backends runs and the tools that tests start themselves: a word here, a file next door.
#
# NAME.sh has, each as a function that starts with NAME_:
#   missing  prints the Debian packages that are not here, one a line; nothing when all is there
#   install  makes what no package holds, when it is not there; left out when packages are all
#   env      prints what tests have to know, as `export` lines
# and a server also start, ready and url. scripts/test tries `missing` of each.

ALL_SERVERS=(postgres mariadb redis redis_sentinel redis_cluster kafka)
# It is Debian 13's.
[[ ${SHOP_TEST_VALKEY_URL:-} == off ]] || ALL_SERVERS+=(valkey)
# It comes from npm. Where nothing can be installed, nobody wants it.
[[ ${SHOP_TEST_OIDC_ISSUER:-} == off ]] || ALL_SERVERS+=(oidc)
# It comes from Go's proxy, which is not everywhere either.
[[ ${SHOP_TEST_STRIPE_MOCK_URL:-} == off ]] || ALL_SERVERS+=(stripe)
# These only tests that ask for them start, in a folder of their own.
OWN_SERVERS=(standby replica)
TOOLS=(programs h2spec pgbouncer chromium aiosmtpd openmetrics clients schemathesis peers)
# npm again.
[[ ${SHOP_TEST_OIDC_ISSUER:-} == off || ${SHOP_TEST_GRPC_WEB:-} == off ]] || TOOLS+=(grpc_web)
# It is taken out of packages of Debian's.
# shellcheck disable=SC2034 # scripts/backends reads it
GALERA=()
[[ ${SHOP_TEST_GALERA:-} == off ]] || TOOLS+=(galera)

for part in "${ALL_SERVERS[@]}" "${OWN_SERVERS[@]}" "${TOOLS[@]}"; do
  # shellcheck source=/dev/null
  source "$ROOT/scripts/lib/$part.sh"
done
unset part
# shellcheck source=SCRIPTDIR/debian.sh
source "$ROOT/scripts/lib/debian.sh"
# shellcheck source=SCRIPTDIR/kafka_members.sh
source "$ROOT/scripts/lib/kafka_members.sh"

missing_packages() {
  local part
  for part; do
    ! declare -F "${part}_missing" >/dev/null || "${part}_missing"
  done
}

install_parts() {
  local part names packages
  # None twice: two parts may need the same.
  names=$(missing_packages "$@" | sort -u)
  if [[ -n $names ]]; then
    mapfile -t packages <<<"$names"
    install_packages "${packages[@]}"
  fi
  for part; do
    names=$(missing_packages "$part")
    [[ -z $names ]] || die "$part is still not complete without ${names//$'\n'/, }; install it in another way, so that it is on PATH"
    ! declare -F "${part}_install" >/dev/null || "${part}_install"
  done
}
