# shellcheck shell=bash
# Programs out of packages of a newer Debian, where the machine's has them not, or too old. They run beside the machine's with a C
# library of their own, and nothing is installed. Sourced by scripts that know ROOT, a DIR for the log, and how to `say`.

debian_folder() { echo "$ROOT/.backends/debian"; }

# debian_program NAME: where it is, once it was fetched.
debian_program() {
  local program
  program=$(debian_folder)/$1
  [[ ! -x $program ]] || readlink -f "$program"
}

# debian_fetch SUITE NAME PACKAGE [ALIAS...]: takes the program out of the package, and what it needs out of others; an alias is a
# name by which it does something else. Fails where it cannot.
debian_fetch() {
  local suite=$1 name=$2 package=$3 alias folder part
  folder=$(debian_folder)
  [[ ! -x $folder/$name ]] || return 0
  say "fetching $package of Debian $suite (some seconds, once; the log is $DIR/install.log)"
  settle "$ROOT/.backends" >/dev/null
  mkdir -p "$folder"
  part=$(mktemp -d "$folder/part.XXXXXX")
  # Before `||` no failure ends anything by itself.
  (debian_unpack "$part" "$suite" "$name" "$package") >"$DIR/install.log" 2>&1 || {
    rm -rf -- "$part"
    tail -n 20 "$DIR/install.log" >&2
    return 1
  }
  chmod -R a+rX "$part"
  rm -rf -- "$folder/$name.d"
  mv -- "$part" "$folder/$name.d"
  # A script, for the program is its loader's first argument.
  cat >"$folder/$name.new" <<SCRIPT
#!/bin/sh
place=\$(dirname "\$(readlink -f "\$0")")/$name.d
exec "\$place/loader" --argv0 "\${0##*/}" --library-path "\$place/lib" "\$place/$name" "\$@"
SCRIPT
  chmod 755 "$folder/$name.new"
  for alias in "${@:4}"; do ln -sf -- "$name" "$folder/$alias"; done
  mv -- "$folder/$name.new" "$folder/$name"
}

# debian_unpack FOLDER SUITE NAME PACKAGE: the program, its loader as `loader`, and libraries in `lib`.
debian_unpack() {
  local folder=$1 suite=$2 name=$3 package=$4 archive keys=/usr/share/keyrings/debian-archive-keyring.gpg
  local apt=(-q -o "Dir::Etc::SourceList=$folder/apt/list" -o Dir::Etc::SourceParts=- -o "Dir::State::Lists=$folder/apt/lists"
    -o "Dir::Cache=$folder/apt" -o Dir::State::status=/dev/null -o APT::Sandbox::User=root -o Acquire::Languages=none)
  mkdir -p "$folder"/apt/{lists,archives}/partial "$folder/lib" || return
  # Where this machine has its own from.
  # shellcheck disable=SC2016 # apt fills it in
  archive=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Label: Debian') || return
  [[ -n $archive && -e $keys ]] || { echo "this is no Debian: it has no archive of packages of Debian's, or not their keys"; return 1; }
  echo "deb [signed-by=$keys] ${archive%%$'\n'*} $suite main" >"$folder/apt/list"
  # Nothing counts as installed, so all that the program needs comes along.
  apt-get "${apt[@]}" update && apt-get "${apt[@]}" -y --no-install-recommends --download-only install "$package" || return
  for archive in "$folder"/apt/archives/{lib*,"${package%-*}"*}.deb; do
    [[ ! -e $archive ]] || dpkg-deb -x "$archive" "$folder/all" || return
  done
  find "$folder/all" -name '*.so*' -not -name 'ld-linux*' -exec cp -P -- {} "$folder/lib/" \; || return
  find "$folder/all" -name 'ld-linux*.so.*' -exec cp -L -- {} "$folder/loader" \; || return
  find "$folder/all/usr" -path "*bin/$name" -exec cp -L -- {} "$folder/$name" \; || return
  rm -rf -- "$folder/apt" "$folder/all"
  "$folder/loader" --library-path "$folder/lib" "$folder/$name" --version
}
