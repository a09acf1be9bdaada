# shellcheck shell=bash
# A standby of the PostgreSQL next door, for tests of what a failover does. Sourced by scripts/backends.
# shellcheck disable=SC2154

standby_missing() { postgres_missing; }

standby_url() { echo "postgres://shop:$(password)@127.0.0.1:$(port standby)/postgres"; }

standby_start() {
  local user dir=$DIR/standby
  user=$(unprivileged postgres)
  mkdir -p "$dir"
  reserve_port standby 20
  if [[ ! -e $dir/ready ]]; then
    wait_ready postgres postgres_ready
    rm -rf "$dir/data"
    make_data "$user" "$dir/data"
    # By its name the other one waits for it.
    (cd "$dir" && as "$user" "$(postgres_bin)/pg_basebackup" -d "$(postgres_url)?application_name=standby" -D "$dir/data" \
      --write-recovery-conf --wal-method=stream --checkpoint=fast --no-sync) >>"$dir/log" 2>&1 ||
      die "pg_basebackup failed; its log is $dir/log"
    touch "$dir/ready"
  fi
  postgres_launch standby
}

standby_ready() { psql -XAtc 'select 1' "$(standby_url)?connect_timeout=2"; }

standby_env() { echo "export SHOP_TEST_STANDBY_URL=$(standby_url)"; }
