# shellcheck shell=bash
# Small programs that tests call and a minimal Debian lacks. Sourced by scripts/backends.

programs_missing() {
  command -v curl >/dev/null || echo curl
  command -v strace >/dev/null || echo strace
}

programs_env() { :; }
