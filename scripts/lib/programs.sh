# shellcheck shell=bash
# Small programs that tests call and a minimal Debian lacks. Sourced by scripts/backends.

programs_missing() {
  command -v curl >/dev/null || echo curl
  # Debian has it where only root looks.
  command -v haproxy >/dev/null || [[ -x /usr/sbin/haproxy ]] || echo haproxy
  command -v ip >/dev/null || [[ -x /usr/sbin/ip ]] || echo iproute2
  command -v openssl >/dev/null || echo openssl
  command -v strace >/dev/null || echo strace
}

programs_env() { :; }
