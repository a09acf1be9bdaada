# shellcheck shell=bash
# Installing what is missing. Sourced by the scripts next door.

# Two names in one word are one package that nobody has.
package_name() { [[ $1 =~ ^[a-z0-9][a-z0-9+.-]+$ ]]; }

# install_packages NAME...
install_packages() {
  local name
  for name; do
    package_name "$name" || die "not the name of a package: '$name'"
  done
  command -v apt-get >/dev/null || die "missing: $*. Install these servers, so that they are on PATH"
  say "installing $* (a minute or two; the log is $DIR/install.log)"
  (
    sudo=()
    if ((EUID != 0)); then
      command -v sudo >/dev/null || die "missing: $*. Run this once as root, or install sudo"
      sudo=(sudo)
    fi
    # Debian starts a server as it installs it. Ours are started by hand, so for the moment of the
    # installation nothing may be started, stopped or restarted, servers of the machine included.
    policy=/usr/sbin/policy-rc.d
    if ! forbids "$policy"; then
      ! [[ -e $policy ]] || "${sudo[@]}" mv "$policy" "$policy.shop-backends"
      trap '"${sudo[@]}" rm -f "$policy"; ! [[ -e $policy.shop-backends ]] || "${sudo[@]}" mv "$policy.shop-backends" "$policy"' EXIT
      printf '#!/bin/sh\n# Written by scripts/backends for the time of one installation.\nexit 101\n' |
        "${sudo[@]}" tee "$policy" >/dev/null
      "${sudo[@]}" chmod 755 "$policy"
    fi
    apt=("${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=300)
    get=("${apt[@]}" install -y --no-install-recommends --no-upgrade "$@")
    "${get[@]}" || { "${apt[@]}" update && "${get[@]}"; }
  ) >"$DIR/install.log" 2>&1 || { tail -n 20 "$DIR/install.log" >&2; die "could not install $*"; }
  hash -r
}

forbids() {
  local code=0
  [[ -x $1 ]] || return 1
  "$1" shop-backends start >/dev/null 2>&1 || code=$?
  ((code == 101))
}
