# shellcheck shell=bash
# Programs out of packages of Debian 13, for parts whose program an older Debian has not, or has too old. They run beside the machine's
# with a C library of their own, and nothing is installed. Sourced by scripts/backends.

debian13_folder() { echo "$ROOT/.backends/debian13"; }

# debian13_program NAME: where it is, once it was fetched.
debian13_program() {
  local program
  program=$(debian13_folder)/$1
  [[ ! -x $program ]] || readlink -f "$program"
}

# debian13_fetch NAME PACKAGE: takes the program out of the package, and what it needs out of others. Fails where it cannot.
debian13_fetch() {
  local name=$1 package=$2 folder part
  folder=$(debian13_folder)
  [[ ! -x $folder/$name ]] || return 0
  say "fetching $package of Debian 13 (some seconds, once; the log is $DIR/install.log)"
  settle "$ROOT/.backends" >/dev/null
  mkdir -p "$folder"
  part=$(mktemp -d "$folder/part.XXXXXX")
  # Before `||` no failure ends anything by itself.
  (debian13_unpack "$part" "$name" "$package") >"$DIR/install.log" 2>&1 || {
    rm -rf -- "$part"
    tail -n 20 "$DIR/install.log" >&2
    return 1
  }
  chmod -R a+rX "$part"
  mv -- "$part" "$folder/$name.d"
  # A script, for the program is its loader's first argument.
  cat >"$folder/$name.new" <<SCRIPT
#!/bin/sh
place=\$(dirname "\$(readlink -f "\$0")")/$name.d
exec "\$place/loader" --argv0 $name --library-path "\$place/lib" "\$place/$name" "\$@"
SCRIPT
  chmod 755 "$folder/$name.new"
  mv -- "$folder/$name.new" "$folder/$name"
}

# debian13_unpack FOLDER NAME PACKAGE: the program, its loader as `loader`, and libraries in `lib`.
debian13_unpack() {
  local folder=$1 name=$2 package=$3 archive keys=/usr/share/keyrings/debian-archive-keyring.gpg
  local apt=(-q -o "Dir::Etc::SourceList=$folder/apt/list" -o Dir::Etc::SourceParts=- -o "Dir::State::Lists=$folder/apt/lists"
    -o "Dir::Cache=$folder/apt" -o Dir::State::status=/dev/null -o APT::Sandbox::User=root -o Acquire::Languages=none)
  mkdir -p "$folder"/apt/{lists,archives}/partial "$folder/lib" || return
  # Where this machine has its own from.
  # shellcheck disable=SC2016 # apt fills it in
  archive=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Label: Debian') || return
  [[ -n $archive && -e $keys ]] || { echo "this is no Debian: it has no archive of packages of Debian's, or not their keys"; return 1; }
  echo "deb [signed-by=$keys] ${archive%%$'\n'*} trixie main" >"$folder/apt/list"
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
