# shellcheck shell=bash
# Schemathesis and openapi-spec-validator, which try the services on their own descriptions. Sourced by scripts/backends.
# shellcheck disable=SC2154

schemathesis_folder() { echo "$DIR/tools/schemathesis"; }

schemathesis_wanted() { echo "$ROOT/scripts/schemathesis/requirements.txt"; }

schemathesis_there() {
  local made
  made=$(schemathesis_folder)/done
  [[ -e $made && ! $(schemathesis_wanted) -nt $made ]]
}

# Debian has the half of `venv` that brings pip in a package of its own.
schemathesis_missing() {
  schemathesis_there || python3 -c 'import venv, ensurepip' 2>/dev/null || printf '%s\n' python3 python3-venv
}

schemathesis_install() {
  local folder
  ! schemathesis_there || return 0
  folder=$(schemathesis_folder)
  say "installing schemathesis (less than a minute, once)"
  {
    python3 -m venv --clear "$folder" &&
      "$folder/bin/python3" -m pip install --quiet --disable-pip-version-check --no-input --only-binary :all: \
        --require-hashes -r "$(schemathesis_wanted)"
  } >"$DIR/install.log" 2>&1 || {
    tail -n 20 "$DIR/install.log" >&2
    die "schemathesis could not be installed; it needs Python 3.11 or newer"
  }
  touch "$folder/done"
}

schemathesis_env() {
  ! schemathesis_there || printf 'export SHOP_TEST_SCHEMATHESIS=%q\n' "$(schemathesis_folder)/bin"
}
