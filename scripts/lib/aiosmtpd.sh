# shellcheck shell=bash
# aiosmtpd, a mail server that tests start themselves. Sourced by scripts/backends.
# shellcheck disable=SC2154

aiosmtpd_folder() { echo "$DIR/tools/aiosmtpd"; }

# The Python that can run it: that of the machine when it has the package, else one of our own.
aiosmtpd_python() {
  local own
  own=$(aiosmtpd_folder)/bin/python3
  if python3 -c 'import aiosmtpd' 2>/dev/null; then
    command -v python3
  elif [[ -x $own ]] && "$own" -c 'import aiosmtpd' 2>/dev/null; then
    echo "$own"
  fi
}

aiosmtpd_wanted() { echo "$ROOT/scripts/aiosmtpd/requirements.txt"; }

aiosmtpd_there() {
  local made
  made=$(aiosmtpd_folder)/done
  [[ -n $(aiosmtpd_python) && ! (-e $made && $(aiosmtpd_wanted) -nt $made) ]]
}

# Debian has the half of `venv` that brings pip in a package of its own.
aiosmtpd_missing() {
  aiosmtpd_there || python3 -c 'import venv, ensurepip' 2>/dev/null || printf '%s\n' python3 python3-venv
}

aiosmtpd_install() {
  local folder
  ! aiosmtpd_there || return 0
  folder=$(aiosmtpd_folder)
  say "installing aiosmtpd (some seconds, once)"
  {
    python3 -m venv --clear "$folder" &&
      "$folder/bin/python3" -m pip install --quiet --disable-pip-version-check --no-input --require-hashes -r "$(aiosmtpd_wanted)"
  } >"$DIR/install.log" 2>&1 || {
    tail -n 20 "$DIR/install.log" >&2
    die "aiosmtpd could not be installed; have a python3 on PATH that has the package"
  }
  touch "$folder/done"
}

aiosmtpd_env() {
  local python
  python=$(aiosmtpd_python)
  [[ -z $python ]] || printf 'export SHOP_TEST_SMTP_PYTHON=%q\n' "$python"
}
