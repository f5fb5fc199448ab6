#!/bin/bash
# start-verona.sh MODE DIR CORE [PORT] [TLSPORT]
# MODE: a = no archive, b = archive in the server's own store
# DIR: run directory (created); CORE: cpu for taskset.  Prints the pid of the server.
# Environment: VERONA the binary (default: target/release/verona), NICE its niceness.
set -eu
mode=$1 dir=$2 core=$3 port=${4:-25522} tport=${5:-25523}
here=$(cd "$(dirname "$0")" && pwd)
verona=${VERONA:-${CARGO_TARGET_DIR:-$here/../target}/release/verona}
[ -x "$verona" ] || { echo "$verona is not there: cargo build --release -p verona-server" >&2; exit 1; }
for p in "$port" "$tport"; do
  if (exec 3<>"/dev/tcp/127.0.0.1/$p") 2>/dev/null; then echo "port $p is taken" >&2; exit 1; fi
done
certs=$dir/data/certs/localhost
mkdir -p "$certs"; dir=$(cd "$dir" && pwd); certs=$dir/data/certs/localhost
if [ ! -f "$certs/fullchain.pem" ]; then
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 365 -subj /CN=localhost \
    -addext subjectAltName=DNS:localhost,DNS:conference.localhost \
    -keyout "$certs/privkey.pem" -out "$certs/fullchain.pem" 2>/dev/null
fi
# The config is strict: what this build does not have must not be named.
archives() { "$verona" config show --reference | grep -q 'modules\.mam'; }
case $mode in
a) if archives; then mam=$'[modules.mam]\nenabled = false'; else mam=; fi ;;
b) archives || { echo "this build has no archive" >&2; exit 1; }; mam= ;;
*) echo "unknown mode $mode" >&2; exit 2 ;;
esac
cat > "$dir/verona.toml" <<TOML
data_dir = "$dir/data"

[[host]]
domain = "localhost"
registration = "open"

[listen]
c2s = ["127.0.0.1:$port"]
c2s_tls = ["127.0.0.1:$tport"]
s2s = []
s2s_tls = []
http = []
https = []
component = []

[limits]
unlimited = true

[security]
require_tls = false

$mam
TOML
ulimit -n "$(ulimit -Hn)"
setsid nice -n "${NICE:-0}" taskset -c "$core" "$verona" serve --config "$dir/verona.toml" \
  > "$dir/out.log" 2>&1 < /dev/null &
pid=$!
# a session of its own has its own autogroup: plain nice does not reach outside it
if [ "${NICE:-0}" != 0 ]; then sleep 0.2; echo "$NICE" > "/proc/$pid/autogroup" || true; fi
for _ in $(seq 150); do
  if (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then sleep 0.7; echo "$pid"; exit 0; fi
  kill -0 "$pid" 2>/dev/null || break
  sleep 0.2
done
echo "verona did not come up; see $dir/out.log" >&2
kill "$pid" 2>/dev/null || true
exit 1
