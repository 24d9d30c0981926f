# What all demos have in common; sourced by scripts/demo-*, each of which names one fault and calls `demo`.
#   scripts/demo-NAME [--without-docker] [--report FILE.html] [--seconds N] [--short]
# Three nodes: containers of deploy/compose.yaml if a Docker engine answers, else processes of `klamm dev`. Beside the fault
# runs `klamm verify`; its verdict is the demo's, and ends up in a report. The load goes on for N seconds (30), and in any case
# until the fault is over; --short takes half the time for everything.
# KLAMM: the binary to use instead of building one. For containers it must be static.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

with=docker seconds=30 share=1 report=
while [ $# -gt 0 ]; do
  case $1 in
  --without-docker) with=processes ;;
  --report) report=${2:?a file} && shift ;;
  --seconds) seconds=${2:?a number} && shift ;;
  --short) seconds=0 share=2 ;;
  *) sed -n '2,3p' "$0" && sed -n '2,7p' scripts/demo.sh && exit 2 ;;
  esac
  shift
done
if [ "$with" = docker ] && ! docker version >/dev/null 2>&1; then with=processes; fi

scratch=$(mktemp -d)
marks=$scratch/marks
: >"$marks"
report=${report:-${TMPDIR:-/tmp}/$(basename "$0").html}
topic=demo-$(date +%s)
composed=deploy/compose.yaml brokers=3
begin=$(date +%s%N)
# Goes on after so many seconds.
rest() { sleep "$(($1 * 10 / share))e-1"; }
say() { printf '%6.2f s  %s\n' "$(($(date +%s%N) - begin))e-9" "$*"; }
# Says what is done to the cluster, to the reader and to the report.
tell() {
  echo "$(date +%s%3N) $*" >>"$marks"
  say "$*"
}

# The cluster, in both forms: nodes 1 to 3.
project=klamm-demo-$$
compose() { scripts/compose --file "$composed" ${override[@]+"${override[@]}"} --project-name "$project" "$@"; }
service() { docker ps --all --quiet --filter "label=com.docker.compose.project=$project" --filter "label=com.docker.compose.service=$1"; }
container() { service "klamm-$1"; }
override=()
# Below those that are given to outgoing connections.
free_ports() { for port in $(shuf -i 10000-32000 -n 40); do (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null || echo "$port"; done; }
start_containers() {
  local ports
  mapfile -t ports < <(free_ports)
  export DEPLOY_PORT_1=${ports[0]} DEPLOY_PORT_2=${ports[1]} DEPLOY_PORT_3=${ports[2]} DEPLOY_PORT_4=${ports[6]} DEPLOY_PORT_5=${ports[7]}
  export DEPLOY_HTTP_PORT_1=${ports[3]} DEPLOY_HTTP_PORT_2=${ports[4]} DEPLOY_HTTP_PORT_3=${ports[5]}
  export DEPLOY_IMAGE=klamm:demo
  scripts/build-image "$DEPLOY_IMAGE" "$klamm" >/dev/null
  compose up --detach >/dev/null 2>&1
  bootstrap=localhost:$DEPLOY_PORT_1,localhost:$DEPLOY_PORT_2,localhost:$DEPLOY_PORT_3
  # The large cluster tells its HTTP ports to its own network alone.
  places=(--http "$(address_of 1):7080,$(address_of 2):7080,$(address_of 3):7080")
}
start_processes() {
  mkfifo "$scratch/out"
  "$klamm" dev --nodes 3 --port 0 --in "$scratch/cluster" >"$scratch/out" 2>"$scratch/log" &
  cluster=$!
  exec 9<"$scratch/out"
  while read -r word rest <&9; do
    if [ "$word" = ready ]; then bootstrap=$rest && break; fi
  done
  places=(--in "$scratch/cluster")
  [ -n "${bootstrap:-}" ] || { tail "$scratch/log" >&2 && exit 1; }
}
kill_node() { case $with in docker) docker kill "$(container "$1")" >/dev/null ;; *) "$klamm" dev kill "$1" --in "$scratch/cluster" >/dev/null ;; esac; }
stop_node() { case $with in docker) docker stop --time 60 "$(container "$1")" >/dev/null ;; *) "$klamm" dev stop "$1" --in "$scratch/cluster" >/dev/null ;; esac; }
pause_node() { case $with in docker) docker kill --signal STOP "$(container "$1")" >/dev/null ;; *) "$klamm" dev pause "$1" --in "$scratch/cluster" >/dev/null ;; esac; }
resume_node() { case $with in docker) docker kill --signal CONT "$(container "$1")" >/dev/null ;; *) "$klamm" dev resume "$1" --in "$scratch/cluster" >/dev/null ;; esac; }
start_node() { case $with in docker) docker start "$(container "$1")" >/dev/null ;; *) "$klamm" dev start "$1" --in "$scratch/cluster" >/dev/null ;; esac; }
# Where a node's data directory is seen from here.
data_of() { case $with in docker) docker volume inspect --format '{{.Mountpoint}}' "${project}_klamm-$1" ;; *) echo "$scratch/cluster/node-$1/data" ;; esac; }
# Runs a command in a node's network.
in_network_of() {
  local node=$1
  shift
  nsenter --net="/proc/$(docker inspect --format '{{.State.Pid}}' "$(container "$node")")/ns/net" "$@"
}
address_of() { docker inspect --format '{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}' "$(container "$1")"; }
needs_networks() {
  [ "$with" = docker ] || { echo "this demo cuts networks, and so needs containers: is dockerd running?" >&2 && exit 3; }
  [ "$(id -u)" -eq 0 ] || { echo "this demo cuts networks, and so needs to be root" >&2 && exit 3; }
}
# No packet passes between two nodes, in both directions.
cut() {
  in_network_of "$1" iptables -A INPUT -s "$(address_of "$2")" -j DROP
  in_network_of "$2" iptables -A INPUT -s "$(address_of "$1")" -j DROP
}
heal() { for node in 1 2 3; do in_network_of "$node" iptables -F INPUT; done; }

