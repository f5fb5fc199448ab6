#!/bin/bash
# start-pair.sh MODE DIR CORE [DOMAINS]
# Starts two servers that speak with each other over TLS, each with a certificate of an authority that
# both trust: a.test on 127.0.0.2 and b.test on 127.0.0.3 (clients with direct TLS on 25523, servers on
# 25269). The second serves h1.b.test to h<DOMAINS>.b.test as well.
# MODE: a = no archive, b = archive; DIR: run directory, begun anew; CORE: cpus for taskset.
# Prints the two pids. Environment: VERONA the binary (default: target/release/verona).
set -eu
mode=$1 dir=$2 core=$3 domains=${4:-0}
here=$(cd "$(dirname "$0")" && pwd)
verona=${VERONA:-${CARGO_TARGET_DIR:-$here/../target}/release/verona}
[ -x "$verona" ] || { echo "$verona is not there: cargo build --release -p verona-server" >&2; exit 1; }
case $mode in
a) mam=$'[modules.mam]\nenabled = false' ;;
b) mam= ;;
*) echo "unknown mode $mode" >&2; exit 2 ;;
esac
rm -rf "$dir"; mkdir -p "$dir"; dir=$(cd "$dir" && pwd)
new="-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes"

authority() {
  openssl req -x509 $new -days 30 -subj "/CN=bench" -keyout "$dir/ca.key" -out "$dir/ca.pem" \
    -addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign,cRLSign
}
certificate() { # DOMAIN DIR
  mkdir -p "$2"
  openssl req $new -subj "/CN=$1" -addext "subjectAltName=DNS:$1,DNS:*.$1" \
    -keyout "$2/privkey.pem" -out "$dir/request.pem"
  openssl x509 -req -in "$dir/request.pem" -CA "$dir/ca.pem" -CAkey "$dir/ca.key" -CAcreateserial \
    -copy_extensions copy -days 30 -out "$2/fullchain.pem"
}
config() { # NAME ADDRESS PEER PEERADDRESS
  local h
  echo "data_dir = \"$dir/$1/data\""
  for h in "${hosts[@]}"; do printf '[[host]]\ndomain = "%s"\nregistration = "open"\n' "$h"; done
  cat <<TOML
[listen]
c2s = []
c2s_tls = ["$2:25523"]
s2s = ["$2:25269"]
s2s_tls = []
http = []
https = []
component = []
[limits]
unlimited = true
[log]
filter = "${LOG:-warn}"
$mam
[s2s]
trust = ["$dir/ca.pem"]
require_certificate = true
[s2s.hosts]
TOML
  for h in "${peers[@]}"; do echo "\"$h\" = \"$4:25269\""; done
}
start() { # NAME ADDRESS
  setsid taskset -c "$core" ${WRAP:-} "$verona" serve --config "$dir/$1/verona.toml" \
    > "$dir/$1/out.log" 2>&1 < /dev/null &
  pid=$!
  for _ in $(seq 300); do
    if (exec 3<>"/dev/tcp/$2/25523") 2>/dev/null; then pids="${pids:-} $pid"; return; fi
    kill -0 "$pid" 2>/dev/null || break
    sleep 0.1
  done
  echo "$1 did not come up; see $dir/$1/out.log" >&2
  kill $pid ${pids:-} 2>/dev/null || true
  exit 1
}

many=(b.test)
for n in $(seq "$domains"); do many+=("h$n.b.test"); done
authority 2>/dev/null
certificate a.test "$dir/a/data/certs/a.test" 2>/dev/null
certificate b.test "$dir/b/data/certs/b.test" 2>/dev/null
for h in "${many[@]:1}"; do ln -s b.test "$dir/b/data/certs/$h"; done
hosts=(a.test) peers=("${many[@]}"); config a 127.0.0.2 b.test 127.0.0.3 > "$dir/a/verona.toml"
hosts=("${many[@]}") peers=(a.test); config b 127.0.0.3 a.test 127.0.0.2 > "$dir/b/verona.toml"
ulimit -n "$(ulimit -Hn)"
start a 127.0.0.2
start b 127.0.0.3
echo $pids
