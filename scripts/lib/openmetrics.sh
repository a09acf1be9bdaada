# shellcheck shell=bash
# A Python with Prometheus' own reader of OpenMetrics, which what the programs write is tried on. Sourced by scripts/backends.

openmetrics_python() {
  local python
  for python in python3 /usr/bin/python3; do
    if "$python" -c 'import prometheus_client.openmetrics.parser' 2>/dev/null; then
      command -v "$python"
      return
    fi
  done
}

openmetrics_install() {
  [[ -z $(openmetrics_python) ]] || return 0
  install_packages python3-prometheus-client
  [[ -n $(openmetrics_python) ]] || die "no python3 has prometheus_client: python3 -m pip install prometheus_client"
}

openmetrics_env() {
  local python
  python=$(openmetrics_python)
  [[ -z $python ]] || printf 'export SHOP_TEST_OPENMETRICS=%q\n' "$python"
}