k() { "$klamm" --bootstrap "$bootstrap" --timeout 60 "$@"; }
controller() { k quorum describe --output json | grep -o '"leader": *[0-9]*' | head -n 1 | grep -o '[0-9]*$'; }
# How many records ended so: refused, unknown, …
count_of() { grep -o "\"$1\": *[0-9]*" "$scratch/report.json" | head -n 1 | grep -o '[0-9]*$'; }
# Of partition 0 of the topic under load.
leader() { k topic describe "$topic" --output json | grep -o '"leader": *[0-9]*' | head -n 1 | grep -o '[0-9]*$'; }
# Nodes that come up late are given nothing to lead: nothing begins before all are there.
all_live() { [ "$(k cluster describe --output json 2>/dev/null | grep -o '"fenced":false' | wc -l)" -ge "$brokers" ]; }
# A fault that hits a leader must hit one.
must_lead() {
  k topic describe "$topic" --output json | grep -q "\"leader\":$1[,}]" || { echo "node $1 leads nothing: nothing would be shown" >&2 && exit 1; }
}
until_in_sync() { until { k doctor || true; } 2>/dev/null | grep -q ', 0 under-replicated'; do sleep 0.2; done; }

finish() {
  local status=$?
  [ -z "${checker:-}" ] || kill "$checker" 2>/dev/null || true
  [ "$with" != docker ] || compose kill >/dev/null 2>&1 || true
  [ "$with" != docker ] || compose down --volumes --remove-orphans --timeout 20 >/dev/null 2>&1 || true
  if [ -n "${cluster:-}" ]; then
    for node in 1 2 3; do "$klamm" dev resume "$node" --in "$scratch/cluster" >/dev/null 2>&1 || true; done
    kill "$cluster" 2>/dev/null || true
    wait "$cluster" 2>/dev/null || true
  fi
  if declare -F after >/dev/null; then after || true; fi
  rm -rf "$scratch"
  exit "$status"
}
trap finish EXIT

# Starts the cluster and the load, calls the function `fault`, and ends with the verdict.
demo() { # SENTENCE
  if [ -z "${KLAMM:-}" ]; then
    local triple
    triple=$(scripts/release-target)
    cargo build --quiet --release --target "$triple" --package klamm
    KLAMM=${CARGO_TARGET_DIR:-target}/$triple/release/klamm
  fi
  klamm=$(realpath "$KLAMM")
  if declare -F before >/dev/null; then before; fi
  begin=$(date +%s%N)
  say "$1"
  case $with in docker) start_containers ;; *) start_processes ;; esac
  local until=$((SECONDS + 60))
  until all_live; do
    [ "$SECONDS" -lt "$until" ] || { echo "after a minute not all $brokers brokers are live" >&2 && exit 1; }
    sleep 0.1
  done
  say "three nodes ($with): $bootstrap"
  # Not by way of `k`: signals are for the process itself.
  "$klamm" --bootstrap "$bootstrap" --timeout 60 verify --topic "$topic" --duration 10m --config min.insync.replicas=2 --rejoin-seconds 0 \
    "${places[@]}" --mark-file "$marks" --report "$report" --json "$scratch/report.json" >"$scratch/verify" 2>"$scratch/verify.log" &
  checker=$!
  until [ -n "$(leader 2>/dev/null)" ]; do sleep 0.2; done
  say "load: 12 partitions, 4 producers, 2,000 records/s of 1 KiB, a reader per partition and a group of three"
  local began=$SECONDS verdict=0
  rest 5
  fault
  rest 4
  while [ $((SECONDS - began)) -lt "$seconds" ]; do sleep 0.2; done
  kill -INT "$checker" 2>/dev/null || true
  wait "$checker" || verdict=$?
  checker=
  cat "$scratch/verify"
  say "report: $report"
  [ "$verdict" -eq 0 ] || { cat "$scratch/verify.log" >&2 && return "$verdict"; }
  if declare -F judge >/dev/null; then judge; fi
}
