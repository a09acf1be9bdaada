# shellcheck shell=bash
# A Python with Prometheus' own reader of OpenMetrics, which what the programs write is tried on. Sourced by scripts/backends.

openmetrics_python() {
  local python
  # Not the first alone: what Debian installs is its own Python's. Of a program that was run before, bash tells the one place
  # it remembers, unless it is made to forget.
  for python in $(hash -r && type -aP python3); do
    if "$python" -c 'import prometheus_client.openmetrics.parser' 2>/dev/null; then
      echo "$python"
      return
    fi
  done
}

openmetrics_missing() {
  [[ -n $(openmetrics_python) ]] || echo python3-prometheus-client
}

openmetrics_env() {
  local python
  python=$(openmetrics_python)
  [[ -z $python ]] || printf 'export SHOP_TEST_OPENMETRICS=%q\n' "$python"
}
