# Helpers for the scripts in this directory. Source it; it runs nothing by itself.
#
#     source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
#
# shellcheck shell=bash

REPO="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
# shellcheck disable=SC2034  # used by the scripts that source this file
readonly REPO

# The client endpoints of three local nodes, the same for `lograft cluster` and for docker-compose.yml.
# shellcheck disable=SC2034
readonly LOCAL_ENDPOINTS=(127.0.0.1:2379 127.0.0.1:22379 127.0.0.1:32379)

say() { printf '%s: %s\n' "${0##*/}" "$*" >&2; }

die() {
    say "$*"
    exit 1
}

have() { command -v "$1" >/dev/null 2>&1; }

# Milliseconds since a fixed moment, for deadlines: changes of the wall clock must not move them.
uptime_ms() {
    local up
    read -r up _ </proc/uptime
    echo $((10#${up/./} * 10))
}

# wait_until SECONDS WHAT COMMAND…: runs COMMAND until it succeeds. The pause between two attempts only spares
# the processor. False, with a message, after SECONDS.
wait_until() {
    local limit_s=$1 what=$2 deadline_ms
    shift 2
    deadline_ms=$(($(uptime_ms) + limit_s * 1000))
    until "$@" >/dev/null 2>&1; do
        if (($(uptime_ms) >= deadline_ms)); then
            say "timed out after ${limit_s} s waiting for: $what"
            return 1
        fi
        sleep 0.1
    done
}

# port_free PORT: no program listens there on this machine.
port_free() { ! (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

# json_field NAME: the first field of that name in the JSON on standard input, without quotes. A missing field
# gives an empty line: proto3 JSON may omit a zero.
json_field() {
    tr '\n' ' ' | awk -v name="$1" 'match($0, "\"" name "\" *: *\"?[^\",} ]*") {
        field = substr($0, RSTART, RLENGTH); sub(/^"[^"]*" *: *"?/, "", field); print field
    }'
}

# status_field LOGRAFT ENDPOINT NAME: one field of a node's status; empty if the node does not respond.
status_field() {
    { "$1" status --endpoints "$2" -w json 2>/dev/null || true; } | json_field "$3"
}

# cluster_ready ENDPOINT…: each of them can serve a linearizable read.
cluster_ready() {
    local endpoint
    for endpoint in "$@"; do
        curl --silent --fail --max-time 2 --output /dev/null "http://$endpoint/readyz" || return 1
    done
}

docker_answers() { docker info >/dev/null 2>&1; }

# Starts the docker daemon if it is installed but not running. It is a service of the machine, so it keeps
# running.
ensure_docker() {
    docker_answers && return 0
    have dockerd || die "docker is not installed: run scripts/install-tools"
    [[ $EUID -eq 0 ]] || die "the docker daemon does not respond, and only root can start it"
    say "starting the docker daemon"
    service docker start >&2 || true
    wait_until 30 "the docker daemon to respond" docker_answers && return 0
    tail -n 20 /var/log/docker.log >&2 2>/dev/null || true
    die "the docker daemon does not start on this machine: see /var/log/docker.log"
}

# Prints cargo's target directory.
target_dir() { echo "${CARGO_TARGET_DIR:-$REPO/target}"; }

# Builds the release binary (quick if nothing changed) and prints its path.
release_binary() {
    (cd "$REPO" && cargo build --quiet --locked --release --bin lograft >&2) || die "the release build failed"
    echo "$(target_dir)/release/lograft"
}
