# What the scripts for the compose cluster share: three nodes with their own project, names and ports, started
# from a freshly built image and removed at the end. Source it after lib.sh.
#
#     source "$REPO/scripts/containers.sh"
#     start_containers "$@"                  # takes --keep: leave the cluster running after a failure
#
# shellcheck shell=bash

export COMPOSE_PROJECT_NAME="lograft-test-$$"
export LOGRAFT_CONTAINER_PREFIX=$COMPOSE_PROJECT_NAME
export LOGRAFT_N1_PORT=12379 LOGRAFT_N2_PORT=13379 LOGRAFT_N3_PORT=14379
readonly nodes=(n1 n2 n3)
declare -A endpoint=(
    [n1]="127.0.0.1:$LOGRAFT_N1_PORT" [n2]="127.0.0.1:$LOGRAFT_N2_PORT" [n3]="127.0.0.1:$LOGRAFT_N3_PORT"
)
work="$(mktemp -d)"
keep=false
lograft="$work/lograft"
started_ms=$(uptime_ms)
step="preparation"

compose() { docker-compose --file "$REPO/docker-compose.yml" "$@"; }
container() { echo "$LOGRAFT_CONTAINER_PREFIX-$1"; }

step() {
    step="$*"
    printf '[%5.1f s] %s\n' "$((($(uptime_ms) - started_ms) / 100))e-1" "$step"
}

finish() {
    local status=$? node
    trap - EXIT
    if ((status != 0)); then
        say "FAILED at: $step"
        for node in "${nodes[@]}"; do
            # A paused container neither responds nor stops.
            docker unpause "$(container "$node")" || true
            printf -- '--- %s: ' "$node"
            docker inspect --format \
                '{{.State.Status}}, exit code {{.State.ExitCode}}, {{.State.Health.Status}}, out of memory: {{.State.OOMKilled}}' \
                "$(container "$node")" || true
            "$lograft" status --endpoints "${endpoint[$node]}" || true
            docker logs --tail 40 "$(container "$node")" || true
        done >&2 2>&1
    fi
    docker rm --force --volumes "$COMPOSE_PROJECT_NAME-copy" >/dev/null 2>&1 || true
    if ((status != 0)) && $keep; then
        say "left running; remove it with: docker-compose --project-name $COMPOSE_PROJECT_NAME down --volumes"
    else
        compose down --volumes --timeout 10 >"$work/down.log" 2>&1 || { cat "$work/down.log" >&2; status=1; }
    fi
    rm -rf "$work"
    exit "$status"
}

# try COMMAND…: runs the program with a timeout. A write is never repeated: these scripts also test that no
# user needs to.
try() { timeout 20 "$lograft" "$@" || die "lograft $* exited with code $?"; }

# expect_value NODE KEY VALUE: a linearizable read through that node.
expect_value() {
    local got
    got="$(try get "$2" --endpoints "${endpoint[$1]}" --print-value-only)"
    [[ $got == "$3" ]] || die "$1 returned '$got' for $2, not '$3'"
}

healthy() {
    local node
    for node in "$@"; do
        [[ "$(docker inspect --format '{{.State.Health.Status}}' "$(container "$node")")" == healthy ]] || return 1
    done
}

# leader_among NODE…: prints the name of the node that reports to be leader; false if none does.
leader_among() {
    local node
    for node in "$@"; do
        [[ "$(status_field "$lograft" "${endpoint[$node]}" role)" == [Ll]eader ]] && echo "$node" && return 0
    done
    return 1
}

# caught_up: all three have the same applied index and state hash.
caught_up() {
    local node seen=()
    for node in "${nodes[@]}"; do
        seen+=("$(status_field "$lograft" "${endpoint[$node]}" applied_index)/$(
            status_field "$lograft" "${endpoint[$node]}" state_hash)")
    done
    [[ ${seen[0]} == [0-9]*/?* && ${seen[0]} == "${seen[1]}" && ${seen[0]} == "${seen[2]}" ]] || return 1
    # shellcheck disable=SC2034  # for the scripts that source this file
    agreed="${seen[0]}"
}

# without NODE: prints the other two.
without() {
    local node
    for node in "${nodes[@]}"; do [[ $node == "$1" ]] || echo "$node"; done
}

# start_containers [--keep]: builds the image and starts three nodes; returns when they are healthy and have a leader.
start_containers() {
    case "${1:-}" in
    "") ;;
    --keep) keep=true ;;
    *) die "usage: scripts/${0##*/} [--keep]" ;;
    esac
    trap finish EXIT
    trap 'exit 130' INT TERM

    ensure_docker
    have docker-compose || die "docker-compose is missing: run scripts/install-tools"
    for node in "${nodes[@]}"; do
        port_free "${endpoint[$node]##*:}" || die "${endpoint[$node]} is in use: stop the program that listens there"
    done
    "$REPO/scripts/stand-in-image"

    step "docker-compose build"
    compose build >"$work/build.log" 2>&1 || { tail -n 60 "$work/build.log" >&2; exit 1; }

    step "the image holds one static binary and runs as a numeric user"
    [[ "$(docker inspect --format '{{.Config.User}}' lograft)" == 65532:65532 ]]
    docker create --name "$COMPOSE_PROJECT_NAME-copy" lograft >/dev/null
    docker cp "$COMPOSE_PROJECT_NAME-copy:/lograft" "$lograft"
    docker rm --volumes "$COMPOSE_PROJECT_NAME-copy" >/dev/null

    step "docker-compose up: three nodes become healthy"
    compose up --detach >"$work/up.log" 2>&1 || { cat "$work/up.log" >&2; exit 1; }
    wait_until 60 "three healthy containers" healthy "${nodes[@]}"
    wait_until 20 "a leader" leader_among "${nodes[@]}"
}
