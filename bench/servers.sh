#!/bin/bash
# servers.sh [SUITE...]   what a stream between two servers costs (docs/performance.md)
#   SUITE   chat       messages under load, without archive: across the stream and, beside it, at one server
#           chat_b     the same with the archive on
#           idle       memory of 1,000 domains at rest: opened here, opened there, both
# Both servers run on one core, the load on the other. Build first:
#   cargo build --release -p verona-server && cargo build --release -p verona-testkit --example server_streams
# Environment: RUNS (3), DIR the run directory, SCORE (0) the core of the servers, LCORE (1) that of the load.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
load=${CARGO_TARGET_DIR:-$here/../target}/release/examples/server_streams
[ -x "$load" ] || { echo "$load is not there" >&2; exit 1; }
dir=${DIR:-$(mktemp -d)} runs=${RUNS:-3} score=${SCORE:-0} lcore=${LCORE:-1}
a=a.test@127.0.0.2:25523 b=b.test@127.0.0.3:25523 pids=
ulimit -n "$(ulimit -Hn)"

down() {
  [ -z "$pids" ] || kill $pids 2>/dev/null || true
  for pid in $pids; do while kill -0 "$pid" 2>/dev/null; do sleep 0.1; done; done
  pids=
}
trap down EXIT
up() { down; pids=$("$here/start-pair.sh" "$1" "$dir/run" "$score" "${2:-0}"); }
x() { taskset -c "$lcore" "$load" "$@" "pids=${pids/ /,}"; }
streams() { # ADDRESS of the server that was called
  ss -Htn state established "( src = $1:25269 )" | wc -l
}

for suite in "${@:-chat}"; do
  case $suite in
  chat)
    up a
    for _ in $(seq "$runs"); do
      x chat $a $b
      x chat $a $b kind=no-store
      x chat $a $a
    done
    x chat $a $b pairs=1 window=1 ;;
  chat_b)
    up b
    for _ in $(seq "$runs"); do
      x chat $a $b
      x chat $a $a
    done ;;
  idle)
    for opens in from to both; do
      up a 1000
      x idle $a $b opens=$opens
      echo "streams: $(streams 127.0.0.3) opened by the first server, $(streams 127.0.0.2) by the second"
    done ;;
  *) echo "unknown suite $suite" >&2; exit 2 ;;
  esac
done
