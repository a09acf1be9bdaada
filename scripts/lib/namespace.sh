# shellcheck shell=bash
# Mounts and processes that are nobody else's, and end with the script that made them. Needs root. Sourced by the scripts next door.

# Also root may be refused, as in most containers.
can_contain() { ((EUID == 0)) && unshare --mount --pid --fork --mount-proc true 2>/dev/null; }

# contained COMMAND...: with mounts and processes of its own. However it ends, by success, failure, a signal or the death of this
# shell, nothing of either is left when this returns.
contained() {
  local code=0
  # Started in the background, because a shell hears signals only while it waits; so it has to be told again not to ignore Ctrl-C.
  env --default-signal=INT,QUIT setpriv --pdeathsig KILL \
    unshare --mount --pid --fork --kill-child --mount-proc -- "$@" <&0 &
  CONTAINED=$!
  trap 'end_contained; exit 130' INT
  trap 'end_contained; exit 143' TERM HUP
  wait "$CONTAINED" || code=$?
  trap - INT TERM HUP
  return "$code"
}

# With its first process the kernel ends all others, and that one is gone only after them.
end_contained() {
  local first
  read -r first _ <"/proc/$CONTAINED/task/$CONTAINED/children" || first=$CONTAINED
  kill -KILL "${first:-$CONTAINED}" 2>/dev/null || true
  # Not by `wait`: in the trap of one that was interrupted it may wait for ever.
  while kill -0 "$CONTAINED" 2>/dev/null; do sleep 0.05; done
}

# The other processes of what is contained, `PID COMMAND` on each line. To be asked by its first process, which is given a
# moment (of so many seconds): whoever was just told to end may need one.
left_over() {
  local deadline=$((SECONDS + $1)) me=$BASHPID found
  while found=$(others "$me") && [[ -n $found ]] && ((SECONDS < deadline)); do sleep 0.1; done
  [[ -z $found ]] || printf '%s\n' "$found"
}

# others ASKER: all but the first process, whoever asks, and this one.
others() {
  local place pid state command
  for place in /proc/[0-9]*; do
    pid=${place#/proc/}
    [[ $pid != 1 && $pid != "$1" && $pid != "$BASHPID" ]] || continue
    # Gone meanwhile, or dead and waited for by the first process.
    state=$(sed -n 's/^State:\s*\(.\).*/\1/p' "$place/status" 2>/dev/null) || continue
    [[ $state != [ZX] ]] || continue
    command=$(tr '\0' ' ' <"$place/cmdline" 2>/dev/null) || continue
    echo "$pid ${command% }"
  done
}
