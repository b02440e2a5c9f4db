# Small helpers that the scripts beside this file share. Source it; it runs nothing by itself.
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

# Milliseconds since some moment: for deadlines, which a change of the wall clock must not move.
uptime_ms() {
    local up
    read -r up _ </proc/uptime
    echo $((10#${up/./} * 10))
}

# wait_until SECONDS WHAT COMMAND…: asks until COMMAND succeeds. It is the answer that is waited for; the pause between
# two questions only spares the processor. False, with a message, when SECONDS are over.
wait_until() {
    local limit_s=$1 what=$2 deadline_ms
    shift 2
    deadline_ms=$(($(uptime_ms) + limit_s * 1000))
    until "$@" >/dev/null 2>&1; do
        if (($(uptime_ms) >= deadline_ms)); then
            say "waited ${limit_s} s in vain: $what"
            return 1
        fi
        sleep 0.1
    done
}

# port_free PORT: nothing listens there on this machine.
port_free() { ! (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

# json_field NAME: the first field of that name in the JSON on standard input, without its quotes. A missing field is an
# empty line: proto3 JSON may leave a zero out.
json_field() {
    tr '\n' ' ' | awk -v name="$1" 'match($0, "\"" name "\" *: *\"?[^\",} ]*") {
        field = substr($0, RSTART, RLENGTH); sub(/^"[^"]*" *: *"?/, "", field); print field
    }'
}

# status_field LOGRAFT ENDPOINT NAME: one field of a node's status, empty when the node does not answer.
status_field() {
    { "$1" status --endpoints "$2" -w json 2>/dev/null || true; } | json_field "$3"
}

# cluster_ready ENDPOINT…: every one of them can serve a linearizable read.
cluster_ready() {
    local endpoint
    for endpoint in "$@"; do
        curl --silent --fail --max-time 2 --output /dev/null "http://$endpoint/readyz" || return 1
    done
}

docker_answers() { docker info >/dev/null 2>&1; }

# Starts the docker daemon where it is installed but not running. The daemon is a service of the machine: it stays.
ensure_docker() {
    docker_answers && return 0
    have dockerd || die "docker is not installed: run scripts/install-tools"
    [[ $EUID -eq 0 ]] || die "the docker daemon does not answer, and only root can start it"
    say "starting the docker daemon"
    service docker start >&2 || true
    wait_until 30 "the docker daemon's answer" docker_answers && return 0
    tail -n 20 /var/log/docker.log >&2 2>/dev/null || true
    die "the docker daemon cannot run on this machine"
}

# Where cargo puts what it builds.
target_dir() { echo "${CARGO_TARGET_DIR:-$REPO/target}"; }

# Builds the release binary (quick when nothing changed) and says where it is.
release_binary() {
    (cd "$REPO" && cargo build --quiet --locked --release --bin lograft >&2) || die "the release build failed"
    echo "$(target_dir)/release/lograft"
}
